package sizes

import "testing"

func TestText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 5 << 50: "5120.0 TiB",
	} {
		if got := Text(n); got != want {
			t.Errorf("Text(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"6G": 6 << 30, "6g": 6 << 30, "1.5GiB": 3 << 29, "1.5 GiB": 3 << 29, "800M": 800 << 20, "6 GB": 6e9, "512 B": 512, "512": 512,
		"2kB": 2000, "0.5T": 1 << 39,
		"": 0, "G": 0, "-1G": 0, "0": 0, "NaN": 0, "6X": 0, "6GG": 0, "1e30": 0, "inf": 0, "12 34": 0,
	} {
		got, err := Parse(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("Parse(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}
