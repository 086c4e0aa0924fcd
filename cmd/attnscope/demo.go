package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/cluster"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/examples"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz/figures"
	"github.com/attnscope/attnscope/viz/view"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:      "demo",
		Usage:     "capture the prompts that ship, and show how their attention is analyzed",
		ArgsUsage: "[-o DIR]",
		Description: "The demo captures the shipped prompts with the default model, computes hit rates and draws figures.\n" +
			"It prints a guide to the results, which DIR/README.md holds too. A dump that is already in DIR is\n" +
			"used again. Files that no demo wrote are replaced only with --force.",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Value: "demo", Usage: "write the results to folder `DIR`"},
			modelFlag, revisionFlag, offlineFlag, ignoreConfigFlag,
			boolFlag("quick", "capture only two prompts, with short replies"),
			boolFlag("open", "show the dump in the viewer at the end, as attnscope view does, until you interrupt it"+
				" with Ctrl-C"),
		}, planFlags, []cli.Flag{computeFlag, deviceFlag, threadsFlag, samplingSeedFlag, forceFlag}),
		Action: runDemo,
	}
}

func runDemo(c *cli.Context) error {
	if c.Args().Present() {
		return hintf(usagef("demo: unexpected argument %q", c.Args().First()), "name the folder with -o DIR")
	}
	dir := c.String("o")
	if err := checkDemo(c, dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	dump := filepath.Join(dir, "run.attn")
	if err := demoCapture(c, dump); err != nil {
		return err
	}
	without := analysis.Paper
	without.SkipFirst = hitrate.Sinks
	byLayer, warnings, err := analysis.HitRatesEach(c.Context, []string{dump}, analysis.Paper, without)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		warnf(c, "%s", w)
	}
	if err := analysis.HitRateTable(byLayer[0]).WriteFile(filepath.Join(dir, "hitrate.tsv"), "tsv"); err != nil {
		return err
	}
	overall, err := demoOverall(c, dump)
	if err != nil {
		return err
	}
	if err := demoFigures(c, dump, filepath.Join(dir, "figures")); err != nil {
		return err
	}
	guide := demoGuide(dir, byLayer[1], overall)
	if err := os.WriteFile(filepath.Join(dir, "README.md"), guide, 0o644); err != nil {
		return err
	}
	if _, err := c.App.Writer.Write(guide); err != nil || !c.Bool("open") {
		return err
	}
	pieces, err := piecesOf(c)
	if err != nil {
		return err
	}
	return serve(c, []string{dump}, viewing{address: anyPort, open: true, options: view.Options{Pieces: pieces}})
}

// checkDemo refuses to replace files that no demo wrote, unless --force is given: a guide
// with other content, and results without their dump.
func checkDemo(c *cli.Context, dir string) error {
	if c.Bool("force") {
		return nil
	}
	refused := func(path string) error {
		return hintf(fmt.Errorf("%s exists, and was not written by a demo", path),
			"use --force to replace it, or name another folder with -o")
	}
	guide := filepath.Join(dir, "README.md")
	if text, err := os.ReadFile(guide); err == nil && !bytes.HasPrefix(text, []byte(demoIntroduction)) {
		return refused(guide)
	}
	for _, dump := range []string{"run.attn", "run.attn.partial"} {
		if _, err := os.Stat(filepath.Join(dir, dump)); err == nil {
			return nil
		}
	}
	for _, name := range []string{"hitrate.tsv", "figures"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return refused(path)
		}
	}
	return nil
}

