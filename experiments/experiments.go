// Package experiments makes the experiments of the SnapKV paper
// (arXiv:2404.14469) on a model of the user's: each is a recipe that builds
// prompts, captures or decodes, analyses, and leaves tables, figures and words
// in a folder.
package experiments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/viz"
)

// Experiment is one recipe.
type Experiment struct {
	Name     string
	Figure   string // of the paper
	Question string
	Sets     string // prompt sets it takes with -p SET=FILE
	run      func(ctx context.Context, l *Lab) (words string, err error)
}

// Experiments lists every recipe, in the order `all` runs them.
var Experiments = []Experiment{
	{"generation", "Fig. 3 (v1: section 3.1)", "Do the positions that the prompt's end votes for stay the ones that a long reply attends to?", "dialogues, or any set of documents", generation},
	{"windows", "Fig. 2", "Which part of the prompt votes like its end: can the pattern be seen before generation?", "dialogues, or any set of documents", windows},
	{"sweep", "asked for by readers", "How large must the observation window be: is the last token enough?", "dialogues, or any set of documents", sweep},
	{"contexts", "Fig. 4", "Do different instructions on one document attend to the same positions?", "any sets of documents with several instructions", contexts},
	{"position", "Fig. 5", "Does it matter whether the instruction stands before, after or inside the document?", "any sets of documents", position},
	{"methods", "LongBench tables, in small", "What do SnapKV and its rivals keep at a budget, and what does the reply lose?", "any set of documents", methods},
	{"pooling", "Fig. 8 (v1), LongEval-Lines", "Does pooling the votes help retrieval?", "lines (made by recipe)", pooling},
	{"needle", "needle in a haystack", "Is a sentence in a long text still found after compression?", "haystack=FILE.txt", needle},
	{"ruler", "beside the needle", "Is a number in a long text still found after compression, among others that mislead?", "haystack=FILE.txt", ruler},
	{"speed", "Fig. 7 (decode latency)", "How do decode speed and cache grow with the prompt, full and compressed?", "none", speed},
}

