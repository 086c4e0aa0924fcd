package outfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func TestWriteReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	for _, s := range []string{"first", "second"} {
		if err := Write(path, text(s)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != s {
			t.Errorf("%q, want %q", got, s)
		}
	}
	wrong := errors.New("wrong")
	if err := Write(path, func(w io.Writer) error { io.WriteString(w, "half"); return wrong }); !errors.Is(err, wrong) {
		t.Errorf("%v, want the writer's error", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "second" {
		t.Errorf("a failed write left %q", got)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files, want 1: a failed write leaves none", len(left))
	}
}

func TestErrorsNameThePath(t *testing.T) {
	dir := t.TempDir()
	missing, folder := filepath.Join(dir, "no", "a.txt"), filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Write(missing, text("x")); !errors.Is(err, fs.ErrNotExist) || err.Error() != missing+": no such file or directory" {
		t.Errorf("%v, want %s: no such file or directory", err, missing)
	}
	if err := Write(folder, text("x")); err == nil || !strings.HasPrefix(err.Error(), folder+": ") || strings.Contains(err.Error(), ".folder.") {
		t.Errorf("%v, want an error that begins with %s", err, folder)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files, want the folder only", len(left))
	}
}
