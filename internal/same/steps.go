package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// step is one command line of attnscope, run in a folder of its own program with
// relative paths only, so that both programs record the same arguments. What it
// prints is written to name.out, its exit code to name.code.
type step struct {
	name   string // of the files that hold what it prints; also their kind, by its extension
	args   []string
	viewer bool // the command is a viewer: it is asked viewerRequests, then interrupted
}

func (s step) String() string { return "attnscope " + strings.Join(s.args, " ") }

// run runs the step in dir. An exit code other than 0 is a result, not an error.
func (s step) run(ctx context.Context, program, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if s.viewer {
		return s.ask(ctx, program, dir)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, program, s.args...)
	cmd.Dir = dir
	cmd.Stdout = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, s.name), out.Bytes(), 0o644); err != nil {
		return err
	}
	code := fmt.Sprintln(cmd.ProcessState.ExitCode())
	return os.WriteFile(filepath.Join(dir, s.name+".code"), []byte(code), 0o644)
}

// inputs are the folders and files that all steps read.
type inputs struct {
	dir    string
	models []string // names of folders below dir
}

// modelFolders are where models with random weights may lie: those of the
// repository and, where they are at hand, the larger ones of the shared fixtures.
var modelFolders = []string{"engine/model/testdata", "../shared/fixtures/models"}

// writeInputs collects models and writes prompt sets. The models are links, so
// that both programs see them under one relative path.
func writeInputs(dir string) (*inputs, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	in := &inputs{dir: dir}
	for i, folder := range modelFolders {
		configs, err := filepath.Glob(filepath.Join(folder, "*", "config.json"))
		if err != nil {
			return nil, err
		}
		if len(configs) == 0 {
			fmt.Fprintf(os.Stderr, "same: SKIPPED: no models in %s\n", folder)
		}
		for _, config := range configs {
			source, err := filepath.Abs(filepath.Dir(config))
			if err != nil {
				return nil, err
			}
			name := fmt.Sprintf("%d-%s", i, filepath.Base(source))
			err = os.Symlink(source, filepath.Join(dir, name))
			if err != nil && !errors.Is(err, os.ErrExist) {
				return nil, err
			}
			in.models = append(in.models, name)
		}
	}
	err := os.WriteFile(filepath.Join(dir, "prompts.jsonl"), promptSet(), 0o644)
	return in, err
}

// promptSet is four prompts in token ids below 100, with and without replies.
func promptSet() []byte {
	var text bytes.Buffer
	for i, length := range []int{60, 61, 90, 33} {
		ids := make([]string, length)
		for j := range ids {
			ids[j] = fmt.Sprint(3 + (j*(7+i)+j*j%11)%90)
		}
		fmt.Fprintf(&text, `{"id":"p%d","dataset":"d%d","input_ids":[%s]`, i, i%2, strings.Join(ids, ","))
		if i == 1 {
			fmt.Fprintf(&text, `,"response_ids":[%s]`, strings.Join(ids[:20], ","))
		}
		fmt.Fprintln(&text, "}")
	}
	return text.Bytes()
}

// recording are the flags with which every model is captured.
var recording = []string{
	"-p", "../inputs/prompts.jsonl", "--ignore-eos", "--max-new-tokens", "24", "--window-rows", "32",
	"--prompt-windows", "3x16", "--overview", "8", "--values", "--logits", "--threads", "2",
}

