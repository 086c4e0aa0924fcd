//go:build cuda

package cuda

import (
	"fmt"

	"gorgonia.org/cu"
)

// address is an address in the card's memory.
type address = cu.DevicePtr

// block is memory of the card.
type block struct {
	at    cu.DevicePtr
	bytes int64
}

// off returns the address n bytes into the block.
func (b block) off(n int64) cu.DevicePtr { return b.at + cu.DevicePtr(n) }

// pool hands out the card's memory and keeps returned blocks for later requests of the
// same size, because cuMemFree waits for all running work. The compute stream runs in
// order, so memory that it is still reading may be handed out to it again.
type pool struct {
	t     *thread
	spare map[int64][]block // by size
	held  int64             // bytes taken from the driver
	used  int64             // bytes handed out
	peak  int64             // largest number of bytes handed out
}

func newPool(t *thread) *pool { return &pool{t: t, spare: map[int64][]block{}} }

// roundSize rounds a size up in steps of about an eighth, to at least 512 bytes, so
// that blocks can be reused.
func roundSize(n int64) int64 {
	step := int64(512)
	for step*16 <= n {
		step *= 2
	}
	return (n + step - 1) / step * step
}

// get returns n bytes of unspecified content. what describes them in errors.
func (p *pool) get(n int64, what string) (block, error) {
	return p.exact(roundSize(max(n, 1)), what)
}

// exact returns a block of exactly size bytes, a multiple of 512, for memory that is kept
// for long.
func (p *pool) exact(size int64, what string) (block, error) {
	if list := p.spare[size]; len(list) > 0 {
		b := list[len(list)-1]
		p.spare[size] = list[:len(list)-1]
		p.count(size)
		return b, nil
	}
	at, err := cu.MemAlloc(size)
	if outOfMemory(err) && p.trim() {
		at, err = cu.MemAlloc(size)
	}
	if outOfMemory(err) {
		free, total, _ := cu.MemInfo()
		return block{}, &MemoryError{What: what, Want: size, Free: free, Memory: total}
	}
	if err != nil {
		return block{}, fmt.Errorf("%s: %w", what, call("cuMemAlloc", err))
	}
	p.held += size
	p.count(size)
	return block{at, size}, nil
}

func (p *pool) count(size int64) {
	p.used += size
	p.peak = max(p.peak, p.used)
}

// put returns a block to the pool.
func (p *pool) put(b block) {
	if b.bytes == 0 {
		return
	}
	p.used -= b.bytes
	p.spare[b.bytes] = append(p.spare[b.bytes], b)
}

// trim returns all spare blocks to the driver and reports whether there were any.
func (p *pool) trim() bool {
	some := false
	for size, list := range p.spare {
		for _, b := range list {
			_ = cu.MemFree(b.at)
			p.held -= size
			some = true
		}
		delete(p.spare, size)
	}
	return some
}

// weightsHint says what to do if the weights do not fit.
func weightsHint(compute string) string {
	if compute == "f32" {
		return "--compute bf16 takes half of it; --device cpu runs on the processor"
	}
	return "--device cpu runs on the processor"
}

// cacheHint says what to do if keys, values or activations do not fit.
func cacheHint(compute string) string {
	if compute == "f32" {
		return "--compute bf16 takes half of it; or shorten prompts with --max-prompt-tokens N --truncate middle, or use --device cpu"
	}
	return "shorten prompts with --max-prompt-tokens N --truncate middle, or use --device cpu"
}

// set writes the addresses, given the block's address.
func (a *arena) set(base address) {
	for i, p := range a.places {
		*p = base + address(a.at[i])
	}
}
