// Package spare keeps large slices that are not needed any more for who needs the
// next: fresh memory costs page faults.
package spare

import "sync"

// Slices are some of one kind. The collector may take them.
type Slices[T any] struct{ pool sync.Pool }

// Take gives n values: whatever was given back, or zeros.
func (s *Slices[T]) Take(n int) []T {
	if x, ok := s.pool.Get().(*[]T); ok && cap(*x) >= n {
		return (*x)[:n]
	}
	return make([]T, n)
}

// Give gives x back: it is not used any more.
func (s *Slices[T]) Give(x []T) { s.pool.Put(&x) }
