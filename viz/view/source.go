package view

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/dumps"
)

// allHeads stands for the mean over the recorded heads of a layer.
const allHeads = -1

// place names a layer of a prompt of a capture.
type place struct{ capture, prompt, layer int }

// source gives the recorded rows of a layer as one list: first those of the
// prompt, then those of the reply. Row r is the query at position first+r;
// every row has P+G keys.
type source struct {
	l           *dumps.LayerReader
	heads       []int // true ids
	prompt      *dumps.Prompt
	rows, keys  int
	first       int // position of row 0
	promptRows  int
	prefillKeys int
}

func (s *Server) source(at place) (*source, error) {
	return lookup(s.cache, at, s.sourceBytes(at), func() (*source, int, error) {
		src, err := s.open(at)
		if err != nil {
			return nil, 0, err
		}
		return src, src.l.Bytes() + 1, nil
	})
}

// passing is a source that is looked at once, until done is called: it is not kept.
func (s *Server) passing(at place) (src *source, done func(), err error) {
	if kept, ok := s.cache.peek(at); ok {
		return kept.(*source), func() {}, nil
	}
	if src, err = s.open(at); err != nil {
		return nil, nil, err
	}
	return src, src.l.Release, nil
}

func (s *Server) open(at place) (*source, error) {
	c := s.captures[at.capture]
	p := &c.Prompts()[at.prompt]
	l, err := c.LayerOf(at.prompt, at.layer)
	if err != nil {
		return nil, err
	}
	return &source{
		l: l, heads: c.Header().Plan.Heads, prompt: p, rows: p.WindowRows + p.ReplyTokens, keys: p.PromptTokens + p.ReplyTokens,
		first: p.PromptTokens - p.WindowRows, promptRows: p.WindowRows, prefillKeys: p.PromptTokens,
	}, nil
}

// sourceBytes is about what a source holds.
func (s *Server) sourceBytes(at place) int {
	p, m := &s.captures[at.capture].Prompts()[at.prompt], s.captures[at.capture].Header().Model
	if p.Store != dumps.StoreFactors {
		return 1
	}
	return 4 * m.HeadDim * ((p.PromptTokens+p.ReplyTokens)*m.KVHeads + (p.WindowRows+p.ReplyTokens)*m.Heads)
}

// read writes rows [row0, row0+n) of a head (index, or allHeads) into dst,
// [n, keys]; what a row does not see is zero.
func (src *source) read(ctx context.Context, dst []float32, head, row0, n int) error {
	if head == allHeads {
		return src.mean(ctx, dst, row0, n)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return src.l.Span(dst, head, row0, n)
}

// mean averages over heads, in float64, in the order of the heads.
func (src *source) mean(ctx context.Context, dst []float32, row0, n int) error {
	const strip = 64 // rows at a time: bounds the memory
	m := min(strip, n)
	one, sum := make([]float32, m*src.keys), make([]float64, m*src.keys)
	for at := 0; at < n; at += strip {
		m = min(strip, n-at)
		clear(sum)
		for h := range src.heads {
			if err := src.read(ctx, one, h, row0+at, m); err != nil {
				return err
			}
			for i, v := range one[:m*src.keys] {
				sum[i] += float64(v)
			}
		}
		for i, v := range sum[:m*src.keys] {
			dst[at*src.keys+i] = float32(v / float64(len(src.heads)))
		}
	}
	return nil
}

// headIndex finds a true head id among the recorded ones.
func (src *source) headIndex(id int) (int, error) {
	if id == allHeads {
		return allHeads, nil
	}
	if i := slices.Index(src.heads, id); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("head %d was not recorded; heads %v were", id, src.heads)
}
