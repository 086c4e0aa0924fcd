package experiments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// Lab holds what experiments need: a model, prompt sets, and a folder for the
// results.
type Lab struct {
	Model     *model.Model // nil: nothing is run, and Plan is filled
	ModelID   string       // for captions
	Config    model.Config
	Threads   int
	Tokenizer *tokenizer.Tokenizer
	// Header makes the header of a capture of the prompts; it may fill in what
	// the plan leaves open.
	Header   func(plan *dumps.Plan, list []prompts.Prompt) (dumps.Header, error)
	Dir      string            // results go to Dir/NAME
	Captures string            // folder of the captures; empty: Dir/captures
	Sets     map[string]string // file of each prompt set
	SetOrder []string          // names of the sets, as given
	Quick    bool              // few prompts and short replies
	Seed     uint64
	// MaxTokens is the longest document, in tokens; 0: what the model takes.
	// Longer ones lose their middle, and their set is marked truncated.
	MaxTokens int
	Methods   []snapkv.Method // that the experiment methods compares; nil: the common ones
	Configs   []snapkv.Config // with which it does so; nil: the defaults at four capacities
	Origin    viz.Origin
	Log       func(format string, args ...any) // may be nil
	Progress  func(capture.Progress)           // may be nil
	Batch     func(*capture.Config) int        // replies that a capture decodes together; nil: 1
	Plan      *Plan                            // filled where Model is nil

	name  string // of the experiment that runs
	notes runNotes
	drawn []string // names of its figures
}

// runNotes is the content of an experiment's run.json. Its keys are sorted.
type runNotes struct {
	Capture            *captureNotes `json:"capture,omitempty"`
	Command            string        `json:"command"`
	DialoguesFollowed  *int          `json:"dialogues_followed,omitempty"`
	DialoguesTooShort  *int          `json:"dialogues_too_short,omitempty"`
	Documents          *int          `json:"documents,omitempty"`
	DocumentsTruncated *int          `json:"documents_truncated,omitempty"`
	Experiment         string        `json:"experiment"`
	Figure             string        `json:"figure"`
	Quick              bool          `json:"quick"`
	ReplyDistinct4     *float64      `json:"reply_distinct_4grams,omitempty"`
	Seed               uint64        `json:"seed"`
}

// captureNotes describes the last capture.
type captureNotes struct {
	Model         string     `json:"model"`
	ModelSHA256   string     `json:"model_sha256"`
	ModelRevision string     `json:"model_revision,omitempty"`
	Plan          dumps.Plan `json:"plan"`
	Program       string     `json:"program,omitempty"`
	Prompts       int        `json:"prompts"`
	PromptsSHA256 string     `json:"prompts_sha256"`
}

// Run runs one experiment and writes its tables, figures, run.json and README.md into
// Dir/NAME. Captures and decoded results of earlier runs are reused if prompts, plan
// and model are the same.
func (l *Lab) Run(ctx context.Context, e Experiment) error {
	l.name = e.Name
	l.notes = runNotes{
		Command:    l.Origin.Command(),
		Experiment: e.Name,
		Figure:     e.Figure,
		Quick:      l.Quick,
		Seed:       l.Seed,
	}
	l.drawn = nil
	l.Origin.Manifests = map[string]string{}
	if l.Model != nil {
		if err := os.MkdirAll(l.dir(), 0o755); err != nil {
			return err
		}
	}
	report, err := e.run(ctx, l)
	if errors.Is(err, errPlanned) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	text, err := json.MarshalIndent(&l.notes, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir(), "run.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	readme, err := l.readme(e, report)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir(), "README.md"), readme, 0o644)
}

// dir returns the folder of the experiment's results.
func (l *Lab) dir() string { return filepath.Join(l.Dir, l.name) }

// captures returns the folder of captures and decoded results.
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
	l.drawn = append(l.drawn, name)
	return nil
}

// curves writes a figure of curves.
func (l *Lab) curves(k viz.Curves, name string) error {
	k.Meta = l.meta()
	return l.figure(viz.CurvesFigure(k), name)
}

// caption formats a figure's caption, which begins with the model.
func (l *Lab) caption(format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if l.ModelID != "" {
		text = l.ModelID + "; " + text
	}
	return text
}

// meta returns the metadata of figures, which describe their origin.
func (l *Lab) meta() viz.Meta {
	return l.Origin.Meta().With("experiment", l.name)
}

// capture records all layers and heads of the prompts into NAME.attn in the folder of
// captures and returns the path. A finished capture of the same prompts, plan and
// model is reused, and a partial one is completed. Without a model, the capture is
// only planned and the error is errPlanned.
func (l *Lab) capture(ctx context.Context, name string, list []prompts.Prompt, plan dumps.Plan) (string, error) {
	for i := range l.Config.Layers {
		plan.Layers = append(plan.Layers, i)
	}
	for i := range l.Config.Heads {
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
	l.notes.Capture = &captureNotes{
		Model:         header.Model.ID,
		ModelSHA256:   header.Model.SHA256,
		ModelRevision: header.Manifest.ModelRevision,
		Plan:          header.Plan,
		Program:       header.Manifest.Program,
		Prompts:       len(list),
		PromptsSHA256: header.Manifest.PromptsSHA256,
	}
	path := filepath.Join(l.captures(), name+".attn")
	cfg := capture.Config{
		Model:    l.Model,
		Prompts:  list,
		Out:      path,
		Header:   header,
		Resume:   true,
		Progress: l.Progress,
	}
	if l.Model == nil {
		return "", l.planCapture(name, &cfg)
	}
	if l.Batch != nil {
		cfg.Batch = l.Batch(&cfg)
	}
	if err := os.MkdirAll(l.captures(), 0o755); err != nil {
		return "", err
	}
	_, err = capture.Run(ctx, cfg)
	if errors.Is(err, dumps.ErrComplete) {
		l.noteReuse(path)
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

// noteReuse notes that a file of an earlier run is used again.
func (l *Lab) noteReuse(path string) {
	if l.Log != nil {
		l.Log("%s: %s is used again", l.name, path)
	}
}
