package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommittedFilesAreGenerated holds that the assembler files are what this program
// writes.
func TestCommittedFilesAreGenerated(t *testing.T) {
	for name, generate := range files {
		path := "../kernels_" + name + ".s"
		committed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if generate() != string(committed) {
			t.Errorf("%s is not what gen writes: run go generate ./internal/simd", path)
		}
	}
}

// TestWordsAreTheirInstructions assembles the instruction behind each WORD of the
// kernels for arm64 with clang, and compares the bytes.
func TestWordsAreTheirInstructions(t *testing.T) {
	clang := ""
	for _, name := range []string{"clang", "clang-14"} {
		if path, err := exec.LookPath(name); err == nil {
			clang = path
		}
	}
	if clang == "" {
		t.Skip("SKIPPED: clang is missing; the words of the kernels for arm64 are not compared with their instructions")
	}
	var words []uint32
	source := ".text\n"
	for l := range strings.SplitSeq(generateARM64(), "\n") {
		var w uint32
		if n, _ := fmt.Sscanf(l, "\tWORD $%v //", &w); n == 1 {
			words = append(words, w)
			source += l[strings.Index(l, "//")+2:] + "\n"
		}
	}
	if len(words) < 1000 {
		t.Fatalf("found %d words, want more than 1000", len(words))
	}
	object := filepath.Join(t.TempDir(), "words.o")
	cmd := exec.Command(clang, "--target=aarch64-linux-gnu", "-march=armv8.6-a",
		"-c", "-x", "assembler", "-o", object, "-")
	cmd.Stdin = strings.NewReader(source)
	if message, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(message, []byte("unable to create target")) {
			t.Skip("SKIPPED: this clang does not know arm64; the words of its kernels are not compared with their instructions")
		}
		t.Fatalf("%v: %s", err, message)
	}
	f, err := elf.Open(object)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	code, err := f.Section(".text").Data()
	if err != nil {
		t.Fatal(err)
	}
	if len(code) != 4*len(words) {
		t.Fatalf("clang wrote %d bytes for %d words", len(code), len(words))
	}
	lines := strings.Split(source, "\n")
	for i, w := range words {
		if want := binary.LittleEndian.Uint32(code[4*i:]); w != want {
			t.Errorf("%s is %#08x, want %#08x", strings.TrimSpace(lines[i+1]), w, want)
		}
	}
}
