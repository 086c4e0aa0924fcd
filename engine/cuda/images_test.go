//go:build cuda

package cuda

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSharedTable checks the dynamic shared memory of each kernel that the static checks
// (kernels/ptxas.py) count with.
func TestSharedTable(t *testing.T) {
	m, err := kernelImages()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, entry := range entryName.FindAllStringSubmatch(m.ptx, -1) {
		if n := sharedBytes(entry[1]); n > 0 {
			lines = append(lines, fmt.Sprintf("%s\t%d", entry[1], n))
		}
	}
	slices.Sort(lines)
	want := []byte("kernel\tdynamic_shared\n" + strings.Join(lines, "\n") + "\n")
	const path = "kernels/shared.tsv"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what the launches take (%v): run UPDATE=1 go test -tags cuda ./engine/cuda -run TestSharedTable", path, err)
	}
}

// TestCubinOfCapability checks which cubin a card gets: one of its major version, and no
// newer minor version.
func TestCubinOfCapability(t *testing.T) {
	m, err := kernelImages()
	if err != nil {
		t.Fatal(err)
	}
	for capability, want := range map[[2]int]string{
		{8, 0}: "sm_80", {8, 6}: "sm_86", {8, 7}: "sm_86", {8, 9}: "sm_89", {9, 0}: "sm_90a",
		{10, 0}: "sm_100", {10, 3}: "sm_100", {12, 0}: "sm_120", {12, 1}: "sm_120",
		{7, 5}: "", {9, 1}: "", {11, 0}: "", {13, 0}: "",
	} {
		arch, cubin := m.cubinFor(capability)
		if arch != want {
			t.Errorf("capability %v takes %q, want %q", capability, arch, want)
		}
		if want != "" && !strings.HasPrefix(cubin, "\x7fELF") {
			t.Errorf("%s is not an ELF file", arch)
		}
	}
	if !strings.Contains(m.ptx, ".target sm_80") {
		t.Error("the archive has no PTX for sm_80")
	}
}

// TestRefusedCubin checks that a driver that refuses a cubin, as the emulated one does,
// gets the PTX.
func TestRefusedCubin(t *testing.T) {
	emulated(t)
	onCard(t)
	m, err := kernelImages()
	if err != nil {
		t.Fatal(err)
	}
	mod, image, err := m.loadModule([2]int{8, 6}, "")
	if err != nil || image != "ptx" {
		t.Fatalf("loaded %q, error %v: want the PTX", image, err)
	}
	if _, err := loadKernels(mod, m.ptx); err != nil {
		t.Error(err)
	}
	broken := &images{ptx: "no PTX", cubins: m.cubins}
	if _, _, err := broken.loadModule([2]int{8, 6}, ""); err == nil {
		t.Error("a driver that refuses both images gives no error")
	}
}
