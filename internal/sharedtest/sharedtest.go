// Package sharedtest finds test data that is not in the repository, such as golden
// values, tokenizers and prompts. It looks in $ATTNSCOPE_SHARED or, if that is not set,
// in the folder shared next to the repository. Tests whose data is missing are skipped
// with a message that names the data.
package sharedtest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Dir returns the path of a file or folder of the shared data. If it does not exist,
// it skips the test with a message that names the path.
func Dir(t testing.TB, name string) string {
	t.Helper()
	path := pathOf(name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("SKIPPED, no shared test data: %s (set ATTNSCOPE_SHARED to the folder that holds %s)", path, name)
	}
	return path
}

// Has reports whether a file or folder of the shared data exists, for tests that can
// use a smaller substitute in the repository instead.
func Has(name string) bool {
	_, err := os.Stat(pathOf(name))
	return err == nil
}

func pathOf(name string) string {
	root := os.Getenv("ATTNSCOPE_SHARED")
	if root == "" {
		_, self, _, _ := runtime.Caller(0)
		root = filepath.Join(filepath.Dir(self), "..", "..", "..", "shared")
	}
	return filepath.Join(root, filepath.FromSlash(name))
}
