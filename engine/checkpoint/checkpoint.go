// Package checkpoint opens the weights and the configuration of a model, in either of two
// forms: a folder in the layout of the hub (config.json, safetensors) or a GGUF file.
// Weights are memory-mapped, not read: a tensor is a view of its file.
//
//	ck, err := checkpoint.Open("models/SmolLM2-135M")
//	if err != nil {
//		return err
//	}
//	defer ck.Close()
//	w, ok := ck.Tensor("model.embed_tokens.weight")
//
// [Resolve] finds or fetches a model by its name. [Locate] fetches no weights: a model of
// the hub can be opened with the headers of its files alone. Files are not trusted: sizes in headers
// are checked against the file before memory is allocated, and errors name the file, the
// place in it, what was seen and what was expected.
package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/jsonerr"
)

// Checkpoint is an open model. It is safe for concurrent use until Close.
type Checkpoint struct {
	path, format string
	files        []string
	config       map[string]any
	generation   map[string]any
	tensors      map[string]tensor.Tensor
	mapped       []*mapped // in the order of files; none if only headers were read
	sums         []string  // hashes of the files that the hub lists, if only headers were read
	headersOnly  bool
	stored       map[string]tensor.Tensor // of a quantized checkpoint, before it was assembled
	quantization *Quantization            // nil: it was not assembled
}

// Open opens a folder in the layout of the hub or a .gguf file. If a GGUF model has
// several files, path names the first, or a folder that holds no other model.
func Open(path string) (*Checkpoint, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		if strings.HasSuffix(path, ".gguf") {
			return openGGUF(path, mapGGUF)
		}
		return nil, notModel(path)
	}
	if file, err := soleGGUF(path); err != nil {
		return nil, err
	} else if file != "" {
		return openGGUF(file, mapGGUF)
	}
	return openFolder(path, func(name string) (*File, error) { return ReadSafetensors(filepath.Join(path, name)) })
}

// openFolder opens a folder in the layout of the hub. open opens a file of weights.
func openFolder(path string, open func(name string) (*File, error)) (*Checkpoint, error) {
	ck := &Checkpoint{path: path, format: "safetensors"}
	var err error
	if ck.config, err = readObject(filepath.Join(path, "config.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: it has no config.json: %w", path, err)
	} else if err != nil {
		return nil, err
	}
	ck.generation, err = readObject(filepath.Join(path, "generation_config.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	files, all, err := openShards(path, open)
	if err != nil {
		return nil, err
	}
	ck.tensors = all
	for _, f := range files {
		ck.files = append(ck.files, f.Path)
		if f.mapped != nil {
			ck.mapped = append(ck.mapped, f.mapped)
		}
	}
	return ck, nil
}

// maxConfig is the largest configuration that is read, in bytes.
const maxConfig = 16 << 20

// readObject reads a JSON object, with numbers as json.Number.
func readObject(path string) (map[string]any, error) {
	text, err := ReadFile(path, maxConfig)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	dec := json.NewDecoder(bytes.NewReader(replaceConstants(text)))
	dec.UseNumber()
	if err := dec.Decode(&object); err != nil {
		return nil, fmt.Errorf("%s: %w", path, jsonerr.Plain(text, err))
	}
	if _, err := dec.Token(); object == nil || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: want one JSON object, and nothing after it", path)
	}
	return object, nil
}

// Path returns the folder or file that was opened.
func (c *Checkpoint) Path() string { return c.path }

// Format returns "safetensors" or "gguf".
func (c *Checkpoint) Format() string { return c.format }

// Config returns the content of config.json, with numbers as json.Number, or the
// metadata of a GGUF file.
func (c *Checkpoint) Config() map[string]any { return c.config }

// Generation returns the content of generation_config.json, with numbers as
// json.Number, or nil if there is none.
func (c *Checkpoint) Generation() map[string]any { return c.generation }

// Tensor returns a view of a weight, which is valid until Close.
func (c *Checkpoint) Tensor(name string) (tensor.Tensor, bool) {
	t, ok := c.tensors[name]
	return t, ok
}

// Forget lets the system reclaim the memory of tensors that have been read, for example
// after they were packed. They are read from disk again when needed. Without names, it
// forgets all tensors.
func (c *Checkpoint) Forget(names ...string) {
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(c.tensors))
	}
	for _, name := range names {
		c.eachPart(name, forget)
	}
}

// Ahead asks the system to read tensors from disk, because they will be needed soon.
func (c *Checkpoint) Ahead(names ...string) {
	for _, name := range names {
		c.eachPart(name, ahead)
	}
}

// eachPart calls f with the parts of the mapped files that hold a tensor: several if it
// is computed from others.
func (c *Checkpoint) eachPart(name string, f func(b []byte)) {
	t := c.tensors[name]
	if t.Coded == nil {
		f(t.Data)
		return
	}
	for _, part := range t.Coded.Parts() {
		f(c.stored[part.Name].Data)
	}
}

// Names returns the names of the tensors in alphabetical order.
func (c *Checkpoint) Names() []string {
	list := make([]string, 0, len(c.tensors))
	for n := range c.tensors {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// HeadersOnly reports whether only the headers of the files were read: the tensors have
// names, types and shapes, but no data.
func (c *Checkpoint) HeadersOnly() bool { return c.headersOnly }

// SHA256 returns the hash of the weight file or, if there are several files, the hash
// of their hashes in the order of their names. Of files that are still on the hub, it
// takes the hashes that the hub lists.
func (c *Checkpoint) SHA256() (string, error) {
	sums := make([][]byte, len(c.files))
	for i, name := range c.files {
		if c.headersOnly {
			sum, err := hex.DecodeString(c.sums[i])
			if err != nil || len(sum) != sha256.Size {
				return "", fmt.Errorf("%s: the hub lists no SHA-256 of this file: fetch the model with attnscope pull first", name)
			}
			sums[i] = sum
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		sums[i] = h.Sum(nil)
	}
	if len(sums) == 1 {
		return hex.EncodeToString(sums[0]), nil
	}
	all := sha256.Sum256(bytes.Join(sums, nil))
	return hex.EncodeToString(all[:]), nil
}

// Unchanged returns an error if a file has been written to since it was opened. What
// was read from it may then be a mixture of two models.
func (c *Checkpoint) Unchanged() error {
	for _, m := range c.mapped {
		if err := m.changed(); err != nil {
			return err
		}
	}
	return nil
}

// Close unmaps the files.
func (c *Checkpoint) Close() error {
	var first error
	for _, m := range c.mapped {
		if err := m.close(); err != nil && first == nil {
			first = err
		}
	}
	c.mapped = nil
	return first
}
