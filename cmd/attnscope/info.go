package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/cluster"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/visible"
)

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:      "info",
		Usage:     "describe a dump, a model or the devices of this machine",
		ArgsUsage: "RUN.attn | -m MODEL | --devices",
		Description: "Of a model, info checks whether it is supported, and fetches no weights for it: it reads the\n" +
			"configuration, and compares the names and shapes of all tensors with those of its family. If they\n" +
			"differ, info lists what is missing, what is not understood and what has another shape, and fails.",
		Flags: []cli.Flag{
			modelOf("describe `MODEL`: a folder in hub layout, a .gguf file, a hub id, or smollm2-135m"),
			revisionFlag, offlineFlag, ignoreConfigFlag,
			boolFlag("devices", "list the devices that can run a model"),
			boolFlag("json", "print JSON"),
		},
		Action: runInfo,
	}
}

func runInfo(c *cli.Context) error {
	switch {
	case c.Bool("devices"):
		return infoDevices(c)
	case c.IsSet("model"):
		return infoModel(c)
	case c.Args().Len() != 1:
		return hintf(usagef("info: %d dumps given, want one", c.Args().Len()),
			"name one RUN.attn, or a model with -m, or list the devices with --devices")
	}
	return infoDump(c, c.Args().First())
}

type dumpInfo struct {
	Format   string          `json:"format"`
	Complete bool            `json:"complete"`
	Model    dumps.ModelInfo `json:"model"`
	Plan     dumps.Plan      `json:"plan"`
	Prompts  []promptInfo    `json:"prompts"`
	Bytes    int64           `json:"bytes"`
	Lacks    []string        `json:"lacks,omitempty"`
	Manifest dumps.Manifest  `json:"manifest"`
	Identity dumps.Identity  `json:"identity,omitzero"`
}

type promptInfo struct {
	ID           string      `json:"id"`
	PromptTokens int         `json:"prompt_tokens"`
	ReplyTokens  int         `json:"reply_tokens"`
	WindowRows   int         `json:"window_rows"`
	Dataset      string      `json:"dataset,omitempty"`
	Store        dumps.Store `json:"store"`
	Followed     bool        `json:"followed"`
	Truncated    int         `json:"truncated,omitempty"`
	Kernel       string      `json:"kernel,omitempty"`
}

func infoDump(c *cli.Context, path string) error {
	r, err := openDump(c, path)
	if err != nil {
		return err
	}
	defer r.Close()
	h := r.Header()
	info := dumpInfo{
		Format: fmt.Sprintf("attn/%d", h.Version), Complete: r.Complete(), Model: h.Model, Plan: h.Plan,
		Prompts: []promptInfo{}, Bytes: r.Size(), Lacks: r.Lacks(), Manifest: h.Manifest, Identity: h.Identity,
	}
	for _, p := range r.Prompts() {
		info.Prompts = append(info.Prompts, promptInfo{
			ID: p.ID, PromptTokens: p.PromptTokens, ReplyTokens: p.ReplyTokens, WindowRows: p.WindowRows,
			Dataset: p.Dataset, Store: p.Store, Followed: p.Followed, Truncated: p.Truncated, Kernel: p.Kernel,
		})
	}
	if c.Bool("json") {
		return printJSON(c, info)
	}
	printDump(c, path, &info)
	return nil
}

func printDump(c *cli.Context, path string, info *dumpInfo) {
	state := "complete"
	if !info.Complete {
		state = "partial: the finished prompts are read"
	}
	w := c.App.Writer
	m := &info.Model
	p := &info.Plan
	fmt.Fprintf(w, "%s: %s, %s, %s\n", path, info.Format, state, sizes.Text(info.Bytes))
	fmt.Fprintf(w, "model      %s (%s)\n", visible.Line(m.ID), visible.Line(m.Architecture))
	if revision := info.Manifest.ModelRevision; revision != "" {
		fmt.Fprintf(w, "           revision %s\n", visible.Line(revision))
	}
	if lines := m.Sizes(); len(m.LayerShapes) == 0 {
		fmt.Fprintf(w, "           %s, vocabulary %d\n", lines[0], m.Vocab)
	} else {
		fmt.Fprintf(w, "           %s, vocabulary %d\n", count(m.Layers, "layer"), m.Vocab)
		for _, line := range lines {
			fmt.Fprintf(w, "           %s\n", line)
		}
	}
	fmt.Fprintf(w, "recorded   last %d prompt rows, sums over %d x %d older rows, up to %d reply rows\n",
		p.WindowRows, p.PromptWindows, p.PromptWindowSize, p.MaxNewTokens)
	fmt.Fprintf(w, "           layers %s, heads %s\n", listText(p.Layers, m.Layers), listText(p.Heads, m.Heads))
	fmt.Fprintf(w, "precision  %s: %s\n", p.Precision, p.Precision.Bound())
	if command := info.Manifest.Command; len(command) > 0 {
		words := make([]string, len(command))
		for i, word := range command {
			words[i] = cluster.Quote(word)
		}
		fmt.Fprintf(w, "command    %s\n", visible.Line(strings.Join(words, " ")))
	}
	if text := cutText(info.Prompts); text != "" {
		fmt.Fprintf(w, "cut        %s\n", text)
	}
	if ignored := info.Manifest.Ignored; !ignored.IsZero() {
		fmt.Fprintf(w, "ignored    %s\n", visible.Line(ignored.String()))
	}
	for _, what := range info.Lacks {
		fmt.Fprintf(w, "lacks      %s\n", visible.Line(what))
	}
	fmt.Fprintf(w, "prompts    %d\n", len(info.Prompts))
	width := 2
	for _, q := range info.Prompts {
		width = max(width, min(40, len(visible.Line(q.ID))))
	}
	fmt.Fprintf(w, "  %-*s %7s  %5s %-9s  %5s  %s\n", width, "id", "prompt", "reply", "", "rows", "store")
	for _, q := range info.Prompts {
		kind := "generated"
		if q.Followed {
			kind = "followed"
		}
		fmt.Fprintf(w, "  %-*s %7d  %5d %-9s  %5d  %s\n", width,
			visible.Line(q.ID), q.PromptTokens, q.ReplyTokens, kind, q.WindowRows, q.Store)
	}
}

// cutText says how many tokens were cut from prompts; empty: none.
func cutText(list []promptInfo) string {
	prompts, tokens := 0, 0
	for _, p := range list {
		if p.Truncated > 0 {
			prompts++
			tokens += p.Truncated
		}
	}
	if prompts == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %s, by %s in all; generate needs the same --max-prompt-tokens and --truncate",
		prompts, count(len(list), "prompt"), count(tokens, "token"))
}

// listText is a list of layers or heads, of which the model has n.
func listText(list []int, n int) string {
	if len(list) == n {
		return fmt.Sprintf("all %d", n)
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

func printJSON(c *cli.Context, v any) error {
	enc := json.NewEncoder(c.App.Writer)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
