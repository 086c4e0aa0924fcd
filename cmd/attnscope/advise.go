package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz/figures"
)

// adviseCapacities are tried where --capacity is not given.
var adviseCapacities = []int{64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 2560, 3072, 4096, 6144, 8192, 12288, 16384}

func adviseCommand() *cli.Command {
	return &cli.Command{
		Name:      "advise",
		Usage:     "the smallest budget of each method that keeps the predicted loss under a bound",
		ArgsUsage: "RUN.attn... --loss 0.05",
		Description: "The loss is the mean KL divergence of compressed decoding from the full cache, in nats a reply token. It is predicted\n" +
			"from the dump; docs/ADVICE.md tells from what, and how well. --calibrate GENERATE.jsonl finds that out anew, for your model.\n" +
			"Where they are not given, all methods are tried, capacities from 64 to 16384, and a window of 32.",
		Flags: slices.Concat([]cli.Flag{
			&cli.Float64Flag{Name: "loss", Usage: "bound on the predicted KL, `NATS` a reply token"},
			&cli.StringFlag{Name: "by", Usage: "budgets by layer or head instead of one for all: layer or head"},
			&cli.StringFlag{Name: "calibration", Usage: "use `FILE.json` of --calibrate instead of what ships"},
			&cli.StringFlag{Name: "calibrate", Usage: "rank the measures against the real losses in `GENERATE.jsonl`, made on the same prompts"},
			&cli.StringFlag{Name: "save", Usage: "with --calibrate: write the calibration to `FILE.json`"},
			&cli.StringFlag{Name: "figures", Usage: "with --calibrate: draw KL against the measures into `DIR`"},
			&cli.StringFlag{Name: "model", Aliases: []string{"m"}, Usage: "`MODEL` of the dumps, for the error after the output projection"},
			&cli.Uint64Flag{Name: "seed", Usage: "`SEED` of random and of the intervals"}, threadsFlag, revisionFlag, offlineFlag,
		}, methodFlags, tableFlags),
		Action: runAdvise,
	}
}

func runAdvise(c *cli.Context) error {
	switch {
	case !c.Args().Present():
		return usagef("advise: no dump: name at least one RUN.attn")
	case c.String("calibrate") == "" && !(c.Float64("loss") > 0):
		return usagef("advise: no bound: give --loss NATS above 0, the KL a reply token may lose")
	case !slices.Contains([]string{"", "layer", "head"}, c.String("by")):
		return usagef("--by %q: want layer or head", c.String("by"))
	}
	if err := checkTable(c); err != nil {
		return err
	}
	for _, name := range []string{"window", "kernel"} {
		if len(c.IntSlice(name)) > 1 {
			return usagef("advise: --%s: one at a time, it is the capacity that is looked for", name)
		}
	}
	if strings.Contains(c.String("pooling"), ",") {
		return usagef("advise: --pooling: one at a time, it is the capacity that is looked for")
	}
	if !c.IsSet("window") && !c.IsSet("preset") {
		if err := c.Set("window", "32"); err != nil {
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
		if err := c.Set("method", "all"); err != nil {
			return err
		}
	}
	s, err := selectionsOf(c)
	if err != nil {
		return err
	}
	cfg := analysis.MethodConfig{Methods: s.methods, Configs: s.configs, Thetas: []float64{0.05}, Lenient: s.all, Seed: c.Uint64("seed")}
	if c.String("model") != "" {
		if cfg.Gram, err = outputGrams(c); err != nil {
			return err
		}
	}
	if c.String("calibrate") != "" {
		return runCalibrate(c, cfg)
	}
	if s.all {
		cfg.Methods = slices.DeleteFunc(slices.Clone(cfg.Methods), func(m snapkv.Method) bool { return m.Role == snapkv.Bound })
	}
	cals, err := analysis.Shipped()
	if path := c.String("calibration"); path != "" {
		var text []byte
		if text, err = os.ReadFile(path); err == nil {
			if cals, err = analysis.ParseCalibrations(text); err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	if err != nil {
		return err
	}
	t, warnings, found, err := analysis.Advise(c.Context, c.Args().Slice(), cfg, cals, c.Float64("loss"), c.String("by"))
	for _, w := range analysis.Without(warnings, analysis.NothingDropped) {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	if err := writeTable(c, t); err != nil {
		return err
	}
	if !found {
		return hintf(fmt.Errorf("no method keeps the predicted loss under %g nats a token", c.Float64("loss")), "allow more with --loss, or larger --capacity")
	}
	return nil
}

// runCalibrate finds out which offline measure goes with the real loss.
func runCalibrate(c *cli.Context, cfg analysis.MethodConfig) error {
	path := c.String("calibrate")
	real, err := readReal(path)
	if err != nil {
		return err
	}
	for _, out := range []string{c.String("save")} {
		if err := checkOutput(out, c.Bool("force"), false); err != nil {
			return err
		}
	}
	cals, points, warnings, err := analysis.Calibrate(c.Context, c.Args().Slice(), cfg, real)
	for _, w := range analysis.Without(warnings, analysis.NothingDropped) {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	t := table.New("measure", "spearman", "spearman_low", "spearman_high", "points", "prompts", "intercept", "slope")
	for _, k := range cals {
		t.Add(k.Measure, k.Spearman, k.SpearmanLow, k.SpearmanHigh, k.Points, k.Prompts, k.Intercept, k.Slope)
	}
	if dir := c.String("figures"); dir != "" {
		if err := figures.Calibrations(dir, cals, points, origin(c.Args().Slice()...)); err != nil {
			return err
		}
	}
	if out := c.String("save"); out != "" {
		text, err := json.MarshalIndent(cals, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return writeTable(c, t)
}

// readReal reads lines of generate.
func readReal(path string) ([]analysis.Real, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dec := json.NewDecoder(bufio.NewReader(f))
	var list []analysis.Real
	for line := 1; ; line++ {
		var r analysis.Real
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w; want the JSON lines of attnscope generate", path, line, err)
		}
		list = append(list, r)
	}
}
