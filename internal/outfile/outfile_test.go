package outfile

import (
	"errors"
	"io"
	"io/fs"
	"net"
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
			t.Errorf("file has %q, want %q", got, s)
		}
	}
	wrong := errors.New("wrong")
	err := Write(path, func(w io.Writer) error {
		io.WriteString(w, "half")
		return wrong
	})
	if !errors.Is(err, wrong) {
		t.Errorf("error %v, want %v", err, wrong)
	}
	if got, _ := os.ReadFile(path); string(got) != "second" {
		t.Errorf("after a failed write the file has %q, want %q", got, "second")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files, want 1: a failed write leaves no file", len(left))
	}
}

func TestErrorsNameThePath(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "no", "a.txt")
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	err := Write(missing, text("x"))
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != missing+": no such file or directory" {
		t.Errorf("error %v, want %s: no such file or directory", err, missing)
	}
	err = Write(folder, text("x"))
	if err == nil || !strings.HasPrefix(err.Error(), folder+": ") || strings.Contains(err.Error(), ".folder.") {
		t.Errorf("error %v, want one that begins with %s and does not name the temporary file", err, folder)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files, want 1, the folder", len(left))
	}
}

// TestSpecialFilesStay: a socket, like a device or a pipe, is not replaced by a file.
func TestSpecialFilesStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("SKIPPED: this system has no sockets in folders")
	}
	defer l.Close()
	if err := Write(path, text("x")); err == nil || !strings.Contains(err.Error(), path+" is a device, a pipe or a socket") {
		t.Errorf("error %v", err)
	}
	if at, err := os.Lstat(path); err != nil || at.Mode()&fs.ModeSocket == 0 {
		t.Errorf("the socket is gone: %v, %v", at, err)
	}
}
