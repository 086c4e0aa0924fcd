package main

import (
	"math"
	"testing"
	"testing/fstest"
)

// TestAvailableMemory reads the files of machines with and without limits.
func TestAvailableMemory(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	meminfo := file("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n")
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  int64
	}{
		"nothing is known": {fstest.MapFS{}, math.MaxInt64},
		"no limit":         {fstest.MapFS{"proc/meminfo": meminfo}, 8000 << 10},
		"a limit of a parent, version 2": {fstest.MapFS{
			"proc/meminfo":                            meminfo,
			"proc/self/cgroup":                        file("0::/job/task\n"),
			"sys/fs/cgroup/job/task/memory.max":       file("max\n"),
			"sys/fs/cgroup/job/memory.max":            file("1000000\n"),
			"sys/fs/cgroup/job/memory.current":        file("700000\n"),
			"sys/fs/cgroup/job/memory.stat":           file("anon 5\ninactive_file 200000\n"),
			"sys/fs/cgroup/job/task/memory.current":   file("700000\n"),
			"sys/fs/cgroup/other/memory.max":          file("1\n"),
			"sys/fs/cgroup/memory/job/memory.current": file("1\n"),
		}, 500000},
		"a limit of version 1": {fstest.MapFS{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": file("3:cpu:/x\n2:memory:/x\n"),
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("400000\n"),
			"sys/fs/cgroup/memory/x/memory.usage_in_bytes": file("100000\n"),
		}, 300000},
		"a group that is full": {fstest.MapFS{
			"proc/self/cgroup":             file("0::/\n"),
			"sys/fs/cgroup/memory.max":     file("5\n"),
			"sys/fs/cgroup/memory.current": file("6\n"),
		}, 0},
	} {
		if got := availableIn(c.files); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
	for text, want := range map[string]int64{"": math.MaxInt64, "many": math.MaxInt64, "0": math.MaxInt64, "3": 3 << 20} {
		if got := slurmMemory(text); got != want {
			t.Errorf("SLURM_MEM_PER_NODE=%q: %d bytes, want %d", text, got, want)
		}
	}
}
