//go:build !linux

package tokenizer

import (
	"os"
	"syscall"
)

// limitMemory does nothing on this system. The limits on time, output and stack remain.
func limitMemory(uint64) error { return nil }

func dieWithParent() *syscall.SysProcAttr { return nil }

func executable() (string, error) { return os.Executable() }
