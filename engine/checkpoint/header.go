package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Limits of a safetensors header. Real files stay far below them.
const (
	maxHeader    = 100 << 20 // bytes; the reference implementation has the same limit
	maxTensors   = 1 << 18
	maxRank      = 64
	maxMetadata  = 1 << 16 // entries of __metadata__
	metadataName = "__metadata__"
)

// headerEntry is the header's entry of a tensor.
type headerEntry struct {
	dtype   string
	shape   []uint64
	offsets []uint64
}

// headerReader reads the JSON of a safetensors header in one pass. A header may have
// 100 MB, and a hostile one may consist of millions of elements, so nothing is kept
// except what is returned. Keys that occur twice are errors: readers would disagree
// about which of them counts.
type headerReader struct {
	text []byte
	at   int
}

// next returns the next byte that is not white space, or 0 at the end.
func (r *headerReader) next() byte {
	for r.at < len(r.text) {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return c
		}
	}
	return 0
}

// want consumes the byte c.
func (r *headerReader) want(c byte) error {
	if got := r.next(); got != c {
		return r.unexpected(strconv.QuoteRune(rune(c)))
	}
	r.at++
	return nil
}

// unexpected returns the error that something else stands where want should be.
func (r *headerReader) unexpected(want string) error {
	if r.next() == 0 {
		return fmt.Errorf("header ends at byte %d, want %s", r.at, want)
	}
	return fmt.Errorf("header, byte %d: %q, want %s", r.at, r.text[r.at], want)
}

// more reports whether another element follows in a list or an object that ends with
// end, and consumes what separates the two. first says that none was read yet.
func (r *headerReader) more(end byte, first bool) (bool, error) {
	c := r.next()
	if c == end {
		r.at++
		return false, nil
	}
	if first {
		return true, nil
	}
	return true, r.want(',')
}

// str reads a string.
func (r *headerReader) str() (string, error) {
	if r.next() != '"' {
		return "", r.unexpected("a string")
	}
	begin := r.at
	plain := true
	for r.at++; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			if plain {
				return string(r.text[begin+1 : r.at-1]), nil
			}
			var s string
			if err := json.Unmarshal(r.text[begin:r.at], &s); err != nil {
				return "", fmt.Errorf("header, byte %d: %w", begin, err)
			}
			return s, nil
		case c == '\\':
			plain = false
			r.at++
		case c < ' ' || c > '~':
			plain = false
		}
	}
	return "", r.unexpected("the end of a string")
}

// key reads a key of an object and the colon after it.
func (r *headerReader) key() (string, error) {
	k, err := r.str()
	if err != nil {
		return "", err
	}
	return k, r.want(':')
}

// numbers reads a list of at most most whole numbers.
func (r *headerReader) numbers(most int) ([]uint64, error) {
	if err := r.want('['); err != nil {
		return nil, err
	}
	var list []uint64
	for {
		ok, err := r.more(']', len(list) == 0)
		if err != nil || !ok {
			return list, err
		}
		if len(list) == most {
			return nil, fmt.Errorf("header, byte %d: a list of more than %d numbers", r.at, most)
		}
		n, err := r.number()
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
}

// number reads a whole number.
func (r *headerReader) number() (uint64, error) {
	r.next()
	begin := r.at
	var n uint64
	for ; r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9'; r.at++ {
		digit := uint64(r.text[r.at] - '0')
		if n > (math.MaxUint64-digit)/10 {
			return 0, fmt.Errorf("header, byte %d: a number above 2^64", begin)
		}
		n = 10*n + digit
	}
	if r.at == begin {
		return 0, r.unexpected("a whole number")
	}
	return n, nil
}

// read reads a whole header: it calls tensor for each tensor and returns the metadata.
func (r *headerReader) read(tensor func(name string, e headerEntry) error) (map[string]string, error) {
	if err := r.want('{'); err != nil {
		return nil, err
	}
	var metadata map[string]string
	for n := 0; ; n++ {
		ok, err := r.more('}', n == 0)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		name, err := r.key()
		switch {
		case err != nil:
		case n > maxTensors:
			err = fmt.Errorf("header of more than %d tensors, at most so many are read", maxTensors)
		case name == metadataName && metadata != nil:
			err = errors.New(metadataName + " occurs twice in the header")
		case name == metadataName:
			metadata, err = r.metadata()
		default:
			err = r.one(name, tensor)
		}
		if err != nil {
			return nil, err
		}
	}
	if r.next() != 0 {
		return nil, r.unexpected("nothing after the last }")
	}
	return metadata, nil
}

// one reads the entry of a tensor.
func (r *headerReader) one(name string, tensor func(name string, e headerEntry) error) error {
	e, err := r.entry()
	if err == nil {
		err = tensor(name, e)
	}
	if err != nil {
		return fmt.Errorf("tensor %s: %w", shortName(name), err)
	}
	return nil
}

// shortName returns a name of at most 200 bytes for an error.
func shortName(name string) string {
	if len(name) <= 200 {
		return name
	}
	return fmt.Sprintf("%q... (%d bytes)", name[:200], len(name))
}

// entry reads the object that describes a tensor.
func (r *headerReader) entry() (headerEntry, error) {
	var e headerEntry
	if err := r.want('{'); err != nil {
		return e, err
	}
	seen := map[string]bool{}
	for {
		ok, err := r.more('}', len(seen) == 0)
		if err != nil {
			return e, err
		}
		if !ok {
			break
		}
		key, err := r.key()
		if err != nil {
			return e, err
		}
		if seen[key] {
			return e, fmt.Errorf("%s occurs twice", key)
		}
		seen[key] = true
		switch key {
		case "dtype":
			e.dtype, err = r.str()
		case "shape":
			e.shape, err = r.numbers(maxRank)
		case "data_offsets":
			e.offsets, err = r.numbers(2)
		default:
			err = fmt.Errorf("field %q is not known; dtype, shape and data_offsets are", shortName(key))
		}
		if err != nil {
			return e, err
		}
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return e, fmt.Errorf("no %s", key)
		}
	}
	if len(e.offsets) != 2 {
		return e, fmt.Errorf("data_offsets has %d numbers, want 2", len(e.offsets))
	}
	return e, nil
}

// metadata reads an object of strings.
func (r *headerReader) metadata() (map[string]string, error) {
	if err := r.want('{'); err != nil {
		return nil, fmt.Errorf("%s: %w", metadataName, err)
	}
	m := map[string]string{}
	for {
		ok, err := r.more('}', len(m) == 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", metadataName, err)
		}
		if !ok {
			return m, nil
		}
		key, err := r.key()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", metadataName, err)
		}
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("%s: key %q occurs twice", metadataName, shortName(key))
		}
		if len(m) == maxMetadata {
			return nil, fmt.Errorf("%s: more than %d entries, at most so many are read", metadataName, maxMetadata)
		}
		if m[key], err = r.str(); err != nil {
			return nil, fmt.Errorf("%s: %w", metadataName, err)
		}
	}
}
