package dumps

import (
	"fmt"
	"math/bits"
	"sync"
)

// Limits on what a reader accepts, FORMAT.md section 5: they bound the memory
// that a file can make a reader take.
const (
	MaxBlock    = 1 << 30 // bytes of a payload, decompressed
	maxStored   = 1 << 30 // bytes of a payload in the file
	maxJSON     = 1 << 26 // of a header
	maxEnd      = 1 << 28 // of a prompt's end
	maxLayers   = 1 << 12
	maxHeads    = 1 << 12
	maxDim      = 1 << 14
	maxTokens   = 1 << 26
	maxVocab    = 1 << 26
	maxSide     = 1 << 12 // of an overview
	maxElements = 1 << 31 // values handed out at once: 8 GiB
	maxDecoding = 2 << 30 // bytes of blocks that are being decoded at a time
)

// maxPrompts is how many bytes the ends of all prompts of a file may have,
// decompressed.
func maxPrompts(size int64) uint64 { return maxEnd + 64*uint64(size) }

// maxIndex is how many bytes an index may have: a record of the file takes
// more room in the file than in the index, but for the place of its payload.
func maxIndex(size int64) uint64 { return 8 + uint64(size)/frameBytes*(8+frameBytes) }

// limits checks what a record says of itself.
func (r *record) limits() error {
	most := uint64(MaxBlock)
	switch r.Kind {
	case kindHeader:
		most = maxJSON
	case kindPrompt:
		most = maxEnd
	case kindIndex:
		return nil // bounded by the size of its file: readIndex
	case kindEnd:
		most = 0
	}
	if r.Raw > most || r.Stored > maxStored {
		return fmt.Errorf("%s of %d bytes, at most %d are read: %w", r.Kind, max(r.Raw, r.Stored), most, ErrCorrupt)
	}
	if n, arrays := r.elements(); arrays {
		size, known := encodingBytes(r.Enc)
		over, want := bits.Mul64(n, size)
		if !known || size < 2 || over != 0 || want != r.Raw {
			return fmt.Errorf("%s: %d elements in encoding %d do not make %d bytes: %w", r.Kind, n, r.Enc, r.Raw, ErrCorrupt)
		}
	}
	return nil
}

// elements is the number of values in an array block; false for JSON and index.
func (r *record) elements() (uint64, bool) {
	switch r.Kind {
	case kindHeader, kindPrompt, kindIndex, kindEnd:
		return 0, false
	}
	n, ok := product(uint64(r.NH), uint64(r.Rows), uint64(r.Keys))
	if !ok {
		return 1 << 63, true
	}
	return n, true
}

// product multiplies; false where the product passes 64 bits.
func product(sizes ...uint64) (uint64, bool) {
	n := uint64(1)
	for _, s := range sizes {
		over, low := bits.Mul64(n, s)
		if over != 0 {
			return 0, false
		}
		n = low
	}
	return n, true
}

// room makes space for an array. Sizes whose product is too large to hold are
// an error, not a crash.
func (r *Reader) room(what string, sizes ...int) ([]float32, error) {
	n, err := r.fits(what, sizes...)
	if err != nil {
		return nil, err
	}
	return make([]float32, n), nil
}

// fits is how many values an array has, or says why they cannot be held.
func (r *Reader) fits(what string, sizes ...int) (uint64, error) {
	list := make([]uint64, len(sizes))
	for i, s := range sizes {
		if s < 0 {
			return 0, fmt.Errorf("%s: %s of %v values: %w", r.path, what, sizes, ErrCorrupt)
		}
		list[i] = uint64(s)
	}
	n, ok := product(list...)
	if !ok || n > maxElements {
		return 0, fmt.Errorf("%s: %s of %v values are too many to hold at once (at most %d): ask for fewer heads", r.path, what, sizes, maxElements)
	}
	return n, nil
}

// gate bounds the bytes that many goroutines hold together.
type gate struct {
	mu   sync.Mutex
	free *sync.Cond
	left int64
	all  int64
}

func newGate(n int64) *gate {
	g := &gate{left: n, all: n}
	g.free = sync.NewCond(&g.mu)
	return g
}

// enter waits until n bytes are free; what passes the whole gate waits for all
// of it. leave gives them back.
func (g *gate) enter(n int64) int64 {
	n = min(n, g.all)
	g.mu.Lock()
	for g.left < n {
		g.free.Wait()
	}
	g.left -= n
	g.mu.Unlock()
	return n
}

func (g *gate) leave(n int64) {
	g.mu.Lock()
	g.left += n
	g.mu.Unlock()
	g.free.Broadcast()
}

// decoding is shared by all readers of the process.
var decoding = newGate(maxDecoding)
