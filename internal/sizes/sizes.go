// Package sizes formats numbers of bytes for people: sizes.Text(1536) is "1.5 KiB".
package sizes

import "fmt"

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
