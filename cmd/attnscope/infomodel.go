package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/visible"
)

// modelInfo is what info prints about a model in addition to its configuration.
type modelInfo struct {
	dtypes       map[string]int // number of tensors by type
	stored       int64          // bytes of the tensors in the file
	weights      int64          // bytes in memory
	cache        int64          // bytes of the cache per token, in float32
	slidingCount int            // layers with a sliding window
	chatTemplate bool
	differ       model.TensorSurvey // from the tensors of the family
}

// infoModel is info -m.
func infoModel(c *cli.Context) error {
	src, err := openSource(c)
	if err != nil {
		return err
	}
	defer src.Close()
	info := inspectModel(src)
	if info.differ, err = model.SurveyTensors(src.Checkpoint, src.Config); err != nil {
		return err
	}
	if c.Bool("json") {
		err = printModelJSON(c, src, info)
	} else {
		printModel(c, src, info)
	}
	if err == nil && !info.differ.Complete() {
		err = fmt.Errorf("%s: these are not the tensors of a %s model of this configuration", src.Name, src.Config.Architecture)
		err = hintf(err, "compare config.json with the code of the model; docs/MODELS.md says how to try another family")
	}
	return err
}

// printModelJSON is printModel for programs.
func printModelJSON(c *cli.Context, src *capture.Source, info modelInfo) error {
	cfg := &src.Config
	quantized := ""
	if q := src.Checkpoint.Quantization(); q != nil {
		quantized = q.String()
	}
	chunked, _ := cfg.Chunked()
	return printJSON(c, map[string]any{
		"id": src.Name, "path": src.Path(), "fetched": !src.Checkpoint.HeadersOnly(), "format": src.Checkpoint.Format(),
		"architecture": cfg.Architecture,
		"layers":       cfg.Layers, "heads": cfg.Heads, "kv_heads": cfg.KVHeads, "head_dim": cfg.HeadDim, "attention_layers": cfg.AttentionLayers(), "latent": cfg.Latent != nil,
		"hidden": cfg.Hidden, "vocab": cfg.Vocab, "max_positions": cfg.MaxPositions,
		"tokenizer": src.Tokenizer != nil, "chat_template": info.chatTemplate, "rope": cfg.Rope.Kind,
		"sliding_layers": info.slidingCount, "chunked_layers": chunked, "shared_cache_layers": cfg.Borrowing(), "experts": cfg.Experts, "tensors": info.dtypes, "quantization": quantized,
		"stored_bytes": info.stored, "weight_bytes": info.weights, "cache_bytes_per_token": info.cache, "state_bytes": cfg.StateBytes(),
		"missing_tensors": append([]string{}, info.differ.Missing...), "unknown_tensors": append([]string{}, info.differ.Unknown...),
		"misshapen_tensors": append([]string{}, info.differ.Misshapen...),
	})
}

func inspectModel(src *capture.Source) modelInfo {
	cfg := &src.Config
	info := modelInfo{
		dtypes:       map[string]int{},
		weights:      src.Config.WeightBytes(src.Checkpoint, "f32"),
		cache:        cfg.CacheBytes(),
		chatTemplate: src.Tokenizer != nil && src.Tokenizer.HasChatTemplate(),
	}
	for _, name := range src.Checkpoint.Names() {
		t, _ := src.Checkpoint.Tensor(name)
		info.dtypes[t.Kind()]++
		info.stored += t.StoredBytes()
	}
	for _, window := range cfg.LayerWindows {
		if window > 0 {
			info.slidingCount++
		}
	}
	return info
}

