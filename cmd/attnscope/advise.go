package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
)

// adviseCapacities are tried if --capacity is not given.
var adviseCapacities = []int{
	64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 2560, 3072, 4096, 6144, 8192, 12288, 16384,
}

// adviseWindow is used if neither --window nor --preset is given.
const adviseWindow = 32

func adviseCommand() *cli.Command {
	return &cli.Command{
		Name:      "advise",
		Usage:     "smallest budget of each method that keeps the predicted loss under a bound",
		ArgsUsage: "RUN.attn... --loss 0.05",
		Description: "The loss is the mean KL divergence between decoding from the full cache and from the compressed\n" +
			"cache, in nats per reply token. Advise predicts it from the dump; docs/ADVICE.md explains how, and\n" +
			"how well. Unless flags say otherwise, it tries all methods, capacities from 64 to 16384 and a window\n" +
			"of 32. It exits with 1 if no method keeps the bound.\n\n" +
			"With --calibrate it determines instead which measure of a dump predicts the loss best for your\n" +
			"model. The losses come from attnscope generate on the same prompts, with the same method flags.",
		Flags: slices.Concat([]cli.Flag{
			&cli.Float64Flag{
				Name: "loss", DefaultText: "none; required",
				Usage: "bound on the predicted KL, in `NATS` per reply token",
			},
			&cli.StringFlag{
				Name: "by", DefaultText: "one budget for all",
				Usage: "advise a budget for each layer or each head: layer or head",
			},
			&cli.StringFlag{
				Name: "calibration", DefaultText: "the one that ships, of smollm2-135m",
				Usage: "predict with the calibration in `FILE.json`, written by --calibrate --save",
			},
			&cli.StringFlag{
				Name:  "calibrate",
				Usage: "calibrate against the losses in `GENERATE.jsonl`, the output of attnscope generate",
			},
			&cli.StringFlag{Name: "save", Usage: "with --calibrate, write the calibration to `FILE.json`"},
			&cli.StringFlag{Name: "figures", Usage: "with --calibrate, draw KL against each measure into `DIR`"},
			modelOf("use the output projections of `MODEL`, which made the dumps, for output_error_wo"),
			seedFlag("the method random and of the intervals"),
			threadsFlag, revisionFlag, offlineFlag,
		}, methodFlags, tableFlags),
		Action: runAdvise,
	}
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
	cals, err := calibrations(c.String("calibration"))
	if err != nil {
		return err
	}
	loss := c.Float64("loss")
	advice, err := analysis.Advise(c.Context, c.Args().Slice(), cfg, cals, loss, analysis.By(c.String("by")))
	for _, w := range analysis.Without(advice.Warnings, analysis.NothingDropped) {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	if err := writeTable(c, advice.Table()); err != nil {
		return err
	}
	if !advice.Found() {
		err := fmt.Errorf("no method keeps the predicted loss under %g nats per token", loss)
		return hintf(err, "allow more with --loss, or try larger capacities with --capacity")
	}
	return nil
}

// checkAdvise refuses flags that advise cannot combine.
func checkAdvise(c *cli.Context) error {
	switch {
	case !c.Args().Present():
		return noDump("advise")
	case c.String("calibrate") == "" && !(c.Float64("loss") > 0):
		return hintf(usagef("advise: no bound given"), "give --loss NATS above 0: the KL that a reply token may lose")
	case !slices.Contains([]string{"", "layer", "head"}, c.String("by")):
		return usagef("--by %q: want layer or head", c.String("by"))
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

// setAdviseDefaults sets the window, the capacities and the methods that flags do
// not give.
func setAdviseDefaults(c *cli.Context) error {
	if !c.IsSet("window") && !c.IsSet("preset") {
		if err := c.Set("window", fmt.Sprint(adviseWindow)); err != nil {
			return err
		}
	}
	if !c.IsSet("capacity") {
		window := snapkv.Presets[c.String("preset")].Window
		if c.IsSet("window") {
			window = c.IntSlice("window")[0]
		}
		for _, n := range adviseCapacities {
			if n <= window {
				continue
			}
			if err := c.Set("capacity", fmt.Sprint(n)); err != nil {
				return err
			}
		}
	}
	if !c.IsSet("method") {
		return c.Set("method", "all")
	}
	return nil
}

// calibrations reads the file of --calibration, or the calibrations that ship if
// path is empty.
func calibrations(path string) ([]analysis.Calibration, error) {
	if path == "" {
		return analysis.Shipped()
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
