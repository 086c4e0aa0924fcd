// Package export writes one prompt of a dump for other programs: its arrays as
// .safetensors or .npz, or a long table of its weights as .csv or .parquet.
//
//	r, err := dumps.Open("run.attn")
//	err = export.Write(ctx, "prompt.npz", r, export.Options{Prompt: 0, Layer: -1})
//
// [Arrays] lists the arrays with their shapes. The table has the columns layer, head,
// phase (prompt or generation), row, key and weight; in rows with the key -1, the weight
// is the share of the head's learned sink.
package export

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/outfile"
)

// Options says what is written.
type Options struct {
	Prompt    int     // index of the prompt
	Layer     int     // id of a layer; -1: all recorded layers, and array names end in .LAYER
	MinWeight float32 // the table has only weights above this

	// Progress is called, if it is not nil, after each layer.
	Progress func(done, total int)
}

// Extensions lists the file extensions of [Write].
var Extensions = []string{".safetensors", ".npz", ".csv", ".parquet"}

// Write writes one prompt of a dump to path, whose extension decides the format. A
// failure leaves no file, and neither does ctx if it ends early.
func Write(ctx context.Context, path string, r *dumps.Reader, o Options) error {
	switch ext := filepath.Ext(path); ext {
	case ".safetensors", ".npz":
		list, err := Arrays(ctx, r, o)
		if err != nil {
			return err
		}
		if ext == ".npz" {
			return writeNPZ(ctx, path, list)
		}
		h := r.Header()
		meta := map[string]string{
			"format":    "attnscope export",
			"model":     h.Model.ID,
			"prompt":    r.Prompts()[o.Prompt].ID,
			"precision": string(h.Plan.Precision),
		}
		if o.Layer >= 0 && len(h.Model.LayerShapes) > 0 { // for attnscope snapkv --states
			s := h.Model.Layer(o.Layer)
			meta["soft_cap"] = strconv.FormatFloat(s.SoftCap, 'g', -1, 64)
			meta["window"] = strconv.Itoa(s.Window)
			meta["chunk"] = strconv.Itoa(s.Chunk)
		}
		return checkpoint.WriteSafetensors(path, list, meta)
	case ".csv":
		return writeCSV(ctx, path, r, o)
	case ".parquet":
		return writeParquet(ctx, path, r, o)
	default:
		return fmt.Errorf("%s: extension %q: want one of %v", path, ext, Extensions)
	}
}

// layersOf returns the ids of the layers that are written.
func layersOf(r *dumps.Reader, layer int) []int {
	if layer >= 0 {
		return []int{layer}
	}
	return r.Header().Plan.Layers
}

// layerDone reports that layer i of layers is done.
func (o *Options) layerDone(i int, layers []int) {
	if o.Progress != nil {
		o.Progress(i+1, len(layers))
	}
}

// Arrays returns the arrays of a prompt of P tokens with a reply of G, whose last R
// prompt rows and W prompt windows were recorded. Each layer has:
//
//	prompt_rows      [heads, R, P]
//	generation_rows  [heads, G, P+G]
//	prompt_windows   [heads, W, P]           sums of each window's rows
//	prompt_sums      [heads, P]              sums of all rows, where recorded
//	overview         [heads, side, side]     pooled map, where recorded
//	query_states     [heads, R, dim]         in dumps that store factors
//	scale            [1]                     factor of the scores, unless it is 1/√dim
//	key_states       [kv heads, P+G, dim]    in dumps that store factors
//	value_states     [kv heads, P+G, dim]    where recorded
//
// and, if its heads have learned sinks, their shares of these rows and sums:
//
//	prompt_sinks      [heads, R]
//	generation_sinks  [heads, G]
//	window_sinks      [heads, W]
//	prompt_sink_sums  [heads]                where sums of all rows were recorded
//
// Heads and dimensions are those of the layer; keys and values are those of the cache
// that it reads.
//
// The prompt has tokens [P+G] and, if recorded, logits [G, vocab].
func Arrays(ctx context.Context, r *dumps.Reader, o Options) ([]tensor.Tensor, error) {
	h := r.Header()
	p := &r.Prompts()[o.Prompt]
	var list []tensor.Tensor
	layers := layersOf(r, o.Layer)
	for i, layer := range layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		arrays, err := layerArrays(r, o.Prompt, layer)
		if err != nil {
			return nil, err
		}
		for _, a := range arrays {
			if o.Layer < 0 {
				a.Name += "." + strconv.Itoa(layer)
			}
			list = append(list, a)
		}
		o.layerDone(i, layers)
	}
	list = append(list, tensor.FromInt32("tokens", p.Tokens, len(p.Tokens)))
	if h.Plan.Logits {
		logits, err := r.Logits(o.Prompt)
		if err != nil {
			return nil, err
		}
		list = append(list, tensor.FromFloat32("logits", logits, p.ReplyTokens, h.Model.Vocab))
	}
	return list, nil
}