// demoCapture records the shipped prompts, unless there is a complete dump.
func demoCapture(c *cli.Context, dump string) error {
	if _, err := os.Stat(dump); err == nil && !c.Bool("force") {
		notef(c, "%s exists and is used again; --force captures it anew", dump)
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
	list, err := demoPrompts(c.Context, src.Tokenizer)
	if err != nil {
		return err
	}
	if c.Bool("quick") {
		list = list[:2]
		plan.MaxNewTokens = 16
		plan.IgnoreEOS = true
	}
	if err := loadSource(c, src); err != nil {
		return err
	}
	cfg := capture.Config{
		Model: src.Model, Prompts: list, Out: dump,
		Force: c.Bool("force"), Resume: !c.Bool("force"),
	}
	if cfg.Header, err = headerOf(c, src, plan, list); err != nil {
		return err
	}
	cfg.Batch = autoBatch(c, src, &cfg)
	bar := newBar(c.App.ErrWriter, "demo")
	cfg.Progress = bar.capture
	summary, err := capture.Run(c.Context, cfg)
	bar.close()
	if err != nil {
		return err
	}
	noteSummary(c, dump, summary)
	return nil
}

// demoPrompts tokenizes the shipped prompts.
func demoPrompts(ctx context.Context, tok *tokenizer.Tokenizer) ([]prompts.Prompt, error) {
	set, err := prompts.Read(bytes.NewReader(examples.Prompts), "examples/prompts.jsonl", prompts.ReadOptions{})
	if err != nil {
		return nil, err
	}
	var list []prompts.Prompt
	for _, r := range set.Records {
		p, err := prompts.Prepare(ctx, tok, r, prompts.Options{})
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// demoFigures draws the heatmaps of a dump. The figures name attnscope heatmap as
// the command that draws them.
func demoFigures(c *cli.Context, dump, dir string) error {
	cfg := figures.HeatmapConfig{
		Window: snapkv.Default.Window, Top: analysis.Paper.Tops[0], Theta: analysis.Paper.Thetas[0],
		MinSignificant: analysis.MinSignificant, Replace: true, Formats: []string{"png"}, Origin: origin(c, dump),
	}
	cfg.Origin.Arguments = []string{"heatmap", dump, "-o", dir}
	if c.Bool("quick") {
		cfg.Layers = []int{0, 7}
	}
	_, err := figures.Heatmaps(c.Context, []string{dump}, dir, cfg)
	return err
}

// demoOverall is the table of all layers together, by window, with and without
// the first four positions.
func demoOverall(c *cli.Context, dump string) (*table.Table, error) {
	out := table.New("window", "first four", "hit rate", "interval", "chance", "recent", "sinks+recent", "overlap", "mass kept")
	short := func(x float64) string { return fmt.Sprintf("%.3f", x) }
	for _, skip := range []int{0, 4} {
		cfg := analysis.Paper
		cfg.By = nil
		cfg.SkipFirst = skip
		cfg.Windows = []int{8, 32, 128}
		rows, _, err := analysis.HitRates(c.Context, []string{dump}, cfg)
		if err != nil {
			return nil, err
		}
		firstFour := "counted"
		if skip > 0 {
			firstFour = "left out"
		}
		for _, row := range rows {
			out.Add(row.Window, firstFour, short(row.HitRate), short(row.Low)+" to "+short(row.High), short(row.Chance),
				short(row.Recent), short(row.SinksRecent), short(row.Overlap), short(row.Mass))
		}
	}
	return out, nil
}

// demoGuide explains the results of the demo. byLayer are the rates without the first
// positions, which raise them in most layers.
func demoGuide(dir string, byLayer []analysis.HitRateRow, overall *table.Table) []byte {
	extremes := fmt.Sprintf("Without the first %d positions, no layer has enough significant positions to compare layers.",
		hitrate.Sinks)
	low, high, _ := analysis.Extremes(byLayer, analysis.MinSignificant)
	if low != nil {
		extremes = fmt.Sprintf("Without the first %d positions, layer %d has the lowest hit rate, %.3f (n = %d), and layer %d the highest,\n"+
			"%.3f (n = %d). Layers with fewer than %d significant positions are not compared.",
			hitrate.Sinks, low.Layer, low.HitRate, low.Significant, high.Layer, high.HitRate, high.Significant, analysis.MinSignificant)
	}
	var b bytes.Buffer
	b.WriteString(demoIntroduction)
	overall.Markdown(&b)
	fmt.Fprintf(&b, demoExplanation, extremes)
	look := demoLook
	if low != nil {
		look = fmt.Sprintf(demoLookAtLayer, low.Layer) + look
	}
	b.WriteString("\n## What to look at\n\n" + strings.ReplaceAll(look, "DIR", cluster.Quote(filepath.ToSlash(dir))))
	return b.Bytes()
}

const demoIntroduction = `# What the demo shows

A model read documents with instructions and wrote replies. Meanwhile attnscope recorded what each head attended to.
The question is SnapKV's: had the last prompt tokens (the observation window) voted for the positions that the reply
then attended to? Each head keeps the 5 % of the prefix with most votes; a weight above 0.05 counts as attended.

`

const demoExplanation = `
- **hit rate**: the share of the attended positions that the window's vote had kept; the interval is a 95 %% bootstrap over prompts.
- **chance**: the hit rate of random positions. **recent**: of the last positions. **sinks+recent**: of the first four and the last
  positions. If these come close to the hit rate, the vote tells little more than "first and last".
- **first four left out**: the first positions attract attention in most heads and almost always get votes; this row shows the rest.
- **overlap**: the share of the kept positions that are among the 5 %% that the reply attended to most. **mass kept**: the share of
  the reply's attention that lies on kept positions of the prefix.

%s

| file | content |
|---|---|
| run.attn | the dump, which attnscope info, hitrate, heatmap and export read |
| hitrate.tsv | hit rates by layer, with all columns |
| figures/layers-heads.png | hit rate of every head: dark heads attend to positions that the window did not vote for |
| figures/layers-heads-without-first-4.png | the same without the first four positions, which every window votes for |
| figures/layers-windows.png | hit rate by window size |
| figures/PROMPT/layer-NN.png | top: what the window votes for; bottom: what each generated token attends to; between: where they agree |
`

// demoLookAtLayer and demoLook say what to look at, in a folder DIR.
const (
	demoLookAtLayer = "- The figure of layer %[1]d of a prompt, DIR/figures/PROMPT/layer-%02[1]d.png: " +
		"in the lower map, the reply attends to\n  positions that the window, in the upper map, does not vote for.\n"
	demoLook = "- DIR/figures/layers-heads-without-first-4.png: which heads a compressed cache would harm most.\n" +
		"- `attnscope view DIR/run.attn` shows every head, the text and the kept positions in the browser, " +
		"as `attnscope demo --open`\n  does at its end.\n" +
		"- `attnscope snapkv DIR/run.attn --method all --capacity 64,128` compares the methods, and\n" +
		"  `attnscope advise DIR/run.attn --loss 100%` recommends one with its budget, so that 95 % of prompts have at\n" +
		"  most twice the perplexity. It says what to do if you want to lose less.\n" +
		"- `attnscope capture -m MODEL -p prompts.jsonl -o run.attn` records your own model, and\n" +
		"  `attnscope help hit rate` explains a term.\n"
)
