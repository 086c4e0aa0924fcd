package dumps

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/internal/words"
)

// Version is the highest version of the format that this package reads and writes. A dump
// has the lowest version that describes its model. FORMAT.md lists what each version
// changed.
const Version = 2

// Header is the first record of a dump.
type Header struct {
	Version  int       `json:"version"`
	Model    ModelInfo `json:"model"`
	Plan     Plan      `json:"plan"`
	Manifest Manifest  `json:"manifest"`
	Identity Identity  `json:"identity,omitzero"`
}

// ModelInfo describes the model as far as a reader needs to know it.
type ModelInfo struct {
	ID           string  `json:"id"`
	SHA256       string  `json:"sha256"` // of the weights
	Architecture string  `json:"architecture"`
	Layers       int     `json:"layers"`
	Heads        int     `json:"heads"`
	KVHeads      int     `json:"kv_heads"`
	HeadDim      int     `json:"head_dim"`
	ValueDim     int     `json:"value_dim"`
	Vocab        int     `json:"vocab"`
	MaxPositions int     `json:"max_positions"`
	Scale        float64 `json:"scale"`         // score = scale q·k
	SoftCap      float64 `json:"soft_cap"`      // score = cap tanh(score/cap); 0: none
	LayerWindows []int   `json:"layer_windows"` // sliding window of each layer, in tokens; 0: none

	// LayerShapes describes each layer of a model whose layers differ in more than their
	// windows, or have properties that version 1 cannot express. The sizes above are then
	// the largest of all layers. If it is empty, all layers are alike. Layer returns the
	// shape of a layer in both cases.
	LayerShapes []LayerShape `json:"layer_shapes,omitempty"`
}

// Manifest says where a dump comes from; it does not change what the dump holds.
type Manifest struct {
	Program         string   `json:"program"`
	Go              string   `json:"go"`
	Command         []string `json:"command"`
	Host            string   `json:"host"`
	Threads         int      `json:"threads"`
	Created         string   `json:"created"`
	PromptsFile     string   `json:"prompts_file"`
	PromptsSHA256   string   `json:"prompts_sha256"`
	TokenizerSHA256 string   `json:"tokenizer_sha256,omitempty"`
	Seed            int64    `json:"seed"`
	Ignored         Ignored  `json:"ignored,omitzero"`

	// ModelRevision is the commit of a model of the hub; empty: unknown, or not of the hub.
	ModelRevision string `json:"model_revision,omitempty"`
	// Prompts is the number of prompts in the set, of which a shard records a part; 0:
	// unknown.
	Prompts int `json:"prompts,omitempty"`
	// PromptFieldsSHA256 is a hash of the fields of the prompts that are copied into the
	// dump: data sets, answers and documents.
	PromptFieldsSHA256 string `json:"prompt_fields_sha256,omitempty"`
	// Lacks says which prompts a merge or a repair could not find.
	Lacks Lacks `json:"lacks,omitzero"`
}

// Ignored lists what was not understood and was ignored because the user asked for it.
type Ignored struct {
	// Config holds keys of config.json, generation_config.json, tokenizer_config.json
	// or of GGUF metadata, sorted.
	Config []string `json:"config,omitempty"`
	Fields []string `json:"fields,omitempty"` // of prompt records, sorted
}

// IsZero reports whether nothing was ignored.
func (g Ignored) IsZero() bool { return len(g.Config) == 0 && len(g.Fields) == 0 }

// String lists what was ignored as text; it is empty if nothing was.
func (g Ignored) String() string {
	var parts []string
	if len(g.Config) > 0 {
		parts = append(parts, "configuration keys "+strings.Join(g.Config, ", "))
	}
	if len(g.Fields) > 0 {
		parts = append(parts, "prompt fields "+strings.Join(g.Fields, ", "))
	}
	return strings.Join(parts, "; ")
}

