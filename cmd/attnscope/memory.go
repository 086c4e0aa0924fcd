package main

import (
	"bufio"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// assumedMemory is the available memory where the system does not say how much it has.
const assumedMemory = 8 << 30

// availableMemory returns the memory, in bytes, that this process can take without
// swapping: what the kernel reports as available, within the limits of the control groups
// and of the Slurm job.
func availableMemory() int64 {
	n := min(availableIn(os.DirFS("/")), slurmMemory(os.Getenv("SLURM_MEM_PER_NODE")))
	if n == math.MaxInt64 {
		return assumedMemory
	}
	return n
}

// slurmMemory parses a number of megabytes. Any other text means that there is no limit.
func slurmMemory(megabytes string) int64 {
	n, err := strconv.ParseInt(megabytes, 10, 64)
	if err != nil || n < 1 {
		return math.MaxInt64
	}
	return n << 20
}

// availableIn reads the files of Linux. Without them, the result is math.MaxInt64.
func availableIn(root fs.FS) int64 {
	n := int64(math.MaxInt64)
	if kb, ok := fieldOf(root, "proc/meminfo", "MemAvailable:"); ok {
		n = kb << 10
	}
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return n
	}
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		g := groupFiles{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"}
		switch {
		case parts[1] == "memory":
			g = groupFiles{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}
		case parts[1] != "":
			continue
		}
		for at := path.Clean("/" + parts[2]); ; at = path.Dir(at) {
			n = min(n, g.room(root, at))
			if at == "/" {
				break
			}
		}
	}
	return n
}

// groupFiles names the files of a version of control groups.
type groupFiles struct{ mount, limit, usage, cache string }

// room returns the memory that is left in a group. Cached files that are not in use can
// be dropped and count as left.
func (g *groupFiles) room(root fs.FS, group string) int64 {
	at := path.Join(g.mount, group)
	limit, ok := numberIn(root, path.Join(at, g.limit))
	if !ok {
		return math.MaxInt64
	}
	used, _ := numberIn(root, path.Join(at, g.usage))
	cache, _ := fieldOf(root, path.Join(at, "memory.stat"), g.cache)
	return max(0, limit-used+cache)
}

// numberIn reads a file that holds a number.
func numberIn(root fs.FS, name string) (int64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// fieldOf reads the number after a word at the start of a line.
func fieldOf(root fs.FS, name, word string) (int64, bool) {
	f, err := root.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if parts := strings.Fields(lines.Text()); len(parts) > 1 && parts[0] == word {
			n, err := strconv.ParseInt(parts[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
