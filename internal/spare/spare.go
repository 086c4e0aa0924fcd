// Package spare recycles large slices, because fresh memory costs page faults:
//
//	var columns spare.Slices[float32]
//
//	x := columns.Take(n)
//	defer columns.Give(x)
package spare

import "sync"

// Slices holds slices that are not in use. The garbage collector may free them. The
// zero value is ready to use. Several goroutines may use it at once.
type Slices[T any] struct{ pool sync.Pool }

// Take returns a slice of n values. A recycled slice has arbitrary content; a new one
// is zero.
func (s *Slices[T]) Take(n int) []T {
	if x, ok := s.pool.Get().(*[]T); ok && cap(*x) >= n {
		return (*x)[:n]
	}
	return make([]T, n)
}

// Give makes x available to later calls of Take. The caller must not use x afterwards.
func (s *Slices[T]) Give(x []T) { s.pool.Put(&x) }
