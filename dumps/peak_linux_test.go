package dumps

import (
	"os"
	"syscall"
	"testing"
)

// peakMemory is the largest resident set of a process that has ended, in bytes.
func peakMemory(t *testing.T, p *os.ProcessState) int64 {
	t.Helper()
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Skip("SKIPPED, the system does not tell the memory of a child")
	}
	return usage.Maxrss << 10
}
