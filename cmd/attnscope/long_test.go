package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadmeTable makes README's table again, on the default model.
func TestReadmeTable(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, a minute on the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := must(t, "demo", "-o", filepath.Join(t.TempDir(), "demo"))
	rows := 0
	for line := range strings.Lines(guide) {
		if strings.Contains(line, "| counted |") || strings.Contains(line, "| left out |") {
			rows++
			if !strings.Contains(string(readme), line) {
				t.Errorf("README does not have the row %q", line)
			}
		}
	}
	if rows != 6 {
		t.Errorf("%d rows, want 6", rows)
	}
}
