package main

import (
	"strings"
	"testing"
)

// TestHelpAfterFiles: the help of a verb is printed wherever --help stands.
func TestHelpAfterFiles(t *testing.T) {
	for _, args := range [][]string{{"hitrate", "run.attn", "--help"}, {"export", "-o", "x.npz", "run.attn", "-h"}} {
		code, out, messages := call(t, args...)
		if code != 0 || !strings.Contains(out, "attnscope "+args[0]+" - ") {
			t.Errorf("%q: exit %d, %s%s", args, code, out, messages)
		}
	}
}