// layerArrays returns the arrays of one layer.
func layerArrays(r *dumps.Reader, prompt, layer int) ([]tensor.Tensor, error) {
	h := r.Header()
	p := &r.Prompts()[prompt]
	shape := h.Model.Layer(layer)
	heads := len(h.HeadsOf(layer))
	tokens := p.PromptTokens + p.ReplyTokens
	var list []tensor.Tensor
	add := func(name string, x []float32, shape ...int) {
		list = append(list, tensor.FromFloat32(name, x, shape...))
	}
	rows, err := r.Weights(prompt, layer, dumps.Prefill)
	if err != nil {
		return nil, err
	}
	add("prompt_rows", rows.Data, rows.Heads, rows.Rows, rows.Keys)
	reply, err := r.Weights(prompt, layer, dumps.Decode)
	if err != nil {
		return nil, err
	}
	add("generation_rows", reply.Data, reply.Heads, reply.Rows, reply.Keys)
	windows, count, err := r.Windows(prompt, layer)
	if err != nil {
		return nil, err
	}
	add("prompt_windows", windows, heads, count, p.PromptTokens)
	sums, err := r.Sums(prompt, layer)
	if err == nil {
		add("prompt_sums", sums, heads, p.PromptTokens)
	} else if !errors.Is(err, dumps.ErrAbsent) {
		return nil, err
	}
	if h.Plan.Overview > 0 {
		cells, side, err := r.Overview(prompt, layer)
		if err != nil {
			return nil, err
		}
		add("overview", cells, heads, side, side)
	}
	if err := addSinks(r, prompt, layer, add); err != nil {
		return nil, err
	}
	if p.Store == dumps.StoreFactors {
		s, err := r.States(prompt, layer)
		if err != nil {
			return nil, err
		}
		queries := headsFirst(s.Queries, p.WindowRows, shape.Heads, shape.KeyDim)
		add("query_states", queries, shape.Heads, p.WindowRows, shape.KeyDim)
		if scale := float32(shape.Scale); scale != float32(1/math.Sqrt(float64(shape.KeyDim))) {
			add("scale", []float32{scale}, 1)
		}
		add("key_states", headsFirst(s.Keys, tokens, shape.KVHeads, shape.KeyDim), shape.KVHeads, tokens, shape.KeyDim)
	}
	values, err := r.Values(prompt, layer)
	if err != nil {
		return nil, err
	}
	if values != nil {
		add("value_states", headsFirst(values, tokens, shape.KVHeads, shape.ValueDim), shape.KVHeads, tokens, shape.ValueDim)
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

func writeNPZ(ctx context.Context, path string, list []tensor.Tensor) error {
	return outfile.Write(path, func(w io.Writer) error {
		z := zip.NewWriter(w)
		for _, t := range list {
			if err := cmp.Or(ctx.Err(), t.CheckLength()); err != nil {
				return err
			}
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

// cells calls emit with the weights above MinWeight, layer by layer.
func cells(ctx context.Context, r *dumps.Reader, o Options, emit func(cell) error) error {
	layers := layersOf(r, o.Layer)
	for n, layer := range layers {
		heads := r.Header().HeadsOf(layer)
		for ph, name := range []string{"prompt", "generation"} {
			a, err := r.Weights(o.Prompt, layer, dumps.Phase(ph))
			if err != nil {
				return err
			}
			for i, v := range a.Data {
				if err := ctx.Err(); i%a.Keys == 0 && err != nil {
					return err
				}
				if !(v > o.MinWeight) {
					continue
				}
				c := cell{
					Layer:  int32(layer),
					Head:   int32(heads[i/(a.Rows*a.Keys)]),
					Phase:  name,
					Row:    int32(i / a.Keys % a.Rows),
					Key:    int32(i % a.Keys),
					Weight: v,
				}
				if err := emit(c); err != nil {
					return err
				}
			}
			if err := sinkCells(r, o, cell{Layer: int32(layer), Phase: name}, emit); err != nil {
				return err
			}
		}
		o.layerDone(n, layers)
	}
	return nil
}

func writeCSV(ctx context.Context, path string, r *dumps.Reader, o Options) error {
	return outfile.Write(path, func(w io.Writer) error {
		fmt.Fprintln(w, "layer,head,phase,row,key,weight")
		return cells(ctx, r, o, func(c cell) error {
			_, err := fmt.Fprintf(w, "%d,%d,%s,%d,%d,%g\n", c.Layer, c.Head, c.Phase, c.Row, c.Key, c.Weight)
			return err
		})
	})
}

func writeParquet(ctx context.Context, path string, r *dumps.Reader, o Options) error {
	return outfile.Write(path, func(w io.Writer) error {
		pw := parquet.NewGenericWriter[cell](w, parquet.Compression(&parquet.Zstd))
		batch := make([]cell, 0, 1<<14)
		flush := func() error {
			_, err := pw.Write(batch)
			batch = batch[:0]
			return err
		}
		err := cells(ctx, r, o, func(c cell) error {
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
