package dumps

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkSync measures the cost of making finished prompts durable: never, every five
// seconds as Writer does, or after each prompt. The prompts are of 4 MB and cannot be
// compressed.
func BenchmarkSync(b *testing.B) {
	x := make([]float32, 1<<16)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for _, how := range []string{"never", "five-seconds", "each"} {
		b.Run(how, func(b *testing.B) {
			h := faultHeader()
			h.Plan.Values, h.Model.ValueDim = true, 64
			w, err := Create(filepath.Join(b.TempDir(), "x.attn"), h, CreateOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if how == "never" {
				w.file.out = testFile{File: w.file.f, sync: noSync}
			}
			n := 0
			for b.Loop() {
				if how == "each" {
					w.queue.synced = time.Time{}
				}
				p := Prompt{ID: fmt.Sprint("p", n), PromptTokens: 1, Tokens: []int32{0}}
				pw, err := w.Begin(p)
				if err != nil {
					b.Fatal(err)
				}
				for i := range 16 {
					if err := pw.Values(0, i<<10, 1<<10, x); err != nil {
						b.Fatal(err)
					}
				}
				if err := pw.Finish(p); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.StopTimer()
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
