package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePython makes a virtual environment whose python notes the arguments of CMake, and
// dies of an illegal instruction in the build for all features of the processor.
const fakePython = `#!/bin/sh
PATH=/usr/bin:/bin
mkdir -p "$3/bin"
cat >"$3/bin/python" <<'END'
#!/bin/sh
here=${0%/bin/python}
case "$*" in
-m*) echo "$CMAKE_ARGS" >"$here/cmake" ;;
*) case "$here" in
	*native) echo '{"ready": true}'; read -r task; kill -ILL $$ ;;
	*) echo '{"ready": true}'; read -r task; echo '{"tokens": 256, "seconds": 1}' ;;
	esac ;;
esac
END
chmod +x "$3/bin/python"
`

// TestLlamaIsCompiledWithoutAMXIfItCrashes lets the build with all features crash: the
// one without AMX is taken, and the line for the report says so.
func TestLlamaIsCompiledWithoutAMXIfItCrashes(t *testing.T) {
	tools := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(tools, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("python3", fakePython)
	t.Setenv("PATH", tools)
	t.Setenv("CXX", "")
	dir := t.TempDir()

	python, line := compiledLlama(dir, "model.gguf", 2)
	if python != "" || !strings.HasPrefix(line, "SKIPPED: llama.cpp: there is no C++ compiler") {
		t.Errorf("without a compiler: python %q, %q", python, line)
	}

	write("c++", "#!/bin/sh\n")
	python, line = compiledLlama(dir, "model.gguf", 2)
	if want := filepath.Join(dir, "llama-no-amx", "bin", "python"); python != want {
		t.Errorf("python %q, want %q", python, want)
	}
	for _, want := range []string{"llama.cpp: compiled for this processor without AMX; not used: ", "illegal instruction"} {
		if !strings.Contains(line, want) {
			t.Errorf("line %q does not contain %q", line, want)
		}
	}
	for _, b := range llamaBuilds {
		got, err := os.ReadFile(filepath.Join(dir, b.dir, "cmake"))
		if err != nil || strings.TrimSpace(string(got)) != b.cmake || !strings.Contains(b.cmake, "-DGGML_NATIVE=ON") {
			t.Errorf("%s was compiled with %q (%v), want %q", b.dir, got, err, b.cmake)
		}
	}
}

// TestShrunkTasks checks that a shrunk task keeps at least two reply tokens, and no
// reply where there was none.
func TestShrunkTasks(t *testing.T) {
	got := task{Op: "set", Tokens: 2048, Reply: 64, Prompts: 16, Batch: 8, Keep: 1024}.shrunk(64)
	if got != (task{Op: "set", Tokens: 32, Reply: 2, Prompts: 16, Batch: 8, Keep: 16}) {
		t.Errorf("shrunk: %+v", got)
	}
	if got := (task{Op: "prefill", Tokens: 2048}).shrunk(4); got.Reply != 0 || got.Tokens != 512 {
		t.Errorf("shrunk: %+v", got)
	}
}
