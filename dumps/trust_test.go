package dumps

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// forged returns a dump of two prompts p0 and p1 with sums over their queries. change, if
// not nil, changes the list of records that the index is made of.
func forged(t *testing.T, change func(list []record)) string {
	t.Helper()
	var f forge
	h := faultHeader()
	h.Version = h.Model.version()
	h.Plan.WindowRows = 0
	f.json(kindHeader, 0, h)
	for i := range 2 {
		for layer := range 2 {
			x := slices.Repeat([]float32{1}, 40)
			x[0] += float32(i+layer) / 10
			x[1] -= float32(i+layer) / 10
			f.zstd(record{Kind: kindSums, Prompt: uint32(i), Layer: uint32(layer), NH: 2, Rows: 1, Keys: 20, Enc: encF32}, planesF32(x, 23))
		}
		f.json(kindPrompt, uint32(i), Prompt{ID: fmt.Sprint("p", i), PromptTokens: 20, Store: StoreRows, Blocks: 2, Tokens: make([]int32, 20)})
	}
	if change != nil {
		change(f.list)
	}
	return f.save(t, true)
}

// TestOwnHeadsAreBelieved: what an index says differently from the heads of the records is
// never used, and Repair writes a true index.
func TestOwnHeadsAreBelieved(t *testing.T) {
	for name, change := range map[string]func(l []record){
		"layers swapped":      func(l []record) { l[1].Layer, l[2].Layer = 1, 0 },
		"kind":                func(l []record) { l[1].Kind = kindOverview },
		"another phase":       func(l []record) { l[1].Phase = Decode },
		"shape":               func(l []record) { l[1].NH, l[1].Keys = 1, 40 },
		"encoding":            func(l []record) { l[1].Enc, l[1].Keys = encF16, 40 },
		"checksum":            func(l []record) { l[4].Sum ^= 1 },
		"places swapped":      func(l []record) { l[1].at, l[2].at = l[2].at, l[1].at },
		"number of a prompt":  func(l []record) { l[1].Prompt, l[2].Prompt, l[3].Prompt = 7, 7, 7 },
		"first row":           func(l []record) { l[1].Row0 = 3 },
		"end of other length": func(l []record) { l[3].Raw++ },
	} {
		t.Run(name, func(t *testing.T) {
			path := forged(t, change)
			r, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range r.prompts {
				for layer := range 2 {
					x, err := r.Sums(i, layer)
					if err == nil && x[0] != 1+float32(i+layer)/10 {
						t.Errorf("prompt %d, layer %d: the sums of another block are read: %g", i, layer, x[0])
					}
				}
			}
			r.Close()
			done, err := Repair(t.Context(), path, nil)
			if err != nil || done.Whole || done.Prompts != 2 || len(done.Lost) > 0 || len(done.Lacks) > 0 {
				t.Fatalf("repair: %+v, %v", done, err)
			}
			if ok, err := Verify(t.Context(), path, nil, func(p Problem) { t.Error(p) }); !ok || err != nil {
				t.Errorf("repaired: %v, %v", ok, err)
			}
		})
	}
}

// TestRepairLeavesOutWhatDoesNotDecode: a payload with a right checksum that is no zstd
// frame costs its prompt, and a dump without any other prompt stays as it is.
func TestRepairLeavesOutWhatDoesNotDecode(t *testing.T) {
	for _, prompts := range []int{1, 2} {
		var f forge
		h := faultHeader()
		h.Version = h.Model.version()
		f.json(kindHeader, 0, h)
		r := record{Kind: kindSums, NH: 2, Rows: 1, Keys: 20, Enc: encF32}
		for i := range prompts {
			r.Prompt = uint32(i)
			if i == 0 {
				f.put(r, make([]byte, 160), []byte("no frame"))
			} else {
				f.zstd(r, planesF32(slices.Repeat([]float32{1}, 40), 23))
			}
			f.json(kindPrompt, uint32(i), Prompt{ID: fmt.Sprint("p", i), PromptTokens: 20, Store: StoreRows, Blocks: 1, Tokens: make([]int32, 20)})
		}
		path := f.save(t, true)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		done, err := Repair(t.Context(), path, nil)
		if prompts == 1 {
			after, _ := os.ReadFile(path)
			if err == nil || !strings.Contains(err.Error(), "none of its prompts can be saved") || !slices.Equal(before, after) {
				t.Errorf("nothing to save: %v; %d bytes, then %d", err, len(before), len(after))
			}
			continue
		}
		if err != nil || done.Prompts != 1 || len(done.Lost) != 1 || done.Lost[0].Prompt != "p0" ||
			!slices.Equal(done.Lacks, []string{"prompt p0"}) {
			t.Errorf("repair: %+v, %v", done, err)
		}
	}
}

