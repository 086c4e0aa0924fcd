//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"testing"

	"github.com/attnscope/attnscope/internal/topk"
	"github.com/attnscope/attnscope/snapkv"
)

// The votes, pooling and selection of package snapkv, in the same order of
// operations: results are equal to the bit, so selections are equal.
func TestSnapKV(t *testing.T) {
	b := onCard(t)
	for _, c := range []struct{ heads, kv, n, window, keys, kernel, k int }{
		{4, 2, 8, 5, 700, 5, 64}, {2, 1, 4, 4, 40, 7, 36}, {2, 2, 3, 1, 12, 1, 5}, {1, 1, 2, 2, 9, 21, 3}, {3, 3, 6, 4, 1300, 3, 1200},
	} {
		prefix, ld, ldHead := c.keys-c.window, c.keys+3, c.n+1
		rows := make([]float32, c.heads*ldHead*ld)
		for i := range rows {
			rows[i] = float32(math.Exp(3 * b.r.NormFloat64()))
			if i%3 == 0 {
				rows[i] = 0.25 // ties
			}
		}
		vote := room[float64](b, c.heads*prefix)
		b.must(b.snapVote(vote, voting{Rows: up(b, rows), LdHead: ldHead, Ld: ld, N: c.n, Window: c.window, Prefix: prefix, Heads: c.heads}))
		votes := make([]float64, c.heads*prefix)
		for h := range c.heads {
			for i := c.n - c.window; i < c.n; i++ {
				for j := range prefix {
					votes[h*prefix+j] += float64(rows[(h*ldHead+i)*ld+j])
				}
			}
		}
		equal(t, "votes", down[float64](b, vote, len(votes)), votes)

		for _, pooling := range snapkv.Poolings() {
			dst := room[float64](b, len(votes))
			b.must(b.snapPool(dst, vote, c.kernel, pooling, prefix, c.heads))
			pooled := make([]float64, len(votes))
			for h := range c.heads {
				v := votes[h*prefix : (h+1)*prefix]
				for j := range v {
					lo, hi := max(0, j-c.kernel/2), min(prefix, j+c.kernel/2+1)
					sum, top := 0.0, math.Inf(-1)
					for _, x := range v[lo:hi] {
						sum, top = sum+x, max(top, x)
					}
					if pooled[h*prefix+j] = sum / float64(c.kernel); pooling == snapkv.MaxPool {
						pooled[h*prefix+j] = top
					}
				}
			}
			equal(t, pooling.String(), down[float64](b, dst, len(votes)), pooled)

			keep := room[int32](b, c.heads*(c.k+c.window))
			b.must(b.snapTopK(keep, c.k+c.window, dst, prefix, c.k, c.window, c.heads))
			var want []int32
			for h := range c.heads {
				want = append(want, topk.Select(pooled[h*prefix:(h+1)*prefix], c.k)...)
				for j := range c.window {
					want = append(want, int32(prefix+j))
				}
			}
			equal(t, "kept after "+pooling.String(), down[int32](b, keep, len(want)), want)
		}

		group := c.heads / c.kv
		for _, how := range []snapkv.Group{snapkv.GroupMean, snapkv.GroupMax, snapkv.GroupSum} {
			dst := room[float64](b, c.kv*prefix)
			b.must(b.snapMerge(dst, vote, group, how, prefix, c.kv))
			want := make([]float64, c.kv*prefix)
			for i := range want {
				g, j := i/prefix, i%prefix
				for x := range group {
					v := votes[(g*group+x)*prefix+j]
					switch {
					case x == 0:
						want[i] = v
					case how == snapkv.GroupMax:
						want[i] = max(want[i], v)
					default:
						want[i] += v
					}
				}
				if how == snapkv.GroupMean {
					want[i] /= float64(group)
				}
			}
			equal(t, how.String(), down[float64](b, dst, len(want)), want)
		}
	}
}

