// Package export writes what a dump holds of a prompt as arrays for other
// programs: .safetensors, .npz, or a long table of weights as .csv or .parquet.
package export

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/outfile"
)

// Options say what is written.
type Options struct {
	Prompt    int     // index of the prompt
	Layer     int     // a true layer id; -1: all recorded, names ending in .LAYER
	MinWeight float32 // tables: only weights above
}

// Extensions are those that Write knows.
var Extensions = []string{".safetensors", ".npz", ".csv", ".parquet"}

// Write writes one prompt of a dump to path; its extension chooses the form.
func Write(path string, r *dumps.Reader, o Options) error {
	switch ext := filepath.Ext(path); ext {
	case ".safetensors", ".npz":
		list, err := Arrays(r, o)
		if err != nil {
			return err
		}
		if ext == ".npz" {
			return writeNPZ(path, list)
		}
		h := r.Header()
		return checkpoint.WriteSafetensors(path, list, map[string]string{
			"format": "attnscope export", "model": h.Model.ID, "prompt": r.Prompts()[o.Prompt].ID, "precision": string(h.Plan.Precision),
		})
	case ".csv":
		return writeCSV(path, r, o)
	case ".parquet":
		return writeParquet(path, r, o)
	default:
		return fmt.Errorf("%s: extension %q: want one of %v", path, ext, Extensions)
	}
}

func layersOf(r *dumps.Reader, layer int) []int {
	if layer >= 0 {
		return []int{layer}
	}
	return r.Header().Plan.Layers
}

// Arrays returns the arrays of a prompt: prompt_rows [heads, R, P],
// generation_rows [heads, G, P+G], prompt_windows [heads, W, P], from factors
// query_states [heads, R, dim], key_states [kv heads, P+G, dim] and perhaps
// value_states; tokens [P+G]; logits [G, vocab] where recorded.
func Arrays(r *dumps.Reader, o Options) ([]tensor.Tensor, error) {
	h, p := r.Header(), r.Prompts()[o.Prompt]
	heads := len(h.Plan.Heads)
	var list []tensor.Tensor
	for _, layer := range layersOf(r, o.Layer) {
		suffix := ""
		if o.Layer < 0 {
			suffix = "." + strconv.Itoa(layer)
		}
		add := func(name string, x []float32, shape ...int) {
			list = append(list, tensor.FromFloat32(name+suffix, x, shape...))
		}
		a, err := r.Weights(o.Prompt, layer, dumps.Prefill)
		if err != nil {
			return nil, err
		}
		add("prompt_rows", a.Data, a.Heads, a.Rows, a.Keys)
		if a, err = r.Weights(o.Prompt, layer, dumps.Decode); err != nil {
			return nil, err
		}
		add("generation_rows", a.Data, a.Heads, a.Rows, a.Keys)
		windows, count, err := r.Windows(o.Prompt, layer)
		if err != nil {
			return nil, err
		}
		add("prompt_windows", windows, heads, count, p.PromptTokens)
		sums, err := r.Sums(o.Prompt, layer)
		if err == nil {
			add("prompt_sums", sums, heads, p.PromptTokens)
		} else if !errors.Is(err, dumps.ErrAbsent) {
			return nil, err
		}
		if h.Plan.Overview > 0 {
			cells, side, err := r.Overview(o.Prompt, layer)
			if err != nil {
				return nil, err
			}
			add("overview", cells, heads, side, side)
		}
		if p.Store == dumps.StoreFactors {
			s, err := r.States(o.Prompt, layer)
			if err != nil {
				return nil, err
			}
			n, m := p.PromptTokens+p.ReplyTokens, &h.Model
			add("query_states", headsFirst(s.Queries, p.WindowRows, m.Heads, m.HeadDim), m.Heads, p.WindowRows, m.HeadDim)
			add("key_states", headsFirst(s.Keys, n, m.KVHeads, m.HeadDim), m.KVHeads, n, m.HeadDim)
		}
		values, err := r.Values(o.Prompt, layer)
		if err != nil {
			return nil, err
		}
		if n, m := p.PromptTokens+p.ReplyTokens, &h.Model; values != nil {
			add("value_states", headsFirst(values, n, m.KVHeads, m.ValueDim), m.KVHeads, n, m.ValueDim)
		}
	}
	list = append(list, tensor.FromInt32("tokens", p.Tokens, len(p.Tokens)))
	if h.Plan.Logits {
		l, err := r.Logits(o.Prompt)
		if err != nil {
			return nil, err
		}
		list = append(list, tensor.FromFloat32("logits", l, p.ReplyTokens, h.Model.Vocab))
	}
	return list, nil
}

