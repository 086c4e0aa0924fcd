package parallel

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

func TestForCallsEveryIterationOnceAndWaits(t *testing.T) {
	for _, n := range []int{0, 1, 40} {
		done := make([]int, n)
		For(n, func(i int) { done[i]++ })
		for i, times := range done {
			if times != 1 {
				t.Errorf("n = %d: iteration %d ran %d times, want 1", n, i, times)
			}
		}
	}
}

func TestTryReturnsTheLowestErrorAndStops(t *testing.T) {
	bad := errors.New("bad")
	var calls atomic.Int64
	err := TryLimit(t.Context(), 1, 100, func(i int) error {
		calls.Add(1)
		if i == 3 {
			return bad
		}
		return nil
	})
	if !errors.Is(err, bad) {
		t.Errorf("error %v, want %v", err, bad)
	}
	if calls.Load() != 4 {
		t.Errorf("%d iterations ran, want 4: none after the one that failed", calls.Load())
	}
}

func TestTryLimitBoundsTheCallsAtOnce(t *testing.T) {
	var now, most atomic.Int64
	err := TryLimit(t.Context(), 2, 50, func(int) error {
		n := now.Add(1)
		for {
			seen := most.Load()
			if n <= seen || most.CompareAndSwap(seen, n) {
				break
			}
		}
		now.Add(-1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if most.Load() > 2 {
		t.Errorf("%d calls at once, want at most 2", most.Load())
	}
}

func TestTryStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Try(ctx, 5, func(int) error {
		t.Error("an iteration ran after the context was cancelled")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
