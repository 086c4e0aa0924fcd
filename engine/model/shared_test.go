package model

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/engine/cpu"
)

// TestSharedCachesAreCompressedOnce compresses the caches of a model whose last layers
// read those of earlier ones: a cache that keeps everything decodes as the full one does,
// bit for bit, and the readers of a smaller cache attend to the slots of its owner.
func TestSharedCachesAreCompressedOnce(t *testing.T) {
	for _, name := range []string{"gemma3n_text", "gemma4_text"} {
		t.Run(name, func(t *testing.T) {
			dir := "testdata/" + name
			g := openGolden(t, dir)
			m := load(t, dir, 32, 2)
			c := m.Config()
			ids := g.ints("input_ids")
			full := m.NewSession()
			defer full.Close()
			if err := full.Forward(context.Background(), ids, Pass{}); err != nil {
				t.Fatal(err)
			}
			if want := int64(len(ids)) * c.CacheBytes(); full.CacheBytes() != want {
				t.Errorf("the cache takes %d bytes, want %d", full.CacheBytes(), want)
			}
			all := keepEvery(full, 1)
			same, err := full.Compress(all)
			if err != nil {
				t.Fatal(err)
			}
			defer same.Close()
			small, err := full.Compress(keepEvery(full, 3))
			if err != nil {
				t.Fatal(err)
			}
			defer small.Close()
			for range 4 {
				_, want := nextRow(t, full, 7)
				if _, got := nextRow(t, same, 7); !slices.Equal(got, want) {
					t.Fatal("a cache that keeps everything gives other logits")
				}
				slots, logits := nextRow(t, small, 7)
				if slices.Equal(logits, want) {
					t.Fatal("a third of the cache gives the same logits")
				}
				for l, n := range slots {
					if own := (len(ids)+2)/3 + small.Len() - len(ids); n != own {
						t.Errorf("layer %d attends to %d slots, want %d", l, n, own)
					}
				}
			}
			_, err = full.Compress(func(layer int) ([][]int32, error) {
				return slices.Repeat([][]int32{{0, 1}}, c.Shapes[layer].Heads), nil
			})
			if err == nil || !strings.Contains(err.Error(), "because other layers read its cache") {
				t.Errorf("slots by query head: %v", err)
			}
		})
	}
}

// keepEvery keeps every n-th position of each kv head. It is asked for layers with a
// cache of their own only.
func keepEvery(s *Session, n int) func(layer int) ([][]int32, error) {
	return func(layer int) ([][]int32, error) {
		shape := s.m.config.Shapes[layer]
		if shape.CacheOf != layer {
			panic("asked for the cache of a layer that has none")
		}
		var slots []int32
		for at := 0; at < s.Len(); at += n {
			slots = append(slots, int32(at))
		}
		return slices.Repeat([][]int32{slots}, shape.KVHeads), nil
	}
}

// nextRow appends a token, and returns the number of slots that each layer attends to and
// the logits.
func nextRow(t *testing.T, s *Session, id int32) (slots map[int]int, logits []float32) {
	t.Helper()
	slots = map[int]int{}
	var mu sync.Mutex
	tile := func(layer int, tile *cpu.Tile) {
		mu.Lock()
		defer mu.Unlock()
		slots[layer] = tile.Key0 + tile.Keys
	}
	err := s.Forward(context.Background(), []int32{id}, Pass{
		Recorder: &Recorder{Tile: tile},
		Logits:   func(_ int, l []float32) { logits = slices.Clone(l) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return slots, logits
}
