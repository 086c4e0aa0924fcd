package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// indexedJob is what the recipe needs of a Kubernetes Job.
type indexedJob struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Spec       struct {
		CompletionMode string `yaml:"completionMode"`
		Completions    int
		Template       struct {
			Spec struct {
				RestartPolicy string `yaml:"restartPolicy"`
				Containers    []struct {
					Name    string
					Command []string
					Args    []string
					Mounts  []struct {
						Path string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
			}
		}
	}
}

func readJob(t *testing.T, name string) indexedJob {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples/kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	var j indexedJob
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&j); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if j.APIVersion != "batch/v1" || j.Kind != "Job" || len(j.Spec.Template.Spec.Containers) != 1 || j.Spec.Template.Spec.RestartPolicy != "Never" {
		t.Fatalf("%s: %+v is not the Job it should be", name, j)
	}
	return j
}

var variable = regexp.MustCompile(`\$\(([A-Za-z_]+)\)`)

// TestKubernetesRecipe runs the commands of the recipe as the pods would: the
// arguments of the container with $(JOB_COMPLETION_INDEX) filled in. The merged
// dump has the tables of one run.
func TestKubernetesRecipe(t *testing.T) {
	job, merge := readJob(t, "capture.yaml"), readJob(t, "merge.yaml")
	if job.Spec.CompletionMode != "Indexed" || job.Spec.Completions != 8 {
		t.Fatalf("%d completions of mode %q", job.Spec.Completions, job.Spec.CompletionMode)
	}
	data := t.TempDir()
	if err := os.Rename(randomLlama(t, 32, 2), filepath.Join(data, "model")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(promptsFile(t, 12, 200), filepath.Join(data, "prompts.jsonl")); err != nil {
		t.Fatal(err)
	}
	args := func(j indexedJob, index int) []string {
		c := j.Spec.Template.Spec.Containers[0]
		if c.Command != nil || c.Mounts[0].Path != "/data" {
			t.Fatalf("container %s: command %v, mounts %v", c.Name, c.Command, c.Mounts)
		}
		var list []string
		for _, a := range c.Args {
			a = variable.ReplaceAllStringFunc(a, func(v string) string {
				if v != "$(JOB_COMPLETION_INDEX)" {
					t.Errorf("%s is not set in a pod", v)
				}
				return fmt.Sprint(index)
			})
			list = append(list, strings.ReplaceAll(a, "/data", data))
		}
		return list
	}
	for i := range job.Spec.Completions {
		must(t, args(job, i)...)
	}
	must(t, args(job, 3)...) // a pod that starts again when all is done
	must(t, args(merge, 0)...)
	must(t, args(merge, 0)...)
	whole := filepath.Join(data, "whole.attn")
	must(t, "capture", "--model="+filepath.Join(data, "model"), "--prompts="+filepath.Join(data, "prompts.jsonl"), "--output="+whole)
	sameTables(t, whole, filepath.Join(data, "run.attn"))
}

// sameTables compares every table of two dumps byte for byte.
func sameTables(t *testing.T, a, b string) {
	t.Helper()
	for _, args := range [][]string{
		{"hitrate", "--window", "8", "--window", "32", "--by", "layer,prompt,head,span", "--span", "4"},
		{"hitrate", "--by", "layer,dataset"},
		{"hitrate", "--average", "heads", "--theta", "0.01", "--by", "prompt"},
		{"snapkv", "--method", "all", "--capacity", "64,128", "--window", "32", "--by", "layer,prompt"},
		{"snapkv", "--capacity", "64", "--window", "32", "--by", "layer"},
	} {
		x, y := must(t, append(args, a)...), must(t, append(args, b)...)
		if x != y || len(x) < 200 {
			t.Errorf("%s: the tables differ", strings.Join(args, " "))
		}
	}
}
