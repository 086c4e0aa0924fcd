package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// llamaVersion is the version of llama-cpp-python that is compiled.
const llamaVersion = "0.3.36"

// environments makes the Python environments that are missing. If that fails, the
// comparisons that need one are left out. It returns lines for the report: which build
// of llama.cpp was taken, and what is missing and why. The build is tried on the model
// gguf.
func (o *options) environments(gguf string) (lines []string) {
	if o.python == "" && !o.noSetup {
		var err error
		o.python, err = venv(filepath.Join(o.dir, "torch"), nil, "torch", "transformers>=4.56,<5", "numpy", "safetensors")
		if err != nil {
			lines = append(lines, "SKIPPED: transformers: "+err.Error())
		}
	}
	switch {
	case o.llama != "":
		lines = append(lines, "llama.cpp: as it is installed for "+o.llama)
	case !o.noSetup:
		var line string
		o.llama, line = compiledLlama(o.dir, gguf, o.threads)
		lines = append(lines, line)
	}
	return lines
}

// llamaBuild is a way to compile llama.cpp.
type llamaBuild struct{ dir, what, cmake string }

// llamaBuilds are the builds that are tried, in this order. All are for the processor
// of this machine. The kernels for AMX are left out by undefining the macro that
// selects them, because the compiler sets it for the processor.
var llamaBuilds = []llamaBuild{
	{"llama-native", "compiled for this processor", "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"},
	{
		"llama-no-amx", "compiled for this processor without AMX",
		"-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DCMAKE_C_FLAGS=-U__AMX_INT8__ -DCMAKE_CXX_FLAGS=-U__AMX_INT8__",
	},
}

// compiledLlama compiles llama.cpp for this machine, and returns the python that has it
// and a line that names the build. It takes the first build that reads a prompt of the
// model without crashing. The python is empty if there is none.
func compiledLlama(dir, gguf string, threads int) (python, line string) {
	if !hasCompiler() {
		return "", "SKIPPED: llama.cpp: there is no C++ compiler (c++, g++ or clang++, or CXX) to compile it for this machine"
	}
	var failed []string
	for _, b := range llamaBuilds {
		python, err := venv(filepath.Join(dir, b.dir), []string{"CMAKE_ARGS=" + b.cmake, "FORCE_CMAKE=1"},
			"--no-cache-dir", "--no-binary", "llama-cpp-python", "llama-cpp-python=="+llamaVersion, "numpy")
		if err == nil {
			err = tryLlama(python, gguf, threads)
		}
		if err != nil {
			failed = append(failed, b.what+": "+err.Error())
			note("llama.cpp " + failed[len(failed)-1])
			continue
		}
		line := "llama.cpp: " + b.what
		if len(failed) > 0 {
			line += "; not used: " + strings.Join(failed, "; ")
		}
		return python, line
	}
	return "", "SKIPPED: llama.cpp: " + strings.Join(failed, "; ")
}

func hasCompiler() bool {
	for _, name := range []string{os.Getenv("CXX"), "c++", "g++", "clang++"} {
		if _, err := exec.LookPath(name); err == nil {
			return true
		}
	}
	return false
}

// tryLlama reads a prompt that is long enough for the kernels of prompts.
func tryLlama(python, gguf string, threads int) error {
	w, err := start("llama.cpp", llamaArgs(python, gguf, threads)...)
	if err != nil {
		return err
	}
	defer w.stop()
	_, err = w.do(task{Op: "prefill", Tokens: 256})
	return err
}

func llamaArgs(python, gguf string, threads int) []string {
	return []string{python, "bench/llama.py", gguf, "--threads", fmt.Sprint(threads)}
}

// venv makes a virtual environment and returns its python. The arguments are those of
// pip install; env is added to its environment.
func venv(dir string, env []string, args ...string) (python string, err error) {
	python = filepath.Join(dir, "bin", "python")
	if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
		return python, nil
	}
	note("making " + dir + " with " + strings.Join(args, " "))
	create := []string{"python3", "-m", "venv", dir}
	install := append([]string{python, "-m", "pip", "install", "--quiet"}, args...)
	for _, argv := range [][]string{create, install} {
		c := exec.Command(argv[0], argv[1:]...)
		c.Env = append(os.Environ(), env...)
		if out, err := c.CombinedOutput(); err != nil {
			err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, lastLine(out))
			note("SKIPPED: " + err.Error())
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ready"), nil, 0o644); err != nil {
		note(err.Error())
	}
	return python, nil
}
