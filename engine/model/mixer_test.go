package model

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// hybrids lists checkpoints of families with layers without attention.
var hybrids = []string{"qwen3_next", "qwen3_5_text", "lfm2", "lfm2_moe", "granitemoehybrid", "bamba", "falcon_h1", "nemotron_h"}

// follow appends tokens to a session and returns all their logits.
func follow(t *testing.T, s *Session, tokens []int32) (logits []float32) {
	t.Helper()
	err := s.Forward(context.Background(), tokens, Pass{Logits: func(_ int, l []float32) { logits = append(logits, l...) }})
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

// TestStatesReturn cuts and copies sequences at marked lengths, where they must continue
// as before, bit for bit, and at others, which must fail.
func TestStatesReturn(t *testing.T) {
	for _, name := range hybrids {
		t.Run(name, func(t *testing.T) {
			m := load(t, "testdata/"+name, 7, 2)
			ids := openGolden(t, "testdata/"+name).ints("input_ids")
			first, next := ids[:40], ids[40:50]
			s := m.NewSession()
			defer s.Close()
			start := follow(t, s, first)
			s.Mark()
			want := follow(t, s, next)

			if err := s.Truncate(35); err == nil || !strings.Contains(err.Error(), "35") {
				t.Errorf("cut to an unmarked length: %v", err)
			}
			if _, err := s.Copy(45, 60); err == nil {
				t.Error("copied at an unmarked length")
			}
			if n := s.Len(); n != 50 {
				t.Fatalf("%d tokens after cuts that failed, want 50", n)
			}
			c, err := s.Copy(40, 60)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if !slices.Equal(follow(t, c, next), want) {
				t.Error("other logits of a copy")
			}
			if slices.Equal(follow(t, s, next), want) {
				t.Error("the state does not count")
			}
			for range 2 {
				if err := s.Truncate(40); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(follow(t, s, next), want) {
					t.Error("other logits after a return to the mark")
				}
			}
			if err := s.Truncate(0); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(follow(t, s, first), start) {
				t.Error("other logits after a return to the start")
			}
			config := m.Config()
			for l := range config.Layers {
				_, keys := s.Keys(l, 0, 1)
				_, values := s.Values(l, 0, 1)
				_, output := m.OutputProjection(l)
				for _, err := range []error{keys, values, output} {
					if has := config.Shapes[l].HasAttention(); has != (err == nil) || !has && !strings.Contains(err.Error(), fmt.Sprintf("layer %d has no attention", l)) {
						t.Errorf("layer %d, which is %s: %v", l, config.Shapes[l].Kind, err)
					}
				}
			}
			whole := compressAll(t, s)
			defer whole.Close()
			if !slices.Equal(follow(t, whole, next), want) {
				t.Error("other logits with a compressed cache that keeps everything")
			}
		})
	}
}

// compressAll compresses a session and keeps all its slots.
func compressAll(t *testing.T, s *Session) *Session {
	t.Helper()
	c := s.m.Config()
	out, err := s.Compress(func(layer int) ([][]int32, error) {
		all := make([]int32, s.Len())
		for i := range all {
			all[i] = int32(i)
		}
		return slices.Repeat([][]int32{all}, c.Shapes[layer].KVHeads), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStatesOfAnyPieces compares the states after a prompt in pieces of several lengths.
func TestStatesOfAnyPieces(t *testing.T) {
	for _, name := range hybrids {
		var want [][]float32
		ids := openGolden(t, "testdata/"+name).ints("input_ids")
		for _, chunk := range []int{1, 7, 504} {
			t.Run(fmt.Sprintf("%s/chunk=%d", name, chunk), func(t *testing.T) {
				m := load(t, "testdata/"+name, chunk, 2)
				s := m.NewSession()
				defer s.Close()
				follow(t, s, ids)
				got := s.seq.(*cpuSequence).mixerStates
				c := m.Config()
				if bytes := c.StateBytes(); bytes != 4*int64(len(slices.Concat(got...))) || bytes == 0 {
					t.Errorf("%d elements in states of %d bytes", len(slices.Concat(got...)), bytes)
				}
				for l, state := range got {
					beside := name == "falcon_h1" // attention and a recurrence in every layer
					if (beside || c.Shapes[l].Kind == Linear) != (state != nil) {
						t.Fatalf("layer %d is %s and has a state of %d elements", l, c.Shapes[l].Kind, len(state))
					}
					for i, v := range state {
						if want != nil && math.Abs(float64(v-want[l][i])) > 1e-5 {
							t.Fatalf("layer %d: element %d of the state is %g, want %g", l, i, v, want[l][i])
						}
					}
				}
				want = got
			})
		}
	}
}
