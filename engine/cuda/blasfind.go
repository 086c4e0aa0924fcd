package cuda

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// blasSetting names the library of cuBLAS: a path, or none for attnscope's own kernels.
const blasSetting = "ATTNSCOPE_LIBCUBLAS"

// blasMajors lists the major versions of cuBLAS that can be used, the newest first.
var blasMajors = []int{13, 12, 11}

// blasFolders returns the patterns of folders in which cuBLAS may lie when the system's
// loader does not know it: those of Python packages and of toolkits. python is the path
// of the Python interpreter, or empty; get returns environment variables.
func blasFolders(get func(string) string, python string) []string {
	var prefixes []string
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if at := get(name); at != "" {
			prefixes = append(prefixes, at)
		}
	}
	if python != "" {
		prefixes = append(prefixes, filepath.Dir(filepath.Dir(python)))
	}
	if home := get("HOME"); home != "" {
		prefixes = append(prefixes, filepath.Join(home, ".local"))
	}
	prefixes = append(prefixes, "/usr/local", "/usr")
	var list []string
	add := func(path string) {
		if !slices.Contains(list, path) {
			list = append(list, path)
		}
	}
	for _, prefix := range prefixes {
		for _, packages := range []string{"lib/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages"} {
			add(filepath.Join(prefix, packages, "nvidia/cu1[0-9]/lib")) // nvidia-cublas of CUDA 13
			add(filepath.Join(prefix, packages, "nvidia/cublas/lib"))   // nvidia-cublas-cu12 and -cu11
		}
		add(filepath.Join(prefix, "lib"))
	}
	for _, name := range []string{"CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"} {
		if at := get(name); at != "" {
			add(filepath.Join(at, "lib64"))
			add(filepath.Join(at, "lib"))
		}
	}
	for _, root := range []string{"/usr/local/cuda*", "/opt/cuda*"} {
		add(filepath.Join(root, "lib64"))
		add(filepath.Join(root, "targets/*/lib"))
	}
	return list
}

// blasNames lists what to open for cuBLAS, the best first: names that the system's loader
// looks up, then files in the given folders. A library of a newer CUDA than the driver's
// major version does not work and comes last.
func blasNames(driver int, folders []string) []string {
	majors := slices.Clone(blasMajors)
	slices.SortStableFunc(majors, func(a, b int) int {
		switch {
		case a > driver && b <= driver:
			return 1
		case a <= driver && b > driver:
			return -1
		}
		return 0
	})
	var list []string
	for _, major := range majors {
		name := "libcublas.so." + strconv.Itoa(major)
		list = append(list, name)
		for _, folder := range folders {
			found, _ := filepath.Glob(filepath.Join(folder, name)) // the patterns are sound
			list = append(list, found...)
		}
	}
	return list
}

// pythonOf returns the path of the Python interpreter that the search path finds, or an
// empty string. It does not follow links: the packages of a virtual environment are beside the link.
func pythonOf(path string) string {
	for _, folder := range filepath.SplitList(path) {
		for _, name := range []string{"python3", "python"} {
			at := filepath.Join(folder, name)
			if about, err := os.Stat(at); err == nil && !about.IsDir() && filepath.IsAbs(at) {
				return at
			}
		}
	}
	return ""
}

// lightOf returns the path of the library that a cuBLAS in a folder needs, or an empty
// string for a name without a folder.
func lightOf(path string) string {
	folder, file := filepath.Split(path)
	if folder == "" {
		return ""
	}
	return folder + strings.Replace(file, "libcublas.", "libcublasLt.", 1)
}