// Find looks an experiment up.
func Find(name string) (Experiment, error) {
	var names []string
	for _, e := range Experiments {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Experiment{}, fmt.Errorf("experiment %q: want %s or all", name, strings.Join(names, ", "))
}

// Lab is what experiments work with.
type Lab struct {
	Model     *model.Model // nil: nothing is run, Plan is filled
	ModelID   string       // for captions
	Config    model.Config
	Threads   int
	Tokenizer *tokenizer.Tokenizer
	Header    func(plan *dumps.Plan, list []prompts.Prompt) (dumps.Header, error)
	Dir       string            // results go to Dir/NAME
	Captures  string            // folder of the captures; empty: Dir/captures
	Sets      map[string]string // SET=FILE
	SetOrder  []string
	Quick     bool
	Seed      uint64
	MaxTokens int // longest document, in tokens; longer ones lose their middle, and their set is marked truncated
	Origin    viz.Origin
	Log       func(format string, args ...any)
	Progress  func(capture.Progress)
	Plan      *table.Table // where Model is nil: what would be done, columns PlanColumns

	name  string
	notes map[string]any
}

// Run makes one experiment.
func (l *Lab) Run(ctx context.Context, e Experiment) error {
	l.name, l.notes, l.Origin.Manifests = e.Name, map[string]any{}, map[string]string{}
	if l.Model != nil {
		if err := os.MkdirAll(l.dir(), 0o755); err != nil {
			return err
		}
	}
	words, err := e.run(ctx, l)
	if errors.Is(err, errPlanned) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	l.notes["experiment"], l.notes["figure"], l.notes["command"] = e.Name, e.Figure, l.Origin.Command()
	l.notes["seed"], l.notes["quick"] = l.Seed, l.Quick
	text, err := json.MarshalIndent(l.notes, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(l.dir(), "run.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return err
	}
	if n, ok := l.notes["documents_truncated"].(int); ok && n > 0 {
		words += fmt.Sprintf("\n%d of %d documents are longer than what was asked for or what the model takes and lost their middle; their sets are marked truncated.\n", n, l.notes["documents"])
	}
	readme := fmt.Sprintf("# %s: %s\n\n%s. Made by `%s`.\n\n%s", e.Name, e.Question, e.Figure, l.Origin.Command(), words)
	return os.WriteFile(filepath.Join(l.dir(), "README.md"), []byte(readme), 0o644)
}

func (l *Lab) dir() string { return filepath.Join(l.Dir, l.name) }

func (l *Lab) captures() string {
	if l.Captures == "" {
		return filepath.Join(l.Dir, "captures")
	}
	return l.Captures
}

// table writes a table as CSV and Parquet.
func (l *Lab) table(t *table.Table, name string) error {
	for _, format := range []string{"csv", "parquet"} {
		if err := t.WriteFile(filepath.Join(l.dir(), name+"."+format), format); err != nil {
			return err
		}
	}
	return nil
}

// figure writes a figure as PNG and SVG.
func (l *Lab) figure(f *viz.Figure, name string) error {
	f.Meta = f.Meta.With("figure", l.name+"/"+name)
	for _, ext := range []string{".png", ".svg"} {
		if err := f.Save(filepath.Join(l.dir(), name+ext)); err != nil {
			return err
		}
	}
	return nil
}

// caption begins a figure's small print with the model.
func (l *Lab) caption(format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if l.ModelID != "" {
		text = l.ModelID + "; " + text
	}
	return text
}

func (l *Lab) meta() viz.Meta {
	return l.Origin.Meta().With("experiment", l.name)
}

// capture records prompts into Dir/captures/NAME.attn. A finished capture of the
// same prompts, plan and model is used again, a partial one completed.
func (l *Lab) capture(ctx context.Context, name string, list []prompts.Prompt, plan dumps.Plan) (string, error) {
	dir, c := l.captures(), l.Config
	for i := range c.Layers {
		plan.Layers = append(plan.Layers, i)
	}
	for i := range c.Heads {
		plan.Heads = append(plan.Heads, i)
	}
	plan.Precision = dumps.Fine
	plan.Compute = "f32"
	if plan.Store == "" {
		plan.Store = dumps.StoreAuto
	}
	header, err := l.Header(&plan, list)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name+".attn")
	l.notes["capture"] = map[string]any{"prompts": len(list), "prompts_sha256": header.Manifest.PromptsSHA256, "model": header.Model.ID, "model_sha256": header.Model.SHA256, "plan": header.Plan}
	cfg := capture.Config{Model: l.Model, Prompts: list, Out: path, Header: header, Resume: true, Progress: l.Progress}
	if l.Model == nil {
		return "", l.planCapture(name, &cfg)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if _, err = capture.Run(ctx, cfg); errors.Is(err, dumps.ErrComplete) {
		l.Log("%s: %s is used again", l.name, path)
	} else if err != nil {
		return path, err
	}
	r, err := dumps.Open(path)
	if err != nil {
		return path, err
	}
	defer r.Close()
	l.Origin.Manifests[path] = r.Header().SHA256()
	return path, nil
}

// short is a number with three digits behind the point.
func short(v any) string {
	if x, ok := v.(float64); ok {
		return fmt.Sprintf("%.3f", x)
	}
	return fmt.Sprint(v)
}

// markdown is a table with numbers of three digits, only the given columns.
func markdown(t *table.Table, columns ...string) string {
	out := table.New(columns...)
	for _, row := range t.Rows {
		var cells []any
		for _, c := range columns {
			cell := short(row[t.Column(c)])
			if cell == "0.000" && (c == "p" || strings.HasSuffix(c, "_p")) {
				cell = "<0.001" // a p-value is never zero
			}
			cells = append(cells, cell)
		}
		out.Add(cells...)
	}
	var b strings.Builder
	out.Markdown(&b)
	return b.String()
}

// few says what a reader must not conclude.
func few(n int) string {
	if n >= 10 {
		return ""
	}
	return fmt.Sprintf("\n**Only %d prompts: read the numbers as an illustration, not as a finding.**\n", n)
}
