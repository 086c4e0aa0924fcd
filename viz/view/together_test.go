package view

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestTogether sends many requests at once, in several orders, to a viewer that can keep
// almost nothing. Memory that one answer frees must not be seen in another: each answer
// must equal that of a viewer that gets no other request.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WriteLarge(t, path, dumpstest.Shape{Layers: 3, Heads: 4, KVHeads: 2, Dim: 16, Prompt: 3000, Rows: 64, Reply: 40})
	const room = 1 << 20
	var asked []string
	for layer := range 3 {
		for _, q := range []string{
			"stats?window=32&theta=0.01", "stats?window=24&theta=0.01&draft=1&kernel=5", "stats?window=8&top=0.2&kernel=3&pooling=maxpool", "sweep?window=8,32&theta=0.01",
			"methods?window=16&capacity=64,500&kernel=3&methods=snapkv,h2o,tova,adakv,cake,keydiff,oracle", "kept?method=snapkv&head=1&window=16&capacity=100", "map?head=2", "row?head=2&row=70",
			"vote?head=3&window=16", "tile?head=1&level=0&x=1&y=0", "kept?method=expectedattention&window=16&capacity=100",
		} {
			asked = append(asked, fmt.Sprintf("api/%s&layer=%d", q, layer))
		}
	}
	asked = append(asked, "api/stats?window=32&theta=0.02&layers=0,1,2", "api/sweep?window=16&layers=2,1,0", "api/methods?layer=all&window=16&capacity=64&methods=snapkv,pyramidkv,cake")
	want := map[string][]byte{}
	for _, q := range asked {
		v := serve(t, path, Options{Token: testToken, CacheBytes: room})
		v.s.draftWeights = 1
		code, answer := v.get(q)
		if code != 200 {
			t.Fatalf("%s: %s", q, answer)
		}
		want[q] = answer
	}
	v := serve(t, path, Options{Token: testToken, CacheBytes: room})
	v.s.draftWeights = 1
	var wg sync.WaitGroup
	for round := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(round), 1))
			for _, i := range r.Perm(len(asked)) {
				code, answer := v.get(asked[i])
				if code != 200 || !bytes.Equal(answer, want[asked[i]]) {
					t.Errorf("%s: %d %.300s, alone %.300s", asked[i], code, answer, want[asked[i]])
				}
			}
		})
	}
	wg.Wait()
}
