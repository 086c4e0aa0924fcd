package tensor

import "fmt"

// EveryRow returns the rows first, first+step, first+2*step, ... of a tensor seen as a
// matrix. It copies no data.
func (t Tensor) EveryRow(first, step int) (Tensor, error) {
	if step < 1 || first < 0 || first > t.Rows() {
		return Tensor{}, fmt.Errorf("tensor %s: rows %d, %d, ... of %d", t.Name, first, first+step, t.Rows())
	}
	rows := (t.Rows() - first + step - 1) / step
	return Tensor{Name: t.Name, DType: t.DType, Shape: []int{rows, t.Cols()}, Coded: everyRow{t, first, step}}, nil
}

// everyRow has some rows of a tensor.
type everyRow struct {
	t           Tensor
	first, step int
}

func (e everyRow) Row(dst []float32, i int) error { return e.t.Row(dst, e.first+i*e.step) }

func (e everyRow) Parts() []Tensor {
	if e.t.Coded != nil {
		return e.t.Coded.Parts()
	}
	return []Tensor{e.t}
}

func (e everyRow) String() string { return e.t.Kind() }

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

// TransposedView is Transposed of a matrix of floats without a copy: each row is read
// from a column. Rows that follow each other find the data in the processor's caches.
func (t Tensor) TransposedView() (Tensor, error) {
	if len(t.Shape) != 2 || !t.isFloat() || t.Coded != nil {
		return Tensor{}, misfit(t, "a matrix of floats")
	}
	return Tensor{Name: t.Name, DType: t.DType, Shape: []int{t.Shape[1], t.Shape[0]}, Coded: transpose{t}}, nil
}

// transpose has the columns of a matrix as rows.
type transpose struct{ t Tensor }

func (c transpose) Row(dst []float32, i int) error {
	cols := c.t.Shape[1]
	for x := range dst {
		dst[x] = c.t.at(x*cols + i)
	}
	return nil
}

func (c transpose) Parts() []Tensor { return []Tensor{c.t} }

func (c transpose) String() string { return c.t.DType.String() }
