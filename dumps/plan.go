package dumps

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/internal/sizes"
)

// maxOverview is the largest side of an overview.
const maxOverview = 4096

// Check reports the first number of the plan that cannot be recorded. Its errors begin
// with the name of the command line's flag. That the model has the layers and heads,
// the caller has checked.
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
	if p.Overview > maxOverview {
		return fmt.Errorf("overview %d: at most %d", p.Overview, maxOverview)
	}
	if bytes := 4 * p.Overview * p.Overview * len(p.Heads); bytes > MaxBlock {
		return fmt.Errorf("overview %d: with %d heads a picture takes %s, a block of a dump at most %s: ask for a smaller side or fewer heads",
			p.Overview, len(p.Heads), sizes.Text(int64(bytes)), sizes.Text(MaxBlock))
	}
	if !(p.Temperature >= 0) || math.IsInf(p.Temperature, 0) {
		return fmt.Errorf("temperature %g: want 0 or more", p.Temperature)
	}
	return nil
}

// Windows returns the number of query windows that are summed for a prompt of some
// tokens: those that the plan asks for, or as many as fit the prompt.
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
	layers := float64(len(p.Layers))
	heads := float64(len(p.Heads))
	recorded := float64(min(p.WindowRows, prompt) + reply)
	keys := float64(prompt + reply)
	rows = int64(layers * heads * recorded * keys * p.Precision.BitsPerWeight() / 8)
	states := recorded*float64(m.Heads*m.HeadDim) + keys*float64(m.KVHeads*m.HeadDim)
	factors = int64(layers * states * p.Precision.BitsPerState() / 8)
	if p.Values {
		values := int64(layers * keys * float64(m.KVHeads*m.HeadDim) * p.Precision.BitsPerState() / 8)
		rows += values
		factors += values
	}
	return rows, factors
}
