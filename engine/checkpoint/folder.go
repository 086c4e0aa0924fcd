package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/internal/filekind"
)

// The weights of a folder in the layout of the hub are in one file, or in several
// files that an index names.
const (
	wholeFile = "model.safetensors"
	indexFile = "model.safetensors.index.json"
)

// weightFiles returns the names of the files of a folder that end in one of some
// suffixes, in alphabetical order. A folder that cannot be read has none.
func weightFiles(dir string, suffixes ...string) []string {
	entries, _ := os.ReadDir(dir) // the caller reports what it then does not find
	var names []string
	for _, e := range entries {
		if !e.IsDir() && slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(e.Name(), s) }) {
			names = append(names, e.Name())
		}
	}
	return names
}

// soleGGUF returns the GGUF file of a folder that holds one GGUF model and no
// safetensors weights; of a model in several files, the first. It returns "" if the
// folder has no GGUF file, or has safetensors weights. Several models are an error. The
// projector of a multimodal model (mmproj) is no model of its own.
func soleGGUF(dir string) (string, error) {
	for _, name := range []string{wholeFile, indexFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return "", nil
		}
	}
	firsts := map[string]string{} // by the name without the number of the part
	var models []string
	for _, name := range weightFiles(dir, ".gguf") {
		if strings.HasPrefix(name, "mmproj") {
			continue
		}
		model := name
		if part := splitName.FindStringSubmatch(name); part != nil {
			model = strings.TrimSuffix(name, part[0]) + "-*-of-" + part[2] + ".gguf"
		}
		if _, known := firsts[model]; !known {
			firsts[model] = name // names are sorted, so this is the first part that is here
			models = append(models, model)
		}
	}
	switch len(models) {
	case 0:
		return "", nil
	case 1:
		return filepath.Join(dir, firsts[models[0]]), nil
	}
	return "", fmt.Errorf("%s: it holds %d GGUF models (%s): name the file of one of them",
		dir, len(models), shortList(models))
}

// shortList joins names; of many, only the first few.
func shortList(names []string) string {
	if len(names) > 4 {
		return strings.Join(names[:4], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

// toSafetensors is the command that converts a folder with pickled weights.
const toSafetensors = `python3 -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; ` +
	`d = '%s'; M.from_pretrained(d).save_pretrained(d + '-safetensors'); T.from_pretrained(d).save_pretrained(d + '-safetensors')"`

// pickled lists the suffixes of weights that PyTorch wrote with pickle. Reading them
// means running a program that the file contains.
var pickled = []string{".bin", ".pt", ".pth", ".ckpt"}

// noWeights returns the error of a folder that has neither model.safetensors nor an
// index of shards.
func noWeights(dir string) error {
	if names := weightFiles(dir, ".safetensors"); len(names) > 0 {
		switch {
		case slices.Contains(names, "adapter_model.safetensors"):
			return fmt.Errorf("%s: it holds an adapter (adapter_model.safetensors), not a model: "+
				"merge it into its base model with merge_and_unload of peft", dir)
		case strings.Contains(names[0], "-of-"):
			return fmt.Errorf("%s: it has parts of a model (%s) but no %s: fetch that file, too",
				dir, shortList(names), indexFile)
		}
		return fmt.Errorf("%s: it has %s, but no %s and no %s: rename the file if it is the whole model",
			dir, shortList(names), wholeFile, indexFile)
	}
	if names := weightFiles(dir, pickled...); len(names) > 0 {
		return fmt.Errorf("%s: its weights are pickled (%s), which is not read because a pickle is a program: convert them with "+
			toSafetensors, dir, shortList(names), dir)
	}
	return fmt.Errorf("%s: it has no %s and no %s", dir, wholeFile, indexFile)
}

// notModel returns the error of a file that is not a model.
func notModel(path string) error {
	dir := filepath.Dir(path)
	switch suffix := filepath.Ext(path); {
	case suffix == ".safetensors":
		return fmt.Errorf("%s: want the folder of this file, which has config.json, too: %s", path, dir)
	case slices.Contains(pickled, suffix):
		return fmt.Errorf("%s: pickled weights are not read because a pickle is a program: convert them with "+toSafetensors, path, dir)
	}
	if f, err := os.Open(path); err == nil {
		defer f.Close()
		if kind := filekind.OfFile(f); kind != filekind.Unknown {
			return fmt.Errorf("%s: is %s, want a folder with config.json and safetensors, or a .gguf file", path, kind)
		}
	}
	return fmt.Errorf("%s: want a folder with config.json and safetensors, or a .gguf file", path)
}
