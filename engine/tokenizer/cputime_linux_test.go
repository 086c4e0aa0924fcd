package tokenizer

import (
	"syscall"
	"time"
)

// threadTime is the processor time of the calling goroutine's thread, which must be
// locked. Elapsed time would say little on a busy machine.
func threadTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(1, &u) != nil { // RUSAGE_THREAD
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
