package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/internal/hubtest"
)

const weightsFile = "model.safetensors"

// TestHubModel: a hub id is fetched once, captured from, and found again when
// offline.
func TestHubModel(t *testing.T) {
	hub := hubtest.Serve(t, map[string]string{"some/tiny": "../../engine/model/testdata/qwen3"})
	want := filepath.Join(hub.Cache, "models--some--tiny", "snapshots", hubtest.Commit)
	code, out, errs := call(t, "pull", "some/tiny")
	if code != 0 || strings.TrimSpace(out) != want || !strings.Contains(errs, "some/tiny: fetching 119.3 KiB from http") {
		t.Errorf("pulled into %s, want %s; said %s", out, want, errs)
	}
	before := hub.Requests()
	prompts := write(t, "p.jsonl", `{"id":"a","input_ids":[1,2,3,4,5,6,7,8]}`)
	dump := filepath.Join(t.TempDir(), "x.attn")
	must(t, "capture", "-m", "some/tiny", "-p", prompts, "-o", dump, "--max-new-tokens", "2")
	if cited := must(t, "cite", dump); !strings.Contains(cited, "{revision "+hubtest.Commit+"; SHA-256 of the weights ") {
		t.Errorf("the commit is not cited: %s", cited)
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	info := must(t, "info", "-m", "some/tiny")
	if !strings.Contains(info, "qwen3: ") || !strings.Contains(info, "in memory") {
		t.Errorf("info: %s", info)
	}
	if hub.Requests() != before {
		t.Errorf("%d requests after the pull", hub.Requests()-before)
	}
	if code, _, errs := call(t, "pull", "some/other"); code != 1 || !strings.Contains(errs, "some/other") || !strings.Contains(errs, "offline") {
		t.Errorf("offline, not there: exit %d, %s", code, errs)
	}
	t.Setenv("HF_HUB_OFFLINE", "")
	if code, _, errs := call(t, "capture", "-m", "some/other", "-p", prompts, "-o", dump, "--force"); code != 1 || !strings.Contains(errs, "404") {
		t.Errorf("unknown model: exit %d, %s", code, errs)
	}
}

// TestNothingIsFetchedBeforeItIsNeeded: what needs no weights, and what fails before it
// needs them, fetches none but their headers. A run then fetches them.
func TestNothingIsFetchedBeforeItIsNeeded(t *testing.T) {
	model := randomLlama(t, 256, 2)
	hub := hubtest.Serve(t, map[string]string{"some/llama": model})
	prompts := write(t, "p.jsonl", `{"id":"a","input_ids":[1,2,3,4,5,6,7,8]}`)
	wrong := write(t, "wrong.jsonl", `{"id":"a","input_ids":[1,999]}`)
	dump := filepath.Join(t.TempDir(), "x.attn")
	capture := func(prompts string, more ...string) []string {
		args := []string{"capture", "-m", "some/llama", "-p", prompts, "-o", dump, "--max-new-tokens", "2", "--device", "cpu"}
		return append(args, more...)
	}
	size := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	whole := size(filepath.Join(model, weightsFile))
	before := int64(0)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"info", "-m", "some/llama"}, 0, "some/llama: on the hub; its weights are not fetched, safetensors\narchitecture  llama: 2 layers"},
		{[]string{"info", "-m", "some/llama", "--json"}, 0, `"fetched": false`},
		{capture(prompts, "--dry-run"), 0, "the weights are not in the hub cache yet"},
		{capture(wrong, "--dry-run"), 1, "token 1 is 999"},
		{capture(wrong), 1, "token 1 is 999"},
		{capture("none.jsonl"), 1, "none.jsonl"},
		{[]string{"generate", "-m", "some/llama", "-p", wrong}, 1, "token 1 is 999"},
		{[]string{"tokenize", "-m", "some/llama", "-p", prompts}, 1, "no tokenizer"},
		{[]string{"submit", "--dry-run", "-m", "some/llama", "-p", prompts, "-o", dump}, 0, "capture"},
		{[]string{"info", "-m", "some/llama", "--offline"}, 1, "offline mode forbids"},
	} {
		code, out, errs := call(t, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%v: exit %d, %s%s, want exit %d and %q", c.args, code, out, errs, c.code, c.want)
		}
		sent := hub.Sent(weightsFile)
		if sent-before > 64<<10 || whole < 1<<20 {
			t.Errorf("%v: %d of %d bytes of the weights were fetched", c.args, sent-before, whole)
		}
		before = sent
	}
	local := must(t, "capture", "-m", model, "-p", prompts, "--max-new-tokens", "2", "--device", "cpu", "--dry-run")
	remote := must(t, capture(prompts, "--dry-run")...)
	if needs(local) != needs(remote) || needs(local) == "" {
		t.Errorf("a dry run needs\n%sof a model on the hub, and\n%sof the same model here", needs(remote), needs(local))
	}
	before = hub.Sent(weightsFile)
	must(t, capture(prompts)...)
	if got := hub.Sent(weightsFile) - before; got < whole || got > whole+64<<10 {
		t.Errorf("the run fetched %d bytes of weights, want %d", got, whole)
	}
	if size(dump) == 0 {
		t.Error("an empty dump")
	}
	if err := os.RemoveAll(hub.Cache); err != nil {
		t.Fatal(err)
	}
	before = hub.Sent(weightsFile)
	code, _, errs := call(t, capture(prompts, "--resume", "--dry-run")...)
	if code != 0 || !strings.Contains(errs, "already complete") {
		t.Errorf("resumed without the weights: exit %d, %s", code, errs)
	}
	if got := hub.Sent(weightsFile) - before; got > 64<<10 {
		t.Errorf("the dry run of a resumed run fetched %d bytes of weights", got)
	}
}

