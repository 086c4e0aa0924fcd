package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/internal/outfile"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/viz"
)

// outputFlag is -o, with a usage that says what is written.
func outputFlag(usage string) *cli.StringFlag {
	return &cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: usage}
}

// checkContinued is checkOutput for results that --resume continues.
func checkContinued(c *cli.Context, path string) error {
	err := checkOutput(path, c.Bool("force"), c.Bool("resume"))
	if at, missing := os.Stat(path); err == nil || missing != nil || at.IsDir() {
		return err
	}
	return hintf(fmt.Errorf("%s exists", path), "--resume continues it; --force replaces it; -o names another file")
}

// checkOutput refuses an output file that exists, before any work is done. With
// resume an existing file is continued.
func checkOutput(path string, force, resume bool) error {
	if path == "" {
		return nil
	}
	if err := outfile.Check(path); err != nil {
		return hintf(err, "name a file with -o")
	}
	at, err := os.Stat(path)
	switch {
	case err != nil:
		return nil
	case at.IsDir():
		return hintf(fmt.Errorf("%s is a folder", path), "name a file with -o")
	case !force && !resume:
		return hintf(fmt.Errorf("%s exists", path), "use --force to replace it, or name another file with -o")
	}
	return nil
}

// checkFigures refuses a folder of --figures that holds figures already, unless --force
// is given.
func checkFigures(c *cli.Context) error {
	dir := c.String("figures")
	if dir == "" || c.Bool("force") {
		return nil
	}
	for _, format := range viz.Formats {
		names, err := filepath.Glob(filepath.Join(dir, "*."+format))
		if err == nil && len(names) > 0 {
			return hintf(fmt.Errorf("%s exists", names[0]), "use --force to replace figures, or name another folder with --figures")
		}
	}
	return nil
}

// withOutput calls write with stdout, or with a temporary file that replaces the
// file of -o once write has succeeded.
func withOutput(c *cli.Context, write func(io.Writer) error) error {
	out := c.String("o")
	if out == "" {
		return write(c.App.Writer)
	}
	return outfile.Write(out, write)
}

// count is a number of things: "1 prompt", "2 prompts".
func count(n int, thing string) string { return words.Count(n, thing) }
