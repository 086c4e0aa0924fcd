package main

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTileInstructionsAreThoseOfBinutils assembles the text of every AMX instruction with
// binutils and compares the bytes.
func TestTileInstructionsAreThoseOfBinutils(t *testing.T) {
	assembler, err := exec.LookPath("as")
	if err != nil {
		t.Skip("SKIPPED: no assembler of binutils (as) on this machine")
	}
	tileCode = nil
	files["amd64"]()
	if len(tileCode) < 100 {
		t.Fatalf("%d instructions", len(tileCode))
	}
	dir := t.TempDir()
	var text strings.Builder
	var want []byte
	for _, in := range tileCode {
		text.WriteString(in.text + "\n")
		want = append(want, in.code...)
	}
	source := filepath.Join(dir, "tiles.s")
	object := filepath.Join(dir, "tiles.o")
	if err := os.WriteFile(source, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if message, err := exec.Command(assembler, "--64", "-o", object, source).CombinedOutput(); err != nil {
		if bytes.Contains(message, []byte("no such instruction")) || bytes.Contains(message, []byte("unrecognized option")) {
			t.Skipf("SKIPPED: this assembler does not support AMX: %s", bytes.SplitN(message, []byte("\n"), 3)[1])
		}
		t.Fatalf("%v: %s", err, message)
	}
	file, err := elf.Open(object)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, err := file.Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for i, in := range tileCode {
		n := len(in.code)
		if at+n > len(got) || !bytes.Equal(got[at:at+n], want[at:at+n]) {
			t.Fatalf("instruction %d, %s: wrote % x, binutils % x", i, in.text, in.code, got[at:min(len(got), at+n)])
		}
		at += n
	}
	if at != len(got) {
		t.Errorf("binutils wrote %d bytes, want %d", len(got), at)
	}
}