// shard writes a dump of some prompts of a set, by their places from 1. total is what its
// header says about the number of prompts in the set.
func shard(t *testing.T, name, of string, total int, places ...int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	h := faultHeader()
	h.Plan.Shard = of
	h.Manifest = Manifest{Prompts: total, PromptsSHA256: "aa"}
	w, err := Create(path, h, CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range places {
		p := Prompt{ID: fmt.Sprint("p", place), Index: place, PromptTokens: 1, Tokens: make([]int32, 1)}
		pw, err := w.Begin(p)
		if err == nil {
			err = pw.Finish(p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMergeNeverCompletesInSilence: dumps that lack prompts of their set are merged only
// if that is asked for, and the result says what it lacks until another merge adds it.
func TestMergeNeverCompletesInSilence(t *testing.T) {
	for _, total := range []int{5, 0} { // 0: a header of an earlier version
		a := shard(t, "a.attn", "0/2", total, 1, 3, 5)
		b := shard(t, "b.attn", "1/2", total, 2, 4)
		short := shard(t, "short.attn", "1/2", total, 2)
		out := filepath.Join(t.TempDir(), "out.attn")
		var incomplete *IncompleteError
		for _, in := range [][]string{{a}, {b}} {
			if err := Merge(t.Context(), out, in, MergeOptions{}); !errors.As(err, &incomplete) {
				t.Errorf("total %d: a shard is missing: %v", total, err)
			}
		}
		if total > 0 { // an earlier header does not tell that a repaired shard is short
			if err := Merge(t.Context(), out, []string{a, short}, MergeOptions{}); !errors.As(err, &incomplete) {
				t.Errorf("a shard is short: %v", err)
			}
		}
		if _, err := os.Stat(out); err == nil {
			t.Error("a refused merge leaves a file")
		}
		if err := Merge(t.Context(), out, []string{a}, MergeOptions{Partial: true}); err != nil {
			t.Fatal(err)
		}
		want := map[int]string{5: "", 0: "shard 1/2"}[total] // with a count, the copy of a whole shard lacks nothing
		if got := lacks(t, out); got != want {
			t.Errorf("total %d: lacks %q, want %q", total, got, want)
		}
		all := out + ".all"
		if err := Merge(t.Context(), all, []string{out, b}, MergeOptions{}); err != nil || lacks(t, all) != "" {
			t.Errorf("total %d: whole: %v, lacks %q", total, err, lacks(t, all))
		}
	}
	a, b := shard(t, "a.attn", "0/3", 5, 1, 4), shard(t, "b.attn", "1/3", 5, 2, 5)
	out := filepath.Join(t.TempDir(), "out.attn")
	if err := Merge(t.Context(), out, []string{a, b}, MergeOptions{Partial: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := lacks(t, out), "1 of the 5 prompts of its set: number 3"; got != want {
		t.Errorf("lacks %q, want %q", got, want)
	}
}

// lacks returns what the dump at path lacks. The reader must warn of it.
func lacks(t *testing.T, path string) string {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if len(r.Lacks()) != len(r.Warnings()) {
		t.Errorf("lacks %q, warnings %q", r.Lacks(), r.Warnings())
	}
	return strings.Join(r.Lacks(), "; ")
}

// TestIdentity: runs that differ in anything that decides numbers are neither continued
// nor merged, and what an earlier header does not tell is named.
func TestIdentity(t *testing.T) {
	full := func() *Header {
		h := faultHeader()
		h.Identity = Identity{
			Config:       map[string]string{"rope_theta": "10000", "rope_scaling.factor": "2"},
			Generation:   map[string]string{"eos_token_id": "[2]"},
			ChatTemplate: "cc",
		}
		h.Manifest = Manifest{TokenizerSHA256: "bb", PromptsSHA256: "aa", PromptFieldsSHA256: "ff"}
		return h
	}
	for _, c := range []struct {
		name    string
		change  func(h *Header)
		err     string
		unknown int
	}{
		{"the same", func(*Header) {}, "", 0},
		{"a setting", func(h *Header) { h.Identity.Config["rope_theta"] = "20000" }, "model configuration rope_theta is 20000 there and 10000 here", 0},
		{"a setting more", func(h *Header) { h.Identity.Config["attn_bias"] = "true" }, "model configuration attn_bias is true there and not set here", 0},
		{"a setting less", func(h *Header) { delete(h.Identity.Config, "rope_scaling.factor") }, "rope_scaling.factor is not set there and 2 here", 0},
		{"the end", func(h *Header) { h.Identity.Generation["eos_token_id"] = "[3]" }, "generation configuration eos_token_id is [3] there", 0},
		{"the tokenizer", func(h *Header) { h.Manifest.TokenizerSHA256 = "b" }, "the tokenizer differs", 0},
		{"the template", func(h *Header) { h.Identity.ChatTemplate = "none" }, "the chat template differs", 0},
		{"the answers", func(h *Header) { h.Manifest.PromptFieldsSHA256 = "f" }, "data sets, answers or documents of the prompts differ", 0},
		{"an earlier header", func(h *Header) { h.Identity = Identity{}; h.Manifest = Manifest{} }, "", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			have := full()
			c.change(have)
			unknown, err := sameRun("x", have, full())
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("resume: %v, want %q", err, c.err)
			}
			if len(unknown) != c.unknown {
				t.Errorf("resume: unknown %q, want %d", unknown, c.unknown)
			}
			_, err = mergeable(&Reader{header: full()}, &Reader{path: "x", header: have})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("merge: %v, want %q", err, c.err)
			}
		})
	}
	if got := kernelsDiffer("x", []string{"avx2", "avx512", "", "avx2"}); !strings.Contains(got, "(avx2, avx512)") {
		t.Errorf("kernels: %q", got)
	}
	if got := kernelsDiffer("x", []string{"avx2", "", "avx2"}); got != "" {
		t.Errorf("one kernel: %q", got)
	}
}

// TestNumbersThatAreNoWeights: each way to read weights names a number that is no weight.
func TestNumbersThatAreNoWeights(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, bad := range []float32{float32(math.NaN()), inf, -inf, -0.25, 1.5} {
		path := filepath.Join(t.TempDir(), "x.attn")
		h := faultHeader()
		h.Plan.Layers = []int{1}
		h.Plan.Heads = []int{1}
		h.Plan.PromptWindows = 1
		h.Plan.PromptWindowSize = 1
		w, err := Create(path, h, CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := Prompt{ID: "p", PromptTokens: 5, WindowRows: 3, ReplyTokens: 2, Store: StoreRows, Tokens: make([]int32, 7)}
		pw, err := w.Begin(p)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, 15)
		for row := range 3 {
			x[row*5+row+2] = 1
		}
		x[6] = bad
		y := make([]float32, 14)
		y[5] = 1
		y[13] = 1
		sums := []float32{1, 1, 10 * bad, 1, 1}
		for _, err := range []error{
			pw.Rows(Rows{Layer: 1, Head: 1, Rows: 3, Keys: 5, Weights: x}),
			pw.Rows(Rows{Layer: 1, Head: 1, Phase: Decode, Rows: 2, Keys: 7, Weights: y}),
			pw.Sums(1, sums), pw.Window(1, 0, 5, sums), pw.Finish(p), w.Close(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		l, err := r.LayerOf(0, 1)
		if err != nil {
			t.Fatal(err)
		}
		_, ofWeights := r.Weights(0, 1, Prefill)
		place := `prompt "p", layer 1, head 1, prompt row 1, key 1: weight `
		for what, err := range map[string]error{
			"Weights": ofWeights, "Rows": l.Rows(make([]float32, 15), Prefill, 0, 0, 3), "JoinedRows": l.JoinedRows(make([]float32, 35), 0, 0, 5),
		} {
			if err == nil || !strings.Contains(err.Error(), place) || !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s of %g: %v, want %s", what, bad, err, place)
			}
		}
		_, ofSums := r.Sums(0, 1)
		_, _, ofWindows := r.Windows(0, 1)
		for what, err := range map[string]error{"Sums": ofSums, "Windows": ofWindows} {
			if err == nil || !strings.Contains(err.Error(), `prompt "p", layer 1`) || !strings.Contains(err.Error(), "key 2: sum") {
				t.Errorf("%s of %g: %v", what, bad, err)
			}
		}
		if _, err := r.Weights(0, 1, Decode); err != nil {
			t.Errorf("the other phase: %v", err)
		}
		found := 0
		if ok, err := Verify(t.Context(), path, nil, func(Problem) { found++ }); ok || err != nil || found != 3 {
			t.Errorf("verify: %v, %v, %d problems", ok, err, found)
		}
	}
	if at := outside([]float32{0, float32(math.Copysign(0, -1)), 1}, maxWeight); at >= 0 {
		t.Errorf("number %d of zeros and one is outside", at)
	}
}

// TestUnknownWords: words of closed sets that a reader does not know are refused by name;
// unknown fields of the header are ignored, and named.
func TestUnknownWords(t *testing.T) {
	for _, c := range []struct{ old, text, want string }{
		{`"precision":"exact"`, `"precision":"ultra"`, `plan precision "ultra": want exact, fine or coarse`},
		{`"store":"rows","precision"`, `"store":"columns","precision"`, `plan store "columns": want auto, rows or factors`},
	} {
		var f forge
		h := faultHeader()
		h.Version = h.Model.version()
		text, _ := json.Marshal(h)
		changed := strings.Replace(string(text), c.old, c.text, 1)
		f.zstd(record{Kind: kindHeader}, []byte(changed))
		if _, err := Open(f.save(t, false)); err == nil || !strings.Contains(err.Error(), c.want) || changed == string(text) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
	var f forge
	h := faultHeader()
	h.Version = h.Model.version()
	text, _ := json.Marshal(h)
	changed := strings.Replace(string(text), `"plan":{`, `"future":1,"plan":{"stride":2,`, 1)
	f.zstd(record{Kind: kindHeader}, []byte(changed))
	f.json(kindPrompt, 0, Prompt{ID: "p", PromptTokens: 1, Tokens: make([]int32, 1), Store: "columns"})
	f.raw(record{Kind: 77, NH: 1, Rows: 1, Keys: 1}, nil)
	f.json(kindPrompt, 1, Prompt{ID: "q", PromptTokens: 1, Tokens: make([]int32, 1)})
	f.raw(record{Kind: kindSums, Phase: 9, NH: 1, Rows: 1, Keys: 1}, nil)
	r, err := Open(f.save(t, false))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := strings.Join(r.Warnings(), "\n")
	for _, want := range []string{
		`fields are unknown to this program and ignored: "future", "plan.stride"`,
		`prompt "p": store "columns", want rows or factors`, "unknown kind 77", "unknown phase 9",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("warnings %q, want %s", all, want)
		}
	}
}

// TestKeysOfNoRows: a block of keys without rows breaks no reader.
func TestKeysOfNoRows(t *testing.T) {
	var f forge
	h := faultHeader()
	h.Version = h.Model.version()
	h.Model.KVHeads = 2
	f.json(kindHeader, 0, h)
	keys := record{Kind: kindKeys, NH: 2, Keys: 4, Enc: encF32}
	f.zstd(keys, nil)
	keys.Rows = 1
	f.zstd(keys, make([]byte, 32))
	f.json(kindPrompt, 0, Prompt{ID: "p", PromptTokens: 1, Store: StoreFactors, Blocks: 2, Tokens: make([]int32, 1)})
	r, err := Open(f.save(t, true))
	if err != nil || len(r.Prompts()) != 1 {
		t.Fatal(err, r.Warnings())
	}
	defer r.Close()
	if _, err := r.LayerOf(0, 0); err != nil {
		t.Error(err)
	}
}

// TestBytesAfterResume: the length of a continued file is known at once.
func TestBytesAfterResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	w, err := Create(path, faultHeader(), CreateOptions{})
	if err == nil {
		err = faultPrompt(w, 0)
	}
	if err == nil {
		err = w.Abort()
	}
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path + ".partial")
	if err != nil {
		t.Fatal(err)
	}
	w, err = Create(path, faultHeader(), CreateOptions{Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if w.Bytes() != fi.Size() {
		t.Errorf("%d bytes, the file has %d", w.Bytes(), fi.Size())
	}
}

// TestHostileLists: lists of millions of empty values in a small file take little memory,
// and the error names what is too much.
func TestHostileLists(t *testing.T) {
	header := faultHeader()
	header.Version = 1
	text, _ := json.Marshal(header)
	prompt := `{"id":"a","prompt_tokens":1,"reply_tokens":0,"window_rows":0,"tokens":[1],"LIST":[` + "VALUES" + `],"blocks":0}`
	const many = 30 << 20
	for list, value := range map[string]string{
		"references": `""`, "pieces": `""`, "offsets": `0`, "tokens": `0`, "future": `{}`,
		"plan.layers": `0`, "plan.heads": `0`, "model.layer_windows": `0`, "manifest.command": `""`,
		"manifest.lacks.prompts": `""`, "manifest.ignored.config": `""`, "identity.config": `"":""`,
	} {
		t.Run(list, func(t *testing.T) {
			values := strings.Repeat(value+",", many) + value
			var f forge
			names := strings.Split(list, ".")
			if len(names) == 1 {
				f.zstd(record{Kind: kindHeader}, text)
				f.zstd(record{Kind: kindPrompt}, []byte(strings.NewReplacer("LIST", list, "VALUES", values).Replace(prompt)))
			} else {
				values = values[:min(len(values), maxJSON-1000)]
				open, end := "[", "]"
				if list == "identity.config" {
					open, end = "{", "}"
				}
				inner := open + strings.TrimRight(values, ",") + end
				for _, name := range slices.Backward(names) {
					inner = fmt.Sprintf("{%q:%s}", name, inner)
				}
				f.zstd(record{Kind: kindHeader}, []byte(inner))
			}
			path := f.save(t, true)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := Open(path)
			runtime.ReadMemStats(&after)
			said := fmt.Sprint(err)
			if err == nil {
				said = strings.Join(r.Warnings(), " ")
				r.Close()
			}
			if !strings.Contains(said, "which is the most that is read") {
				t.Errorf("%s", said)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 800<<20 {
				t.Errorf("%d MB were taken", took>>20)
			}
		})
	}
}