// TestGGUFOnTheHub: the header of a GGUF file has all that info and tokenize need.
func TestGGUFOnTheHub(t *testing.T) {
	const dir = "../../engine/model/testdata/qwen3"
	hubtest.Serve(t, map[string]string{"some/gguf": dir})
	local := must(t, "info", "-m", dir+"/model.gguf")
	remote := must(t, "info", "-m", "some/gguf:model.gguf")
	if _, after, ok := strings.Cut(local, "\n"); !ok || !strings.HasSuffix(remote, after) || !strings.HasPrefix(remote, "some/gguf:model.gguf: on the hub") {
		t.Errorf("info says\n%sof the file on the hub, and\n%sof the same file here", remote, local)
	}
	prompts := write(t, "p.jsonl", `{"id":"a","prompt":"the rain in Spain"}`)
	code, here, said := call(t, "tokenize", "-m", dir+"/model.gguf", "-p", prompts)
	again, there, also := call(t, "tokenize", "-m", "some/gguf:model.gguf", "-p", prompts)
	if code != again || here != there || (code == 0) != (here != "") || (said == "") != (also == "") {
		t.Errorf("tokenize: exit %d, %s%s; of the same file here: exit %d, %s%s", again, there, also, code, here, said)
	}
}

// TestDefaultModelIsNotFetchedToLook: info and dry runs do not fetch the default model.
func TestDefaultModelIsNotFetchedToLook(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("ATTNSCOPE_MODELS", "")
	t.Setenv("PATH", t.TempDir()) // no pip
	prompts := write(t, "p.jsonl", `{"id":"a","prompt":"x"}`)
	for _, args := range [][]string{
		{"info", "-m", "smollm2-135m"},
		{"capture", "-p", prompts, "--dry-run", "--device", "cpu"},
	} {
		code, _, errs := call(t, args...)
		if code != 1 || !strings.Contains(errs, "attnscope pull smollm2-135m fetches them (98 MB)") {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
}

// needs returns the lines of a dry run that say how much memory it needs.
func needs(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "prompts ") || strings.HasPrefix(line, "memory ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestUnsupportedModelIsNotFetched: what is wrong with a model is found before its weights
// are fetched.
func TestUnsupportedModelIsNotFetched(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string)
		want   string
	}{
		"an unknown family": {func(dir string) { replaceIn(t, dir, "config.json", `"model_type":"llama"`, `"model_type":"lxama"`) }, `model_type "lxama" is not supported`},
		"an unknown key":    {func(dir string) { replaceIn(t, dir, "config.json", `"rope_theta"`, `"rope_theater":1,"rope_theta"`) }, "rope_theater"},
		"a missing layer":   {func(dir string) { replaceIn(t, dir, "config.json", `_layers":2`, `_layers":3`) }, "no tensor model.layers.2."},
		"a broken tokenizer": {func(dir string) {
			if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "tokenizer.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := randomLlama(t, 256, 2)
			c.change(dir)
			hub := hubtest.Serve(t, map[string]string{"some/odd": dir})
			prompts := write(t, "p.jsonl", `{"id":"a","input_ids":[1,2,3]}`)
			for i, args := range [][]string{
				{"pull", "some/odd"},
				{"info", "-m", "some/odd"},
				{"capture", "-m", "some/odd", "-p", prompts, "-o", filepath.Join(t.TempDir(), "x.attn")},
			} {
				want := c.want
				if args[0] == "info" { // lists all tensors
					want = strings.Replace(want, "no tensor ", "missing       ", 1)
				}
				code, out, errs := call(t, args...)
				if code != 1 || !strings.Contains(out+errs, want) {
					t.Errorf("%s: exit %d, %s%s, want %q", args[0], code, out, errs, want)
				}
				if sent := hub.Sent(weightsFile); sent > int64(i+1)*64<<10 {
					t.Errorf("%s: %d bytes of weights were fetched", args[0], sent)
				}
			}
		})
	}
}

// replaceIn replaces a text in a file of a folder.
func replaceIn(t *testing.T, dir, name, old, with string) {
	t.Helper()
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s: no %q", path, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, with, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestLimitAndTruncation: --limit uses the first prompts, and one warning counts all
// prompts that were cut.
func TestLimitAndTruncation(t *testing.T) {
	model := randomLlama(t, 32, 2)
	file := write(t, "p.jsonl", `{"id":"a","input_ids":[1,2,3,4,5,6,7,8]}
{"id":"b","input_ids":[1,2,3,4,5]}
{"id":"c","input_ids":[1,2,3]}
`)
	args := []string{"capture", "-m", model, "-p", file, "--dry-run", "--device", "cpu", "--max-new-tokens", "2"}
	for _, c := range []struct {
		more      []string
		code      int
		out, errs string // parts
		warnings  int
	}{
		{[]string{"--limit", "2"}, 0, "prompts    2, 13 prompt tokens", "", 0},
		{[]string{"--limit", "9"}, 0, "prompts    3, 16 prompt tokens", "", 0},
		{[]string{"--limit", "0"}, 2, "", "--limit 0: want 1 or more", 0},
		{
			[]string{"--max-prompt-tokens", "4", "--truncate", "middle"},
			0, "prompts    3, 11 prompt tokens",
			"2 of 3 prompts are longer than --max-prompt-tokens 4: 1 to 4 tokens were cut from the middle of each", 1,
		},
		{[]string{"--max-prompt-tokens", "6", "--truncate", "middle"}, 0, "prompts    3, 14 prompt tokens", `prompt "a": 2 tokens cut from the middle`, 1},
	} {
		code, out, errs := call(t, append(args, c.more...)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) || strings.Count(errs, "middle") != c.warnings {
			t.Errorf("%v: exit %d, %s%s, want exit %d, %q, %q", c.more, code, out, errs, c.code, c.out, c.errs)
		}
	}
}
