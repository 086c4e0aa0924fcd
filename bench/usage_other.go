//go:build !unix

package main

func cpuSeconds() float64 { return 0 }
func peakBytes() int64    { return 0 }
