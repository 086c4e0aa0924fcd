//go:build cuda

package cuda

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
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
		g := c.l.graph
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
		if plain.l.graph != nil {
			t.Error("graphs are not off")
		}
		if want := replies(t, plain); len(want) != 3*replyTokens*testSizes.Vocab || !slices.Equal(got, want) {
			t.Errorf("%s: the logits differ from those of kernels that are launched one by one", compute)
		}
		os.Unsetenv(graphSetting)
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
	if c.l.graph.launched != 1 {
		t.Errorf("%d launches of graphs, want that of the second token alone", c.l.graph.launched)
	}
}
