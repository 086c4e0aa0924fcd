package view

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/snapkv"
)

// TestPageHasTheDefaults: the page starts with the settings of the command.
func TestPageHasTheDefaults(t *testing.T) {
	text, err := os.ReadFile("web/state.js")
	if err != nil {
		t.Fatal(err)
	}
	methods := snapkv.Default
	rates := analysis.Paper
	if rates.Windows[0] != methods.Window || rates.Pooling != methods.Pooling {
		t.Errorf("hit rates have window %d and %s, methods %d and %s",
			rates.Windows[0], rates.Pooling, methods.Window, methods.Pooling)
	}
	for name, want := range map[string]any{
		"w": methods.Window, "cap": methods.Capacity, "mk": methods.Kernel, "pooling": methods.Pooling,
		"group": methods.Group, "k": rates.Kernel, "top": rates.Tops[0], "theta": rates.Thetas[0], "skip": rates.SkipFirst,
	} {
		line := fmt.Sprintf("\n  %s: %v,", name, want)
		if s, ok := want.(fmt.Stringer); ok {
			line = fmt.Sprintf("\n  %s: %q,", name, s)
		}
		if !strings.Contains(string(text), line) {
			t.Errorf("state.js has no line%s", line)
		}
	}
}
