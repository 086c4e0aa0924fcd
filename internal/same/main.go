// Command same checks that a refactoring changed nothing but wording. It builds
// attnscope at an older revision and from the working tree, runs the same list of
// commands with both, and compares what they write: exit codes, tables, exported
// arrays, the records of dumps, the data in figures and the answers of the viewer.
//
//	go run ./internal/same -before REV           tiny models, about a minute
//	go run ./internal/same -before REV -long     also the default model: demo and the paper's experiments
//
// Text that people read is not compared: compare.go says what that means for each
// kind of file. Differences are listed on standard output, and the exit code is 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	before := flag.String("before", "", "git `revision` to compare the working tree with")
	long := flag.Bool("long", false, "also run the demo and the experiments on the default model")
	keep := flag.String("keep", "", "keep the outputs of both programs in this `folder`")
	flag.Parse()
	if *before == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	differences, err := run(ctx, *before, *long, *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "same:", err)
		os.Exit(1)
	}
	for _, d := range differences {
		fmt.Println(d)
	}
	if len(differences) > 0 {
		fmt.Printf("%d differences from %s\n", len(differences), *before)
		os.Exit(1)
	}
	fmt.Printf("the same as %s\n", *before)
}

// run builds both programs, runs every step with both and compares the folders.
func run(ctx context.Context, before string, long bool, keep string) ([]string, error) {
	dir := keep
	if dir == "" {
		temporary, err := os.MkdirTemp("", "attnscope-same-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	oldProgram := filepath.Join(dir, "attnscope-before")
	if err := buildRevision(ctx, before, oldProgram); err != nil {
		return nil, err
	}
	newProgram := filepath.Join(dir, "attnscope-after")
	if err := build(ctx, ".", newProgram); err != nil {
		return nil, err
	}
	inputs, err := writeInputs(filepath.Join(dir, "inputs"))
	if err != nil {
		return nil, err
	}
	steps := inputs.steps()
	if long {
		steps = append(steps, longSteps()...)
	}
	oldDir := filepath.Join(dir, "before")
	newDir := filepath.Join(dir, "after")
	for _, step := range steps {
		fmt.Fprintln(os.Stderr, step)
		for _, side := range []struct{ program, dir string }{{oldProgram, oldDir}, {newProgram, newDir}} {
			if err := step.run(ctx, side.program, side.dir); err != nil {
				return nil, err
			}
		}
	}
	return compareFolders(oldDir, newDir)
}

// buildRevision builds the program of a revision in a worktree of its own.
func buildRevision(ctx context.Context, revision, program string) error {
	tree, err := os.MkdirTemp("", "attnscope-before-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	if err := command(ctx, ".", "git", "worktree", "add", "--detach", "--force", tree, revision); err != nil {
		return err
	}
	defer exec.Command("git", "worktree", "remove", "--force", tree).Run()
	return build(ctx, tree, program)
}

func build(ctx context.Context, tree, program string) error {
	return command(ctx, tree, "go", "build", "-buildvcs=false", "-o", program, "./cmd/attnscope")
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
