package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

// TestNothingKept: an interruption in the first prompt says that nothing is kept.
func TestNothingKept(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.attn")
	var hinted *hintError
	err := keptHint(fmt.Errorf("prompt %q: %w", "a", context.Canceled), out)
	if want := "no prompt was finished, so nothing is kept"; !errors.As(err, &hinted) || hinted.Hint() != want {
		t.Errorf("error %#v, want the hint %q", err, want)
	}
	other := errors.New("another error")
	if err := keptHint(other, out); err != other {
		t.Errorf("%v became %v", other, err)
	}
}

func TestInterruptedError(t *testing.T) {
	at := fmt.Errorf("prompt %q: %w", "a", context.Canceled)
	for _, c := range []struct {
		err  error
		want string
	}{
		{context.Canceled, "interrupted"},
		{at, `interrupted: prompt "a"`},
		{hintf(at, "continue"), `interrupted: prompt "a"`},
		{errors.Join(context.Canceled, nil), "interrupted"},
	} {
		err := error(&interruptedError{c.err})
		if err.Error() != c.want || !errors.Is(err, context.Canceled) {
			t.Errorf("%v is printed as %q, want %q", c.err, err, c.want)
		}
	}
}
