package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/attnscope/attnscope/internal/simd"
)

// machine describes the processor, its features, its memory, and the versions that are
// compared.
func machine(python, llama string) string {
	cpu := "unknown processor"
	mem := 0.0 // GiB
	each("/proc/cpuinfo", func(line string) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
		}
	})
	each("/proc/meminfo", func(line string) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			mem = kb / (1 << 20)
		}
	})
	text := fmt.Sprintf("%s, %s, %d threads, %.0f GiB, %s", cpu, simd.Features(), runtime.NumCPU(), mem, runtime.Version())
	for _, v := range []struct{ python, packages string }{{python, "torch transformers numpy"}, {llama, "llama_cpp"}} {
		if v.python == "" {
			continue
		}
		script := "import sys\nfor p in sys.argv[1:]: print(p, __import__(p).__version__)"
		out, err := exec.Command(v.python, append([]string{"-c", script}, strings.Fields(v.packages)...)...).Output()
		if err == nil {
			text += ", " + strings.Join(strings.Split(strings.TrimSpace(string(out)), "\n"), ", ")
		}
	}
	if llama != "" {
		script := "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
		if out, err := exec.Command(llama, "-c", script).Output(); err == nil {
			text += ", llama.cpp with " + lastLine(out)
		}
	}
	return text
}

// each calls f with every line of a file. It ignores a file that cannot be read.
func each(path string, f func(line string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f(s.Text())
	}
}

// busy returns the share of the processors that other programs use while wait passes.
// Numbers measured on a busy machine are worthless.
func busy(wait time.Duration) float64 {
	a := jiffies()
	time.Sleep(wait)
	b := jiffies()
	if len(a) < 5 || len(b) < 5 {
		return 0
	}
	total := 0.0
	for i := range a {
		total += b[i] - a[i]
	}
	idle := b[3] + b[4] - a[3] - a[4]
	return 1 - idle/max(total, 1)
}

var numbers = regexp.MustCompile(`\d+`)

// jiffies returns the times that the processors have spent in each state.
func jiffies() (out []float64) {
	each("/proc/stat", func(line string) {
		if strings.HasPrefix(line, "cpu ") {
			for _, n := range numbers.FindAllString(line, 8) {
				v, _ := strconv.ParseFloat(n, 64)
				out = append(out, v)
			}
		}
	})
	return out
}