func printModel(c *cli.Context, src *capture.Source, info modelInfo) {
	w := c.App.Writer
	cfg := &src.Config
	where := src.Path()
	if src.Checkpoint.HeadersOnly() {
		where = "on the hub; its weights are not fetched"
	}
	fmt.Fprintf(w, "%s: %s, %s\n", src.Name, where, src.Checkpoint.Format())
	fmt.Fprintf(w, "architecture  %s: %s, hidden %d, vocabulary %d\n",
		cfg.Architecture, count(cfg.Layers, "layer"), cfg.Hidden, cfg.Vocab)
	fmt.Fprintf(w, "attention     %s\n", attentionText(cfg))
	if n := len(cfg.AttentionLayers()); n < cfg.Layers {
		fmt.Fprintf(w, "layers        %d of %d have attention\n", n, cfg.Layers)
	}
	if cfg.Experts > 0 {
		fmt.Fprintf(w, "experts       %s\n", expertsText(cfg))
	}
	if info.slidingCount > 0 {
		fmt.Fprintf(w, "sliding       %d of %d layers see the last %d positions only\n",
			info.slidingCount, cfg.Layers, slices.Max(cfg.LayerWindows))
	}
	if n, size := cfg.Chunked(); n > 0 {
		fmt.Fprintf(w, "chunks        in %d of %d layers, a query sees only its own chunk of %d positions\n", n, cfg.Layers, size)
	}
	if n := cfg.Borrowing(); n > 0 {
		fmt.Fprintf(w, "shared        %d of %d layers read the cache of an earlier layer\n", n, cfg.Layers)
	}
	encoding := "rope " + cfg.Rope.Kind
	switch {
	case cfg.Learned:
		encoding = "embedded"
	case cfg.KeyBias != nil:
		encoding = "as biases of the scores (ALiBi)"
	}
	positions := fmt.Sprintf("%d positions", cfg.MaxPositions)
	if cfg.MaxPositions == 0 {
		positions = "positions without a stated limit"
	}
	fmt.Fprintf(w, "context       %s, %s\n", positions, encoding)
	var types []string
	for _, t := range slices.Sorted(maps.Keys(info.dtypes)) {
		types = append(types, fmt.Sprintf("%d %s", info.dtypes[t], t))
	}
	if q := src.Checkpoint.Quantization(); q != nil {
		fmt.Fprintf(w, "quantized     %s\n", q)
	}
	fmt.Fprintf(w, "weights       %s (%s); %s in memory\n",
		sizes.Text(info.stored), strings.Join(types, ", "), sizes.Text(info.weights))
	printTensors(w, cfg.Architecture, &info.differ)
	fmt.Fprintf(w, "cache         %s for 1,000 tokens%s\n", sizes.Text(1000*info.cache), statesText(cfg.StateBytes()))
	tokens := "none: prompts must give input_ids"
	if src.Tokenizer != nil {
		tokens = fmt.Sprintf("%d tokens", src.Tokenizer.VocabSize())
	}
	template := "no"
	if info.chatTemplate {
		template = "yes"
	}
	fmt.Fprintf(w, "tokenizer     %s\nchat template %s\n", tokens, template)
}

// printTensors says how the tensors differ from those of the family.
func printTensors(w io.Writer, family string, s *model.TensorSurvey) {
	if s.Complete() {
		fmt.Fprintf(w, "tensors       all those of a %s model of this configuration, and no others\n", family)
	}
	for _, part := range []struct {
		name string
		list []string
	}{{"missing", s.Missing}, {"unknown", s.Unknown}, {"other shape", s.Misshapen}} {
		for i, text := range part.list {
			const most = 12
			if i == most {
				fmt.Fprintf(w, "              and %d more\n", len(part.list)-most)
				break
			}
			if i > 0 {
				part.name = ""
			}
			fmt.Fprintf(w, "%-13s %s\n", part.name, visible.Line(text))
		}
	}
}

// attentionText describes the heads and what the cache holds.
func attentionText(cfg *model.Config) string {
	heads := count(cfg.Heads, "head")
	if m := cfg.Latent; m != nil {
		return fmt.Sprintf("%s on one latent of %d channels and a rotated key of %d", heads, m.Rank, m.Rotated)
	}
	type shape struct{ kvHeads, dim int }
	layers := map[shape]int{}
	var list []shape
	for _, l := range cfg.AttentionLayers() {
		s := shape{cfg.Shapes[l].KVHeads, cfg.Shapes[l].KeyDim}
		if layers[s] == 0 {
			list = append(list, s)
		}
		layers[s]++
	}
	var texts []string
	for _, s := range list {
		text := fmt.Sprintf("%s of %d", count(s.kvHeads, "kv head"), s.dim)
		if len(list) > 1 {
			text += fmt.Sprintf(" (%s)", count(layers[s], "layer"))
		}
		texts = append(texts, text)
	}
	return heads + " on " + strings.Join(texts, ", ")
}

func expertsText(cfg *model.Config) string {
	text := fmt.Sprintf("%d, %d for each token", cfg.Experts, cfg.TopExperts)
	if cfg.SharedSize > 0 {
		text += ", and one that all go through"
	}
	return text
}
