package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// checkDashes interprets - before a verb runs: it means stdin for prompts and stdout for
// tables and lines. Elsewhere it is refused, because it would be taken for a file name.
func checkDashes(c *cli.Context) error {
	if c.Command.Hidden { // takes no files, and is not described
		return nil
	}
	verb := describeVerbs([]*cli.Command{c.Command})[0]
	if verb.Files && slices.Contains(c.Args().Slice(), "-") {
		return hintf(usagef("%s: a dump cannot be read from stdin, because it is not read from front to back", verb.Name),
			"name the file; write ./- for a file called -")
	}
	for _, f := range verb.Flags {
		name := strings.TrimLeft(f.Names[0], "-")
		if !(f.Files || f.Dirs) || c.String(name) != "-" || name == "prompts" {
			continue
		}
		if name == "output" && slices.ContainsFunc(verb.Flags, func(g flagWords) bool { return g.Names[0] == "--wide" }) {
			for _, alias := range f.Names {
				if err := c.Set(strings.TrimLeft(alias, "-"), ""); err != nil {
					return fmt.Errorf("%s: %w", alias, err)
				}
			}
			continue
		}
		return hintf(usagef("%s: %s cannot be stdin or stdout (-)", verb.Name, f.Names[0]),
			"name a file or a folder; write ./- for one called -")
	}
	return nil
}
