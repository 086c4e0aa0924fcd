package main

import (
	"os"
	"testing"
)

// TestCommittedFileIsGenerated holds that kernels_amd64.s is what this program writes.
func TestCommittedFileIsGenerated(t *testing.T) {
	committed, err := os.ReadFile("../kernels_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	if generate() != string(committed) {
		t.Error("kernels_amd64.s is not what gen writes: run go generate ./internal/simd")
	}
}
