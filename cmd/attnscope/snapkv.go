package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/states"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/viz/figures"
)

func snapkvCommand() *cli.Command {
	return &cli.Command{
		Name:      "snapkv",
		Usage:     "what SnapKV and other methods keep of a prompt's cache, and what that loses",
		ArgsUsage: "RUN.attn... | --states FILE.safetensors -o OUT.safetensors",
		Description: "Each method selects positions of the prompts in the dumps. The table says how much of the reply's\n" +
			"attention lies on the kept positions, and what the loss does to the output of a head;\n" +
			"docs/MEASURES.md defines all columns. --indices writes the positions themselves. --states compresses\n" +
			"tensors of your own with SnapKV, to compare with another implementation.\n\n" + presetHelp(),
		Flags: slices.Concat(methodFlags, []cli.Flag{
			&cli.Float64SliceFlag{
				Name: "theta", DefaultText: "0.05",
				Usage: "count a weight strictly above `T` as significant (repeatable)",
			},
			byFlag,
			&cli.IntFlag{
				Name: "decode-every", DefaultText: "never",
				Usage: "let every method select again after each `N` rows of the reply, so that its cache stays" +
					" within the capacity",
			},
			&cli.IntFlag{Name: "span", Value: 128, Usage: "with --by span, rate `ROWS` reply tokens together"},
			&cli.StringFlag{
				Name: "prompt", DefaultText: "the only one",
				Usage: "with --indices, select from the prompt with `ID`; with --kept, the prompt whose positions" +
					" FILE.safetensors holds",
			},
			&cli.StringFlag{
				Name:  "indices",
				Usage: "write the kept positions of one prompt, method and capacity to `FILE.safetensors` instead of a table",
			},
			&cli.StringFlag{
				Name: "kept",
				Usage: "measure the positions in `FILE.safetensors`, which another program may have selected, in the" +
					" form that --indices writes; --method names methods to compare them with",
			},
			&cli.StringFlag{
				Name: "states",
				Usage: "compress the key_states, value_states and query_states of `FILE.safetensors`, with the sinks and the scale if it has" +
					" them, instead of reading a dump",
			},
			&cli.StringFlag{Name: "figures", Usage: "also draw the kept mass by capacity, and by layer and head, into `DIR`"},
			modelOf("use the output projections of `MODEL`, which made the dumps, for output_error_wo"),
			seedFlag("the methods random and nacl, and of the intervals"),
			threadsFlag, revisionFlag, offlineFlag, ignoreConfigFlag,
		}, pivotFlags("mass"), tableFlags),
		Action: runSnapKV,
	}
}

