package main

import (
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// inputFlags are the flags that name a file or a folder that is read.
var inputFlags = []string{"prompts", "model", "template", "head-scores"}

// checkFolders refuses files where a flag wants a folder.
func checkFolders(c *cli.Context) error {
	if c.Command.Hidden {
		return nil
	}
	for _, f := range describeVerbs([]*cli.Command{c.Command})[0].Flags {
		name := c.String(strings.TrimLeft(f.Names[0], "-"))
		if at, err := os.Stat(name); f.Dirs && err == nil && !at.IsDir() {
			return usagef("%s: %s %s is a file, want a folder", c.Command.Name, f.Names[0], name)
		}
	}
	return nil
}

// checkInputs refuses empty names of inputs, and an output that would replace one of
// them: --force does not mean this.
func checkInputs(c *cli.Context) error {
	inputs := c.Args().Slice()
	for _, name := range inputFlags {
		if c.IsSet(name) && c.String(name) == "" {
			return usagef("--%s is empty: want a name", name)
		}
		inputs = append(inputs, c.String(name))
	}
	out, err := os.Stat(c.String("o"))
	if err != nil || !out.Mode().IsRegular() {
		return nil
	}
	for _, path := range inputs {
		if in, err := os.Stat(path); err == nil && os.SameFile(in, out) {
			return hintf(usagef("%s: -o %s is an input of this command", c.Command.Name, c.String("o")), "name another file with -o")
		}
	}
	return nil
}
