package table

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

func sample() *Table {
	t := New("name", "n", "rate")
	t.Add("a\tb", 3, 0.25)
	t.Add("c\"d", -1, math.NaN())
	return t
}

func TestFormats(t *testing.T) {
	for format, want := range map[string]string{
		"tsv":   "name\tn\trate\na b\t3\t0.25\nc\"d\t-1\tNaN\n",
		"csv":   "name,n,rate\na b,3,0.25\n\"c\"\"d\",-1,NaN\n",
		"jsonl": "{\"name\":\"a\\tb\",\"n\":3,\"rate\":0.25}\n{\"name\":\"c\\\"d\",\"n\":-1,\"rate\":null}\n",
		"json":  "[\n{\"name\":\"a\\tb\",\"n\":3,\"rate\":0.25},\n{\"name\":\"c\\\"d\",\"n\":-1,\"rate\":null}\n]\n",
	} {
		var b bytes.Buffer
		if err := sample().Write(&b, format); err != nil || b.String() != want {
			t.Errorf("%s: %q (%v), want %q", format, b.String(), err, want)
		}
	}
	if err := sample().Write(&bytes.Buffer{}, "xml"); err == nil || !strings.Contains(err.Error(), "parquet") {
		t.Errorf("an unknown format: %v", err)
	}
}

func TestParquetReadsBack(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Write(&b, "parquet"); err != nil {
		t.Fatal(err)
	}
	type row struct {
		Name string   `parquet:"name"`
		N    int64    `parquet:"n"`
		Rate *float64 `parquet:"rate,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Name != "a\tb" || rows[0].N != 3 || *rows[0].Rate != 0.25 || rows[1].Rate != nil || rows[1].N != -1 {
		t.Errorf("read back %+v", rows)
	}
}
