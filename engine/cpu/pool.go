// Package cpu runs the arithmetic of a decoder on the processor: products with
// packed weights, the key/value store, attention by tiles, normalisation and
// activations. Activations are float32; weights stay as small as they came.
package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/attnscope/attnscope/internal/simd"
)

// Pool shares work out over threads by an atomic counter, never by a static
// split: on a shared machine a slow thread must not hold the others up. Between
// two jobs a worker looks for the next one for a while before it sleeps, because
// a decoder hands out a job every few microseconds.
type Pool struct {
	threads int
	scratch []Scratch
	sums    []float32 // of the caller of Run: group sums of a row
	codes   []uint32  // rounded activations
	step    []float32 // and what a decoding step's attention needs

	current  atomic.Pointer[job]
	wait     chan struct{} // wakes the caller of Run when a job is done
	mu       sync.Mutex
	wake     *sync.Cond // with mu: a new job, or the end
	sleepers atomic.Int32
	closed   atomic.Bool
}

// job is one call of Run.
type job struct {
	body       func(task, worker int)
	n          int64
	next, done atomic.Int64
}

// spins is how often a thread looks before it sleeps, about 50 µs.
const spins = 200

// Scratch is a worker's own buffer, kept between tasks.
type Scratch struct {
	floats, panels []float32
	integers       []int32
}

// Floats returns n floats of unspecified content.
func (s *Scratch) Floats(n int) []float32 { return room(&s.floats, n) }

// widened returns room for n floats of widened weights.
func (s *Scratch) widened(n int) []float32 { return room(&s.panels, n) }

func room[T any](b *[]T, n int) []T {
	if cap(*b) < n {
		*b = make([]T, n+n/8)
	}
	return (*b)[:n]
}

// NewPool starts a pool; threads < 1 means one for each core.
func NewPool(threads int) *Pool {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads, scratch: make([]Scratch, threads), wait: make(chan struct{}, 1)}
	p.wake = sync.NewCond(&p.mu)
	for i := 1; i < threads; i++ {
		go p.work(i)
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
	j := &job{body: body, n: int64(n)}
	p.current.Store(j)
	if p.sleepers.Load() > 0 {
		p.mu.Lock()
		p.wake.Broadcast()
		p.mu.Unlock()
	}
	p.share(j, 0)
	for i := 0; j.done.Load() < j.n; i++ {
		if i < spins {
			simd.Pause()
			continue
		}
		<-p.wait // perhaps a late word about the job before: look again
	}
}

// share runs tasks of a job until none is left.
func (p *Pool) share(j *job, worker int) {
	for i := j.next.Add(1) - 1; i < j.n; i = j.next.Add(1) - 1 {
		j.body(int(i), worker)
		if j.done.Add(1) == j.n {
			select {
			case p.wait <- struct{}{}:
			default:
			}
		}
	}
}

func (p *Pool) work(worker int) {
	var last *job
	for {
		j := p.current.Load()
		for i := 0; j == last && i < spins; i++ {
			simd.Pause()
			j = p.current.Load()
		}
		if j == last {
			p.mu.Lock()
			p.sleepers.Add(1)
			for j = p.current.Load(); j == last && !p.closed.Load(); j = p.current.Load() {
				p.wake.Wait()
			}
			p.sleepers.Add(-1)
			p.mu.Unlock()
		}
		if p.closed.Load() {
			return
		}
		p.share(j, worker)
		last = j
	}
}

// Scratch is the buffer of a worker.
func (p *Pool) Scratch(worker int) *Scratch { return &p.scratch[worker] }

// Close stops the workers.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed.Store(true)
	p.wake.Broadcast()
	p.mu.Unlock()
	p.threads = 1
}
