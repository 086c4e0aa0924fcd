package simd

// Mat is a view of a row-major matrix: element [i, j] is Data[i*Stride+j] for
// i < Rows and j < Cols, with Stride >= Cols. It copies no elements.
type Mat[T any] struct {
	Data               []T
	Rows, Cols, Stride int
}

// Dense returns the view of a matrix with contiguous rows.
func Dense[T any](data []T, rows, cols int) Mat[T] {
	return Mat[T]{Data: data, Rows: rows, Cols: cols, Stride: cols}
}

// Sub returns the view of rows x cols elements from [row, col] on.
func (m Mat[T]) Sub(row, col, rows, cols int) Mat[T] {
	return Mat[T]{Data: m.Data[row*m.Stride+col:], Rows: rows, Cols: cols, Stride: m.Stride}
}

// Panels returns the number of panels that n columns take.
func Panels(n int) int { return (n + Width - 1) / Width }
