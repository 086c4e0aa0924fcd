package decode

import (
	"bytes"
	"math"
	"os"
	"runtime/debug"
	"strconv"
)

// peakMemory runs f and returns the peak resident memory of the process during the
// call, in bytes. It is NaN on systems other than Linux, where writing 5 to clear_refs
// resets VmHWM (proc_pid_clear_refs(5)).
func peakMemory(f func() error) (float64, error) {
	debug.FreeOSMemory() // so that memory that only the prefill needed does not count
	reset := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil
	if err := f(); err != nil {
		return math.NaN(), err
	}
	if !reset {
		return math.NaN(), nil
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return math.NaN(), nil
	}
	return highWater(text), nil
}

// highWater returns VmHWM, which /proc/self/status gives in KiB, in bytes; NaN if it
// is missing.
func highWater(status []byte) float64 {
	_, rest, found := bytes.Cut(status, []byte("VmHWM:"))
	if fields := bytes.Fields(rest); found && len(fields) > 0 {
		if n, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil {
			return float64(n) * 1024
		}
	}
	return math.NaN()
}
