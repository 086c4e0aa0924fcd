//go:build cuda

package cuda

import (
	"context"
	"math"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

const replyTokens = 8

// replies decodes 8 tokens from each of three sequences in turn, two of which are
// compressed, and returns all logits. Decoding starts below 128 keys, where attention
// begins to use a second block, and ends above.
func replies(t *testing.T, c *card) []float32 {
	t.Helper()
	const prompt = 124
	tokens := make([]int32, prompt)
	for i := range tokens {
		tokens[i] = int32(i * 7 % testSizes.Vocab)
	}
	keep := make([][][]int32, testSizes.Layers)
	for l := range keep {
		keep[l] = [][]int32{{0, 5, 7, 99}, {1, 2, 3, 80}}
	}
	whole := c.NewSequence()
	defer whole.Close()
	if err := whole.Forward(context.Background(), tokens, Pass{LogitsFrom: prompt}); err != nil {
		t.Fatal(err)
	}
	sequences := []Sequence{whole}
	for range 2 {
		small, err := whole.Compress(keep)
		if err != nil {
			t.Fatal(err)
		}
		defer small.Close()
		sequences = append(sequences, small)
	}
	var out []float32
	p := Pass{Logits: func(_ int, l []float32) { out = append(out, l...) }}
	for _, group := range [][]Sequence{sequences[:1], sequences[1:]} {
		for i := range replyTokens {
			for _, s := range group {
				if err := s.Forward(context.Background(), []int32{int32(i)}, p); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return out
}

// TestReplyTokensAreOneLaunchOnCard: with graphs, the logits are those of kernels that are
// launched one by one, to the bit. A graph is built once for caches that are not compressed
// and once for those that are, although they alternate and grow.
func TestReplyTokensAreOneLaunchOnCard(t *testing.T) {
	computes := []string{"f32", "bf16"}
	failing := os.Getenv("ATTNSCOPE_EMU_FAIL") != "" // by TestRefusedGraphOnCard, in the first model
	if failing {
		computes = computes[:1]
	}
	for _, compute := range computes {
		c := smallCard(t, compute)
		got := replies(t, c)
		g := c.graph(graphKey{rows: 1})
		if failing {
			if !g.refused || g.launched > 2 {
				t.Errorf("refused: %v, after %d launches of graphs; want that it is refused", g.refused, g.launched)
			}
		} else if g.built != 2 || g.launched != 3*replyTokens || g.refused {
			t.Errorf("%d graphs were built and %d launched (refused: %v), want 2 and %d",
				g.built, g.launched, g.refused, 3*replyTokens)
		}
		n := len(g.nodes) // 13 per layer, and one that counts the slots of compressed caches
		if !failing && n != 14*testSizes.Layers {
			t.Errorf("the last graph has %d kernels, want 14 per layer", n)
		}
		t.Setenv(graphSetting, "off")
		plain := smallCard(t, compute)
		if plain.graph(graphKey{rows: 1}) != nil {
			t.Error("graphs are not off")
		}
		if want := replies(t, plain); len(want) != 3*replyTokens*testSizes.Vocab || !slices.Equal(got, want) {
			t.Errorf("%s: the logits differ from those of kernels that are launched one by one", compute)
		}
		os.Unsetenv(graphSetting)
	}
}

// left is what a reply leaves: logits, rows, log-sum-exps and queries, in the order of tokens.
type left struct {
	logits []float32
	rows   map[[3]int]Rows // by layer, head and position
	states map[[2]int][]float32
}

// record returns a pass that adds to it.
func (l *left) record(halves *[256]uint8) Pass {
	l.rows, l.states = map[[3]int]Rows{}, map[[2]int][]float32{}
	var mu sync.Mutex
	return Pass{
		Logits: func(_ int, x []float32) { l.logits = append(l.logits, x...) },
		Record: func(layer, pos0, n int) Record {
			w := Record{Rows: pos0, LSE: pos0, States: pos0, Halves: halves}
			switch layer { // kinds of layers that leave different things
			case 1:
				w.Heads = []int{3, 1}
			case 2:
				w.Rows = pos0 + n
			case 3:
				w.States, w.LSE = pos0+n, pos0+n
			}
			return w
		},
		Rows: func(layer int, r *Rows) {
			mu.Lock()
			defer mu.Unlock()
			own := *r // one row; its memory behind the last key holds anything
			own.Weights = slices.Clone(r.Weights[:min(len(r.Weights), r.Keys)])
			own.Halves = slices.Clone(r.Halves[:min(len(r.Halves), r.Keys)])
			own.LSE = slices.Clone(r.LSE)
			l.rows[[3]int{layer, r.Head, r.Pos0}] = own
		},
		States: func(layer, pos0, n int, q, _, _ []float32) {
			mu.Lock()
			defer mu.Unlock()
			l.states[[2]int{layer, pos0}] = slices.Clone(q)
		},
	}
}

// TestRecordedTokensAreFewLaunchesOnCard: what a recorded reply leaves is the same with graphs as
// without, to the bit. The layers whose rows fit in a slot are one graph and one copy.
func TestRecordedTokensAreFewLaunchesOnCard(t *testing.T) {
	sizes := testSizes
	sizes.Layers, sizes.Heads, sizes.KVHeads, sizes.HeadDim, sizes.ValueDim = 5, 16, 8, 8, 8
	const prompt, tokens = 300, 2
	c := randomCard(t, sizes, "bf16")
	s := c.NewSequence()
	defer s.Close()
	if err := s.Forward(context.Background(), make([]int32, prompt), Pass{LogitsFrom: prompt}); err != nil {
		t.Fatal(err)
	}
	drop := dropTable(0.95e-4, 4.9e-4, 6)
	for _, halves := range []*[256]uint8{nil, &drop} {
		// A layer's row of all heads takes 16*(4*304+4) bytes, or half of it, of 16*8*301.
		layers := 1
		if halves != nil {
			layers = 3
		}
		parts := ceilDiv(sizes.Layers, layers)
		reply := func(setting string) (l left) {
			t.Setenv(graphSetting, setting)
			s.Truncate(prompt)
			p := l.record(halves)
			copies := 0
			for i := range tokens {
				if err := s.Forward(context.Background(), []int32{int32(i)}, p); err != nil {
					t.Fatal(err)
				}
				if n := c.ring.copies - copies; i > 0 && n != parts {
					t.Errorf("%d copies of recorded data, want %d in a token", n, parts)
				}
				copies = c.ring.copies
			}
			return l
		}
		without := reply("off")
		if len(c.graphs) > 0 {
			t.Error("graphs are not off")
		}
		with := reply("")
		for part := range parts {
			if g := c.graphs[graphKey{rows: 1, recorded: true, part: part}]; g == nil || g.built != 1 || g.launched != tokens || g.refused {
				t.Errorf("graph of part %d: %+v, want that it was built once and launched %d times", part, g, tokens)
			}
		}
		if len(c.graphs) != parts {
			t.Errorf("%d graphs, want %d", len(c.graphs), parts)
		}
		_ = c.t.do(func() error { c.dropGraphs(); return nil })
		if want := tokens * (3*sizes.Heads + 2 + sizes.Heads); len(with.rows) != want || len(with.states) != tokens*4 {
			t.Errorf("%d rows and %d states, want %d and %d", len(with.rows), len(with.states), want, tokens*4)
		}
		if !reflect.DeepEqual(with.rows, without.rows) || !reflect.DeepEqual(with.states, without.states) || !slices.Equal(with.logits, without.logits) {
			t.Error("the rows, states or logits differ from those of kernels that are launched one by one")
		}
		for at, r := range with.rows {
			if sum := rowSum(&r); len(r.LSE) == 0 && at[0] != 3 || at[0] != 2 && math.Abs(sum-1) > 1e-2 {
				t.Fatalf("%v: a row of sum %g with %d log-sum-exps", at, sum, len(r.LSE))
			}
		}
	}
}

// rowSum adds up a row.
func rowSum(r *Rows) float64 {
	sum := 0.0
	for _, v := range r.Weights {
		sum += float64(v)
	}
	for _, v := range r.Halves {
		sum += float64(tensor.F16ToF32(v))
	}
	return sum
}

// TestStepsOnCard: tokens of several sequences that pass through the layers together leave the
// same as alone, to the bit: of more sequences than share the weights, compressed and not.
func TestStepsOnCard(t *testing.T) {
	const prompt, tokens, sequences = 30, 2, gemvRows + 2
	c := smallCard(t, "bf16")
	var alone, together [sequences]left
	for _, l := range []*[sequences]left{&alone, &together} {
		list := make([]Sequence, sequences)
		passes := make([]Pass, sequences)
		for i := range list {
			s := c.NewSequence()
			ids := make([]int32, prompt+i)
			for j := range ids {
				ids[j] = int32((i + j*5) % testSizes.Vocab)
			}
			if err := s.Forward(context.Background(), ids, Pass{LogitsFrom: len(ids)}); err != nil {
				t.Fatal(err)
			}
			if i%3 == 1 {
				whole := s
				defer whole.Close()
				var err error
				if s, err = whole.Compress(slices.Repeat([][][]int32{{{0, 5, 7}, {1, 2}}}, testSizes.Layers)); err != nil {
					t.Fatal(err)
				}
			}
			defer s.Close()
			list[i], passes[i] = s, l[i].record(nil)
			if i%4 == 2 {
				passes[i].Record = nil
			}
		}
		for n := range tokens {
			ids := make([]int32, sequences)
			for i := range ids {
				ids[i] = int32(n*11 + i)
			}
			if l == &together {
				if err := c.Step(context.Background(), list, ids, passes); err != nil {
					t.Fatal(err)
				}
				continue
			}
			for i, s := range list {
				if err := s.Forward(context.Background(), ids[i:i+1], passes[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for i := range alone {
		a, b := &alone[i], &together[i]
		if len(a.logits) != tokens*testSizes.Vocab || i%4 != 2 && len(a.rows) == 0 {
			t.Fatalf("sequence %d: %d logits and %d rows", i, len(a.logits), len(a.rows))
		}
		if !reflect.DeepEqual(a.rows, b.rows) || !reflect.DeepEqual(a.states, b.states) || !slices.Equal(a.logits, b.logits) {
			t.Errorf("sequence %d leaves something else in a batch than alone", i)
		}
	}
	if g := c.graphs[graphKey{rows: gemvRows, recorded: true}]; g == nil || g.launched != tokens {
		t.Errorf("the graph of %d sequences: %+v, want %d launches", gemvRows, g, tokens)
	}
}

// TestRefusedGraphOnCard: a driver that refuses a call for graphs launches kernels one by one.
func TestRefusedGraphOnCard(t *testing.T) {
	emulated(t)
	if testing.Short() {
		t.Skip("SKIPPED: a short run")
	}
	for _, fail := range []string{
		"cuGraphCreate:1:801", // a driver that does not have it
		"cuGraphAddKernelNode_v2:7",
		"cuGraphInstantiateWithFlags:1",
		"cuGraphExecKernelNodeSetParams_v2:3:1",
	} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestReplyTokensAreOneLaunchOnCard$", "-test.v")
		cmd.Env = append(os.Environ(), "ATTNSCOPE_EMU_FAIL="+fail)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestReplyTokensAreOneLaunchOnCard") {
			t.Errorf("%s: %v\n%s", fail, err, out)
		}
	}
}

// TestStopwatchSeesReplyTokensOnCard: while kernels are measured, they are launched one by
// one.
func TestStopwatchSeesReplyTokensOnCard(t *testing.T) {
	c := smallCard(t, "bf16")
	s := c.NewSequence()
	defer s.Close()
	read, end := WatchKernels(c)
	if err := s.Forward(context.Background(), []int32{1}, Pass{LogitsFrom: 1}); err != nil {
		t.Fatal(err)
	}
	spent, err := read()
	if err != nil {
		t.Fatal(err)
	}
	if n := spent["decode_scores_bf16"].Times; n != testSizes.Layers {
		t.Errorf("decode_scores_bf16 was seen %d times, want once per layer", n)
	}
	end()
	if err := s.Forward(context.Background(), []int32{1}, Pass{LogitsFrom: 1}); err != nil {
		t.Fatal(err)
	}
	if n := c.graph(graphKey{rows: 1}).launched; n != 1 {
		t.Errorf("%d launches of graphs, want that of the second token alone", n)
	}
}
