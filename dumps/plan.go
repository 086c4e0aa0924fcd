package dumps

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/internal/sizes"
)

// Plan says what was recorded.
type Plan struct {
	WindowRows       int       `json:"window_rows"`        // last rows of each prompt
	PromptWindows    int       `json:"prompt_windows"`     // query windows whose sums are kept
	PromptWindowSize int       `json:"prompt_window_size"` // queries per window
	MaxNewTokens     int       `json:"max_new_tokens"`
	Layers           []int     `json:"layers"` // true ids, ascending
	Heads            []int     `json:"heads"`  // true ids, ascending
	Store            Store     `json:"store"`
	Precision        Precision `json:"precision"`
	Values           bool      `json:"values"`
	Logits           bool      `json:"logits"`
	Overview         int       `json:"overview"` // cells per side; 0: none
	NoPromptSums     bool      `json:"no_prompt_sums,omitempty"`
	IgnoreEOS        bool      `json:"ignore_eos"`
	Compute          string    `json:"compute"`
	Temperature      float64   `json:"temperature"`
	Seed             int64     `json:"seed"`
	Shard            string    `json:"shard,omitempty"`
}

// Check reports the first number of the plan that cannot be recorded. Its errors begin
// with the name of the command line's flag. Check does not know the model: the caller
// checks that the model has the layers and heads.
func (p *Plan) Check() error {
	for _, count := range []struct {
		flag  string
		value int
	}{
		{"window-rows", p.WindowRows},
		{"max-new-tokens", p.MaxNewTokens},
		{"overview", p.Overview},
	} {
		if count.value < 0 {
			return fmt.Errorf("%s %d: want 0 or more", count.flag, count.value)
		}
	}
	if p.Overview > maxSide {
		return fmt.Errorf("overview %d: at most %d", p.Overview, maxSide)
	}
	if bytes := 4 * p.Overview * p.Overview * len(p.Heads); bytes > maxBlock {
		return fmt.Errorf("overview %d: with %d heads an overview takes %s, but a block of a dump takes at most %s: "+
			"ask for a smaller side or fewer heads",
			p.Overview, len(p.Heads), sizes.Text(int64(bytes)), sizes.Text(maxBlock))
	}
	if !(p.Temperature >= 0) || math.IsInf(p.Temperature, 0) {
		return fmt.Errorf("temperature %g: want 0 or more", p.Temperature)
	}
	return nil
}

// words returns an error if the plan names a precision or a store that this program does
// not know. Empty ones mean Fine and StoreAuto.
func (p *Plan) words() error {
	if p.Precision != "" {
		if _, err := ParsePrecision(string(p.Precision)); err != nil {
			return fmt.Errorf("plan %w: %w", err, ErrCorrupt)
		}
	}
	if p.Store != "" {
		if _, err := ParseStore(string(p.Store)); err != nil {
			return fmt.Errorf("plan %w: %w", err, ErrCorrupt)
		}
	}
	return nil
}

// sound reports whether the plan fits the model and the limits.
func (p *Plan) sound(m *ModelInfo) bool {
	return len(p.Layers) > 0 && ascending(p.Layers, m.Layers) &&
		len(p.Heads) > 0 && ascending(p.Heads, m.Heads) &&
		p.checkKinds(m) == nil &&
		within(p.WindowRows, 0, maxTokens) &&
		within(p.PromptWindows, 0, maxTokens) &&
		within(p.PromptWindowSize, 0, maxTokens) &&
		within(p.MaxNewTokens, 0, math.MaxInt32) &&
		within(p.Overview, 0, maxSide)
}

// checkKinds returns an error if the plan names a layer without attention.
func (p *Plan) checkKinds(m *ModelInfo) error {
	for _, l := range p.Layers {
		if s := m.Layer(l); !s.HasAttention() {
			return fmt.Errorf("layer %d has no attention (its kind is %s), so there is nothing to record", l, s.Kind)
		}
	}
	return nil
}

// Windows returns the number of query windows that are summed for a prompt of the
// given number of tokens: as many as the plan asks for, or as many as fit into the
// prompt.
func (p *Plan) Windows(prompt int) int {
	if p.PromptWindowSize < 1 {
		return 0
	}
	return min(p.PromptWindows, prompt/p.PromptWindowSize)
}

// StoreFor returns the form in which a prompt is recorded: that of the plan or, if the
// plan leaves it open, the smaller one. prompt and reply count tokens.
func (p *Plan) StoreFor(m *ModelInfo, prompt, reply int) Store {
	if p.Store != StoreAuto && p.Store != "" {
		return p.Store
	}
	if rows, factors := p.StoreBytes(m, prompt, reply); factors < rows {
		return StoreFactors
	}
	return StoreRows
}

// StoreBytes estimates the size of a prompt's recorded rows in each of the two forms,
// from measured bits per number.
func (p *Plan) StoreBytes(m *ModelInfo, prompt, reply int) (rows, factors int64) {
	h := &Header{Model: *m, Plan: *p}
	recorded := float64(min(p.WindowRows, prompt) + reply)
	keys := float64(prompt + reply)
	weights, states, values, latents := 0.0, 0.0, 0.0, 0.0
	for _, l := range p.Layers {
		s := m.Layer(l)
		weights += float64(len(h.HeadsOf(l))) * recorded * keys
		states += recorded * float64(s.Heads*s.KeyDim)
	}
	for _, l := range h.Caches() {
		s := m.Layer(l)
		states += keys * float64(s.KVHeads*s.KeyDim)
		if s.Latent {
			latents += keys * float64(s.KVHeads*s.ValueDim)
		} else {
			values += keys * float64(s.KVHeads*s.ValueDim)
		}
	}
	bits := p.Precision.rules()
	rows = int64(weights * bits.bitsPerWeight / 8)
	factors = int64(states * bits.bitsPerState / 8)
	if p.Values {
		rows += int64((values + latents) * bits.bitsPerState / 8)
		factors += int64(values * bits.bitsPerState / 8) // a latent is a part of its key
	}
	return rows, factors
}