// SHA256 returns the hash of the header: of model, plan and manifest. Captures have
// the same hash only if they were made in the same way from the same prompts.
func (h *Header) SHA256() string {
	text, _ := json.Marshal(h)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// readHeader reads and checks the header of the file called name. The warnings name what
// it holds that this program does not know and, as FORMAT.md says, ignores.
func readHeader(f io.ReaderAt, r record, name string) (h *Header, warnings []string, err error) {
	raw, _, err := readJSON(f, r, maxHeaderValues)
	h = &Header{}
	if err == nil {
		err = unmarshal(r.Kind, raw, h)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if !within(h.Version, 1, Version) {
		return nil, nil, fmt.Errorf("%s: format version %d, this program reads versions 1 to %d: use a newer attnscope",
			name, h.Version, Version)
	}
	if err := h.Plan.words(); err != nil {
		return nil, nil, fmt.Errorf("%s: header: %w", name, err)
	}
	if !h.Model.sound() || !h.Plan.sound(&h.Model) || h.Version != h.Model.version() {
		return nil, nil, fmt.Errorf("%s: the header's shapes make no sense: %w", name, ErrCorrupt)
	}
	if keys := unknownKeys(raw); len(keys) > 0 {
		warnings = append(warnings, fmt.Sprintf("%s: header: %s unknown to this program and ignored: %s",
			name, words.Plural(len(keys), "a field is", "fields are"), strings.Join(keys, ", ")))
	}
	return h, warnings, nil
}

// maxUnknown is the number of unknown keys that are listed.
const maxUnknown = 10

// unknownKeys lists the keys of a header that this program does not know, such as
// plan.stride, sorted. Those of the manifest do not change what a dump holds and are not
// listed.
func unknownKeys(raw []byte) []string {
	var parts struct {
		Model, Plan map[string]json.RawMessage
	}
	var top map[string]json.RawMessage
	_ = json.Unmarshal(raw, &top) // both were read before
	_ = json.Unmarshal(raw, &parts)
	var list []string
	for _, part := range []struct {
		prefix string
		have   map[string]json.RawMessage
		of     any
	}{{"", top, Header{}}, {"model.", parts.Model, ModelInfo{}}, {"plan.", parts.Plan, Plan{}}} {
		known := fieldNames(part.of)
		for key := range part.have {
			if !slices.ContainsFunc(known, func(name string) bool { return strings.EqualFold(name, key) }) {
				list = append(list, fmt.Sprintf("%.100q", part.prefix+key))
			}
		}
	}
	slices.Sort(list)
	if more := len(list) - maxUnknown; more > 0 {
		list = append(list[:maxUnknown], fmt.Sprintf("and %d more", more))
	}
	return list
}

// fieldNames lists the names that the fields of a struct have in JSON.
func fieldNames(v any) []string {
	t := reflect.TypeOf(v)
	var names []string
	for i := range t.NumField() {
		names = append(names, jsonName(t.Field(i)))
	}
	return names
}

// jsonName returns the name of a field in JSON.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// sound reports whether the shapes of the model are possible and within the limits.
func (m *ModelInfo) sound() bool {
	for _, window := range m.LayerWindows {
		if window < 0 {
			return false
		}
	}
	return within(m.Layers, 1, maxLayers) &&
		within(m.Heads, 1, maxHeads) &&
		within(m.KVHeads, 1, m.Heads) &&
		(len(m.LayerShapes) > 0 || m.Heads%m.KVHeads == 0) &&
		within(m.HeadDim, 1, maxDim) &&
		within(m.ValueDim, 0, maxDim) &&
		within(m.Vocab, 0, maxVocab) &&
		len(m.LayerWindows) <= m.Layers &&
		m.soundShapes()
}

func within(v, lo, hi int) bool { return v >= lo && v <= hi }

// ascending reports whether a list ascends strictly and holds numbers from 0 to less
// than below.
func ascending(list []int, below int) bool {
	last := -1
	for _, v := range list {
		if v <= last || v >= below {
			return false
		}
		last = v
	}
	return true
}