// headsFirst turns [rows, heads, dim] into [heads, rows, dim].
func headsFirst(x []float32, rows, heads, dim int) []float32 {
	out := make([]float32, len(x))
	for i := range rows {
		for h := range heads {
			copy(out[(h*rows+i)*dim:(h*rows+i+1)*dim], x[(i*heads+h)*dim:])
		}
	}
	return out
}

func writeNPZ(path string, list []tensor.Tensor) error {
	return outfile.Write(path, func(w io.Writer) error {
		z := zip.NewWriter(w)
		for _, t := range list {
			f, err := z.CreateHeader(&zip.FileHeader{Name: t.Name + ".npy", Method: zip.Store})
			if err != nil {
				return err
			}
			if _, err := f.Write(append(npyHeader(t), t.Data...)); err != nil {
				return err
			}
		}
		return z.Close()
	})
}

// npyHeader is the header of NumPy's format 1.0.
func npyHeader(t tensor.Tensor) []byte {
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = strconv.Itoa(d) + ","
	}
	descr := map[tensor.DType]string{tensor.F32: "<f4", tensor.I32: "<i4"}[t.DType]
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, strings.Join(dims, " "))
	for (10+len(text)+1)%64 != 0 {
		text += " "
	}
	text += "\n"
	var b bytes.Buffer
	b.WriteString("\x93NUMPY\x01\x00")
	_ = binary.Write(&b, binary.LittleEndian, uint16(len(text)))
	b.WriteString(text)
	return b.Bytes()
}

// cell is a row of the long table of weights.
type cell struct {
	Layer  int32   `parquet:"layer"`
	Head   int32   `parquet:"head"`
	Phase  string  `parquet:"phase,dict"` // prompt or generation
	Row    int32   `parquet:"row"`
	Key    int32   `parquet:"key"`
	Weight float32 `parquet:"weight"`
}

// cells hands out the weights above MinWeight, layer by layer.
func cells(r *dumps.Reader, o Options, emit func(cell) error) error {
	for _, layer := range layersOf(r, o.Layer) {
		for ph, name := range []string{"prompt", "generation"} {
			a, err := r.Weights(o.Prompt, layer, dumps.Phase(ph))
			if err != nil {
				return err
			}
			for i, v := range a.Data {
				if v > o.MinWeight {
					head := r.Header().Plan.Heads[i/(a.Rows*a.Keys)]
					if err := emit(cell{int32(layer), int32(head), name, int32(i / a.Keys % a.Rows), int32(i % a.Keys), v}); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

func writeCSV(path string, r *dumps.Reader, o Options) error {
	return outfile.Write(path, func(w io.Writer) error {
		fmt.Fprintln(w, "layer,head,phase,row,key,weight")
		return cells(r, o, func(c cell) error {
			_, err := fmt.Fprintf(w, "%d,%d,%s,%d,%d,%g\n", c.Layer, c.Head, c.Phase, c.Row, c.Key, c.Weight)
			return err
		})
	})
}

func writeParquet(path string, r *dumps.Reader, o Options) error {
	return outfile.Write(path, func(w io.Writer) error {
		pw := parquet.NewGenericWriter[cell](w, parquet.Compression(&parquet.Zstd))
		batch := make([]cell, 0, 1<<14)
		flush := func() error {
			_, err := pw.Write(batch)
			batch = batch[:0]
			return err
		}
		err := cells(r, o, func(c cell) error {
			if batch = append(batch, c); len(batch) == cap(batch) {
				return flush()
			}
			return nil
		})
		if err == nil {
			err = flush()
		}
		return errors.Join(err, pw.Close())
	})
}
