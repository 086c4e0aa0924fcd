package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

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
