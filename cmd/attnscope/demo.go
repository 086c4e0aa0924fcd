package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/examples"
	"github.com/attnscope/attnscope/viz/figures"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:      "demo",
		Usage:     "the main job on the default model and the prompts that ship: dump, table, figures, reading guide",
		ArgsUsage: "[-o DIR]",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Value: "demo", Usage: "folder for the results, `DIR`"},
			modelFlag, revisionFlag, offlineFlag,
			&cli.BoolFlag{Name: "quick", Usage: "two prompts and short replies"},
		}, planFlags, []cli.Flag{computeFlag, deviceFlag, threadsFlag, seedFlag, forceFlag}),
		Action: runDemo,
	}
}

func runDemo(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("demo: unexpected argument %q: the folder goes to -o", c.Args().First())
	}
	dir := c.String("o")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	dump := filepath.Join(dir, "run.attn")
	if err := demoCapture(c, dump); err != nil {
		return err
	}
	cfg := analysis.Paper
	byLayer, warnings, err := analysis.HitRates(c.Context, []string{dump}, cfg)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		warnf(c, "%s", w)
	}
	if err := analysis.HitRateTable(byLayer).WriteFile(filepath.Join(dir, "hitrate.tsv"), "tsv"); err != nil {
		return err
	}
	overall, err := demoOverall(c, dump)
	if err != nil {
		return err
	}
	heat := figures.HeatmapConfig{Window: 32, Top: cfg.Tops[0], Theta: cfg.Thetas[0], Formats: []string{"png"}, Origin: origin(dump)}
	heat.Origin.Arguments = []string{"heatmap", dump, "-o", filepath.Join(dir, "figures")}
	if c.Bool("quick") {
		heat.Layers = []int{0, 7}
	}
	if _, err := figures.Heatmaps(c.Context, []string{dump}, filepath.Join(dir, "figures"), heat); err != nil {
		return err
	}
	guide := demoGuide(byLayer, overall)
	if err := os.WriteFile(filepath.Join(dir, "README.md"), guide, 0o644); err != nil {
		return err
	}
	_, err = c.App.Writer.Write(guide)
	return err
}

// demoCapture records the shipped prompts, unless a complete dump is there.
func demoCapture(c *cli.Context, dump string) error {
	if _, err := os.Stat(dump); err == nil && !c.Bool("force") {
		notef(c, "%s is there already: it is used (--force makes it anew)", dump)
		return nil
	}
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	plan, err := planOf(c, src.Config, src.Device.Name)
	if err != nil {
		return err
	}
	records, err := prompts.Read(bytes.NewReader(examples.Prompts), "examples/prompts.jsonl")
	if err != nil {
		return err
	}
	if c.Bool("quick") {
		records, plan.MaxNewTokens, plan.IgnoreEOS = records[:2], 16, true
	}
	var list []prompts.Prompt
	for _, r := range records {
		p, err := prompts.Prepare(src.Tokenizer, r, prompts.Options{})
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	if err := loadSource(src); err != nil {
		return err
	}
	cfg := capture.Config{Model: src.Model, Prompts: list, Out: dump, Force: c.Bool("force"), Resume: !c.Bool("force")}
	if cfg.Header, err = headerOf(c, src, plan, list); err != nil {
		return err
	}
	bar := newBar(c.App.ErrWriter, "demo")
	cfg.Progress = bar.capture
	summary, err := capture.Run(c.Context, cfg)
	bar.close()
	if err != nil {
		return err
	}
	notef(c, "%s: %d prompts, %d prompt and %d reply tokens; prefill %.0f tokens/s, reply %.1f tokens/s", dump, summary.Prompts+summary.Resumed,
		summary.PromptTokens, summary.Replies, rate(summary.PromptTokens-summary.SharedTokens, summary.PrefillTime), rate(summary.Replies, summary.ReplyTime))
	return nil
}

// demoOverall is the table of all layers together, by window, with and without
// the first four positions.
func demoOverall(c *cli.Context, dump string) (*table.Table, error) {
	out := table.New("window", "first four", "hit rate", "interval", "chance", "recent", "sinks+recent", "overlap", "mass kept")
	for _, skip := range []int{0, 4} {
		cfg := analysis.Paper
		cfg.By, cfg.SkipFirst, cfg.Windows = nil, skip, []int{8, 32, 128}
		rows, _, err := analysis.HitRates(c.Context, []string{dump}, cfg)
		if err != nil {
			return nil, err
		}
		with := "counted"
		if skip > 0 {
			with = "left out"
		}
		short := func(x float64) string { return fmt.Sprintf("%.3f", x) }
		for _, row := range rows {
			out.Add(row.Window, with, short(row.HitRate), short(row.Low)+" to "+short(row.High), short(row.Chance),
				short(row.Recent), short(row.SinksRecent), short(row.Overlap), short(row.Mass))
		}
	}
	return out, nil
}

// demoGuide says what the demo left and how to read it.
func demoGuide(byLayer []analysis.HitRateRow, overall *table.Table) []byte {
	var b bytes.Buffer
	low := byLayer[0]
	high := byLayer[0]
	for _, row := range byLayer {
		if row.HitRate < low.HitRate {
			low = row
		}
		if row.HitRate > high.HitRate {
			high = row
		}
	}
	fmt.Fprintf(&b, `# What the demo shows

A model read documents with instructions and wrote replies. While it did, attnscope recorded what each head attended to.
The question is SnapKV's: had the last prompt tokens (the observation window) voted for the positions that the reply
then attended to? Kept are the 5 %% of the prefix with most votes in each head; a weight above 0.05 counts as attended.

`)
	overall.Markdown(&b)
	fmt.Fprintf(&b, `
- **hit rate**: of the attended positions, the share that the window's vote had kept; the interval is a 95 %% bootstrap over prompts.
- **chance**: what keeping random positions would reach. **recent**: keeping the last positions. **sinks+recent**: the first four and
  the last. If these come near the hit rate, the vote says little more than "first and last".
- **first four left out**: the first positions soak up attention in most heads and are always voted for; without them the rest shows.
- **overlap**: of the kept positions, the share among the 5 %% the reply attended to most. **mass kept**: share of the reply's
  attention that lies on kept positions of the prefix.

Lowest hit rate: layer %v with %.3f. Highest: layer %v with %.3f.

| file | what |
|---|---|
| run.attn | the dump: attnscope info, hitrate, heatmap and export read it |
| hitrate.tsv | hit rates by layer, with all columns |
| figures/layers-heads.png | hit rate of every head: dark heads attend where the window did not vote |
| figures/layers-windows.png | hit rate by size of the window |
| figures/PROMPT/layer-NN.png | above, what the window votes for; below, what each generated token attends to; between, where they agree |
`, low.Layer, low.HitRate, high.Layer, high.HitRate)
	return b.Bytes()
}
