package cuda

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestBlasOfPackages finds the files of cuBLAS that Python packages and toolkits install.
func TestBlasOfPackages(t *testing.T) {
	root := t.TempDir()
	touch := func(path string) string {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	python := touch("env/bin/python3")
	twelve := touch("env/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.12")
	thirteen := touch("env/lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13")
	toolkit := touch("toolkit/lib64/libcublas.so.12")
	get := func(name string) string { return map[string]string{"CUDA_HOME": filepath.Join(root, "toolkit")}[name] }

	if got := pythonOf(filepath.Join(root, "nothing") + ":" + filepath.Dir(python)); got != python {
		t.Errorf("python is %s, want %s", got, python)
	}
	own := func(list []string) (out []string) { // the machine may have more
		for _, name := range list {
			if !filepath.IsAbs(name) || slices.Contains([]string{twelve, thirteen, toolkit}, name) {
				out = append(out, name)
			}
		}
		return out
	}
	got := own(blasNames(12, blasFolders(get, python)))
	want := []string{"libcublas.so.12", twelve, toolkit, "libcublas.so.11", "libcublas.so.13", thirteen}
	if !slices.Equal(got, want) {
		t.Errorf("with a driver of CUDA 12: %v, want %v", got, want)
	}
	got = own(blasNames(13, blasFolders(get, python)))
	want = []string{"libcublas.so.13", thirteen, "libcublas.so.12", twelve, toolkit, "libcublas.so.11"}
	if !slices.Equal(got, want) {
		t.Errorf("with a driver of CUDA 13: %v, want %v", got, want)
	}
	if got := lightOf(twelve); got != filepath.Join(filepath.Dir(twelve), "libcublasLt.so.12") {
		t.Errorf("the library beside it is %s", got)
	}
	if got := lightOf("libcublas.so.12"); got != "" {
		t.Errorf("the library beside a bare name is %s", got)
	}
}
