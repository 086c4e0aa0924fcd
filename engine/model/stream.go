package model

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
)

// Placement says which weights stay in memory. The others are read from the file and
// packed again in each pass through the layers: one layer at a time, and the head.
type Placement struct {
	Kept     int          // layers that stay in memory, the first ones
	Layers   int          // all layers
	HeadKept bool         // whether the output projection stays, and other matrices outside the layers
	Memory   int64        // bytes of the weights that stay, of the largest of the others, and of the file while that is packed
	Packed   int64        // bytes that a pass of many tokens packs
	Read     int64        // bytes of the file that it reads
	DType    tensor.DType // of most of the weights that are read
	Experts  int64        // of the packed bytes, those of experts, which a pass of few tokens packs in part
}

// Streams reports whether some weights are read in each pass.
func (p *Placement) Streams() bool { return p.Packed > 0 }

// Place returns which weights of a checkpoint stay in memory on the processor if they may
// take so many bytes there. Less than one byte means no limit. If the largest layer alone
// takes more, no layer stays, and Memory is above the limit.
func (c *Config) Place(ck *checkpoint.Checkpoint, compute string, limit int64) (Placement, error) {
	l := &loader{ck: ck, c: c, used: map[string]bool{}, sizes: true}
	w, err := l.weights(cpu.Compute(compute))
	if err != nil {
		return Placement{}, err
	}
	return w.place(ck, limit), nil
}

// place decides which weights stay in memory.
func (w *weights) place(ck *checkpoint.Checkpoint, limit int64) Placement {
	units := []int64{bytesOf(w.outer())} // the head and the layers
	for i := range w.layers {
		units = append(units, bytesOf(w.layers[i].matrices()))
	}
	largest := make([]int64, len(units)+1) // of this unit and those after it
	room := make([]int64, len(units)+1)    // the same for the largest matrix in the file
	for i := len(units) - 1; i >= 0; i-- {
		largest[i] = max(largest[i+1], units[i])
		list := w.outer()
		if i > 0 {
			list = w.layers[i-1].matrices()
		}
		room[i] = room[i+1]
		for _, m := range list {
			room[i] = max(room[i], storedBytes(ck, m.Parts()))
		}
	}
	kept := int64(0)
	n := 0
	for ; n < len(units) && (limit < 1 || kept+units[n]+largest[n+1]+room[n+1] <= limit); n++ {
		kept += units[n]
	}
	p := Placement{Kept: max(0, n-1), Layers: len(w.layers), HeadKept: n > 0, Memory: kept + largest[n] + room[n]}
	elements := map[tensor.DType]int{}
	add := func(list []*cpu.Matrix) {
		p.Packed += bytesOf(list)
		for _, m := range list {
			p.Read += storedBytes(ck, m.Parts())
			for _, t := range m.Parts() {
				elements[t.DType] += t.Elements()
				if elements[t.DType] > elements[p.DType] {
					p.DType = t.DType
				}
			}
		}
	}
	if !p.HeadKept {
		add(w.outer())
	}
	for i := p.Kept; i < len(w.layers); i++ {
		add(w.layers[i].matrices())
		p.Experts += bytesOf(w.layers[i].expertMatrices())
	}
	return p
}

// outer lists the matrices outside the layers: the head, and those that are used before
// the first layer or after the last one.
func (w *weights) outer() []*cpu.Matrix {
	list := []*cpu.Matrix{w.head}
	if w.own != nil {
		list = append(list, w.own.projection)
	}
	if w.tokenStates != nil {
		list = append(list, w.tokenStates.widen...)
		list = append(list, w.tokenStates.narrow...)
	}
	return list
}

func bytesOf(list []*cpu.Matrix) int64 {
	n := int64(0)
	for _, m := range list {
		n += int64(m.Bytes())
	}
	return n
}

// storedBytes returns the size in the file of tensors or of parts of them.
func storedBytes(ck *checkpoint.Checkpoint, parts []tensor.Tensor) int64 {
	n := int64(0)
	for _, part := range parts {
		t, ok := ck.Tensor(part.Name)
		if !ok || t.Elements() == 0 {
			t = part
		}
		n += int64(float64(t.StoredBytes()) * float64(part.Elements()) / float64(max(1, t.Elements())))
	}
	return n
}

// streams reports whether some weights are read in each pass.
func (p *processor) streams() bool { return p.placement.Streams() }

// loadKept packs the weights that stay in memory.
func (p *processor) loadKept() error {
	defer p.pool.Release()
	if p.placement.HeadKept {
		for _, m := range p.outer() {
			p.load(m)
		}
	}
	for i := range p.placement.Kept {
		for _, m := range p.layers[i].matrices() {
			p.load(m)
		}
	}
	return p.takeFailed()
}

// load packs a matrix that is about to be used. An error is kept for takeFailed; the
// matrix then has no panels.
func (p *processor) load(m *cpu.Matrix) {
	if m.Loaded() || p.failed != nil {
		return
	}
	if err := m.Load(p.pool); err != nil {
		p.failed = fmt.Errorf("%s: %w", p.source.Path(), err)
	}
	p.source.Forget(names(m)...)
}

