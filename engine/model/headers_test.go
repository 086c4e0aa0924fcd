package model

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/internal/hubtest"
)

// TestHeadersSayTheSame: the configuration, the tensors and the memory of a model are the
// same whether its weights are here or only their headers were read from the hub.
func TestHeadersSayTheSame(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/config.json")
	if err != nil || len(dirs) < 20 {
		t.Fatalf("%d models, %v", len(dirs), err)
	}
	models := map[string]string{}
	for _, dir := range quantizedFolders(t) {
		models["quantized/"+filepath.Base(dir)] = dir
	}
	for _, config := range dirs {
		models["test/"+filepath.Base(filepath.Dir(config))] = filepath.Dir(config)
	}
	hubtest.Serve(t, models)
	for id, dir := range models {
		for _, file := range []string{"", "model.gguf"} {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				continue
			}
			name := id
			if file != "" {
				name += ":" + file
			}
			t.Run(name, func(t *testing.T) { testHeaders(t, filepath.Join(dir, file), name) })
		}
	}
}

func testHeaders(t *testing.T, path, name string) {
	whole, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	place, err := checkpoint.Locate(t.Context(), name, checkpoint.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	heads, err := place.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !heads.HeadersOnly() || whole.HeadersOnly() {
		t.Fatalf("headers only: %v and %v", heads.HeadersOnly(), whole.HeadersOnly())
	}
	if !slices.Equal(heads.Names(), whole.Names()) {
		t.Errorf("tensors %v, want %v", heads.Names(), whole.Names())
	}
	want, err := ReadConfig(whole)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(heads)
	if err != nil {
		t.Fatal(err)
	}
	if got.Rope.Kind != want.Rope.Kind || got.Rope.Original != want.Rope.Original {
		t.Errorf("rope %+v, want %+v", got.Rope, want.Rope)
	}
	if strings.HasSuffix(path, ".gguf") { // frequencies may be weights
		got.Rope = want.Rope
		for l := range got.Shapes {
			got.Shapes[l].Rope = want.Shapes[l].Rope
		}
	}
	got.arch, want.arch = Architecture{}, Architecture{} // functions do not compare
	if !reflect.DeepEqual(got, want) {
		t.Errorf("configuration %+v, want %+v", got, want)
	}
	if g, w := got.WeightBytes(heads, "f32"), want.WeightBytes(whole, "f32"); g != w || g == 0 {
		t.Errorf("%d bytes of memory, want %d", g, w)
	}
	config, _ := ReadConfig(heads)
	if err := CheckTensors(heads, config); err != nil {
		t.Error(err)
	}
	for _, ck := range []*checkpoint.Checkpoint{heads, whole} {
		if s, err := SurveyTensors(ck, config); err != nil || !s.Complete() {
			t.Errorf("tensors %+v, error %v", s, err)
		}
	}
	g, err1 := heads.SHA256()
	w, err2 := whole.SHA256()
	if g != w || err1 != nil || err2 != nil {
		t.Errorf("hash %s (%v), want %s (%v)", g, err1, w, err2)
	}
	if _, err := Load(heads, Options{}); err == nil || !strings.Contains(err.Error(), "fetch the weights first") {
		t.Errorf("loaded: %v", err)
	}
}