// steps lists every command that is compared.
func (in *inputs) steps() []step {
	var list []step
	add := func(name, line string, more ...string) {
		args := append(strings.Fields(line), more...)
		list = append(list, step{name: name, args: args})
	}
	for _, model := range in.models {
		for _, store := range []string{"rows", "factors"} {
			dump := model + "-" + store + ".attn"
			add(dump+".out", "capture -m ../inputs/"+model+" -o "+dump+" --store "+store, recording...)
		}
	}
	for _, precision := range []string{"exact", "coarse"} {
		for _, store := range []string{"rows", "factors"} {
			dump := precision + "-" + store + ".attn"
			add(dump+".out", "capture -m ../inputs/0-qwen3 -o "+dump+" --store "+store+" --precision "+precision, recording...)
		}
	}
	add("sampled.out", "capture -m ../inputs/0-qwen3 -o sampled.attn --temperature 0.8 --seed 5", recording...)
	add("bf16.out", "capture -m ../inputs/0-qwen3 -o bf16.attn --compute bf16", recording...)
	add("gguf.out", "capture -m ../inputs/0-qwen3/model.gguf -o gguf.attn", recording...)
	add("part.out", "capture -m ../inputs/0-qwen3 -o part.attn --layers 1 --heads 0,2 --no-prompt-sums", recording...)
	add("shard1.out", "capture -m ../inputs/0-qwen3 -o shard1.attn --shard 1/2", recording...)
	add("shard0.out", "capture -m ../inputs/0-qwen3 -o shard0.attn --shard 0/2", recording...)
	add("merge.out", "merge shard0.attn shard1.attn -o merged.attn")
	add("verify.out", "verify merged.attn")

	const both = " 0-qwen3-rows.attn 0-mixtral-factors.attn"
	const rows, factors = " 0-qwen3-rows.attn", " 0-qwen3-factors.attn"
	add("info.json", "info --json"+rows)
	add("info-model.json", "info --json -m ../inputs/0-qwen3")
	add("models.out", "models") // a list of descriptions
	for _, name := range []string{"tsv", "csv", "json", "jsonl"} {
		add("hitrate."+name, "hitrate --format "+name+" --window 8 --window 16"+both)
	}
	add("hitrate.out", "hitrate --window 8 -o hitrate.parquet"+both)
	add("hitrate-all.tsv", "hitrate --window 8 --window 32 --top 0.05 --top 0.2 --budget 7 --theta 0.02 --theta 0.1 "+
		"--by layer,head,prompt,dataset,span --span 10"+both)
	add("hitrate-pooled.tsv", "hitrate --kernel 3 --pooling maxpool --skip-first 4 --average heads --generation mean --window 16"+both)
	add("hitrate-rows.tsv", "hitrate --average rows --window 16 --by span --span 8"+both)
	add("hitrate-code.tsv", "hitrate --preset code --window 8"+both)
	for _, group := range []string{"head", "mean", "max", "sum"} {
		for _, pooling := range []string{"avgpool", "maxpool"} {
			add("snapkv-"+group+"-"+pooling+".tsv", "snapkv --method all --window 8 --capacity 16,24,40,100 --kernel 5 --group "+group+
				" --pooling "+pooling+" --seed 3"+factors)
		}
	}
	add("snapkv-by.tsv", "snapkv --method all --window 8 --window 16 --capacity 20,32 --kernel 3 --by layer,head,prompt,span --span 9"+factors)
	add("snapkv-rows.tsv", "snapkv --method snapkv,h2o,tova,streamingllm,recent,random,oracle,full --window 8 --capacity 16"+rows)
	add("snapkv-wo.tsv", "snapkv --method snapkv,criticalkv --window 8 --capacity 16 -m ../inputs/0-qwen3"+factors)
	add("snapkv-figures.out", "snapkv --method all --window 8 --capacity 16,24,40 --figures snapkv-figures -o snapkv-figures.tsv"+factors)
	for _, method := range []string{"snapkv", "adakv", "pyramidkv", "cake", "chunkkv", "full"} {
		add("indices-"+method+".out", "snapkv --prompt p2 --method "+method+" --window 8 --capacity 24 --indices "+method+".safetensors"+factors)
	}
	add("advise.tsv", "advise --loss 3 --window 8 --capacity 16,24,40"+factors)
	add("advise-layer.tsv", "advise --loss 3 --by layer --window 8 --capacity 16,24,40"+factors)
	add("generate.jsonl", "generate -m ../inputs/0-qwen3 -p ../inputs/prompts.jsonl --ignore-eos --max-new-tokens 12 --method all "+
		"--window 8 --capacity 16,40 --threads 2")
	add("generate-mean.jsonl", "generate -m ../inputs/0-mixtral -p ../inputs/prompts.jsonl --ignore-eos --max-new-tokens 12 "+
		"--method snapkv,adakv,cake --group mean --window 8 --capacity 16,40 --threads 2 --batch 2")
	add("generate-summary.tsv", "generate -m ../inputs/0-qwen3 -p ../inputs/prompts.jsonl --ignore-eos --max-new-tokens 12 "+
		"--method snapkv,h2o --window 8 --capacity 16,40 --summary")
	add("calibrate.tsv", "advise --calibrate generate.jsonl --window 8 --capacity 16,40 --save calibration.json"+factors)
	for _, store := range []string{"rows", "factors"} {
		for _, name := range []string{"npz", "safetensors", "csv", "parquet"} {
			add("export-"+store+"-"+name+".out", "export --prompt p2 -o "+store+"."+name+" 0-qwen3-"+store+".attn")
		}
	}
	add("heatmap.out", "heatmap --prompt all --window 8 -o heatmaps"+factors)
	add("report.out", "report --window 8 -o report.html"+factors)
	list = append(list, step{name: "view", args: []string{"view", "--no-open", "0-qwen3-factors.attn", "0-qwen3-rows.attn"}, viewer: true})
	return append(list, failingSteps()...)
}

// failingSteps are command lines whose exit code and silence on standard output
// are compared.
func failingSteps() []step {
	var list []step
	for i, line := range []string{
		"capture", "capture -p ../inputs/prompts.jsonl", "capture -m nowhere -p ../inputs/prompts.jsonl -o x.attn", "hitrate", "hitrate nowhere.attn",
		"hitrate --window 400 0-qwen3-rows.attn", "hitrate --by color 0-qwen3-rows.attn", "hitrate --top 2 0-qwen3-rows.attn",
		"snapkv --method magic 0-qwen3-rows.attn", "snapkv --group none 0-qwen3-rows.attn", "snapkv --kernel 4 0-qwen3-rows.attn",
		"snapkv --method knorm 0-qwen3-rows.attn", "advise 0-qwen3-rows.attn", "export 0-qwen3-rows.attn -o x.txt", "verify ../inputs/prompts.jsonl",
		"capture -m ../inputs/0-qwen3 -p ../inputs/prompts.jsonl -o x.attn --store cells", "merge 0-qwen3-rows.attn", "reproduce magic", "nothing", "view",
		"capture -m ../inputs/0-qwen3 -p ../inputs/prompts.jsonl -o x.attn --precision best", "generate -m ../inputs/0-qwen3", "figure", "pull", "submit",
	} {
		list = append(list, step{name: fmt.Sprintf("fails-%02d.out", i), args: strings.Fields(line)})
	}
	return list
}

// longSteps run the default model.
func longSteps() []step {
	return []step{
		{name: "demo.out", args: strings.Fields("demo --quick -o demo --threads 2")},
		{name: "reproduce.out", args: strings.Fields("reproduce all --quick -o reproduce --threads 2")},
	}
}