func runSnapKV(c *cli.Context) error {
	s, err := selectionsOf(c)
	if err != nil {
		return err
	}
	for _, other := range []string{"states", "indices", "kept"} {
		if c.IsSet("decode-every") && c.String(other) != "" {
			return usagef("snapkv: --decode-every and --%s exclude each other", other)
		}
	}
	switch {
	case c.String("states") != "":
		return runStates(c, s)
	case !c.Args().Present():
		return hintf(usagef("snapkv: no dump given"), "name at least one RUN.attn, or tensors with --states FILE.safetensors")
	case c.String("indices") != "":
		return runIndices(c, s)
	}
	prompt := ""
	if c.String("kept") != "" {
		if prompt, err = s.keepFile(c); err != nil {
			return err
		}
	}
	cfg, by, err := methodConfig(c, s)
	if err != nil {
		return err
	}
	if err := checkTable(c); err != nil {
		return err
	}
	if err := checkFigures(c); err != nil {
		return err
	}
	columns := slices.Concat(analysis.KeyColumns, analysis.MethodColumns, analysis.ReplayColumns,
		[]string{analysis.SinkColumn})
	if err := checkPivot(c, columns, methodKeys); err != nil {
		return err
	}
	if cfg.Prompt = prompt; prompt == "" {
		s.fitDumps(c)
	}
	if c.String("model") != "" {
		if cfg.Gram, err = outputGrams(c); err != nil {
			return err
		}
	}
	groupings := [][]analysis.By{by, nil}
	dir := c.String("figures")
	if dir != "" {
		groupings = append(groupings, []analysis.By{analysis.ByLayer, analysis.ByHead})
	}
	bar := newBar(c.App.ErrWriter, "snapkv")
	defer bar.close()
	cfg.Progress = bar.layers
	rows, warnings, err := analysis.MethodsBy(c.Context, c.Args().Slice(), cfg, groupings...)
	bar.close()
	if err == nil {
		warnings = append(warnings, analysis.LargerCaches(rows[1])...)
	}
	for _, w := range warnings {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(rows[1], func(r analysis.MethodRow) bool { return r.Window != rows[1][0].Window }) {
		warnf(c, "each window is rated on the positions before it, so the masses of different windows rest on different"+
			" positions; compare them by mass_of_oracle")
	}
	if dir != "" {
		written, err := figures.Methods(dir, rows[1], rows[2], origin(c, c.Args().Slice()...))
		if err != nil {
			return err
		}
		notef(c, "%s in %s", count(len(written), "figure"), dir)
	}
	most := slices.MaxFunc(rows[0], func(x, y analysis.MethodRow) int { return x.Prompts - y.Prompts }).Prompts
	few := analysis.FewPromptsNote(most)
	if !onScreen(c) {
		warnNotes(c, few)
	}
	t := analysis.MethodTable(rows[0])
	if c.IsSet("pivot") {
		if t, err = pivoted(c, t, methodKeys); err != nil {
			return err
		}
		return writeByLayer(c, t, table.Screen{Notes: append(s.settings(), pivotNote("mass_low and mass_high"))})
	}
	screen := table.Screen{
		Values: []string{"mass", "hit_rate", "cache_mass", "cache_bytes", "cache_ratio", analysis.SinkColumn},
		Notes:  []string{"mass: share of the reply's attention on kept positions before the window. docs/MEASURES.md defines all columns."},
	}
	screen.Notes = slices.Concat(screen.Notes, s.settings(), s.storedApart(rows[0]), few)
	if slices.ContainsFunc(rows[0], func(r analysis.MethodRow) bool { return r.Sink > 0 }) {
		screen.Notes = append(screen.Notes, sinkNote)
	}
	if len(by) > 0 {
		screen.Totals = analysis.MethodTable(rows[1]).Rows
	}
	return writeByLayer(c, t, screen)
}

// methodKeys lists the columns that identify a row of the table. The budget follows
// from capacity and window.
var methodKeys = slices.Concat(
	slices.DeleteFunc(slices.Clone(analysis.KeyColumns), func(name string) bool { return name == "budget" }),
	[]string{"method", "capacity", "kernel", "pooling", "group"},
)

// methodConfig reads the flags of the table: what is measured, and by which keys.
func methodConfig(c *cli.Context, s selections) (analysis.MethodConfig, []analysis.By, error) {
	cfg := analysis.MethodConfig{
		Methods: s.methods, Configs: s.configs, Thetas: distinct(c.Float64Slice("theta")), Span: c.Int("span"),
		Lenient: s.all, Seed: c.Uint64("seed"), DecodeEvery: c.Int("decode-every"),
	}
	if len(cfg.Thetas) == 0 {
		cfg.Thetas = []float64{hitrate.PaperTheta}
	}
	if err := analysis.CheckThetas(cfg.Thetas); err != nil {
		return cfg, nil, usagef("--%w", err)
	}
	if c.String("prompt") != "" && c.String("kept") == "" {
		err := usagef("snapkv: --prompt needs --indices or --kept")
		return cfg, nil, hintf(err, "--by prompt prints a row for each prompt")
	}
	by, err := analysis.ParseBy(c.String("by"))
	if err != nil {
		return cfg, nil, usagef("--%w", err)
	}
	if cfg.Span < 1 {
		return cfg, nil, usagef("--span %d: want 1 or more", cfg.Span)
	}
	if c.IsSet("decode-every") && cfg.DecodeEvery < 1 {
		return cfg, nil, usagef("--decode-every %d: want 1 or more", cfg.DecodeEvery)
	}
	return cfg, by, nil
}

// outputGrams reads the output projections of --model, which must be the model
// that made the dumps.
func outputGrams(c *cli.Context) (func(layer, head int) []float64, error) {
	src, err := openSource(c)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if err := checkMadeBy(src, c.Args().Slice()); err != nil {
		return nil, err
	}
	if err := loadSource(c, src); err != nil {
		return nil, err
	}
	grams, err := src.Model.OutputGrams()
	if err != nil {
		return nil, err
	}
	return func(layer, head int) []float64 { return grams[layer][head] }, nil
}

// checkMadeBy checks that a model made the dumps.
func checkMadeBy(src *capture.Source, paths []string) error {
	sum, err := src.Checkpoint.SHA256()
	if err != nil {
		return err
	}
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return err
		}
		made := r.Header().Model
		r.Close()
		if made.SHA256 != sum {
			err := fmt.Errorf("%s was made by model %s (weights %.12s), but -m %s has weights %.12s",
				path, made.ID, made.SHA256, src.Name, sum)
			return hintf(err, "name the dump's model with -m")
		}
	}
	return nil
}

// runStates is snapkv --states.
func runStates(c *cli.Context, s selections) error {
	out := c.String("o")
	switch {
	case c.Args().Present():
		return usagef("snapkv: --states takes no dump, but %q was given", c.Args().First())
	case out == "":
		return hintf(usagef("snapkv: --states: no output given"), "name the file with -o OUT.safetensors")
	case len(s.configs) != 1:
		return usagef("snapkv: --states takes one window, kernel, pooling and capacity")
	case len(s.methods) != 1 || !s.methods[0].ByStates:
		return usagef("snapkv: --states compresses only with --method snapkv")
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	return states.Compress(c.String("states"), out, s.configs[0])
}
