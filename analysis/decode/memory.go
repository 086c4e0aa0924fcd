package decode

import (
	"bytes"
	"math"
	"os"
	"runtime/debug"
	"strconv"
)

// peakMemory runs f and returns the peak resident memory of the process
// meanwhile, in bytes; NaN where the system does not tell (it is Linux that
// does: writing 5 to clear_refs resets VmHWM, proc_pid_clear_refs(5)).
func peakMemory(f func() error) (float64, error) {
	debug.FreeOSMemory() // what the prefill left behind is no need of decoding
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

// highWater finds VmHWM, given in KiB, in the text of /proc/self/status.
func highWater(status []byte) float64 {
	_, rest, found := bytes.Cut(status, []byte("VmHWM:"))
	if fields := bytes.Fields(rest); found && len(fields) > 0 {
		if n, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil {
			return float64(n) * 1024
		}
	}
	return math.NaN()
}
