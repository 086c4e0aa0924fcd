// Package parallel runs the iterations of a loop on several cores. The whole program
// uses it, except for the matrix kernels, which have their own pool of threads,
// engine/cpu.Pool.
package parallel

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// For calls f for 0 to n-1, at most GOMAXPROCS calls at once, and waits for all
// of them.
func For(n int, f func(i int)) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() error {
			f(i)
			return nil
		})
	}
	_ = group.Wait() // f returns no error
}

// Try is like For, but its iterations can fail. After an error, or when ctx is
// cancelled, it starts no further iteration. It returns the error of the lowest failed
// iteration, or the error of ctx.
func Try(ctx context.Context, n int, f func(i int) error) error {
	return TryLimit(ctx, runtime.GOMAXPROCS(0), n, f)
}

// TryLimit is like Try, with at most limit calls at once.
func TryLimit(ctx context.Context, limit, n int, f func(i int) error) error {
	var group errgroup.Group
	group.SetLimit(limit)
	running, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, n)
	for i := range n {
		group.Go(func() error {
			if running.Err() != nil {
				return nil
			}
			errs[i] = f(i)
			if errs[i] != nil {
				stop()
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
