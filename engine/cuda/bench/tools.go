//go:build cuda

package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
)

// toolFolders are the patterns of folders in which NVIDIA's tools lie when the search path
// does not have them.
var toolFolders = []string{
	"/usr/local/cuda*/bin", "/usr/local/cuda*/compute-sanitizer", "/opt/cuda*/bin", "/opt/nvidia/nsight-compute/*",
	"$CUDA_HOME/bin", "$CUDA_PATH/bin", "$CONDA_PREFIX/bin", "$VIRTUAL_ENV/lib/python3*/site-packages/nvidia/*/bin",
}

// findTool returns the path of one of NVIDIA's tools.
func findTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range toolFolders {
		list, _ := filepath.Glob(filepath.Join(os.ExpandEnv(pattern), name)) // the patterns are sound
		slices.Reverse(list)                                                 // the newest first
		for _, path := range list {
			if found, err := exec.LookPath(path); err == nil {
				return found, nil
			}
		}
	}
	return "", fmt.Errorf("%w: %s is neither in the search path nor in a toolkit", errLeftOut, name)
}

// errLeftOut marks a step that cannot run on this machine.
var errLeftOut = errors.New("left out")

// sanitized lists the tests that a sanitizer runs: each kind of kernel, and few of them,
// because a sanitizer slows a kernel down by a factor of 10 to 100.
const sanitized = "^(TestDecode|TestProducts|TestNorms|TestHeads|TestSnapKV|TestAttentionDoesNotDependOnPasses)$"

// sanitize runs tests of the kernels under a tool of compute-sanitizer, such as memcheck.
func sanitize(ctx context.Context, tool, binary string) error {
	path, err := findTool("compute-sanitizer")
	if err != nil {
		return err
	}
	if !exists(binary) {
		return fmt.Errorf("%w: no %s", errLeftOut, binary)
	}
	args := []string{"--tool", tool, "--error-exitcode", "9", binary, "-test.short", "-test.run", sanitized}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, firstErrors(string(out)))
	}
	return nil
}

// firstErrors returns the first lines of a sanitizer that report something.
func firstErrors(out string) string {
	var list []string
	for line := range strings.Lines(out) {
		text := strings.TrimSpace(strings.TrimLeft(line, "= "))
		says := strings.HasPrefix(line, "=====") && text != "" && !strings.HasPrefix(text, "COMPUTE-SANITIZER")
		if says && len(list) < 6 {
			list = append(list, text)
		}
	}
	return strings.Join(list, "; ")
}

// counted lists the kernels whose hardware counters are read, and counters the counters.
var counted = []string{"attention_bf16_128", "attention_sums_bf16_128", "gemm_bf16", "gemv_bf16", "decode_scores_bf16"}

var counters = []string{
	"gpu__time_duration.sum",
	"sm__throughput.avg.pct_of_peak_sustained_elapsed",
	"dram__throughput.avg.pct_of_peak_sustained_elapsed",
	"sm__warps_active.avg.pct_of_peak_sustained_active",
	"sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active",
	"l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum",
}

// readCounters returns the counters of one launch of each kernel that is counted.
func readCounters(ctx context.Context, self string, quick bool) ([]judge.Counter, error) {
	path, err := findTool("ncu")
	if err != nil {
		return nil, err
	}
	var list []judge.Counter
	for _, kernel := range counted {
		more, err := countKernel(ctx, path, kernel, self, quick)
		if err != nil {
			return list, fmt.Errorf("%s: %w", kernel, err)
		}
		list = append(list, more...)
	}
	return list, nil
}

// countKernel runs a benchmark of the shape 7b under ncu, which counts the third launch of a
// kernel and then ends the benchmark.
func countKernel(ctx context.Context, ncu, kernel, self string, quick bool) ([]judge.Counter, error) {
	args := []string{
		"--csv", "--kernel-name", "regex:^" + kernel + "$",
		"--launch-skip", "2", "--launch-count", "1", "--kill", "yes",
		"--metrics", strings.Join(counters, ","),
		self, "speed", "-shape", "7b", "-tokens", "4096", "-rounds", "1", "-capture", "0", "-o", os.DevNull,
	}
	if quick {
		args = append(args, "-quick")
	}
	cmd := exec.CommandContext(ctx, ncu, args...)
	cmd.Env = append(os.Environ(), "ATTNSCOPE_LIBCUBLAS=none") // so that gemm_bf16 runs
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	list := parseCounters(string(out))
	switch {
	case strings.Contains(string(out), "ERR_NVGPUCTRPERM"):
		return nil, fmt.Errorf("%w: the driver lets only the administrator read counters (ERR_NVGPUCTRPERM)",
			errLeftOut)
	case len(list) == 0 && err != nil:
		return nil, fmt.Errorf("ncu: %w: %s", err, tail(string(out)))
	case len(list) == 0:
		return nil, errors.New("ncu has counted nothing")
	}
	return list, nil
}

// parseCounters reads the table that ncu prints after other lines.
func parseCounters(out string) []judge.Counter {
	at := strings.Index(out, `"ID",`)
	if at < 0 {
		return nil
	}
	reader := csv.NewReader(strings.NewReader(out[at:]))
	reader.FieldsPerRecord = -1
	reader.LazyQuotes = true
	rows, _ := reader.ReadAll() // lines of the program may follow
	if len(rows) == 0 {
		return nil
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	var list []judge.Counter
	for _, row := range rows[1:] {
		if len(row) != len(rows[0]) {
			continue
		}
		cell := func(name string) string { return row[column[name]] }
		c := judge.Counter{Kernel: cell("Kernel Name"), Name: cell("Metric Name")}
		c.Unit = cell("Metric Unit")
		c.Value = cell("Metric Value")
		if c.Name != "" {
			list = append(list, c)
		}
	}
	return list
}
