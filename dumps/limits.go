package dumps

import (
	"fmt"
	"math/bits"
)

// Limits on what a reader accepts; see FORMAT.md section 5. They bound the memory that
// a reader allocates for any file.
const (
	maxBlock        = 1 << 30 // bytes of a payload, decompressed
	maxStored       = 1 << 30 // bytes of a payload in the file
	maxJSON         = 1 << 26 // bytes of a header, decompressed
	maxEnd          = 1 << 28 // bytes of the end of a prompt, decompressed
	maxLayers       = 1 << 12
	maxHeads        = 1 << 12
	maxDim          = 1 << 14
	maxTokens       = 1 << 26
	maxVocab        = 1 << 26
	maxSide         = 1 << 12 // of an overview
	maxElements     = 1 << 31 // values returned at once: 8 GiB
	maxHeaderValues = 1 << 18 // strings, numbers and keys in the JSON of a header
	maxEndValues    = 1 << 24 // the same in the ends of prompts
	maxDecoding     = 2 << 30 // bytes of blocks that are being decoded at the same time
)

// decoding bounds the bytes of blocks that all readers of the process decode at the
// same time.
var decoding = newBudget(maxDecoding)

// maxPrompts returns how many decompressed bytes the ends of all prompts may have in a
// file of size bytes.
func maxPrompts(size int64) uint64 { return maxEnd + 64*uint64(size) }

// maxPromptValues returns how many values the JSON of the ends of all prompts may have in
// a file of size bytes. A value takes at least a byte of the file, unless it is repeated.
func maxPromptValues(size int64) uint64 { return maxEndValues + uint64(size) }

// countValues returns a bound on the number of values in JSON: the commas outside of
// strings, and one for each list or object. It stops soon after most.
func countValues(text []byte, most uint64) uint64 {
	n := uint64(1)
	quoted := false
	for i := 0; i < len(text) && n <= most; i++ {
		switch text[i] {
		case '"':
			quoted = !quoted
		case '\\':
			i++ // the next byte neither ends a string nor counts
		case ',', '[', '{':
			if !quoted {
				n++
			}
		}
	}
	return n
}

// maxIndex returns how many bytes an index may have in a file of size bytes. A record
// takes more room in the file than in the index, apart from the offset of its payload.
func maxIndex(size int64) uint64 { return 8 + uint64(size)/frameBytes*indexEntryBytes }

// limits checks a record against the limits.
func (r *record) limits() error {
	most := uint64(maxBlock)
	switch r.Kind {
	case kindHeader:
		most = maxJSON
	case kindPrompt:
		most = maxEnd
	case kindIndex:
		return nil // bounded by the size of its file: readRecord
	case kindEnd:
		most = 0
	}
	if r.Raw > most || r.Stored > maxStored {
		return fmt.Errorf("%s of %d bytes, at most %d are read: %w", r.Kind, max(r.Raw, r.Stored), most, ErrCorrupt)
	}
	if _, known := kindNames[r.Kind]; !known {
		return fmt.Errorf("record of the unknown kind %d, want 1 to %d: %w", uint8(r.Kind), lastKind, ErrCorrupt)
	}
	if r.Phase > Decode {
		return fmt.Errorf("%s of the unknown phase %d, want 0 or 1: %w", r.Kind, uint8(r.Phase), ErrCorrupt)
	}
	if !r.Kind.array() {
		return nil
	}
	n := r.elements()
	size, known := encodingBytes(r.Enc)
	over, want := bits.Mul64(n, size)
	if !known || size < 2 || over != 0 || want != r.Raw {
		return fmt.Errorf("%s: %d elements in encoding %d do not make %d bytes: %w", r.Kind, n, r.Enc, r.Raw, ErrCorrupt)
	}
	return nil
}

// elements returns the number of values in an array block. A product that does not
// fit into 64 bits becomes a number that is larger than any limit.
func (r *record) elements() uint64 {
	n, ok := product(uint64(r.NH), uint64(r.Rows), uint64(r.Keys))
	if !ok {
		return 1 << 63
	}
	return n
}

// product multiplies sizes. ok is false if the product does not fit into 64 bits.
func product(sizes ...uint64) (n uint64, ok bool) {
	n = 1
	for _, size := range sizes {
		over, low := bits.Mul64(n, size)
		if over != 0 {
			return 0, false
		}
		n = low
	}
	return n, true
}

// allocate makes an array of the given shape. A shape that is too large to hold is an
// error, not a crash.
func (r *Reader) allocate(what string, shape ...int) ([]float32, error) {
	n, err := r.checkShape(what, shape...)
	if err != nil {
		return nil, err
	}
	return make([]float32, n), nil
}

// checkShape returns how many values an array has, or an error if it is too large to
// hold.
func (r *Reader) checkShape(what string, shape ...int) (uint64, error) {
	sizes := make([]uint64, len(shape))
	for i, n := range shape {
		if n < 0 {
			return 0, fmt.Errorf("%s: %s of %v values: %w", r.path, what, shape, ErrCorrupt)
		}
		sizes[i] = uint64(n)
	}
	n, ok := product(sizes...)
	if !ok || n > maxElements {
		return 0, fmt.Errorf("%s: %s of %v values are too many to hold at once (at most %d): ask for fewer heads",
			r.path, what, shape, maxElements)
	}
	return n, nil
}
