package export

import (
	"github.com/attnscope/attnscope/dumps"
)

// addSinks adds, by add, the shares of the learned sinks of a layer, if it has any.
func addSinks(r *dumps.Reader, prompt, layer int, add func(name string, x []float32, shape ...int)) error {
	heads := len(r.Header().HeadsOf(layer))
	for ph, name := range []string{"prompt_sinks", "generation_sinks"} {
		shares, err := r.Sinks(prompt, layer, dumps.Phase(ph))
		if err != nil {
			return err
		}
		if shares != nil {
			add(name, shares, heads, len(shares)/heads)
		}
	}
	all, windows, err := r.SinkSums(prompt, layer)
	if err != nil || all == nil {
		return err
	}
	add("window_sinks", windows, heads, len(windows)/heads)
	if !r.Header().Plan.NoPromptSums {
		add("prompt_sink_sums", all, heads)
	}
	return nil
}

// sinkKey stands for the learned sink in the column key of a table.
const sinkKey = -1

// sinkCells calls emit with the shares of the learned sinks of a layer and a phase that
// are above the least weight, if the layer has any.
func sinkCells(r *dumps.Reader, o Options, of cell, emit func(cell) error) error {
	ph := dumps.Prefill
	if of.Phase == "generation" {
		ph = dumps.Decode
	}
	shares, err := r.Sinks(o.Prompt, int(of.Layer), ph)
	if err != nil {
		return err
	}
	heads := r.Header().HeadsOf(int(of.Layer))
	for i, share := range shares {
		if !(share > o.MinWeight) {
			continue
		}
		rows := len(shares) / len(heads)
		of.Head = int32(heads[i/rows])
		of.Row = int32(i % rows)
		of.Key = sinkKey
		of.Weight = share
		if err := emit(of); err != nil {
			return err
		}
	}
	return nil
}
