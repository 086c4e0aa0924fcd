// Package cpu runs the arithmetic of a decoder on the processor: products with packed
// weights, the key/value store, attention by tiles, normalization and activations.
// Activations are float32; weights keep the element size of the checkpoint. Results do
// not depend on the number of threads: they are the same bit for bit.
//
// A product of 504 rows with a weight [out, in]:
//
//	pool := cpu.NewPool(0)
//	defer pool.Close()
//	w, err := cpu.Pack(pool, cpu.F32, weight)
//	if err != nil {
//		return err
//	}
//	w.Mul(pool, cpu.Dense(dst, 504, out), cpu.Dense(x, 504, in))
package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/attnscope/attnscope/internal/simd"
)

// Pool runs tasks on several threads. The threads take tasks from an atomic counter,
// never from a static split: on a shared machine a slow thread must not delay the
// others. Between two jobs a thread polls for the next one for a while before it
// sleeps, because a decoder starts a job every few microseconds.
//
// A pool also keeps buffers between jobs. Only one goroutine at a time may use it.
type Pool struct {
	threads int
	scratch []Scratch

	// Buffers of the caller of Run.
	groupSums []float32 // sums of groups of a row's inputs
	words     []uint32  // rounded activations
	stepBuf   []float32 // attention of a decoding step
	tiles     []uint16  // rows packed for products by tiles
	values    []float32 // values of a layer of latents
	split     []uint16  // keys and values of a layer packed for products by tiles
	unused    []*slab   // memory of matrices that have been unloaded

	current  atomic.Pointer[job]
	wait     chan struct{} // wakes the caller of Run when a job is done
	mu       sync.Mutex
	wake     *sync.Cond // with mu: there is a new job, or the pool is closed
	sleepers atomic.Int32
	closed   atomic.Bool
}

// job is one call of Run.
type job struct {
	body       func(task, worker int)
	n          int64
	next, done atomic.Int64
}

// spins is the number of times that a thread polls before it sleeps, about 50 µs in
// all.
const spins = 200

// Scratch is a worker's own buffer, kept between tasks.
type Scratch struct {
	floats, panels []float32
	tiles          []uint16
}

// Floats returns n floats of unspecified content. A later call may return the same
// memory.
func (s *Scratch) Floats(n int) []float32 { return resize(&s.floats, n) }

// widened returns n floats for widened weights, of unspecified content.
func (s *Scratch) widened(n int) []float32 { return resize(&s.panels, n) }

// packed returns n values for operands of products by tiles, of unspecified content.
func (s *Scratch) packed(n int) []uint16 { return resize(&s.tiles, n) }

// resize returns n elements of a buffer of unspecified content; it reallocates the
// buffer if it is too small.
func resize[T any](b *[]T, n int) []T {
	if cap(*b) < n {
		*b = make([]T, n+n/8)
	}
	return (*b)[:n]
}

// NewPool starts a pool of threads workers; less than 1 means one per core.
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

// Threads returns the number of workers, including the goroutine that calls Run.
func (p *Pool) Threads() int { return p.threads }

// Run calls body once for each task from 0 to n-1, on all workers, and returns when
// all calls have returned. worker is from 0 to Threads()-1.
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
		<-p.wait // this may be a late message about the previous job: check again
	}
}

// share runs the tasks of a job until none is left.
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

// work is the loop of a worker.
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

// Scratch returns the buffer of a worker.
func (p *Pool) Scratch(worker int) *Scratch { return &p.scratch[worker] }

// Close stops the workers.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed.Store(true)
	p.wake.Broadcast()
	p.mu.Unlock()
	p.threads = 1
}
