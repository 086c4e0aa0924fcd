package experiments

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// TestStoppedDecodingGoesOn: a run that is stopped after its first prompt keeps
// that prompt, goes on with the second, and ends with the results of a run that
// was not stopped, times aside; work with another setting starts anew.
func TestStoppedDecodingGoesOn(t *testing.T) {
	src, err := capture.Open(t.Context(), filepath.Join("..", "engine", "model", "testdata", "qwen3"), capture.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if err := src.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := src.Model
	var list []prompts.Prompt
	for _, id := range []string{"a", "b", "c"} {
		p := prompts.Prompt{ID: id}
		for i := range 40 {
			p.Tokens = append(p.Tokens, int32((i*7+int(id[0]))%m.Config().Vocab))
		}
		list = append(list, p)
	}
	method, err := snapkv.FindMethod("snapkv")
	if err != nil {
		t.Fatal(err)
	}
	config := decode.Config{
		Model: m, Prompts: list, Methods: []snapkv.Method{method}, MaxNewTokens: 4, IgnoreEOS: true,
		Configs: []snapkv.Config{{Window: 4, Capacity: 12, Kernel: 5, Pooling: "avgpool", Group: "head"}, {Window: 4, Capacity: 20, Kernel: 5, Pooling: "avgpool", Group: "head"}},
	}
	lab := func() *Lab {
		return &Lab{Dir: t.TempDir(), Log: t.Logf, Header: func(*dumps.Plan, []prompts.Prompt) (dumps.Header, error) { return dumps.Header{}, nil }}
	}
	make := func(l *Lab, ctx context.Context, c decode.Config) ([]decode.Result, error) {
		k, err := l.openStore("x", &c)
		if err != nil {
			t.Fatal(err)
		}
		return k.run(ctx, l, c)
	}
	timeless := func(list []decode.Result) []decode.Result {
		var out []decode.Result
		for _, r := range list {
			r.PrefillTokens, r.DecodeTokens = 0, 0
			out = append(out, r)
		}
		return out
	}
	equal := func(a, b []decode.Result) bool {
		x, y := timeless(a), timeless(b)
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if x[i].ID != y[i].ID || x[i].Method != y[i].Method || x[i].Capacity != y[i].Capacity || x[i].KL != y[i].KL || x[i].PPL != y[i].PPL {
				return false
			}
		}
		return true
	}
	whole := lab()
	want, err := make(whole, context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 9 { // three prompts, from the full cache and two others
		t.Fatalf("%d results, want 9", len(want))
	}

	stopped := lab()
	ctx, stop := context.WithCancel(context.Background())
	c := config
	c.Progress = func(p capture.Progress) {
		if p.Prompt == 2 { // in the third: the first is written, the second waits
			stop()
		}
	}
	if _, err := make(stopped, ctx, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped run: %v", err)
	}
	path := filepath.Join(stopped.Dir, "captures", "decode-x.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Count(text, []byte("\n"))
	if lines < 2 || lines == 4 {
		t.Fatalf("the stopped run left %d lines, want the key and one or two prompts", lines)
	}
	// A line that was cut is made again.
	if err := os.WriteFile(path, append(text, `[{"id":"c","met`...), 0o644); err != nil {
		t.Fatal(err)
	}
	decoded := 0
	c.Progress = func(p capture.Progress) { decoded = p.Prompts }
	got, err := make(stopped, context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !equal(got, want) {
		t.Errorf("results of the resumed run differ:\n%+v\nwant\n%+v", got, want)
	}
	if left := 4 - lines; decoded != left {
		t.Errorf("the resumed run decoded %d prompts, want %d", decoded, left)
	}
	decoded = 0
	if again, err := make(stopped, context.Background(), c); err != nil || decoded != 0 || !equal(again, want) {
		t.Errorf("a finished run was decoded again: %d prompts, %v", decoded, err)
	}
	for i := range c.Configs { // one pair each time, but not the same one
		decoded, c.Skip = 0, func(_ string, cfg snapkv.Config) bool { return cfg.Capacity != c.Configs[i].Capacity }
		if got, err := make(stopped, context.Background(), c); err != nil || decoded != 3 || len(got) != 6 || got[1].Capacity != c.Configs[i].Capacity {
			t.Errorf("with capacity %d alone %d prompts were decoded, %d results, want 3 and 6: %v", c.Configs[i].Capacity, decoded, len(got), err)
		}
	}
	c.Skip = nil
	c.Prompts = append([]prompts.Prompt(nil), list...)
	c.Prompts[0].References = []string{"yes"}
	decoded = 0
	if _, err := make(stopped, context.Background(), c); err != nil || decoded != 3 {
		t.Errorf("with another reference answer %d prompts were decoded, want 3: %v", decoded, err)
	}
	c.MaxNewTokens = 3
	if _, err := make(stopped, context.Background(), c); err != nil || decoded != 3 {
		t.Errorf("with shorter replies %d prompts were decoded, want 3: %v", decoded, err)
	}
}
