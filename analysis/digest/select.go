package digest

import (
	"context"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// Selection selects the positions that one method keeps in one layer of a prompt, head
// by head.
type Selection struct {
	Header *dumps.Header
	Prompt *dumps.Prompt
	Layer  int
	Method snapkv.Method
	Config snapkv.Config
	Budget int // positions kept per head
	// Rank returns the scores of heads that the method ranks together, as
	// [snapkv.Method.Rank] does. It is not called if the method keeps all positions.
	Rank func(ctx context.Context, heads HeadRange) ([][]float64, error)
}

// Heads returns the prefix positions that are kept for each head of want, ascending.
// The result equals that of [analysis.Indices], but Heads ranks only the heads that
// the method ranks together with them.
func (s *Selection) Heads(ctx context.Context, want HeadRange) ([][]int32, error) {
	if err := checkHeads(s.Header, s.Layer); err != nil {
		return nil, err
	}
	step := together(&s.Method, s.Config.Group, emptyLayer(s.Header, s.Prompt, s.Layer, AllOf(s.Header, s.Layer)))
	end := want.From + want.N
	out := make([][]int32, 0, want.N)
	for head := want.From / step * step; head < end; head += step {
		heads := HeadRange{head, step}
		var scores [][]float64
		if !s.Method.KeepsAll(s.Config, s.Prompt.PromptTokens) {
			var err error
			if scores, err = s.Rank(ctx, heads); err != nil {
				return nil, err
			}
		}
		keep, err := s.Method.Cut(scores, emptyLayer(s.Header, s.Prompt, s.Layer, heads), s.Config, s.Budget)
		if err != nil {
			return nil, err
		}
		byHead := snapkv.ByQueryHead(keep, step)
		out = append(out, byHead[max(0, want.From-head):min(step, end-head)]...)
	}
	return out, nil
}
