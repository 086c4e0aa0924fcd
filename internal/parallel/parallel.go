// Package parallel runs the pieces of a loop beside each other.
package parallel

import "sync"

// For runs f for 0 to n-1, each in its own goroutine, and waits. It is meant for
// the heads of a layer: some tens of pieces, each worth a goroutine.
func For(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
