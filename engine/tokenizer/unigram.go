package tokenizer

import (
	"math"
	"unicode/utf8"
)

// lattice is a unigram language model (Kudo, arXiv:1804.10959): it segments a text into
// the pieces with the largest total score.
type lattice struct {
	score   map[string]float64 // by piece
	longest int                // bytes of the longest piece
	single  bool               // sums are float32, as in SentencePiece; the package tokenizers uses float64
	unk     float64            // score of a character that is not a piece
}

// unkPenalty is the difference between the lowest score and unk: SentencePiece's
// kUnkPenalty.
const unkPenalty = 10

// newLattice makes a lattice from a vocabulary and the scores by id. types are the types
// of the pieces in a SentencePiece model, in which user-defined pieces win over all
// others, or nil.
func newLattice(vocab map[string]int32, scores []float64, types []int) *lattice {
	l := &lattice{single: types != nil, score: make(map[string]float64, len(vocab))}
	least, most := math.Inf(1), math.Inf(-1)
	for i, s := range scores {
		if types == nil || types[i] == pieceNormal {
			least = min(least, s)
			most = max(most, s)
		}
	}
	l.unk = l.round(least - unkPenalty)
	for p, id := range vocab {
		l.longest = max(l.longest, len(p))
		l.score[p] = scores[id]
		if types != nil && types[id] == pieceUserDefined {
			l.score[p] = l.round(float64(float64(len(p))*most) - 0.1)
		}
	}
	return l
}

// round rounds a sum to the precision of the reference.
func (l *lattice) round(x float64) float64 {
	if l.single {
		return float64(float32(x))
	}
	return x
}

// split calls emit for each piece of the best segmentation. A character that is not a
// piece is also a segment.
func (l *lattice) split(s string, emit func(piece string)) {
	type node struct {
		score float64
		from  int32
	}
	best := make([]node, len(s)+1)
	for i := range best {
		best[i].from = -1
	}
	best[0].from = 0
	for i := 0; i < len(s); {
		_, w := utf8.DecodeRuneInString(s[i:])
		single := false
		if best[i].from >= 0 {
			for n := w; n <= min(l.longest, len(s)-i); n++ {
				if n < len(s)-i && !utf8.RuneStart(s[i+n]) {
					continue
				}
				v, ok := l.score[s[i:i+n]]
				if !ok {
					continue
				}
				single = single || n == w
				if to, sum := &best[i+n], l.round(best[i].score+v); to.from < 0 || sum > to.score {
					*to = node{sum, int32(i)}
				}
			}
			if to, sum := &best[i+w], l.round(best[i].score+l.unk); !single && (to.from < 0 || sum > to.score) {
				*to = node{sum, int32(i)}
			}
		}
		i += w
	}
	var ends []int
	for at := len(s); at > 0; at = int(best[at].from) {
		ends = append(ends, at)
	}
	at := 0
	for i := len(ends) - 1; i >= 0; i-- {
		emit(s[at:ends[i]])
		at = ends[i]
	}
}
