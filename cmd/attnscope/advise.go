package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
)

// adviseCapacities are tried if --capacity is not given.
var adviseCapacities = []int{
	64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 2560, 3072, 4096, 6144, 8192, 12288, 16384,
}

func adviseCommand() *cli.Command {
	return &cli.Command{
		Name:      "advise",
		Usage:     "recommend a method and a budget that keep the predicted loss under a bound",
		ArgsUsage: "RUN.attn... --loss 5%",
		Description: "The loss is what decoding from the compressed cache loses, compared with the full cache. State the\n" +
			"bound in one of three ways:\n\n" +
			"   --loss 5%          the perplexity of the reply increases by at most 5 %\n" +
			"   --loss 0.05        the mean KL divergence is at most 0.05 nats per reply token\n" +
			"   --agreement 0.95   at least 95 % of the reply tokens stay the same\n\n" +
			"Advise predicts the loss from the dump; docs/ADVICE.md explains how, and how well. It recommends on\n" +
			"stderr the smallest cache for which at most --risk of the prompts lose more than the bound, and prints\n" +
			"a table of all methods, the smallest cache first. Unless flags say otherwise, it tries the common\n" +
			"methods, selection by query head and by kv head, and capacities from 64 to 16384. It exits with 1 if\n" +
			"no method stays within the bound.\n\n" +
			"With --calibrate, it determines instead which measure of a dump predicts the loss best for your\n" +
			"model. The losses come from attnscope generate on the same prompts, with the same method flags.\n\n" + presetHelp(),
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{
				Name: "loss", DefaultText: "none; this or --agreement is required",
				Usage: "accept at most `LOSS`: 5% (increase of the perplexity) or 0.05 (KL in nats per reply token)",
			},
			&cli.Float64Flag{
				Name: "agreement", DefaultText: "none",
				Usage: "accept at least this `SHARE` of reply tokens that stay the same, such as 0.95",
			},
			&cli.Float64Flag{
				Name: "risk", Value: 0.05,
				Usage: "accept that a `SHARE` of the prompts, above 0 and below 0.5, loses more than the bound",
			},
			&cli.StringFlag{
				Name: "by", DefaultText: "one budget for all",
				Usage: "advise a budget for each layer or each head: layer or head",
			},
			&cli.StringFlag{
				Name: "calibration", DefaultText: "those that ship: by query head or, with --group mean, max or sum, by kv head",
				Usage: "predict with the calibration in `FILE.json`, written by --calibrate --save",
			},
			&cli.StringFlag{
				Name:  "calibrate",
				Usage: "calibrate against the losses in `GENERATE.jsonl`, the output of attnscope generate",
			},
			&cli.StringFlag{Name: "save", Usage: "with --calibrate, write the calibration to `FILE.json`"},
			&cli.StringFlag{Name: "figures", Usage: "with --calibrate, draw KL against each measure into `DIR`"},
			modelOf("use the output projections of `MODEL`, which made the dumps, for output_error_wo"),
			seedFlag("the methods random and nacl, and of the intervals"),
			threadsFlag, revisionFlag, offlineFlag, ignoreConfigFlag,
		}, adviseMethodFlags(), tableFlags),
		Action: runAdvise,
	}
}

// adviseMethodFlags are methodFlags whose help shows the defaults of advise.
func adviseMethodFlags() []cli.Flag {
	flags := slices.Clone(methodFlags)
	for i, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			own := *f
			switch f.Name {
			case "method":
				own.DefaultText = "common"
			case "group":
				own.DefaultText = "head and mean, or the preset's"
			}
			flags[i] = &own
		case *cli.IntSliceFlag:
			own := *f
			if f.Name == "capacity" {
				own.DefaultText = fmt.Sprintf("%d to %d", adviseCapacities[0], adviseCapacities[len(adviseCapacities)-1])
			}
			flags[i] = &own
		}
	}
	return flags
}

