package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/viz/figures"
)

// runCalibrate is advise --calibrate: it ranks the measures of dumps by how well
// they predict the real losses of the same prompts.
func runCalibrate(c *cli.Context, cfg analysis.MethodConfig) error {
	real, err := readReal(c.String("calibrate"))
	if err != nil {
		return err
	}
	if err := checkOutput(c.String("save"), c.Bool("force"), false); err != nil {
		return err
	}
	if err := checkFigures(c); err != nil {
		return err
	}
	bar := newBar(c.App.ErrWriter, "calibrate")
	defer bar.close()
	cfg.Progress = bar.layers
	result, err := analysis.Calibrate(c.Context, c.Args().Slice(), cfg, real)
	bar.close()
	for _, w := range analysis.Without(result.Warnings, analysis.NothingDropped) {
		warnf(c, "%s", w)
	}
	if err != nil {
		return err
	}
	if dir := c.String("figures"); dir != "" {
		if err := figures.Calibrations(dir, result, origin(c, c.Args().Slice()...)); err != nil {
			return err
		}
	}
	if out := c.String("save"); out != "" {
		text, err := json.MarshalIndent(result.Calibrations, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	t := table.New("loss", "measure", "spearman", "spearman_low", "spearman_high", "points", "prompts", "intercept", "slope")
	for _, k := range result.Calibrations {
		t.Add(string(k.Loss), k.Measure, k.Spearman, k.SpearmanLow, k.SpearmanHigh, k.Points, k.Prompts, k.Intercept, k.Slope)
	}
	return writeTable(c, t, table.Screen{})
}

// readReal reads the JSON lines that attnscope generate prints.
func readReal(path string) ([]analysis.Real, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dec := json.NewDecoder(bufio.NewReader(f))
	var list []analysis.Real
	for {
		var r analysis.Real
		err := dec.Decode(&r)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w; want the JSON lines of attnscope generate", path, len(list)+1, err)
		}
		list = append(list, r)
	}
}
