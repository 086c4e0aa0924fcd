// Package cpu runs the arithmetic of a decoder on the processor: products with
// packed weights, the key/value store, attention by tiles, normalisation and
// activations. All of it is float32; weights may stay bfloat16 in memory.
package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Pool shares work out over threads by an atomic counter, never by a static
// split: on a shared machine a slow thread must not hold the others up.
type Pool struct {
	threads int
	jobs    []chan func()
	scratch []Scratch
}

// Scratch is a worker's own buffer, kept between tasks.
type Scratch struct{ floats []float32 }

// Floats returns n floats of unspecified content.
func (s *Scratch) Floats(n int) []float32 {
	if cap(s.floats) < n {
		s.floats = make([]float32, n+n/8)
	}
	return s.floats[:n]
}

// NewPool starts a pool; threads < 1 means one for each core.
func NewPool(threads int) *Pool {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads, jobs: make([]chan func(), threads-1), scratch: make([]Scratch, threads)}
	for i := range p.jobs {
		jobs := make(chan func())
		p.jobs[i] = jobs
		go func() {
			for f := range jobs {
				f()
			}
		}()
	}
	return p
}

// Threads is the number of workers, the caller's included.
func (p *Pool) Threads() int { return p.threads }

// Run calls body for the tasks 0 to n-1, each once, on all workers.
func (p *Pool) Run(n int, body func(task, worker int)) {
	if p.threads == 1 || n == 1 {
		for i := range n {
			body(i, 0)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	work := func(worker int) {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			body(i, worker)
		}
	}
	for i := range min(len(p.jobs), n-1) {
		wg.Add(1)
		p.jobs[i] <- func() { defer wg.Done(); work(i + 1) }
	}
	work(0)
	wg.Wait()
}

// Scratch is the buffer of a worker.
func (p *Pool) Scratch(worker int) *Scratch { return &p.scratch[worker] }

// Close stops the workers.
func (p *Pool) Close() {
	for _, c := range p.jobs {
		close(c)
	}
	p.jobs, p.threads = nil, 1
}
