package capture

import (
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
)

// sinkRecorder records the shares of the sinks of one layer.
type sinkRecorder struct {
	r    *recorder
	of   *layerRecorder
	sums *Sums     // over all prompt queries, and over those of each query window: [heads, 1 + windows]
	rows []float32 // of the recorded prompt rows, [heads, R]

	// The rows of the reply that are not written yet, [heads, room]. The first one is row
	// row0 of the reply.
	reply         []float32
	row0, n, room int
}

func newSinkRecorder(l *layerRecorder) *sinkRecorder {
	r := l.r
	heads := len(l.chosen)
	return &sinkRecorder{r: r, of: l, sums: NewSums(heads, 1+r.windows), rows: make([]float32, heads*r.rows)}
}

// tile records the shares of the rows of a tile. head is its index among the recorded
// heads. Several workers call it at once.
func (s *sinkRecorder) tile(head int, t *cpu.Tile) {
	r := s.r
	first := r.prompt - r.rows
	for i, share := range t.Sinks {
		pos := t.Pos0 + i
		if pos >= r.prompt {
			s.reply[head*s.room+pos-r.prompt-s.row0] = share
			continue
		}
		if !r.plan.NoPromptSums {
			s.sums.Add(head, 0, []float32{share})
		}
		if _, window := r.windowRows(t, i); window >= 0 {
			s.sums.Add(head, 1+window, []float32{share})
		}
		if pos >= first {
			s.rows[head*r.rows+pos-first] = share
		}
	}
}

// finishPrompt writes the rows and the sums of the prompt.
func (s *sinkRecorder) finishPrompt() error {
	if s.r.rows > 0 {
		if err := s.r.pw.Sinks(s.of.layer, dumps.Prefill, 0, s.r.rows, s.rows); err != nil {
			return err
		}
	}
	return s.r.pw.SinkSums(s.of.layer, s.sums.Floats(1+s.r.windows))
}

// begin makes room for the n reply rows of the next pass.
func (s *sinkRecorder) begin(n int) error {
	if s.n+n <= s.room {
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	if n > s.room {
		s.room = max(n, replyBlockRows)
		s.reply = make([]float32, len(s.of.chosen)*s.room)
	}
	return nil
}

// flush writes the rows of the reply that are not written yet.
func (s *sinkRecorder) flush() error {
	if s.n == 0 {
		return nil
	}
	heads := len(s.of.chosen)
	shares := make([]float32, 0, heads*s.n)
	for h := range heads {
		shares = append(shares, s.reply[h*s.room:][:s.n]...)
	}
	err := s.r.pw.Sinks(s.of.layer, dumps.Decode, s.row0, s.n, shares)
	s.row0 += s.n
	s.n = 0
	return err
}
