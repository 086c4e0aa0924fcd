package dumps

// Rows holds consecutive rows of one head's weights, for [PromptWriter.Rows]. Row i is
// Weights[i*Stride:][:Keys], or the same slice of Halves; its first value is the
// weight of the key at position Key0. All other keys have weight zero.
type Rows struct {
	Layer, Head int // true ids
	Phase       Phase
	Row0, Rows  int // Row0 counts from the first recorded row of the phase
	Key0, Keys  int
	Stride      int // values from one row to the next; 0: Keys

	Weights []float32
	Halves  []uint16 // half floats, rounded as [Precision.Rounding] says; if not nil, used instead of Weights
}

// record returns the head of the rows' block, without its encoding.
func (r *Rows) record() record {
	return record{
		Kind: kindWeights, Phase: r.Phase,
		Layer: uint32(r.Layer), Head0: uint32(r.Head), NH: 1,
		Row0: uint32(r.Row0), Rows: uint32(r.Rows),
		Key0: uint32(r.Key0), Keys: uint32(r.Keys),
	}
}

// stride returns the values from one row to the next.
func (r *Rows) stride() int {
	if r.Stride == 0 {
		return r.Keys
	}
	return r.Stride
}

// flat returns a copy of the weights as [rows, keys].
func (r *Rows) flat() []float32 {
	out := make([]float32, r.Rows*r.Keys)
	for i := range r.Rows {
		copy(out[i*r.Keys:(i+1)*r.Keys], r.Weights[i*r.stride():][:r.Keys])
	}
	return out
}

// planes returns a copy of the halves in two byte planes, [2, rows, keys].
func (r *Rows) planes() []byte {
	n := r.Rows * r.Keys
	out := make([]byte, 2*n)
	for i := range r.Rows {
		lo := out[i*r.Keys : (i+1)*r.Keys]
		hi := out[n+i*r.Keys : n+(i+1)*r.Keys]
		for j, v := range r.Halves[i*r.stride():][:r.Keys] {
			lo[j] = byte(v)
			hi[j] = byte(v >> 8)
		}
	}
	return out
}
