package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/attnscope/attnscope/engine/hub"
	"github.com/attnscope/attnscope/internal/parallel"
)

// firstBytes is the number of bytes of a file of weights that are read first. Most headers
// of safetensors files are shorter; those of GGUF files, which hold the vocabulary, are
// longer. The number then grows by the factor growth, but by no more than mostBytes at a
// time, unless a header says how long it is.
const (
	firstBytes = 64 << 10
	growth     = 4
	mostBytes  = 16 << 20
)

// headersAtOnce is the number of files whose headers are read at the same time.
const headersAtOnce = 4

// moreError reports that a header does not end within the bytes that were read.
type moreError struct{ bytes uint64 } // the header has at least so many

func (e *moreError) Error() string { return fmt.Sprintf("the header has %d bytes or more", e.bytes) }

// openHeaders opens a model of the hub of which only the small files are in the cache.
func openHeaders(ctx context.Context, s *hub.Snapshot) (*Checkpoint, error) {
	weights := s.Weights()
	gguf := filepath.Ext(s.Path()) == ".gguf"
	files := map[string]*File{}
	parts := map[string]*Checkpoint{}
	sums := map[string]string{}
	for _, w := range weights {
		path := filepath.Join(s.Dir(), filepath.FromSlash(w.Name))
		sums[path] = w.SHA256
		files[path] = &File{Path: path}
		parts[path] = &Checkpoint{path: path, format: "gguf", files: []string{path}}
	}
	err := parallel.TryLimit(ctx, headersAtOnce, len(weights), func(i int) error {
		path := filepath.Join(s.Dir(), filepath.FromSlash(weights[i].Name))
		parse := files[path].parse
		if gguf {
			parse = parts[path].parseGGUF
		}
		return readHeader(ctx, s, weights[i], parse)
	})
	if err != nil {
		return nil, err
	}
	var ck *Checkpoint
	if gguf {
		ck, err = openGGUF(s.Path(), func(path string) (*Checkpoint, error) { return there(parts, path) })
	} else {
		ck, err = openFolder(s.Dir(), func(name string) (*File, error) { return there(files, filepath.Join(s.Dir(), name)) })
	}
	if err != nil {
		return nil, err
	}
	ck.headersOnly = true
	for name, t := range ck.tensors {
		t.Data = nil // small files came whole
		ck.tensors[name] = t
	}
	for _, path := range ck.files {
		ck.sums = append(ck.sums, sums[path])
	}
	return ck, nil
}

// there looks up a file by its path.
func there[T any](files map[string]*T, path string) (*T, error) {
	if f, ok := files[path]; ok {
		return f, nil
	}
	return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
}

// readHeader reads the header of a file on the hub: as many of its first bytes as parse
// needs.
func readHeader(ctx context.Context, s *hub.Snapshot, w hub.Weight, parse func(head []byte, size uint64) error) error {
	var head []byte
	want := min(firstBytes, w.Size)
	for {
		more, err := s.Range(ctx, w.Name, int64(len(head)), want-int64(len(head)))
		if err != nil {
			return err
		}
		head = append(head, more...)
		err = parse(head, uint64(w.Size))
		var short *moreError
		if errors.As(err, &short) && want < w.Size {
			want = min(w.Size, max(want+min((growth-1)*want, mostBytes), int64(short.bytes)))
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		return nil
	}
}
