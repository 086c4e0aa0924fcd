// Package sizes formats numbers of bytes for people and reads them: sizes.Text(1536) is
// "1.5 KiB".
package sizes

import (
	"fmt"
	"strconv"
	"strings"
)

// Parse reads a number of bytes, such as "800M", "1.5GiB" or "6 GB". K, M, G and T are
// binary units, like KiB; KB, MB, GB and TB are decimal.
func Parse(text string) (int64, error) {
	number := strings.TrimRight(text, "iBKMGTkmgtb ")
	unit := strings.ToUpper(strings.TrimSpace(text[len(number):]))
	v, err := strconv.ParseFloat(number, 64)
	base := 1024.0
	if strings.HasSuffix(unit, "IB") {
		unit = strings.TrimSuffix(unit, "IB")
	} else if len(unit) == 2 && unit[1] == 'B' {
		unit = unit[:1]
		base = 1000
	}
	power := strings.Index("BKMGT", unit)
	if err != nil || !(v > 0) || len(unit) > 1 || power < 0 {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	for range power {
		v *= base
	}
	if v >= 1<<62 {
		return 0, fmt.Errorf("%q is more than any machine has", text)
	}
	return int64(v), nil
}

// Text formats n bytes in binary units, with one decimal from KiB on: "512 B",
// "1.5 MiB". The largest unit is TiB.
func Text(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	v := float64(n) / 1024
	for v >= 1024 && len(units) > 1 {
		v /= 1024
		units = units[1:]
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}
