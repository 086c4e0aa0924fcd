package snapkv

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
)

// TestRevision: all methods select the positions that they selected when Revision was
// set. A change of positions that is meant raises Revision and replaces the hash. A new
// method replaces the hash alone.
func TestRevision(t *testing.T) {
	const want = "6e274952cee075b939f7a5f6a41de868338e4f70a3c7f36634d4fa27aefdccde"
	entries, err := Entries(Methods, sweepConfigs())
	if err != nil {
		t.Fatal(err)
	}
	var reads [4]int
	src := randomSource(&reads)
	sweep, err := NewSweep(t.Context(), src, entries)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	for _, layer := range src.Recorded {
		l, err := src.Read(t.Context(), layer, sweep.Needs())
		if err != nil {
			t.Fatal(err)
		}
		kept := make([]string, len(entries))
		sweep.Select(l, nil, func(i int, keep [][]int32, _ error) { kept[i] = fmt.Sprint(keep) })
		for i, e := range entries {
			fmt.Fprintln(sum, layer, e.Method.Name, e.Config.Capacity, kept[i])
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		t.Errorf("methods select other positions than at revision %d: the hash is %s, want %s", Revision, got, want)
	}
}
