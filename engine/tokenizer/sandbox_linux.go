package tokenizer

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitMemory limits the writable memory of this process to n bytes.
func limitMemory(n uint64) error {
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: n, Max: n})
}

// dieWithParent makes a process end when the process that started it ends.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// executable is the path of this program, which remains valid after the file has been
// replaced.
func executable() (string, error) { return "/proc/self/exe", nil }
