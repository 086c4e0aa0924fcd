package decode

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// TestCompressedAtTheContext compares the loss of a reply after a context and a question
// with that of a prompt which ends with the context, and whose reply is the question and
// the reply.
func TestCompressedAtTheContext(t *testing.T) {
	const context, question = 90, 25
	names := []string{"llama-llama3", "gpt_oss", "lfm2"} // lfm2 has states that cannot go back
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			m := loadModel(t, "../../engine/model/testdata/"+name)
			ids := make([]int32, 140)
			for i := range ids {
				ids[i] = int32((i*i + 3*i) % m.Config().Vocab)
			}
			c := Config{
				Model: m, Methods: named(t, "snapkv", "h2o", "knorm"),
				Configs:      []snapkv.Config{config(8, 40), config(8, 120)},
				MaxNewTokens: 8, IgnoreEOS: true, FollowWhole: true,
			}
			losses := func(p prompts.Prompt) []float64 {
				c.Prompts = []prompts.Prompt{p}
				var sums []float64
				for _, r := range results(t, c) {
					sums = append(sums, math.Log(float64(r.PPL))*float64(len(p.Reply)))
				}
				return sums
			}
			asked := prompts.Prompt{ID: "p", Tokens: ids[:context+question], Context: context, Reply: ids[context+question:]}
			inView := losses(asked)
			long := losses(prompts.Prompt{ID: "p", Tokens: ids[:context], Reply: ids[context:]})
			short := losses(prompts.Prompt{ID: "p", Tokens: ids[:context], Reply: ids[context : context+question]})
			c.Place = AtContext
			got := losses(asked)
			for i := range got {
				if want := long[i] - short[i]; math.Abs(got[i]-want) > 1e-3 {
					t.Errorf("result %d: loss %g, want %g", i, got[i], want)
				}
			}
			if math.Abs(got[1]-inView[1]) < 1e-3 {
				t.Errorf("snapkv: loss %g with and without the question in view", got[1])
			}
			list := results(t, c)
			if list[0].CompressAt != "" || list[1].CompressAt != AtContext {
				t.Errorf("compressed at %q and %q, want the end of the context for the second",
					list[0].CompressAt, list[1].CompressAt)
			}
			want := (40.0 + question) / (context + question)
			if m.Config().Heads == m.Config().KVHeads && math.Abs(float64(list[1].CacheRatio)-want) > 1e-6 {
				t.Errorf("ratio %g, want %g: the question is added to the cache", list[1].CacheRatio, want)
			}
			c.Batch = 3
			c.Formats = []model.CacheFormat{{}, {Bits: 4, Group: 8, Residual: 16}, {Bits: 2, Group: 8, Residual: 512}}
			together := results(t, c)
			c.Batch = 1
			for i, r := range results(t, c) {
				if w := together[i]; !slices.Equal(r.OutputIDs, w.OutputIDs) || r.KL != w.KL {
					t.Errorf("%s, %d bits: KL %g alone, %g in a batch", r.Method, r.KVBits, r.KL, w.KL)
				}
			}
			if plain, same := together[3], together[5]; math.Abs(float64(plain.KL-same.KL)) > 1e-5 || together[4].KL == plain.KL {
				t.Errorf("KL %g, %g with 4 bits, and %g with a residual longer than the prompt",
					plain.KL, together[4].KL, same.KL)
			}
		})
	}
}

// TestContextsAreReadOnce: prompts with the same context have the results that each has
// alone, in batches and one by one, and only the first one reads the context.
func TestContextsAreReadOnce(t *testing.T) {
	for _, name := range []string{"llama-llama3", "lfm2"} {
		m := loadModel(t, "../../engine/model/testdata/"+name)
		ids := make([]int32, 100)
		for i := range ids {
			ids[i] = int32((i*i + 3*i) % m.Config().Vocab)
		}
		ask := func(id string, context int, question ...int32) prompts.Prompt {
			return prompts.Prompt{ID: id, Tokens: append(slices.Clone(ids[:context]), question...), Context: context}
		}
		list := []prompts.Prompt{ask("a", 80, 1, 2, 3), ask("b", 80, 7), ask("c", 80, 9, 9), ask("d", 60, 1, 2, 3), ask("e", 80, 1, 2, 3)}
		c := Config{
			Model: m, Methods: named(t, "snapkv", "h2o", "oracle"), Configs: []snapkv.Config{config(8, 40)},
			MaxNewTokens: 6, IgnoreEOS: true, Place: AtContext,
		}
		var alone []Result
		for _, p := range list {
			c.Prompts = []prompts.Prompt{p}
			alone = append(alone, results(t, c)...)
		}
		c.Prompts = list
		for _, c.Batch = range []int{1, 4} {
			for i, r := range results(t, c) {
				w := &alone[i]
				if r.ID != w.ID || r.Method != w.Method || r.KL != w.KL || !slices.Equal(r.OutputIDs, w.OutputIDs) {
					t.Errorf("%s, batch %d: prompt %s, %s: KL %g, alone %g", name, c.Batch, r.ID, r.Method, r.KL, w.KL)
				}
				if read := !math.IsNaN(float64(r.PrefillTokens)); read != (r.ID == "a" || r.ID == "d" || r.ID == "e") {
					t.Errorf("%s: prompt %s, the context was read: %v", name, r.ID, read)
				}
			}
		}
	}
}

// TestContextsThatAreNotKnown are an error that says what to do.
func TestContextsThatAreNotKnown(t *testing.T) {
	c := Config{
		Prompts: []prompts.Prompt{{ID: "x", Tokens: make([]int32, 4)}}, Methods: named(t, "recent"),
		Configs: []snapkv.Config{config(1, 2)}, Place: AtContext,
	}
	err := c.Check(&model.Config{})
	if err == nil || !strings.Contains(err.Error(), `prompt "x": where its context ends is not known`) {
		t.Errorf("error %v", err)
	}
	c.Place = "middle"
	if err := c.Check(&model.Config{}); err == nil || err.Error() != `place "middle": want one of prompt, context` {
		t.Errorf("error %v", err)
	}
}
