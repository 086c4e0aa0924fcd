package analysis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/snapkv"
)

// TestStatesOfEveryKindOfLayer: from tensors, snapkv selects what it selects from a dump,
// in every kind of layer whose cache one layer reads.
func TestStatesOfEveryKindOfLayer(t *testing.T) {
	const prompt = dumpstest.Prompt
	for _, kind := range dumpstest.KindNames() {
		if kind == "sinks" {
			continue // tested with the sinks
		}
		r := kindDump(t, kind)
		h := r.Header()
		c := kindConfig(h, snapkv.GroupMean)
		want, err := Indices(context.Background(), r, 1, snapkv.Methods[0], c)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range dumpstest.ShapedLayers(dumpstest.Kinds()[kind], rand.New(rand.NewPCG(2, 2))) {
			if a == nil || h.Model.SharedCache(a.Layer) {
				continue
			}
			s := &a.Shape
			in := &snapkv.States{
				Heads: s.Heads, KVHeads: s.KVHeads, Len: prompt, Rows: 8, Dim: s.KeyDim,
				Round: func(v float32) float32 { return v }, Scale: float32(s.Scale), SoftCap: s.SoftCap, Window: s.Window, Chunk: s.Chunk,
			}
			for head := range s.Heads {
				for p := prompt - 8; p < prompt; p++ {
					in.Queries = append(in.Queries, a.Queries[(p*s.Heads+head)*s.KeyDim:][:s.KeyDim]...)
				}
			}
			for kv := range s.KVHeads {
				for p := range prompt {
					in.Keys = append(in.Keys, a.Keys[(p*s.KVHeads+kv)*s.KeyDim:][:s.KeyDim]...)
				}
			}
			got, err := in.Select(c)
			if err != nil {
				t.Fatal(err)
			}
			if at := slices.Index(h.Plan.Layers, a.Layer); fmt.Sprint(got) != fmt.Sprint(want[at]) {
				t.Errorf("%s, layer %d: %v from tensors, %v from the dump", kind, a.Layer, got, want[at])
			}
		}
	}
}
