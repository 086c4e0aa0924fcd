package experiments

import (
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// overlapRow is the overlap of the positions that pairs of instructions on one
// document select, over the documents of a set.
type overlapRow struct {
	set         string // "*" pools whole documents, "* (truncated)" truncated ones
	layer       int
	documents   int
	pairs       int
	overlap     estimate
	otherHalf   float64    // overlap of one instruction's odd and even rows
	difference  difference // overlap minus otherHalf, paired by document
	withoutFour float64    // overlap without the first four positions
}

// pooled reports whether the row covers all sets together.
func (r overlapRow) pooled() bool { return strings.HasPrefix(r.set, "*") }

func (r overlapRow) cells() []any {
	return slices.Concat(
		[]any{r.set, r.layer, r.documents, r.pairs}, r.overlap.cells(), []any{r.otherHalf},
		r.difference.cells(), []any{r.withoutFour, hitrate.PaperTop},
	)
}

func overlapTable(rows []overlapRow) *table.Table {
	return tableOf([]string{
		"set", "layer", "documents", "pairs", "overlap", "ci_low", "ci_high", "other_half",
		"difference", "difference_low", "difference_high", "p", "overlap_without_first_four", "chance",
	}, rows)
}

// overlapKey is a set of documents and a layer.
type overlapKey struct {
	set   string
	layer int
}

// overlapValues holds a value for each of several documents, pairs or layers.
type overlapValues struct {
	overlap     []float64
	otherHalf   []float64
	withoutFour []float64
}

// add appends the means of other values.
func (v *overlapValues) add(o *overlapValues) {
	v.overlap = append(v.overlap, analysis.Mean(o.overlap))
	v.otherHalf = append(v.otherHalf, analysis.Mean(o.otherHalf))
	v.withoutFour = append(v.withoutFour, analysis.Mean(o.withoutFour))
}

// pairOverlaps computes overlaps by set and layer, and for all layers together. A
// document's value is the mean over its pairs of instructions and over heads.
// Prompts on one document follow one another in the dump.
func pairOverlaps(path string, seed uint64) ([]overlapRow, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	layers := r.Header().Plan.Layers
	values := map[overlapKey]*overlapValues{} // a value for each document
	pairs := map[string]int{}
	var sets []string
	list := r.Prompts()
	for lo := 0; lo < len(list); {
		hi := lo + 1
		for hi < len(list) && list[hi].Document == list[lo].Document {
			hi++
		}
		first := lo
		n := hi - lo
		lo = hi
		if n < 2 {
			continue
		}
		byLayer, err := documentOverlaps(r, first, n)
		if err != nil {
			return nil, err
		}
		var all overlapValues
		for i := range byLayer {
			all.add(&byLayer[i])
		}
		for _, set := range setsOf(list[first].Dataset) {
			if !slices.Contains(sets, set) {
				sets = append(sets, set)
				for _, layer := range append([]int{allLayers}, layers...) {
					values[overlapKey{set, layer}] = &overlapValues{}
				}
			}
			pairs[set] += n * (n - 1) / 2
			values[overlapKey{set, allLayers}].add(&all)
			for i, layer := range layers {
				values[overlapKey{set, layer}].add(&byLayer[i])
			}
		}
	}
	var rows []overlapRow
	for _, set := range sets {
		for _, layer := range append([]int{allLayers}, layers...) {
			v := values[overlapKey{set, layer}]
			differences := make([]float64, len(v.overlap))
			for i := range differences {
				differences[i] = v.overlap[i] - v.otherHalf[i]
			}
			rows = append(rows, overlapRow{
				set:         set,
				layer:       layer,
				documents:   len(v.overlap),
				pairs:       pairs[set],
				overlap:     estimateOf(v.overlap, seed),
				otherHalf:   analysis.Mean(v.otherHalf),
				difference:  differenceOf(differences, seed),
				withoutFour: analysis.Mean(v.withoutFour),
			})
		}
	}
	return rows, nil
}

// setsOf returns the sets in which the documents of a set are counted: their own set,
// and the set of all whole or of all truncated documents.
func setsOf(set string) []string {
	if strings.HasSuffix(set, truncatedGroup) {
		return []string{set, "*" + truncatedGroup}
	}
	return []string{set, "*"}
}

// documentOverlaps compares n prompts on one document, from the first on: for each
// recorded layer it returns the values of all pairs and heads.
func documentOverlaps(r *dumps.Reader, first, n int) ([]overlapValues, error) {
	shared := commonPrefix(r.Prompts()[first : first+n])
	k := hitrate.Budget(hitrate.PaperTop, shared)
	overlap := func(a, b []int32) float64 { return float64(hitrate.Overlap(a, b)) / float64(k) }
	var out []overlapValues
	for _, layer := range r.Header().Plan.Layers {
		keep := make([][]selections, n) // [prompt][head]
		for i := range keep {
			var err error
			if keep[i], err = votedFor(r, first+i, layer, shared, k); err != nil {
				return nil, err
			}
		}
		var v overlapValues
		for a := range keep {
			for b := range a {
				for h := range keep[a] {
					v.overlap = append(v.overlap, overlap(keep[a][h].all, keep[b][h].all))
					v.withoutFour = append(v.withoutFour, overlap(keep[a][h].withoutFour, keep[b][h].withoutFour))
				}
			}
			for h := range keep[a] {
				v.otherHalf = append(v.otherHalf, overlap(keep[a][h].even, keep[a][h].odd))
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// commonPrefix returns the number of leading tokens that all prompts share.
func commonPrefix(group []dumps.Prompt) int {
	n := group[0].PromptTokens
	for _, p := range group[1:] {
		i := 0
		for i < min(n, p.PromptTokens) && p.Tokens[i] == group[0].Tokens[i] {
			i++
		}
		n = i
	}
	return n
}

// selections holds the positions that one head attends to most, by different rows.
// Each list has equally many positions, in ascending order.
type selections struct {
	all         []int32 // by all rows
	even, odd   []int32 // by half of the rows
	withoutFour []int32 // by all rows, counted from the fifth position on
}

// votedFor selects, for each head, the k positions below shared that the rows after
// them, those of the instruction and of the reply, attend to most.
func votedFor(r *dumps.Reader, prompt, layer, shared, k int) ([]selections, error) {
	rows, reply, err := recordedRows(r, prompt, layer)
	if err != nil {
		return nil, err
	}
	out := make([]selections, rows.Heads)
	parallel.For(len(out), func(h int) {
		even := make([]float64, shared)
		odd := make([]float64, shared)
		n := 0
		add := func(row []float32) {
			vote := even
			if n%2 == 1 {
				vote = odd
			}
			for j := range vote {
				vote[j] += float64(row[j])
			}
			n++
		}
		for i := range rows.Rows {
			if rows.Pos0+i >= shared {
				add(rows.Head(h)[i*rows.Keys:])
			}
		}
		for i := range reply.Rows {
			add(reply.Head(h)[i*reply.Keys:])
		}
		all := make([]float64, shared)
		for j := range all {
			all[j] = even[j] + odd[j]
		}
		out[h] = selections{
			all:         snapkv.TopK(all, k),
			even:        snapkv.TopK(even, k),
			odd:         snapkv.TopK(odd, k),
			withoutFour: snapkv.TopK(all[min(4, shared):], k),
		}
	})
	return out, nil
}
