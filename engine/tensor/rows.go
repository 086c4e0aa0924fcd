package tensor

import "fmt"

// EveryRow returns the rows first, first+step, first+2*step, ... of a tensor of floats or
// a coded one, seen as a matrix. It copies the data of floats.
func (t Tensor) EveryRow(first, step int) (Tensor, error) {
	cols := t.Cols()
	size, err := t.DType.Bytes(cols)
	if err != nil || step < 1 || first < 0 || t.Coded == nil && !t.isFloat() {
		return Tensor{}, fmt.Errorf("tensor %s: rows %d, %d, ... of %s", t.Name, first, first+step, t.DType)
	}
	rows := max(0, t.Rows()-first+step-1) / step
	out := Tensor{Name: t.Name, DType: t.DType, Shape: []int{rows, cols}}
	switch {
	case t.Coded != nil:
		out.Coded = everyRow{t.Coded, first, step}
	case t.Data != nil:
		err = Guard(func() error {
			out.Data = make([]byte, 0, rows*size)
			for i := range rows {
				out.Data = append(out.Data, t.Data[(first+i*step)*size:][:size]...)
			}
			return nil
		})
	}
	return out, err
}

// everyRow is a coded tensor of some rows of another one.
type everyRow struct {
	Coded
	first, step int
}

func (e everyRow) Row(dst []float32, i int) error { return e.Coded.Row(dst, e.first+i*e.step) }

// Transposed returns a copy of a matrix [rows, cols] as [cols, rows]. Floats keep their
// type; all others become float32. If only the header was read, so is the result's.
func (t Tensor) Transposed() (Tensor, error) {
	if len(t.Shape) != 2 {
		return Tensor{}, misfit(t, "a matrix")
	}
	rows, cols := t.Shape[0], t.Shape[1]
	out := Tensor{Name: t.Name, DType: t.DType, Shape: []int{cols, rows}}
	if !t.isFloat() {
		out.DType = F32
	}
	if t.HeaderOnly() || t.Coded != nil && t.Coded.Parts()[0].Data == nil {
		return out, nil
	}
	size, err := out.DType.Bytes(1)
	if err != nil {
		return out, err
	}
	out.Data = make([]byte, rows*cols*size)
	row := make([]float32, cols)
	from := make([]byte, cols*size)
	return out, Guard(func() error {
		for i := range rows {
			if err := t.Row(row, i); err != nil {
				return err
			}
			out.DType.encode(from, row)
			for j := range cols {
				copy(out.Data[(j*rows+i)*size:][:size], from[j*size:])
			}
		}
		return nil
	})
}
