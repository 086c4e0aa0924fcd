package viz

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"codeberg.org/go-pdf/fpdf"
)

// The same figure gives the same bytes at any time.
func init() {
	fpdf.SetDefaultCatalogSort(true)
	fpdf.SetDefaultCreationDate(time.Unix(0, 0))
	fpdf.SetDefaultModificationDate(time.Unix(0, 0))
}

var (
	pdfSize  = regexp.MustCompile(`/Size (\d+)`)
	pdfRoot  = regexp.MustCompile(`/Root (\d+ \d+ R)`)
	pdfStart = regexp.MustCompile(`startxref\s+(\d+)`)
	pdfEntry = regexp.MustCompile(`/attnscope\.(\w+) <([0-9a-f]*)>`)
)

// withInfo adds the metadata to a PDF file, as an update (ISO 32000-1, 7.5.6) that
// replaces the document information. Values are UTF-8 in hexadecimal digits.
func withInfo(pdf []byte, m Meta) []byte {
	size := pdfSize.FindSubmatch(pdf)
	root := pdfRoot.FindSubmatch(pdf)
	starts := pdfStart.FindAllSubmatch(pdf, -1)
	if len(m) == 0 || size == nil || root == nil || starts == nil {
		return pdf
	}
	object, _ := strconv.Atoi(string(size[1]))
	b := bytes.NewBuffer(bytes.Clone(pdf))
	at := b.Len()
	fmt.Fprintf(b, "%d 0 obj\n<< /Producer (attnscope)", object)
	for _, name := range m.names() {
		fmt.Fprintf(b, "\n/attnscope.%s <%s>", name, hex.EncodeToString([]byte(m[name])))
	}
	fmt.Fprintf(b, " >>\nendobj\n")
	table := b.Len()
	fmt.Fprintf(b, "xref\n%d 1\n%010d 00000 n \ntrailer\n<< /Size %d /Root %s /Info %d 0 R /Prev %s >>\nstartxref\n%d\n%%%%EOF\n",
		object, at, object+1, root[1], object, starts[len(starts)-1][1], table)
	return b.Bytes()
}

// readInfo reads the entries that withInfo wrote.
func readInfo(pdf []byte) Meta {
	m := Meta{}
	for _, entry := range pdfEntry.FindAllSubmatch(pdf, -1) {
		if value, err := hex.DecodeString(string(entry[2])); err == nil {
			m[string(entry[1])] = string(value)
		}
	}
	return m
}