// takeFailed returns the error of the first matrix that could not be loaded.
func (p *processor) takeFailed() error {
	err := p.failed
	p.failed = nil
	return err
}

// eachLayer calls f for each layer, for a pass of so many tokens. Weights of the layer
// that do not stay in memory are loaded when they are used, and released after f. They
// are read from disk while the layer before is computed.
func (p *processor) eachLayer(ctx context.Context, tokens int, f func(l int) error) error {
	if !p.placement.HeadKept {
		p.unload(p.outer()...)
	}
	for l := range p.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.ahead(l, tokens)
		err := f(l)
		if l >= p.placement.Kept {
			p.unload(p.layers[l].matrices()...)
		}
		if err := cmp.Or(p.takeFailed(), err); err != nil {
			return err
		}
	}
	return nil
}

// endPass releases the head, unless it stays in memory. It returns the error of a head
// that could not be loaded.
func (p *processor) endPass() error {
	if !p.placement.HeadKept {
		p.unload(p.outer()...)
	}
	return p.takeFailed()
}

func (p *processor) unload(list ...*cpu.Matrix) {
	for _, m := range list {
		m.Unload(p.pool)
	}
}

// ahead asks the system to read the weights of the layer after layer l, or after the last
// layer, those of the next pass. Of a mixture, few tokens need only some of the experts,
// which are not known yet.
func (p *processor) ahead(l, tokens int) {
	next := l + 1
	if next == len(p.layers) {
		next = p.placement.Kept
	}
	if next < p.placement.Kept || next == len(p.layers) {
		return
	}
	w := &p.layers[next]
	few := tokens*p.config.TopExperts < 2*p.config.Experts
	for _, m := range w.matrices() {
		if !few || !w.isExpert(m) {
			p.source.Ahead(names(m)...)
		}
	}
}

// names returns the names of the tensors that a matrix is packed from.
func names(m *cpu.Matrix) []string {
	list := make([]string, len(m.Parts()))
	for i, t := range m.Parts() {
		list[i] = t.Name
	}
	return list
}

// passage is a run of tokens on their way through the layers, with their rotations.
type passage struct {
	seq    *cpuSequence
	in     *chunk
	angles rotations
}

// throughLayers appends tokens[i] to list[i]. All tokens pass through a layer before the
// next one, so that its weights are read once.
func (p *processor) throughLayers(ctx context.Context, list []*cpuSequence, tokens [][]int32, passes []Pass) error {
	var all []passage
	total := 0
	for i, s := range list {
		total += len(tokens[i])
		for lo := 0; lo < len(tokens[i]); lo += p.chunk {
			in := &chunk{n: min(p.chunk, len(tokens[i])-lo), pos0: s.length() + lo, row0: lo, p: &passes[i], waits: true}
			in.x = in.room(nil, in.n*p.config.Hidden)
			angles, err := s.enter(in, tokens[i][lo:lo+in.n])
			if err != nil {
				return err
			}
			all = append(all, passage{s, in, angles})
		}
	}
	err := p.eachLayer(ctx, total, func(l int) error {
		for _, a := range all {
			if err := ctx.Err(); err != nil {
				return err
			}
			a.seq.through(l, a.in, a.angles)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, a := range all {
		a.seq.leave(a.in)
	}
	return p.endPass()
}

// Streams reports whether some weights are read from the file in each pass, so that
// ForwardAll is faster than Forward for one sequence after the other.
func (m *Model) Streams() bool {
	p, ok := m.backend.(*processor)
	return ok && p.streams()
}

// ForwardAll appends tokens[i] to list[i], as Forward does with passes[i]. Weights that
// do not stay in memory are read once for all sequences, which must be different ones.
// The numbers are those of Forward, bit for bit.
func (m *Model) ForwardAll(ctx context.Context, list []*Session, tokens [][]int32, passes []Pass) error {
	if len(list) != len(tokens) || len(list) != len(passes) {
		return fmt.Errorf("%d sequences, tokens of %d, %d passes: want equal numbers", len(list), len(tokens), len(passes))
	}
	p, ok := m.backend.(*processor)
	var together []*cpuSequence
	var theirs [][]int32
	var of []Pass
	for i, s := range list {
		pass := passes[i]
		single, err := s.prepare(tokens[i], &pass)
		if err != nil {
			return err
		}
		if !ok || !p.streams() || single || m.config.Rope.Restart {
			if err := s.Forward(ctx, tokens[i], passes[i]); err != nil {
				return err
			}
			continue
		}
		seq, own := s.seq.(*cpuSequence)
		if !own || seq.processor != p || slices.Contains(together, seq) {
			return fmt.Errorf("sequence %d belongs to another model or is listed twice", i)
		}
		together = append(together, seq)
		theirs = append(theirs, tokens[i])
		of = append(of, pass)
	}
	if len(together) == 0 {
		return nil
	}
	return m.orChanged(p.throughLayers(ctx, together, theirs, of))
}
