package view

import (
	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/dumps"
)

// place names a layer of a prompt of a capture: indices, and the id of the layer.
type place struct{ capture, prompt, layer int }

// header returns the header of a place's capture.
func (s *Server) header(at place) *dumps.Header { return s.captures[at.capture].Header() }

// prompt returns the prompt of a place.
func (s *Server) prompt(at place) *dumps.Prompt { return &s.captures[at.capture].Prompts()[at.prompt] }

// prompts returns the prompts of a capture that have the given indices.
func (s *Server) prompts(capture int, indices []int) []*dumps.Prompt {
	all := s.captures[capture].Prompts()
	list := make([]*dumps.Prompt, len(indices))
	for i, at := range indices {
		list[i] = &all[at]
	}
	return list
}

// heads returns the number of recorded heads of all layers of a capture.
func (s *Server) heads(capture int) int {
	h := s.captures[capture].Header()
	n := 0
	for _, layer := range h.Plan.Layers {
		n += len(h.HeadsOf(layer))
	}
	return n
}

func (s *Server) openLayer(at place) (*digest.LayerRows, error) {
	return digest.OpenLayer(s.captures[at.capture].Reader, at.prompt, at.layer)
}

// layer opens a layer and keeps it open while the cache has room.
func (s *Server) layer(at place) (*digest.LayerRows, error) {
	need := digest.LayerBytes(s.header(at), s.prompt(at), at.layer)
	return lookup(s.cache, at, need, func() (*digest.LayerRows, int, error) {
		rows, err := s.openLayer(at)
		if err != nil {
			return nil, 0, err
		}
		return rows, rows.Bytes(), nil
	})
}

// layerOnce opens a layer that is read once. It returns the layer in the cache if
// there is one; otherwise the opened layer is not kept. The rows must not be read
// after done is called.
func (s *Server) layerOnce(at place) (rows *digest.LayerRows, done func(), err error) {
	if kept, ok := s.cache.peek(at); ok {
		return kept.(*digest.LayerRows), func() {}, nil
	}
	rows, err = s.openLayer(at)
	if err != nil {
		return nil, nil, err
	}
	return rows, rows.Release, nil
}

// statsKey names the statistics of a layer in the cache.
type statsKey struct {
	at   place
	spec string
}

// stats computes the statistics of all heads of a layer, or takes them from the
// cache.
func (s *Server) stats(at place, spec digest.Spec) ([]digest.HeadStats, error) {
	need := digest.StatsBytes(s.header(at), s.prompt(at), at.layer)
	key := statsKey{at, spec.String()}
	return lookup(s.cache, key, max(0, need-workBytes), func() ([]digest.HeadStats, int, error) {
		defer s.reserve(need)()
		rows, done, err := s.layerOnce(at)
		if err != nil {
			return nil, 0, err
		}
		defer done()
		copying, err := s.copying(at)
		if err != nil {
			return nil, 0, err
		}
		heads, err := rows.Stats(spec, copying)
		if err != nil {
			return nil, 0, err
		}
		bytes := 0
		for i := range heads {
			bytes += heads[i].Bytes()
		}
		return heads, bytes, nil
	})
}

// hasStats reports whether the cache has the statistics of a layer.
func (s *Server) hasStats(at place, spec digest.Spec) bool {
	_, ok := s.cache.peek(statsKey{at, spec.String()})
	return ok
}

// copyingKey names, in the cache, the data that the retrieval scores of a prompt
// share.
type copyingKey struct{ capture, prompt int }

// copying prepares retrieval scores once for all layers of a prompt.
func (s *Server) copying(at place) (*analysis.Copying, error) {
	p := s.prompt(at)
	return lookup(s.results, copyingKey{at.capture, at.prompt}, 0, func() (*analysis.Copying, int, error) {
		return digest.Copying(p), p.ReplyTokens + 1, nil
	})
}

// fitSpec returns the spec of the digests of some prompts that the cache can hold for
// all layers, so that switching between its windows reads nothing again.
func (s *Server) fitSpec(capture int, prompts []int) digest.Spec {
	return digest.FitSpec(s.prompts(capture, prompts), s.heads(capture), s.cache.limit/8*7)
}

// specFor returns the spec of the digests that answer a request for some windows:
// the one that fits if it has them, otherwise one of these windows alone.
func (s *Server) specFor(capture int, prompts, windows []int) digest.Spec {
	return s.fitSpec(capture, prompts).Covering(windows)
}

// readyWindows lists the windows of the digests that the cache can hold, nil for all.
func (s *Server) readyWindows(capture int, prompts []int) []int {
	spec := s.fitSpec(capture, prompts)
	if spec.HasAll() {
		return nil
	}
	return append([]int{}, spec.Windows...)
}