func runAdvise(c *cli.Context) error {
	if err := checkAdvise(c); err != nil {
		return err
	}
	if err := setAdviseDefaults(c); err != nil {
		return err
	}
	s, err := selectionsOf(c)
	if err != nil {
		return err
	}
	s.fitDumps(c)
	cfg := analysis.MethodConfig{
		Methods: s.methods, Configs: s.configs, Thetas: []float64{hitrate.PaperTheta},
		Lenient: s.all, Seed: c.Uint64("seed"),
	}
	if c.String("model") != "" {
		if cfg.Gram, err = outputGrams(c); err != nil {
			return err
		}
	}
	if c.String("calibrate") != "" {
		return runCalibrate(c, cfg)
	}
	if s.all { // the bounds cannot be chosen
		isBound := func(m snapkv.Method) bool { return m.Role == snapkv.Bound }
		cfg.Methods = slices.DeleteFunc(slices.Clone(cfg.Methods), isBound)
	}
	if !c.IsSet("group") && !c.IsSet("preset") {
		for _, config := range slices.Clone(cfg.Configs) {
			config.Group = snapkv.GroupMean
			cfg.Configs = append(cfg.Configs, config)
		}
	}
	cals, err := calibrations(c.String("calibration"), cfg.Configs)
	if err != nil {
		return err
	}
	ask := analysis.AdviceConfig{
		Calibrations: cals, Risk: c.Float64("risk"), By: analysis.By(c.String("by")),
	}
	if ask.Bound, err = boundOf(c); err != nil {
		return err
	}
	bar := newBar(c.App.ErrWriter, "advise")
	defer bar.close()
	cfg.Progress = bar.layers
	advice, err := analysis.Advise(c.Context, c.Args().Slice(), cfg, ask)
	bar.close()
	for _, w := range analysis.Without(advice.Warnings, analysis.NothingDropped) {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	if err := writeAdvice(c, advice); err != nil {
		return err
	}
	if text := advice.Recommendation(); text != "" && advice.Found() {
		notef(c, "%s", text)
		suggestAdvised(c, advice)
	}
	if !advice.Found() {
		err := fmt.Errorf("no method keeps the predicted loss within the bound, %s", ask.Bound)
		what := "Allow more with --loss, --agreement or --risk, try other capacities with --capacity, or calibrate on your model" +
			" and prompts with larger capacities (docs/ADVICE.md)."
		return hintf(err, "%s", strings.Join(append(advice.NearMiss(), what), " "))
	}
	return nil
}

// suggestAdvised suggests decoding the dump's prompts from the recommended cache, or from
// the one that comes closest to the bound.
func suggestAdvised(c *cli.Context, advice *analysis.Advice) {
	row := advice.Tried()
	if row == nil {
		return
	}
	r, err := dumps.Open(c.Args().First())
	if err != nil {
		return
	}
	defer r.Close()
	h := r.Header()
	words := []string{
		"generate", "-m", h.Model.ID, "-p", cmp.Or(h.Manifest.PromptsFile, "prompts.jsonl"), "--method", row.Method,
		"--group", string(row.Group), "--capacity", fmt.Sprint(row.Capacity), "--summary",
	}
	suggest(c, append(words, carriedFlags(h.Manifest.Command)...)...)
}

// writeAdvice writes the table. At a terminal, methods that keep everything share a line.
func writeAdvice(c *cli.Context, advice *analysis.Advice) error {
	if !onScreen(c) {
		return writeTable(c, advice.Table(), table.Screen{})
	}
	t, notes := advice.Short()
	return writeTable(c, t, table.Screen{
		Values: []string{"method", "capacity", "share", "cache_bytes", "cache_ratio", "predicted", "high"},
		Notes:  notes,
	})
}

// boundOf reads --loss or --agreement.
func boundOf(c *cli.Context) (analysis.Bound, error) {
	var bound analysis.Bound
	var err error
	switch {
	case c.IsSet("loss") && c.IsSet("agreement"):
		return bound, usagef("advise: --loss and --agreement are two bounds, want one")
	case c.IsSet("loss"):
		bound, err = analysis.ParseLoss(c.String("loss"))
	case c.IsSet("agreement"):
		bound, err = analysis.ParseAgreement(c.Float64("agreement"))
	default:
		return bound, hintf(usagef("advise: no bound given"),
			"give --loss 5%% (perplexity), --loss 0.05 (nats per reply token) or --agreement 0.95")
	}
	if err != nil {
		return bound, usagef("--%w", err)
	}
	return bound, nil
}

// checkAdvise refuses flags that advise cannot combine.
func checkAdvise(c *cli.Context) error {
	if !c.Args().Present() {
		return noDump("advise")
	}
	if c.String("by") != "" {
		if err := checkWord(c, "by", []string{"layer", "head"}); err != nil {
			return err
		}
	}
	if risk := c.Float64("risk"); !(risk > 0 && risk < 0.5) {
		return usagef("--risk %g: want a share of prompts above 0 and below 0.5", risk)
	}
	if c.String("calibrate") == "" {
		if _, err := boundOf(c); err != nil {
			return err
		}
	}
	if err := checkTable(c); err != nil {
		return err
	}
	for _, name := range []string{"window", "kernel"} {
		if n := len(c.IntSlice(name)); n > 1 {
			return usagef("advise: --%s has %d values, want one: only the capacity is searched", name, n)
		}
	}
	if n := len(strings.Split(c.String("pooling"), ",")); n > 1 {
		return usagef("advise: --pooling has %d values, want one: only the capacity is searched", n)
	}
	return nil
}

// setAdviseDefaults sets the capacities and the methods that flags do
// not give.
func setAdviseDefaults(c *cli.Context) error {
	if !c.IsSet("capacity") {
		base, err := baseConfig(c)
		if err != nil {
			return err
		}
		if c.IsSet("window") {
			base.Window = c.IntSlice("window")[0]
		}
		for _, n := range adviseCapacities {
			if n <= base.Window {
				continue
			}
			if err := c.Set("capacity", fmt.Sprint(n)); err != nil {
				return err
			}
		}
	}
	if !c.IsSet("method") {
		return c.Set("method", "common")
	}
	return nil
}

// calibrations reads the file of --calibration, or the calibrations that ship if
// path is empty: those by kv head if every config selects by kv head.
func calibrations(path string, configs []snapkv.Config) ([]analysis.Calibration, error) {
	if path == "" {
		byQueryHead := slices.ContainsFunc(configs, func(c snapkv.Config) bool { return !c.Group.Merges() })
		return analysis.Shipped(!byQueryHead)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cals, err := analysis.ParseCalibrations(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cals, nil
}
