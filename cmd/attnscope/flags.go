package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
)

// Flags that several verbs share: each is defined once, with one name, unit and
// default.
var (
	modelFlag = &cli.StringFlag{
		Name: "model", Aliases: []string{"m"}, Value: "smollm2-135m",
		Usage: "run `MODEL`: a folder in hub layout, a .gguf file, a hub id, or smollm2-135m",
	}
	revisionFlag = &cli.StringFlag{Name: "revision", Usage: "use `REVISION` of a hub id", Value: "main"}
	offlineFlag  = boolFlag("offline", "never use the network")
	promptsFlag  = &cli.StringFlag{
		Name: "prompts", Aliases: []string{"p"},
		Usage: "read prompts from `FILE`, or - for stdin: JSON lines, JSON, CSV, TSV or Parquet",
	}
	forceFlag   = boolFlag("force", "replace an existing output file")
	threadsFlag = &cli.IntFlag{Name: "threads", DefaultText: "one per core", Usage: "use `N` threads; 0: one per core"}
	computeFlag = &cli.StringFlag{
		Name: "compute", Value: "f32",
		Usage: "arithmetic: on the processor f32 or bf16, for the matrix products of the prompt;" +
			" on a card f32, bf16 or f16, for everything",
	}
	deviceFlag = &cli.StringFlag{
		Name: "device", Value: "auto",
		Usage: "run on `DEVICE`: auto (a card if this program and this machine have one), cpu, cuda or cuda:i",
	}
	ignoreConfigFlag = &cli.StringSliceFlag{
		Name:  "ignore-config",
		Usage: "ignore the configuration key `KEY` of the model, which is not understood; can be given several times",
	}
	samplingSeedFlag = &cli.Int64Flag{Name: "seed", Usage: "`SEED` of the sampling"}
)

// Flags of the verbs that compute or draw hit rates for one setting.
var (
	oneWindowFlag = &cli.IntFlag{
		Name: "window", Value: snapkv.Default.Window,
		Usage: "let the last `ROWS` prompt tokens vote (the observation window)",
	}
	oneTopFlag = &cli.Float64Flag{
		Name: "top", Value: hitrate.PaperTop,
		Usage: "keep a share `P` of the prefix, from 0 to 1",
	}
	oneThetaFlag = &cli.Float64Flag{
		Name: "theta", Value: hitrate.PaperTheta,
		Usage: "count a weight strictly above `T` as significant",
	}
)

// boolFlag is a flag without a value, off by default.
func boolFlag(name, usage string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: name, Usage: usage, DisableDefaultText: true}
}

// modelOf is a --model flag without a default, for verbs that work without a
// model.
func modelOf(usage string) *cli.StringFlag {
	return &cli.StringFlag{Name: "model", Aliases: []string{"m"}, Usage: usage}
}

// seedFlag is the --seed of what is drawn at random.
func seedFlag(of string) *cli.Uint64Flag {
	return &cli.Uint64Flag{Name: "seed", Usage: "`SEED` of " + of}
}

// distinct returns the values of a list, each once, in their order. A repeated value would
// give equal rows.
func distinct[T comparable](list []T) []T {
	var out []T
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// parseList reads "0,3,7-9" or "all" into ids below n.
func parseList(name, text string, n int) ([]int, error) {
	var list []int
	if text == "" || text == "all" {
		for i := range n {
			list = append(list, i)
		}
		return list, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, ok := parseRange(strings.TrimSpace(part))
		if !ok {
			return nil, usagef("--%s %s: %q is not a number or a range such as 7-9", name, text, part)
		}
		if last >= n {
			return nil, usagef("--%s %s: the model has %s 0 to %d", name, text, name, n-1)
		}
		for i := first; i <= last; i++ {
			list = append(list, i)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// parseRange reads "7" or "7-9".
func parseRange(text string) (first, last int, ok bool) {
	lo, hi, isRange := strings.Cut(text, "-")
	first, err := strconv.Atoi(lo)
	if err != nil {
		return 0, 0, false
	}
	last = first
	if isRange {
		if last, err = strconv.Atoi(hi); err != nil {
			return 0, 0, false
		}
	}
	return first, last, first >= 0 && last >= first
}

// parseWindows reads "20x128": the number of older query windows, and the queries
// in each.
func parseWindows(text string) (count, size int, err error) {
	if text == "" || text == "0" || text == "off" {
		return 0, 0, nil
	}
	_, err = fmt.Sscanf(text, "%dx%d", &count, &size)
	if err != nil || count < 0 || size < 1 || fmt.Sprintf("%dx%d", count, size) != text {
		return 0, 0, usagef("--prompt-windows %q: want COUNTxSIZE such as 20x128, or 0", text)
	}
	return count, size, nil
}

// parseShard reads "i/n", 0 <= i < n.
func parseShard(text string) (i, n int, err error) {
	if text == "" {
		return 0, 1, nil
	}
	_, err = fmt.Sscanf(text, "%d/%d", &i, &n)
	if err != nil || n < 1 || i < 0 || i >= n || fmt.Sprintf("%d/%d", i, n) != text {
		return 0, 0, usagef("--shard %q: want I/N with 0 <= I < N, such as 0/8", text)
	}
	return i, n, nil
}
