package model

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
)

// FuzzConfig: a config.json of a known family with any values is an error or a
// configuration within the limits, never a panic. The first argument picks the
// family, so that the rest need not guess its name.
func FuzzConfig(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/config.json")
	if err != nil || len(paths) == 0 {
		f.Fatal("no configurations to begin with", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		kind, _, _ := strings.Cut(filepath.Base(filepath.Dir(path)), "-")
		if at := slices.IndexFunc(Architectures, func(a Architecture) bool { return a.Name == kind }); at >= 0 {
			f.Add(at, text)
		}
	}
	for at := range Architectures {
		f.Add(at, []byte(`{"rope_scaling":{"rope_type":"longrope","factor":4,"short_factor":[1,2],"long_factor":[3,4],"original_max_position_embeddings":64},"num_hidden_layers":2,"layer_types":["sliding_attention","full_attention"],"sliding_window":7}`))
	}
	dir := f.TempDir()
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), []tensor.Tensor{tensor.FromFloat32("x", []float32{1}, 1)}, nil); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, at int, text []byte) {
		if at < 0 || at >= len(Architectures) || len(text) < 2 || text[0] != '{' {
			return
		}
		if end := bytes.LastIndexByte(text, '}'); end > 0 { // the last of two fields counts
			text = append(slices.Clone(text[:end]), `,"model_type":"`+Architectures[at].Name+`"}`...)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		ck, err := checkpoint.Open(dir)
		if err != nil {
			return
		}
		defer ck.Close()
		c, err := ReadConfig(ck)
		if err != nil {
			return
		}
		if c.Layers < 1 || c.Layers > maxLayers || c.Heads < 1 || c.Heads > maxHeads || c.KVHeads < 1 || c.HeadDim < 1 || c.HeadDim > maxDim || c.Vocab < 1 || len(c.LayerWindows) != c.Layers {
			t.Errorf("%s gives %+v", text, c)
		}
		for _, w := range c.LayerWindows {
			if w < 0 {
				t.Errorf("%s gives a window of %d", text, w)
			}
		}
	})
}
