package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/internal/jsonerr"
	"github.com/attnscope/attnscope/snapkv"
)

// methodFlags say which selections are made; snapkv, generate, leaderboard and advise
// share them.
var methodFlags = []cli.Flag{
	&cli.StringFlag{
		Name: "method", Value: "snapkv",
		Usage: "use a comma-separated `LIST` of methods, all, or common (the first 13, recent, random, oracle and" +
			" full): " + strings.Join(snapkv.MethodNames(), ", "),
	},
	presetInts("capacity", "keep `N` positions per head, the window included (repeatable)"),
	presetInts("window", "let the last `ROWS` prompt tokens vote, and keep them (repeatable)"),
	presetInts("kernel", "pool the votes over `N` neighboring positions, an odd number; 1: no pooling (repeatable)"),
	&cli.StringFlag{
		Name: "pooling", DefaultText: "the preset's",
		Usage: "pool by a comma-separated `LIST` of avgpool, maxpool",
	},
	&cli.StringFlag{
		Name: "group", DefaultText: "the preset's",
		Usage: "merge the votes of the query heads of a kv head: mean, max or sum; head: do not merge",
	},
	&cli.StringFlag{
		Name: "preset", Value: "default",
		Usage: "take the settings that other flags do not give from a preset: " + strings.Join(snapkv.PresetNames(), ", "),
	},
	&cli.StringFlag{
		Name: "head-scores",
		Usage: "read the head scores that headkv and duoattention need from `FILE.json`: [[score of each head] of" +
			" each layer]",
	},
	&cli.IntFlag{
		Name: "sinks", Value: 4,
		Usage: "let streamingllm, and other methods that protect sinks, keep the first `N` positions",
	},
	&cli.IntFlag{Name: "chunk", Value: 20, Usage: "let chunkkv keep chunks of `N` positions"},
}

// presetHelp is the part of the help that lists the presets.
func presetHelp() string {
	var b strings.Builder
	b.WriteString("--preset chooses all of these settings; a flag for one of them overrides the preset:\n\n")
	const line = "   %-16s %6v %9v %7v  %-8s %-6s %s\n"
	fmt.Fprintf(&b, line, "preset", "window", "capacity", "kernel", "pooling", "group", "from")
	for _, p := range snapkv.Presets {
		c := p.Config
		fmt.Fprintf(&b, line, p.Name, c.Window, c.Capacity, c.Kernel, c.Pooling, c.Group, p.Source)
	}
	return strings.TrimRight(b.String(), "\n")
}

func presetInts(name, usage string) *cli.IntSliceFlag {
	return &cli.IntSliceFlag{Name: name, Usage: usage, DefaultText: "the preset's"}
}

// fittingWindow returns window, unless it is the default and the dumps named as
// arguments lack rows for it. In that case, it returns a smaller window and prints a
// note. It also returns window if a dump cannot be read, which the verb will report.
func fittingWindow(c *cli.Context, window int) int {
	if c.IsSet("window") || c.IsSet("preset") {
		return window
	}
	fitting, warnings, err := analysis.DefaultWindow(c.Args().Slice())
	if err != nil {
		return window
	}
	for _, w := range warnings {
		notef(c, "%s", w)
	}
	return fitting
}

// selections are the methods and settings that methodFlags ask for.
type selections struct {
	methods []snapkv.Method
	configs []snapkv.Config
	all     bool // --method all or common: methods that lack something in the dump are left out
}

// selectionsOf reads methodFlags.
func selectionsOf(c *cli.Context) (selections, error) {
	var s selections
	base, err := baseConfig(c)
	if err != nil {
		return s, err
	}
	if hasFlag(c, "budget") && c.String("budget") != "" {
		base.Capacity = math.MaxInt32 // the budgets set it
	}
	if s.methods, s.all, err = methodsOf(c.String("method")); err != nil {
		return s, err
	}
	if base.HeadScores, err = readHeadScores(c.String("head-scores")); err != nil {
		return s, err
	}
	poolings := []string{base.Pooling.String()}
	if c.IsSet("pooling") {
		poolings = distinct(splitList(c.String("pooling")))
	}
	ints := func(name string, preset int) []int {
		if c.IsSet(name) {
			return distinct(c.IntSlice(name))
		}
		return []int{preset}
	}
	for _, window := range ints("window", base.Window) {
		for _, kernel := range ints("kernel", base.Kernel) {
			for _, pooling := range poolings {
				for _, capacity := range ints("capacity", base.Capacity) {
					cfg := base
					cfg.Window = window
					cfg.Kernel = kernel
					cfg.Pooling = snapkv.Pooling(pooling)
					cfg.Capacity = capacity
					if err := cfg.Check(); err != nil {
						return s, usagef("--%w", err)
					}
					s.configs = append(s.configs, cfg)
				}
			}
		}
	}
	return s, nil
}

