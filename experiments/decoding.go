package experiments

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/snapkv"
)

// mostCaches is the largest number of caches that are decoded together. The results do
// not depend on it.
const mostCaches = 8

// choice is a method with its settings and a label.
type choice struct {
	label  string
	method string
	config snapkv.Config
}

// is reports whether the choice is this method with settings that keep the same
// positions.
func (c *choice) is(method string, cfg snapkv.Config) bool {
	return c.method == method && c.config.Capacity == cfg.Capacity && c.config.RanksLike(cfg)
}

// labeled is a decoded reply with the label of its cache.
type labeled struct {
	label string
	decode.Result
}

// decoding returns the configuration with which experiments decode prompts.
func (l *Lab) decoding(list []prompts.Prompt) decode.Config {
	return decode.Config{
		Model:    l.Model,
		Prompts:  list,
		Progress: l.Progress,
		Encode:   func(text string) []int32 { return l.Tokenizer.Encode(text, false) },
		Decode:   func(ids []int32) string { return l.Tokenizer.Decode(ids, true) },
	}
}

// decodeAll decodes a reply to each prompt from the full cache and from the cache of
// each choice. name is the name of the file that keeps the results for later runs; if
// it is empty, each run decodes anew. Without a model, the work is only planned and
// the error is errPlanned.
func (l *Lab) decodeAll(ctx context.Context, name string, list []prompts.Prompt, choices []choice, reply int) ([]labeled, error) {
	c := l.decoding(list)
	c.MaxNewTokens = reply
	c.IgnoreEOS = name == ""
	if name != "" { // otherwise the speed of each cache is measured
		c.Batch = mostCaches
	}
	c.Score = "contains"
	for _, ch := range choices {
		if !slices.ContainsFunc(c.Methods, func(m snapkv.Method) bool { return m.Name == ch.method }) {
			m, err := snapkv.FindMethod(ch.method)
			if err != nil {
				return nil, err
			}
			c.Methods = append(c.Methods, m)
		}
		same := func(o snapkv.Config) bool { return o.Capacity == ch.config.Capacity && o.RanksLike(ch.config) }
		if !slices.ContainsFunc(c.Configs, same) {
			c.Configs = append(c.Configs, ch.config)
		}
	}
	c.Skip = func(method string, cfg snapkv.Config) bool {
		return !slices.ContainsFunc(choices, func(ch choice) bool { return ch.is(method, cfg) })
	}
	var store *resultStore
	if name != "" {
		var err error
		if store, err = l.openStore(name, &c); err != nil {
			return nil, err
		}
	}
	if l.Model == nil {
		return nil, l.planDecode(list, 1+len(choices), reply, store)
	}
	var results []decode.Result
	var err error
	if store != nil {
		results, err = store.run(ctx, l, c)
	} else {
		err = decode.Run(ctx, c, func(r decode.Result) error {
			results = append(results, r)
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	var out []labeled
	for _, r := range results {
		out = append(out, labeled{labelOf(&r, choices), r})
	}
	return out, nil
}

// labelOf returns the label of the choice from which a result was decoded.
func labelOf(r *decode.Result, choices []choice) string {
	if r.Full() {
		return snapkv.Full
	}
	for _, ch := range choices {
		c := &ch.config
		if ch.method == r.Method && c.Capacity == r.Capacity && c.Kernel == r.Kernel && c.Group == r.Group &&
			c.Window == r.Window && c.Pooling == r.Pooling {
			return ch.label
		}
	}
	return ""
}

// retrievalChoices returns the choices that the retrieval experiments compare at each
// capacity.
func (l *Lab) retrievalChoices(window int, capacities ...int) []choice {
	var list []choice
	for _, capacity := range capacities {
		pooled := snapkv.Config{
			Window:   window,
			Capacity: capacity,
			Kernel:   5,
			Pooling:  snapkv.MaxPool,
			Group:    snapkv.GroupHead,
			Seed:     l.Seed,
		}
		bare := pooled
		bare.Kernel = 1
		list = append(
			list,
			choice{fmt.Sprintf("snapkv %d", capacity), "snapkv", pooled},
			choice{fmt.Sprintf("snapkv without pooling %d", capacity), "snapkv", bare},
			choice{fmt.Sprintf("streamingllm %d", capacity), "streamingllm", pooled},
			choice{fmt.Sprintf("random %d", capacity), "random", pooled},
		)
	}
	return list
}
