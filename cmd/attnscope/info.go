package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/sizes"
)

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:      "info",
		Usage:     "what is inside a dump, a model or this machine",
		ArgsUsage: "RUN.attn | -m MODEL | --devices",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "model", Aliases: []string{"m"}, Usage: "describe `MODEL`: folder, .gguf, hub id or smollm2-135m"},
			revisionFlag, offlineFlag,
			&cli.BoolFlag{Name: "devices", Usage: "list the devices that can run a model"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("devices"):
				return infoDevices(c)
			case c.IsSet("model"):
				return infoModel(c)
			case c.Args().Len() != 1:
				return usagef("info: name one dump, or a model with -m, or --devices")
			}
			return infoDump(c, c.Args().First())
		},
	}
}

type dumpInfo struct {
	Format   string          `json:"format"`
	Complete bool            `json:"complete"`
	Model    dumps.ModelInfo `json:"model"`
	Plan     dumps.Plan      `json:"plan"`
	Prompts  []promptInfo    `json:"prompts"`
	Bytes    int64           `json:"bytes"`
	Manifest dumps.Manifest  `json:"manifest"`
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
		Prompts: []promptInfo{}, Bytes: r.Size(), Manifest: h.Manifest,
	}
	for _, p := range r.Prompts() {
		info.Prompts = append(info.Prompts, promptInfo{p.ID, p.PromptTokens, p.ReplyTokens, p.WindowRows, p.Dataset, p.Store, p.Followed, p.Truncated})
	}
	if c.Bool("json") {
		return printJSON(c, info)
	}
	w := c.App.Writer
	state := "complete"
	if !info.Complete {
		state = "partial: the finished prompts are read"
	}
	m, p := info.Model, info.Plan
	fmt.Fprintf(w, "%s: %s, %s, %s\n", path, info.Format, state, sizes.Text(info.Bytes))
	fmt.Fprintf(w, "model      %s (%s, %d layers, %d heads on %d kv heads of %d, vocabulary %d)\n", m.ID, m.Architecture, m.Layers, m.Heads, m.KVHeads, m.HeadDim, m.Vocab)
	fmt.Fprintf(w, "recorded   last %d prompt rows, sums over %d x %d older rows, up to %d reply rows; layers %s, heads %s\n",
		p.WindowRows, p.PromptWindows, p.PromptWindowSize, p.MaxNewTokens, listText(p.Layers, m.Layers), listText(p.Heads, m.Heads))
	fmt.Fprintf(w, "precision  %s: %s\n", p.Precision, p.Precision.Bound())
	fmt.Fprintf(w, "prompts    %d\n", len(info.Prompts))
	for _, q := range info.Prompts {
		kind := "generated"
		if q.Followed {
			kind = "followed"
		}
		fmt.Fprintf(w, "  %-24s %6d prompt tokens, %4d reply tokens %s, %d rows, stored as %s\n", q.ID, q.PromptTokens, q.ReplyTokens, kind, q.WindowRows, q.Store)
	}
	return nil
}

func listText(list []int, n int) string {
	if len(list) == n {
		return fmt.Sprintf("all %d", n)
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

func infoModel(c *cli.Context) error {
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	cfg := src.Config
	token := "none: prompts must give input_ids"
	template := false
	if src.Tokenizer != nil {
		token = fmt.Sprintf("%d tokens", src.Tokenizer.VocabSize())
		template = src.Tokenizer.HasChatTemplate()
	}
	dtypes, stored := map[string]int{}, int64(0)
	for _, name := range src.Checkpoint.Names() {
		t, _ := src.Checkpoint.Tensor(name)
		dtypes[t.DType.String()]++
		stored += int64(len(t.Data))
	}
	var types []string
	for _, t := range slices.Sorted(maps.Keys(dtypes)) {
		types = append(types, fmt.Sprintf("%d %s", dtypes[t], t))
	}
	weights := src.WeightBytes("f32")
	cache := int64(cfg.Layers) * int64(cfg.KVHeads) * int64(cfg.HeadDim+cfg.ValueDim) * 4
	local := 0
	for _, w := range cfg.LayerWindows {
		if w > 0 {
			local++
		}
	}
	if c.Bool("json") {
		return printJSON(c, map[string]any{
			"id": src.Name, "path": src.Checkpoint.Path(), "format": src.Checkpoint.Format(), "architecture": cfg.Architecture,
			"layers": cfg.Layers, "heads": cfg.Heads, "kv_heads": cfg.KVHeads, "head_dim": cfg.HeadDim,
			"hidden": cfg.Hidden, "vocab": cfg.Vocab, "max_positions": cfg.MaxPositions,
			"tokenizer": src.Tokenizer != nil, "chat_template": template, "rope": cfg.Rope.Kind, "sliding_layers": local, "experts": cfg.Experts,
			"tensors": dtypes, "stored_bytes": stored, "weight_bytes": weights, "cache_bytes_per_token": cache,
		})
	}
	w := c.App.Writer
	fmt.Fprintf(w, "%s: %s, %s\n", src.Name, src.Checkpoint.Path(), src.Checkpoint.Format())
	fmt.Fprintf(w, "architecture  %s: %d layers, hidden %d, %d heads on %d kv heads of %d, vocabulary %d\n", cfg.Architecture, cfg.Layers, cfg.Hidden, cfg.Heads, cfg.KVHeads, cfg.HeadDim, cfg.Vocab)
	if cfg.Experts > 0 {
		shared := ""
		if cfg.SharedSize > 0 {
			shared = ", and one that all go through"
		}
		fmt.Fprintf(w, "experts       %d, %d for each token%s\n", cfg.Experts, cfg.TopExperts, shared)
	}
	if local > 0 {
		fmt.Fprintf(w, "sliding       %d of %d layers see the last %d positions only\n", local, cfg.Layers, slices.Max(cfg.LayerWindows))
	}
	if cfg.Learned {
		fmt.Fprintf(w, "context       %d positions, embedded\n", cfg.MaxPositions)
	} else {
		fmt.Fprintf(w, "context       %d positions, rope %s\n", cfg.MaxPositions, cfg.Rope.Kind)
	}
	fmt.Fprintf(w, "weights       %s (%s); %s in memory\n", sizes.Text(stored), strings.Join(types, ", "), sizes.Text(weights))
	fmt.Fprintf(w, "cache         %s for 1,000 tokens\n", sizes.Text(1000*cache))
	fmt.Fprintf(w, "tokenizer     %s\nchat template %v\n", token, template)
	return nil
}

func printJSON(c *cli.Context, v any) error {
	enc := json.NewEncoder(c.App.Writer)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