// Scores of any sign, zeros of both signs, and many alike.
func TestTopKOfAnyScores(t *testing.T) {
	b := onCard(t)
	for _, n := range []int{1, 511, 512, 1500} {
		score := make([]float64, 2*n)
		for i := range score {
			score[i] = float64(b.r.IntN(9)-4) * []float64{1, 1e-300, 1e300}[i%3]
			if score[i] == 0 && i%2 == 0 {
				score[i] = math.Copysign(0, -1)
			}
		}
		p := up(b, score)
		for _, k := range []int{0, 1, n / 2, n} {
			keep := up(b, make([]int32, 2*n))
			b.must(b.snapTopK(keep, n, p, n, k, 0, 2))
			got := down[int32](b, keep, 2*n)
			for h := range 2 {
				equal(t, fmt.Sprintf("%d of %d", k, n), got[h*n:h*n+k], append([]int32{}, topk.Select(score[h*n:(h+1)*n], k)...))
			}
		}
	}
}

// A score that is not a number is told, whatever its sign; infinite ones are numbers.
func TestTopKOfNoNumbers(t *testing.T) {
	b := onCard(t)
	const n = 700
	for _, bad := range []float64{math.NaN(), math.Copysign(math.NaN(), -1), math.Inf(1), math.Inf(-1)} {
		score := make([]float64, 2*n)
		score[n+511] = bad
		keep := up(b, make([]int32, 2*5))
		b.must(b.snapTopK(keep, 5, up(b, score), n, 3, 2, 2))
		got, want := down[int32](b, keep, 2*5), []int32{0, 1, 2, n, n + 1}
		equal(t, "the sound head", got[:5], want)
		switch {
		case bad != bad && got[5] != -1:
			t.Errorf("%g: keeps %v, want -1 first", bad, got[5:])
		case bad > 1:
			want = []int32{0, 1, 511, n, n + 1}
		}
		if bad == bad {
			equal(t, "infinite", got[5:], want)
		}
	}
}

func TestGatherSlots(t *testing.T) {
	b := onCard(t)
	const stores, srcStores, srcRoom, dstRoom, ldKeep = 4, 2, 30, 12, 10
	counts := []int32{10, 3, 0, 7}
	keep := make([]int32, stores*ldKeep)
	for s := range stores {
		for i := range ldKeep {
			keep[s*ldKeep+i] = int32(2*i + s)
		}
	}
	srcPos := make([]int32, srcStores*srcRoom)
	for i := range srcPos {
		srcPos[i] = int32(100 + 3*i)
	}
	for _, dim := range []int{8, 5, 45, 160} {
		for _, d := range dtypes {
			src := round(d, randoms(b.r, srcStores*srcRoom*dim))
			for _, ragged := range []bool{true, false} {
				g := gather{Dst: b.upAs(d, make([]float32, stores*dstRoom*dim)), Src: b.upAs(d, src), DstRoom: dstRoom, SrcRoom: srcRoom, Keep: up(b, keep), LdKeep: ldKeep, Count: 10, Stores: stores, SrcStores: srcStores, RowBytes: dim * int(d.bytes())}
				if ragged {
					g.Counts = up(b, counts)
				}
				b.must(b.gatherSlots(g))
				p := g
				p.Dst, p.Src = up(b, make([]int32, stores*dstRoom)), up(b, srcPos)
				b.must(b.gatherPos(p))
				plain := p
				plain.Dst, plain.Src = up(b, make([]int32, stores*dstRoom)), 0
				b.must(b.gatherPos(plain))
				want, wantPos, wantPlain := make([]float32, stores*dstRoom*dim), make([]int32, stores*dstRoom), make([]int32, stores*dstRoom)
				for s := range stores {
					for i := range 10 {
						if ragged && i >= int(counts[s]) {
							continue
						}
						slot := int(keep[s*ldKeep+i])
						copy(want[(s*dstRoom+i)*dim:][:dim], src[(s/2*srcRoom+slot)*dim:])
						wantPos[s*dstRoom+i], wantPlain[s*dstRoom+i] = srcPos[s/2*srcRoom+slot], int32(slot)
					}
				}
				equal(t, d.String(), b.downAs(d, g.Dst, len(want)), want)
				equal(t, "positions", down[int32](b, p.Dst, len(wantPos)), wantPos)
				equal(t, "slots", down[int32](b, plain.Dst, len(wantPlain)), wantPlain)
			}
		}
	}
}
