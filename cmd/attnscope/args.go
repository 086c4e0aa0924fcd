package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder moves the flags of a command line before its files, because cli/v2
// stops to look for flags at the first argument that is none. "--" ends the
// flags; "-" alone is a file (stdin).
func reorder(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return args, nil
	}
	cmd := findCommand(app.Commands, args[0])
	if cmd == nil {
		return args, nil
	}
	head, rest := args[:1:1], args[1:]
	for len(cmd.Subcommands) > 0 && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		sub := findCommand(cmd.Subcommands, rest[0])
		if sub == nil {
			return nil, usagef("%s: unknown verb %q; attnscope %s --help lists them", cmd.Name, rest[0], cmd.Name)
		}
		head, rest, cmd = append(head, rest[0]), rest[1:], sub
	}
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
	out := append(head, flags...)
	if len(files) > 0 {
		out = append(append(out, "--"), files...)
	}
	return out, nil
}

func findCommand(list []*cli.Command, name string) *cli.Command {
	for _, cmd := range list {
		if cmd.HasName(name) {
			return cmd
		}
	}
	return nil
}

// valueFlags holds the names of the flags of cmd that are followed by a value.
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
