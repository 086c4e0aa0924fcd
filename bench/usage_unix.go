//go:build unix

package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

func usage() (u unix.Rusage) {
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u
}

// cpuSeconds returns the user and system time of this process.
func cpuSeconds() float64 {
	u := usage()
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// peakBytes returns the peak of the resident memory. On Linux it reads the status of
// this process, because ru_maxrss includes the process that started it.
func peakBytes() int64 {
	var kb int64
	each("/proc/self/status", func(line string) { _, _ = fmt.Sscanf(line, "VmHWM: %d kB", &kb) })
	if kb > 0 {
		return kb << 10
	}
	u := usage()
	if runtime.GOOS == "linux" {
		return u.Maxrss << 10
	}
	return u.Maxrss
}
