package capture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// longTiny returns a folder with a test model, for longer prompts.
func longTiny(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../engine/model/testdata/"+name)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`"max_position_embeddings": 512`), []byte(`"max_position_embeddings": 4096`), 1)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// modelOf loads a model of which the weights of all layers stay in memory, or none.
func modelOf(t *testing.T, dir string, stream bool) *model.Model {
	t.Helper()
	o := Options{Threads: 1}
	if stream {
		o.WeightMemory = 1
	}
	src, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	if err := src.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if src.Model.Streams() != stream {
		t.Fatalf("weights are read in each pass: %v, want %v", src.Model.Streams(), stream)
	}
	return src.Model
}

// TestDumpOfStreamedWeights records a set with all weights in memory and with weights
// that are read in each pass: the dumps are the same, byte for byte.
func TestDumpOfStreamedWeights(t *testing.T) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		t.Run(string(store), func(t *testing.T) {
			cfg := mixed(t)
			folder := longTiny(t, "qwen3")
			cfg.Model = modelOf(t, folder, false)
			cfg.Header.Plan.Store = store
			cfg.Header.Plan.WindowRows = 20 // in two pieces of the long prompts
			cfg.Header.Plan.PromptWindows = 40
			for i, n := range []int{515, 1100, 1020} {
				p := prompts.Prompt{ID: fmt.Sprint("long", i)}
				for j := range n {
					p.Tokens = append(p.Tokens, int32((5*j+7*i+j*j%11)%cfg.Header.Model.Vocab))
				}
				if i == 2 {
					p.Reply = cfg.Prompts[0].Tokens[:30]
				}
				cfg.Prompts = append(cfg.Prompts, p)
			}
			dir := t.TempDir()
			cfg.Out = filepath.Join(dir, "memory.attn")
			want := inOrder(t, cfg)
			whole, err := os.ReadFile(cfg.Out)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Model = modelOf(t, folder, true)
			for _, n := range []int{1, 2, 8} {
				cfg.Batch = n
				cfg.Out = filepath.Join(dir, fmt.Sprint("streamed", n, ".attn"))
				var last Progress
				cfg.Progress = func(p Progress) {
					if p.Tokens < last.Tokens {
						t.Errorf("%d tokens after %d", p.Tokens, last.Tokens)
					}
					last = p
				}
				if got := inOrder(t, cfg); !bytes.Equal(got, want) {
					t.Errorf("batch %d: the prompts differ from those of a model in memory", n)
				}
				if last.Prompt != len(cfg.Prompts) || last.Tokens > last.Total {
					t.Errorf("batch %d ends with %d of %d tokens and %d prompts", n, last.Tokens, last.Total, last.Prompt)
				}
				got, err := os.ReadFile(cfg.Out)
				if err != nil {
					t.Fatal(err)
				}
				if n == 1 && !bytes.Equal(got, whole) {
					t.Error("batch 1: the file differs from that of a model in memory")
				}
			}
		})
	}
}

// TestDumpOfStreamedKinds does the same for models with layers of other kinds: with
// sinks, a recurrence, Mamba-2, shared caches, chunks, latents and experts.
func TestDumpOfStreamedKinds(t *testing.T) {
	for _, name := range []string{
		"gpt_oss", "qwen3_next", "lfm2", "granitemoehybrid", "nemotron_h", "gemma3n_text-states", "gemma4_text", "llama4_text", "deepseek_v2",
	} {
		t.Run(name, func(t *testing.T) {
			folder := longTiny(t, name)
			cfg := Config{Model: modelOf(t, folder, false), Batch: 2}
			c := cfg.Model.Config()
			cfg.Header = dumps.Header{Model: ModelInfo("tiny", &c), Plan: dumps.Plan{
				WindowRows: 30, PromptWindows: 3, PromptWindowSize: 20, MaxNewTokens: 3, Store: dumps.StoreRows, Precision: dumps.Fine,
				IgnoreEOS: true, Values: true,
			}}
			most := 0
			for l := range c.Shapes {
				if c.Shapes[l].HasAttention() {
					cfg.Header.Plan.Layers = append(cfg.Header.Plan.Layers, l)
					most = max(most, c.Shapes[l].Heads)
				}
			}
			for h := range most {
				cfg.Header.Plan.Heads = append(cfg.Header.Plan.Heads, h)
			}
			for i, n := range []int{530, 20, 45} {
				p := prompts.Prompt{ID: fmt.Sprint("p", i)}
				for j := range n {
					p.Tokens = append(p.Tokens, int32((5*j+7*i+j*j%11+3)%c.Vocab))
				}
				if i == 1 {
					p.Reply = p.Tokens[3:9]
				}
				cfg.Prompts = append(cfg.Prompts, p)
			}
			dir := t.TempDir()
			cfg.Out = filepath.Join(dir, "memory.attn")
			want := inOrder(t, cfg)
			cfg.Model = modelOf(t, folder, true)
			cfg.Out = filepath.Join(dir, "streamed.attn")
			if got := inOrder(t, cfg); !bytes.Equal(got, want) {
				t.Error("the prompts differ from those of a model in memory")
			}
		})
	}
}
