package decode

import (
	"math"
	"runtime"
	"testing"
)

// TestPeakMemory holds 64 MiB for a while: the peak shows it, that of a moment
// later does not.
func TestPeakMemory(t *testing.T) {
	const size = 64 << 20
	measure := func(n int) float64 {
		peak, err := peakMemory(func() error {
			b := make([]byte, n)
			for i := 0; i < n; i += 4096 {
				b[i] = 1
			}
			runtime.KeepAlive(b)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return peak
	}
	if math.IsNaN(measure(1)) {
		t.Skip("SKIPPED: this system does not reset or tell a process's peak memory")
	}
	base, large, after := measure(1), measure(size), measure(1)
	if large < base+0.9*size || after > base+0.5*size {
		t.Errorf("peaks %.0f, with %d bytes more %.0f, later %.0f", base, size, large, after)
	}
}

func TestHighWater(t *testing.T) {
	if got := highWater([]byte("VmPeak:\t 100 kB\nVmHWM:\t  64 kB\nVmRSS:\t 8 kB\n")); got != 65536 {
		t.Errorf("%g, want 65536", got)
	}
	if got := highWater([]byte("VmPeak: 100 kB\n")); !math.IsNaN(got) {
		t.Errorf("%g, want undefined", got)
	}
}