// fitDumps sets the window to one that fits the dumps; see [fittingWindow].
func (s *selections) fitDumps(c *cli.Context) {
	window := fittingWindow(c, s.configs[0].Window)
	if c.IsSet("window") {
		return
	}
	for i := range s.configs {
		s.configs[i].Window = window
	}
}

// settings returns a note with the settings that are not columns of a table: the given
// ones of the verb, and those of single methods. Without any, there is no note.
func (s *selections) settings(list ...string) []string {
	cfg := s.configs[0]
	note := func(setting string, value any, reads func(m *snapkv.Method) bool) {
		var names []string
		for i := range s.methods {
			if m := &s.methods[i]; reads(m) {
				names = append(names, m.Name)
			}
		}
		if names != nil {
			list = append(list, fmt.Sprintf("%s %d (%s)", setting, value, strings.Join(names, ", ")))
		}
	}
	note("sinks", cfg.Sinks, func(m *snapkv.Method) bool { return m.BySinks })
	note("chunk", cfg.Chunk, func(m *snapkv.Method) bool { return m.ByChunk })
	note("seed", cfg.Seed, func(m *snapkv.Method) bool { return m.BySeed })
	if list == nil {
		return nil
	}
	return []string{"Settings: " + strings.Join(list, ", ") + "."}
}

// storedApart says, in a list of at most one sentence, which methods keep the same
// positions for several query heads, if the table counts these once for each query head.
func (s *selections) storedApart(rows []analysis.MethodRow) []string {
	apart := func(name string) bool {
		return slices.ContainsFunc(rows, func(r analysis.MethodRow) bool {
			return r.Method == name && r.Group == snapkv.GroupHead && r.CacheRatio > 1.01*r.Kept
		})
	}
	var names []string
	for _, m := range s.methods {
		if m.Alike && apart(m.Name) {
			names = append(names, m.Name)
		}
	}
	if names == nil {
		return nil
	}
	return []string{fmt.Sprintf("cache_bytes: with --group head, each query head stores its positions by itself, as generate does. "+
		"With %s, the query heads of a kv head keep the same positions; --group mean stores these once.", strings.Join(names, ", "))}
}

// baseConfig is the preset with the flags that take one value.
func baseConfig(c *cli.Context) (snapkv.Config, error) {
	base, err := snapkv.FindPreset(c.String("preset"))
	if err != nil {
		return base, usagef("--%w", err)
	}
	if c.IsSet("group") {
		base.Group = snapkv.Group(c.String("group"))
	}
	base.Seed = c.Uint64("seed")
	base.Sinks = c.Int("sinks")
	base.Chunk = c.Int("chunk")
	if base.Sinks < 1 || base.Chunk < 1 {
		return base, usagef("--sinks %d, --chunk %d: want 1 or more", base.Sinks, base.Chunk)
	}
	return base, nil
}

// methodsOf reads --method; all is true if it names all or all common methods, of which
// those without their input are left out.
func methodsOf(text string) (methods []snapkv.Method, all bool, err error) {
	names := splitList(text)
	for i, name := range names {
		switch name {
		case "all":
			return snapkv.Methods, true, nil
		case "common":
			return snapkv.Common(), true, nil
		}
		m, err := snapkv.FindMethod(name)
		if err != nil {
			return nil, false, usagef("--%w", err)
		}
		if !slices.Contains(names[:i], name) {
			methods = append(methods, m)
		}
	}
	return methods, false, nil
}

// splitList splits a comma-separated list.
func splitList(text string) []string {
	list := strings.Split(text, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// readHeadScores reads the file of --head-scores; an empty path has no scores.
func readHeadScores(path string) ([][]float64, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var scores [][]float64
	if err := json.Unmarshal(text, &scores); err != nil {
		return nil, fmt.Errorf("%s: want [[score of each head] of each layer]: %w", path, jsonerr.Plain(text, err))
	}
	return scores, nil
}
