// Package sharedtest finds the data that tests read but the repository does
// not hold: golden values, tokenizers, prompts. It is looked for in
// $ATTNSCOPE_SHARED, then in ../shared beside the repository. Without it those
// tests are skipped, each naming what it missed.
package sharedtest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Dir returns the path of a file or folder of the shared data, or skips the
// test, naming the path, when there is none.
func Dir(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("ATTNSCOPE_SHARED")
	if root == "" {
		_, self, _, _ := runtime.Caller(0)
		root = filepath.Join(filepath.Dir(self), "..", "..", "..", "shared")
	}
	path := filepath.Join(root, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED, no shared test data: %s (set ATTNSCOPE_SHARED to the folder that holds %s)", path, name)
	}
	return path
}
