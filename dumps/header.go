package dumps

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Version is the version of the format that this package writes. FORMAT.md lists what
// each version changed.
const Version = 1

// Header is the first record of a dump.
type Header struct {
	Version  int       `json:"version"`
	Model    ModelInfo `json:"model"`
	Plan     Plan      `json:"plan"`
	Manifest Manifest  `json:"manifest"`
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

// readHeader reads and checks the header of the file called name.
func readHeader(f io.ReaderAt, r record, name string) (*Header, error) {
	h := &Header{}
	if err := readJSON(f, r, h); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if h.Version != Version {
		return nil, fmt.Errorf("%s: format version %d, this program reads version %d: use a newer attnscope",
			name, h.Version, Version)
	}
	if !h.Model.sound() || !h.Plan.sound(&h.Model) {
		return nil, fmt.Errorf("%s: the header's shapes make no sense: %w", name, ErrCorrupt)
	}
	return h, nil
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
		m.Heads%m.KVHeads == 0 &&
		within(m.HeadDim, 1, maxDim) &&
		within(m.ValueDim, 0, maxDim) &&
		within(m.Vocab, 0, maxVocab) &&
		len(m.LayerWindows) <= m.Layers
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
