package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves the flags of a command line in front of its files, because cli/v2
// stops parsing flags at the first argument that is not one. "--" ends the flags;
// "-" alone is a file (stdin).
func reorder(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return args, nil
	}
	cmd := findCommand(app.Commands, args[0])
	if cmd == nil {
		return args, nil
	}
	rest := args[1:]
	takesValue := valueFlags(cmd)
	var flags, files []string
	for i := 0; i < len(rest); i++ {
		arg := rest[i]
		switch {
		case arg == "--":
			files = append(files, rest[i+1:]...)
			i = len(rest)
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			files = append(files, arg)
		case slices.Contains(helpFlags, arg): // cli/v2 takes a file for a topic
			return []string{args[0], "--help"}, nil
		default:
			flags = append(flags, arg)
			name, _, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			if takesValue[name] && !inline {
				if i+1 == len(rest) {
					return nil, usagef("%s: flag %s needs a value", cmd.Name, arg)
				}
				i++
				flags = append(flags, rest[i])
			}
		}
	}
	if len(files) > 0 {
		files = append([]string{"--"}, files...)
	}
	return slices.Concat(args[:1], flags, files), nil
}

// helpFlags are the spellings of --help.
var helpFlags = []string{"--help", "-help", "-h", "--h"}

func findCommand(list []*cli.Command, name string) *cli.Command {
	for _, cmd := range list {
		if cmd.HasName(name) {
			return cmd
		}
	}
	return nil
}

// valueFlags returns the names of the flags of cmd that take a value.
func valueFlags(cmd *cli.Command) map[string]bool {
	names := map[string]bool{}
	for _, f := range cmd.Flags {
		if _, isBool := f.(*cli.BoolFlag); isBool {
			continue
		}
		for _, name := range f.Names() {
			names[name] = true
		}
	}
	return names
}
