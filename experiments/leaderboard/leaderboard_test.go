package leaderboard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/tasks"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/filelock"
	"github.com/attnscope/attnscope/snapkv"
)

// tinyModel opens a test model with 4,096 positions and a tokenizer of letters.
func tinyModel(t *testing.T) *capture.Source {
	t.Helper()
	dir := t.TempDir()
	from := filepath.Join("..", "..", "engine", "model", "testdata", "qwen3")
	for name, path := range map[string]string{
		"config.json":       filepath.Join(from, "config.json"),
		"model.safetensors": filepath.Join(from, "model.safetensors"),
		"tokenizer.json":    filepath.Join("..", "..", "cmd", "attnscope", "testdata", "letters.json"),
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.Replace(data, []byte(`"max_position_embeddings": 512`), []byte(`"max_position_embeddings": 4096`), 1)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	src, err := capture.Open(t.Context(), dir, capture.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	if err := src.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return src
}

// tinyConfig is a run of two prompts of each of two tasks, by two methods at two budgets.
func tinyConfig(t *testing.T, src *capture.Source) Config {
	t.Helper()
	list, err := tasks.Find([]string{"lines", "vt"})
	if err != nil {
		t.Fatal(err)
	}
	samples, _, err := tasks.Make(t.Context(), tasks.Config{
		Tokenizer: src.Tokenizer, Tasks: list, Lengths: []int{1800}, Samples: 2, Seed: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Model: src.Model, Tokenizer: src.Tokenizer, Samples: samples, Base: snapkv.Default,
		Budgets: []decode.Budget{{Percent: 10}, {Positions: 64}},
		About:   Run{Model: "tiny", ModelSHA256: "00", Compute: "f32", Device: "cpu"},
	}
	c.Base.Window = 8
	for _, name := range []string{"snapkv", "random"} {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		c.Methods = append(c.Methods, m)
	}
	if err := c.Check(&src.Config); err != nil {
		t.Fatal(err)
	}
	return c
}

// timeless returns the board's file without speeds.
func timeless(t *testing.T, b *Board) string {
	t.Helper()
	for _, r := range b.Runs {
		r.Command = nil
		slices.SortFunc(r.Answers, func(a, b *Answer) int {
			return strings.Compare(a.Task+string(rune('0'+a.Sample)), b.Task+string(rune('0'+b.Sample)))
		})
		for _, a := range r.Answers {
			for i := range a.Results {
				a.Results[i].DecodeTokens = 0
			}
		}
	}
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func read(t *testing.T, paths ...string) *Board {
	t.Helper()
	b, err := Read(paths...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStoppedAndShardedRunsGiveTheSame: a run that is stopped, loses half a line and goes
// on; two shards that are read together; and methods and tasks that are run one after the
// other have the answers of a run in one piece. The replies are those of decode.Run.
func TestStoppedAndShardedRunsGiveTheSame(t *testing.T) {
	src := tinyModel(t)
	c := tinyConfig(t, src)
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.jsonl")
	if err := Record(t.Context(), c, whole); err != nil {
		t.Fatal(err)
	}
	want := timeless(t, read(t, whole))

	stopped := filepath.Join(dir, "stopped.jsonl")
	ctx, cancel := context.WithCancel(t.Context())
	first := c
	first.Progress = func(p capture.Progress) {
		if p.Prompt == 2 {
			cancel()
		}
	}
	if err := Record(ctx, first, stopped); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if missing, planned := read(t, stopped).Runs[0].Missing(); missing != 2 || planned != 4 {
		t.Errorf("%d of %d prompts are missing, want 2 of 4", missing, planned)
	}
	f, err := os.OpenFile(stopped, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"task":"vt","len`)
	f.Close()
	ran := 0
	second := c
	second.Progress = func(p capture.Progress) { ran = p.Prompts }
	if err := Record(t.Context(), second, stopped); err != nil {
		t.Fatal(err)
	}
	if got := timeless(t, read(t, stopped)); got != want || ran != 2 {
		t.Errorf("a stopped run, of which %d prompts were missing, has other answers:\n%s\nwant\n%s", ran, got, want)
	}

	var shards []string
	for i := range 2 {
		shard := c
		shard.Mine = func(n int) bool { return n%2 == i }
		shards = append(shards, filepath.Join(dir, string(rune('a'+i))))
		if err := Record(t.Context(), shard, shards[i]); err != nil {
			t.Fatal(err)
		}
	}
	if missing, _ := read(t, shards[0]).Runs[0].Missing(); missing != 2 {
		t.Errorf("a shard lacks %d prompts, want 2", missing)
	}
	if got := timeless(t, read(t, shards...)); got != want {
		t.Errorf("two shards have other answers:\n%s\nwant\n%s", got, want)
	}

	parts := filepath.Join(dir, "parts.jsonl")
	for _, m := range c.Methods {
		part := c
		part.Methods = []snapkv.Method{m}
		for _, s := range [][]tasks.Sample{c.Samples[:2], c.Samples[2:]} {
			part.Samples = s
			if err := Record(t.Context(), part, parts); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := read(t, parts)
	for _, a := range b.Runs[0].Answers { // methods by budgets, as in one piece
		slices.SortStableFunc(a.Results[1:], func(x, y Result) int {
			return slices.Index([]string{"snapkv", "random"}, x.Method) - slices.Index([]string{"snapkv", "random"}, y.Method)
		})
	}
	if got := timeless(t, b); got != want {
		t.Errorf("parts have other answers:\n%s\nwant\n%s", got, want)
	}

	s := &c.Samples[3]
	run := c.Decoding(s)
	var texts []string
	if err := decode.Run(t.Context(), run, func(r decode.Result) error {
		texts = append(texts, r.Text)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	a := read(t, whole).Runs[0].Answers[3]
	for i, r := range a.Results {
		if r.Text != texts[i] || r.Score != s.Score(r.Text) {
			t.Errorf("reply %d: %q with score %g, want %q", i, r.Text, r.Score, texts[i])
		}
	}
	if len(a.Results) != 5 || a.Results[1].Capacity != int(math.Round(0.1*float64(a.PromptTokens))) || a.Results[2].Capacity != 64 {
		t.Errorf("results %+v", a.Results)
	}
}

// TestCompressedBeforeTheQuestion: budgets count positions of the context, the tokens after it
// are kept, and the answers belong to a run of their own.
func TestCompressedBeforeTheQuestion(t *testing.T) {
	src := tinyModel(t)
	c := tinyConfig(t, src)
	c.Samples = c.Samples[:1]
	path := filepath.Join(t.TempDir(), "run.jsonl")
	for _, place := range []decode.Place{"", decode.AtContext} {
		c.Place = place
		if err := Record(t.Context(), c, path); err != nil {
			t.Fatal(err)
		}
	}
	b := read(t, path)
	if len(b.Runs) != 2 || b.Runs[0].Settings.CompressAt != decode.AtPrompt || b.Runs[1].Settings.CompressAt != decode.AtContext {
		t.Fatalf("%d runs", len(b.Runs))
	}
	p := &c.Samples[0].Prompt
	before := b.Runs[1].Answers[0].Results[1]
	full := b.Runs[1].Answers[0].Results[0]
	want := int(math.Round(0.1 * float64(p.Context)))
	perPosition := full.CacheBytes / int64(len(p.Tokens))
	kept := int64(2*want + 2*(len(p.Tokens)-p.Context)) // for the two query heads of each kv head
	if before.Capacity != want || before.CacheBytes != kept*perPosition {
		t.Errorf("capacity %d, want %d; %d bytes, want %d", before.Capacity, want, before.CacheBytes, kept*perPosition)
	}
}

// TestQuantizedRuns: a budget in bits has a row of the quantized full cache, whose bytes the
// methods do not exceed; a run with quantized caches stays apart from one without, and both are
// compared by method and budget.
func TestQuantizedRuns(t *testing.T) {
	src := tinyModel(t)
	c := tinyConfig(t, src)
	c.Samples = c.Samples[:2]
	c.Methods = c.Methods[:1]
	c.Base.Group = snapkv.GroupMean
	c.Budgets = []decode.Budget{{Bits: 4}}
	c.Format = model.CacheFormat{Group: 8, Residual: 16}
	path := filepath.Join(t.TempDir(), "run.jsonl")
	record := func(want int) *Board {
		t.Helper()
		if err := Record(t.Context(), c, path); err != nil {
			t.Fatal(err)
		}
		b := read(t, path)
		if len(b.Runs) != want {
			t.Fatalf("%d runs, want %d", len(b.Runs), want)
		}
		return b
	}
	plain := record(1)
	rows := plain.Rows(RowOptions{Seed: 1})
	var names []string
	for _, r := range rows {
		names = append(names, r.Budget.String()+" "+r.Method)
	}
	slices.Sort(names[1:])
	if !slices.Equal(names, []string{"all full", "4bit full", "4bit snapkv"}) {
		t.Fatalf("rows %q", names)
	}
	for _, a := range plain.Runs[0].Answers {
		full, kept := a.Results[1], a.Results[2]
		perPosition := a.Results[0].CacheBytes / int64(a.PromptTokens)
		if kept.CacheBytes > full.CacheBytes || kept.CacheBytes+perPosition <= full.CacheBytes || full.CacheRatio > 0.51 {
			t.Errorf("%d bytes of %d positions, want at most %d", kept.CacheBytes, kept.Capacity, full.CacheBytes)
		}
	}
	against := plain.Rows(RowOptions{Seed: 1, Against: "snapkv"})
	for _, r := range against {
		if r.Method == "snapkv" != math.IsNaN(r.P) && r.Budget != (decode.Budget{}) {
			t.Errorf("against snapkv: %+v", r)
		}
	}
	c.Format.Bits = 2
	c.Budgets = []decode.Budget{{Positions: 64}, {Bits: 4}}
	both := record(2)
	second := both.Runs[1]
	if second.Settings.KVBits != 2 || len(second.Answers[0].Results) != 5 || !strings.Contains(second.SettingsText(), "2 bits in groups of 8") {
		t.Errorf("results %+v; %s", second.Answers[0].Results, second.SettingsText())
	}
	pairs := Compare(both.Runs[0], second, 1)
	if len(pairs) != 3 || pairs[1].Budget.Bits != 4 || pairs[2].Prompts != 2 {
		t.Errorf("pairs %+v", pairs)
	}
	table := Table(both.Rows(RowOptions{Seed: 1}))
	if last := len(table.Columns) - 1; table.Columns[last] != "kv_bits" || len(table.Rows) != 8 {
		t.Fatalf("columns %q of %d rows", table.Columns, len(table.Rows))
	}
	for _, row := range table.Rows {
		want := 16
		switch {
		case row[4] == "all":
		case row[5] == "full" && row[4] == "4bit":
			want = 4
		case row[0] == 2:
			want = 2
		}
		if bits := row[len(row)-1]; bits != want {
			t.Errorf("row %v has %v bits, want %d", row[:6], bits, want)
		}
	}
	c.Format.Bits = 0
	c.DecodeEvery = 4
	if b := record(3); b.Runs[2].Settings.DecodeEvery != 4 {
		t.Errorf("settings %+v", b.Runs[2].Settings)
	}
	c.EqualBytes = true // says nothing without quantized caches
	record(3)
}

// TestOlderFilesHaveDefaultGroups: a run that does not name the groups of quantized caches is
// that of the default ones.
func TestOlderFilesHaveDefaultGroups(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.jsonl")
	text := `{"attnscope_leaderboard":1,"settings":{"window":8}}` + "\n" +
		`{"attnscope_leaderboard":1,"settings":{"window":8,"kv_group":32,"kv_residual":128}}` + "\n" +
		`{"attnscope_leaderboard":1,"settings":{"window":8,"kv_group":64,"kv_residual":128}}` + "\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if b := read(t, path); len(b.Runs) != 2 {
		t.Errorf("%d runs, want 2", len(b.Runs))
	}
}

// TestOneRunWritesAFile: another run into the same file is refused and leaves it as it is.
func TestOneRunWritesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.jsonl")
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := filelock.Lock(f); err != nil {
		t.Fatal(err)
	}
	if err := Record(t.Context(), Config{}, path); err == nil || err.Error() != path+": another process is writing it" {
		t.Errorf("error %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "{" {
		t.Errorf("the file holds %q, error %v", text, err)
	}
}

// TestOtherFilesStay: a file of a single line without an end is no run that was stopped.
func TestOtherFilesStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prompts.jsonl")
	for text, ours := range map[string]bool{`{"prompt":"a"}`: false, "notes": false, `{"attnscope_lead`: true, `{"attnscope_leaderboard":1,"mo`: true} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, size, err := readOpen(path); size != 0 || (err == nil) != ours {
			t.Errorf("%s: %d bytes stay, error %v", text, size, err)
		}
	}
}

// board makes a board of one run: the scores of each method at each sample of each task.
func board(model string, scores map[string]map[string][]float64) *Board {
	b := &Board{}
	var run Run
	run.Model = model
	run.ModelSHA256 = model
	for task, methods := range scores {
		run.Plan = append(run.Plan, Planned{Task: task, Length: 100, Samples: len(methods[snapkv.Full])})
	}
	slices.SortFunc(run.Plan, func(a, b Planned) int { return strings.Compare(a.Task, b.Task) })
	own := b.addRun(run)
	for _, p := range own.Plan {
		for i := range p.Samples {
			a := &Answer{Task: p.Task, Length: 100, Sample: i}
			a.Results = append(a.Results, Result{Method: snapkv.Full, Score: scores[p.Task][snapkv.Full][i], CacheBytes: 1000, CacheRatio: 1})
			for _, method := range []string{"snapkv", "random"} {
				if s := scores[p.Task][method]; s != nil {
					a.Results = append(a.Results, Result{
						Method: method, Budget: decode.Budget{Percent: 10}, Score: s[i], CacheBytes: 100, CacheRatio: 0.1,
					})
				}
			}
			if err := own.add(a); err != nil {
				panic(err)
			}
		}
	}
	return b
}

// TestRows: means, losses prompt by prompt, and tests whose p-values can be counted: five
// equal losses have the sum of 2 of 32 sign patterns.
func TestRows(t *testing.T) {
	b := board("m", map[string]map[string][]float64{
		"a": {"full": {1, 1, 1, 1, 1}, "snapkv": {1, 1, 1, 1, 0}, "random": {0, 0, 0, 0, 0}},
		"b": {"full": {0.5, 0.5, 0.5, 0.5, 0.5}, "snapkv": {0.5, 0.5, 0.5, 0.5, 0.5}, "random": {0, 0, 0, 0, 0}},
	})
	rows := b.Rows(RowOptions{Seed: 1})
	type want struct {
		task, method   string
		prompts        int
		score, loss, p float64
		holm           float64
	}
	nan := math.NaN()
	all := []float64{1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5}
	pAll := analysis.SignFlip(all, 1)
	for i, w := range []want{
		{"*", "full", 10, 0.75, 0, nan, nan},
		{"*", "snapkv", 10, 0.65, 0.1, 1, 1},
		{"*", "random", 10, 0, 0.75, pAll, 2 * pAll},
		{"a", "full", 5, 1, 0, nan, nan},
		{"a", "snapkv", 5, 0.8, 0.2, 1, 1},
		{"a", "random", 5, 0, 1, 2.0 / 32, 4.0 / 32},
		{"b", "full", 5, 0.5, 0, nan, nan},
		{"b", "snapkv", 5, 0.5, 0, 1, 1},
		{"b", "random", 5, 0, 0.5, 2.0 / 32, 4.0 / 32},
	} {
		r := rows[i]
		got := want{r.Task, r.Method, r.Prompts, r.Score, r.Loss, r.P, r.PHolm}
		near := func(x, y float64) bool { return math.Abs(x-y) < 1e-12 || math.IsNaN(x) && math.IsNaN(y) }
		if got.task != w.task || got.method != w.method || got.prompts != w.prompts || !near(got.score, w.score) ||
			!near(got.loss, w.loss) || !near(got.p, w.p) || !near(got.holm, w.holm) {
			t.Errorf("row %d: %+v, want %+v", i, got, w)
		}
	}
	if len(rows) != 9 || pAll != 2.0/1024 {
		t.Errorf("%d rows, p %g", len(rows), pAll)
	}
	against := b.Rows(RowOptions{Seed: 1, Against: "random"})
	if r := against[4]; r.Method != "snapkv" || r.Loss != -0.8 || r.P != 4.0/32 {
		t.Errorf("against random: %+v", r)
	}
	if r := against[5]; r.Method != "random" || !math.IsNaN(r.P) {
		t.Errorf("random against itself: %+v", r)
	}
}

// TestHolm: the textbook's example of four p-values.
func TestHolm(t *testing.T) {
	rows := []Row{{P: 0.04}, {P: 0.01}, {P: math.NaN()}, {P: 0.03}, {P: 0.005}}
	holm(rows)
	for i, want := range []float64{0.06, 0.03, math.NaN(), 0.06, 0.02} {
		if got := rows[i].PHolm; math.Abs(got-want) > 1e-12 || math.IsNaN(got) != math.IsNaN(want) {
			t.Errorf("p %g: %g, want %g", rows[i].P, got, want)
		}
	}
}

// TestLeastPNote: the note is about the place whose smallest p is the largest, and there is
// none if every p can be 0.05.
func TestLeastPNote(t *testing.T) {
	rows := []Row{
		{Task: "a", Prompts: 4, P: 1},
		{Task: "a", Prompts: 4, P: 0.5},
		{Task: "a", Prompts: 4, P: math.NaN()},
		{Task: "b", Prompts: 8, P: 1},
		{Task: "c", Prompts: 1, P: math.NaN()},
	}
	want := []string{"With 4 prompts and 2 tested rows of a task and length, the corrected p cannot be below 0.25."}
	if got := LeastPNote(rows); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := LeastPNote(rows[2:]); got != nil {
		t.Errorf("got %q, want none", got)
	}
}

func TestCompare(t *testing.T) {
	first := board("m", map[string]map[string][]float64{"a": {"full": {1, 1, 1}, "snapkv": {1, 0, 0}}})
	second := board("n", map[string]map[string][]float64{"a": {"full": {1, 1, 0}, "snapkv": {1, 1, 1}}, "b": {"full": {1}}})
	rows := Compare(first.Runs[0], second.Runs[0], 1)
	if len(rows) != 2 || rows[0].Method != "full" || rows[0].Prompts != 3 || math.Abs(rows[0].Difference+1.0/3) > 1e-12 {
		t.Fatalf("rows %+v", rows)
	}
	if r := rows[1]; r.Method != "snapkv" || math.Abs(r.Difference-2.0/3) > 1e-12 || r.P != 0.5 {
		t.Errorf("row %+v", r)
	}
	second.Runs[0].Answers[0].PromptSHA256 = "other"
	if rows := Compare(first.Runs[0], second.Runs[0], 1); rows[0].Prompts != 2 {
		t.Errorf("a different prompt is compared: %+v", rows[0])
	}
}

func TestReadRefuses(t *testing.T) {
	run, _ := json.Marshal(Run{Format: 1, Model: "m"})
	answer := func(text string) string {
		line, _ := json.Marshal(Answer{Task: "a", Results: []Result{{Method: "full", Text: text}}})
		return string(line)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing": {"", "no results of attnscope leaderboard"},
		"no run":  {answer("x") + "\n", "line 1: no results of attnscope leaderboard"},
		"version": {`{"attnscope_leaderboard":2}` + "\n", "line 1: results of version 2: want 1"},
		"no JSON": {string(run) + "\n{\n", "line 2: the JSON text is cut off"},
		"no text": {"PK\x03\x04\n", "line 1: no results of attnscope leaderboard"},
		"conflict": {
			string(run) + "\n" + answer("x") + "\n" + answer("y") + "\n",
			"line 3: a, length 0, sample 0, full at budget all: two different replies",
		},
		"no result": {string(run) + "\n{\"task\":\"a\"}\n", "line 2: the first result of an answer is not that of the full cache"},
	} {
		path := filepath.Join(t.TempDir(), "x.jsonl")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path+": "+c.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
