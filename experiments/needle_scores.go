package experiments

import (
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// needleCapacity is the capacity at which needleRow.kept is measured.
const needleCapacity = 256

// needleRow holds the scores of a head on the needle, as means over prompts.
type needleRow struct {
	layer, head int
	prompts     int
	mass        float64 // weight of a window row on the needle's tokens
	rank        float64 // best rank of one of these tokens among the votes, 1 is first
	kept        float64 // share of these tokens kept at needleCapacity
	retrieval   float64 // share of these tokens that the head copies: see copied
}

func (r needleRow) cells() []any {
	return []any{r.layer, r.head, r.prompts, r.mass, r.rank, r.kept, r.retrieval}
}

// needleValues holds a head's values for each prompt.
type needleValues struct{ mass, rank, kept, retrieval []float64 }

// needleScores scores every head of a dump whose prompts contain the needle.
func needleScores(path, needle string) ([]needleRow, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var list []needleRow
	plan := r.Header().Plan
	for _, layer := range plan.Layers {
		heads := make([]needleValues, len(plan.Heads))
		for i := range r.Prompts() {
			p := &r.Prompts()[i]
			lo, hi := phraseTokens(p.Text, p.Offsets, needle)
			hi = min(hi, p.PromptTokens-p.WindowRows)
			if lo < 0 || lo >= hi {
				continue
			}
			rows, reply, err := recordedRows(r, i, layer)
			if err != nil {
				return nil, err
			}
			for h := range heads {
				if err := heads[h].add(p, rows, reply, h, lo, hi); err != nil {
					return nil, err
				}
			}
		}
		for h, v := range heads {
			list = append(list, needleRow{
				layer:     layer,
				head:      plan.Heads[h],
				prompts:   len(v.mass),
				mass:      analysis.Mean(v.mass),
				rank:      analysis.Mean(v.rank),
				kept:      analysis.Mean(v.kept),
				retrieval: analysis.Mean(v.retrieval),
			})
		}
	}
	return list, nil
}

// add appends the values of one prompt, whose needle has the tokens [lo, hi).
func (v *needleValues) add(p *dumps.Prompt, rows, reply *dumps.Attention, head, lo, hi int) error {
	vote := snapkv.Vote(rows.Head(head), rows.Rows, rows.Keys, rows.Rows, rows.Keys-rows.Rows)
	mass := 0.0
	rank := len(vote)
	for j := lo; j < hi; j++ {
		mass += vote[j] / float64(rows.Rows)
		above := 1
		for _, x := range vote {
			if x > vote[j] {
				above++
			}
		}
		rank = min(rank, above)
	}
	pooled, err := snapkv.Pool(vote, 5, snapkv.MaxPool)
	if err != nil {
		return err
	}
	kept := 0
	for _, j := range snapkv.TopK(pooled, needleCapacity-rows.Rows) {
		if int(j) >= lo && int(j) < hi {
			kept++
		}
	}
	v.mass = append(v.mass, mass)
	v.rank = append(v.rank, float64(rank))
	v.kept = append(v.kept, float64(kept)/float64(hi-lo))
	v.retrieval = append(v.retrieval, copied(copying{
		last:   rows.Head(head)[(rows.Rows-1)*rows.Keys : rows.Rows*rows.Keys],
		rows:   reply.Head(head),
		keys:   reply.Keys,
		n:      reply.Rows,
		prompt: p.Tokens[:p.PromptTokens],
		reply:  p.Tokens[p.PromptTokens:],
	}, lo, hi))
	return nil
}

// copying holds the data that decide whether a head copies: its rows and the tokens.
type copying struct {
	last          []float32 // the prompt's last row, which predicts the first reply token
	rows          []float32 // the reply's rows, [n, keys]; the last predicts nothing
	keys, n       int
	prompt, reply []int32
}

// copied returns the retrieval score of a head (Wu et al., arXiv:2404.15574): the
// share of the needle's tokens, at [lo, hi) of the prompt, that the head copies. A
// token counts as copied if the row that predicts it has its largest weight on a
// position of the needle that holds this token.
func copied(c copying, lo, hi int) float64 {
	if hi <= lo {
		return math.NaN()
	}
	found := map[int]bool{}
	for i := range min(c.n, len(c.reply)) {
		row := c.last
		if i > 0 {
			row = c.rows[(i-1)*c.keys : i*c.keys]
		}
		best := 0
		for j, w := range row {
			if w > row[best] {
				best = j
			}
		}
		if best >= lo && best < hi && c.prompt[best] == c.reply[i] {
			found[best] = true
		}
	}
	return float64(len(found)) / float64(hi-lo)
}

// phraseTokens finds the tokens [lo, hi) of a phrase in a text whose tokens end at
// the given bytes; -1, -1 if the text does not contain it.
func phraseTokens[I int | int32](text string, ends []I, phrase string) (lo, hi int) {
	at := strings.Index(text, phrase)
	if at < 0 || len(ends) == 0 {
		return -1, -1
	}
	lo, _ = slices.BinarySearch(ends, I(at+1))
	hi, _ = slices.BinarySearch(ends, I(at+len(phrase)))
	return lo, hi + 1
}
