// Command attnscope records what a language model attends to and shows how much of
// that a compressed KV cache would have kept.
//
//	attnscope capture -m MODEL -p prompts.jsonl -o run.attn
//	attnscope hitrate run.attn
//	attnscope heatmap run.attn -o figures
//
// Each verb has a file of its own: it reads flags, calls a library and writes a
// table or a file. testdata/script holds what each verb prints.
package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/visible"
	"github.com/attnscope/attnscope/internal/words"
)

func main() {
	tokenizer.Sandbox()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) }) // a second Ctrl-C ends the program at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // a mistake in the command line
)

// run executes a command line and returns the exit code. Results go to stdout;
// progress, warnings and errors go to stderr. Control characters reach neither as they
// are; see streams.go.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return runAs(ctx, args, args, stdin, stdout, stderr)
}

// checkEnvironment returns a usage error for an environment variable whose value is not
// known.
func checkEnvironment() error {
	if err := simd.CheckSetting(); err != nil {
		return usagef("%v", err)
	}
	return nil
}

// runAs is run with another command line, named, in the manifests of dumps and
// the metadata of figures.
func runAs(ctx context.Context, args, named []string, stdin io.Reader, stdout, stderr io.Writer) int {
	messages := &visible.Writer{W: withBars(stderr)}
	results := newResultWriter(stdout, screenOf(messages))
	app := newApp(stdin, results, messages)
	app.Metadata = map[string]any{commandKey: named}
	if len(args) == 0 {
		app.Writer = stderr
		_ = app.RunContext(ctx, []string{"attnscope", "--help"})
		return exitUsage
	}
	if handled, err := helpWith(app, args); handled {
		code := printError(messages, cmp.Or(err, results.finish()))
		_ = messages.Flush()
		return code
	}
	args, err := reorder(app, withoutAliases(args))
	if err == nil {
		err = checkEnvironment()
	}
	if err == nil {
		err = app.RunContext(ctx, append([]string{"attnscope"}, args...))
	}
	if failed := results.finish(); err == nil { // verbs that print line by line do not check
		err = failed
	}
	code := printError(messages, err)
	_ = messages.Flush()
	return code
}

// commandKey is the key of the command line in an app's metadata.
const commandKey = "command"

// commandOf returns the command line that manifests and figures name.
func commandOf(c *cli.Context) []string {
	args, _ := c.App.Metadata[commandKey].([]string)
	return args
}

// withoutAliases replaces other common spellings of --help and version.
func withoutAliases(args []string) []string {
	switch {
	case args[0] == "help" && len(args) > 1:
		return []string{args[1], "--help"}
	case args[0] == "help":
		return []string{"--help"}
	case args[0] == "--version" || args[0] == "-v":
		return []string{"version"}
	}
	return args
}

// newApp builds the command tree of commands.go.
func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:  "attnscope",
		Usage: "record what a language model attends to, and show what a compressed KV cache would keep of it",
		UsageText: "attnscope VERB [flags] [files]     (flags and files in any order; -- ends the flags)\n" +
			"attnscope help WORD                (a verb, or a term such as hit rate; help terms lists them)",
		Version:         version(),
		HideVersion:     true,
		Reader:          stdin,
		Writer:          stdout,
		ErrWriter:       stderr,
		Commands:        commands(),
		HideHelpCommand: true,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    onUsageError,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownVerb(c)
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = onUsageError
		cmd.HideHelpCommand = true
		cmd.Flags = append(cmd.Flags, quietFlag)
		cmd.Before = func(c *cli.Context) error { return cmp.Or(checkDashes(c), checkFolders(c), checkInputs(c)) }
		cmd.Action = followed(explained(cmd.Action))
	}
	return app
}

// unknownVerb returns the error of a command line that begins with no verb.
func unknownVerb(c *cli.Context) error {
	word := c.Args().First()
	return hintf(usagef("unknown verb %q", word), "%s", hintOf(words.Suggestion(word, verbNames(c.App)), "attnscope --help lists the verbs"))
}

// hintOf joins a suggestion, which may be empty, and the place that lists all words.
func hintOf(suggestion, list string) string {
	if suggestion == "" {
		return list
	}
	return suggestion + " " + list
}

// onUsageError turns an error of the flag parser into one with a hint.
func onUsageError(c *cli.Context, err error, _ bool) error {
	verb := ""
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != "attnscope" {
		verb = c.Command.Name
	}
	help := strings.Join(strings.Fields("attnscope "+verb+" --help"), " ")
	message := err.Error()
	suggestion := ""
	if flag, unknown := strings.CutPrefix(message, "flag provided but not defined: "); unknown {
		flag = dashed(strings.TrimLeft(flag, "-"))
		if verb == "snapkv" && slices.Contains([]string{"--kv-bits", "--kv-group", "--kv-residual", "--equal-bytes"}, flag) {
			err := usagef("snapkv: %s: a dump cannot judge a quantized cache, because it does not have the queries of the reply", flag)
			return hintf(err, "attnscope generate decodes from quantized caches")
		}
		if hint := hintForFlag(verb, flag); hint != "" {
			return hintf(usagef("%s: unknown flag %s", verb, flag), "%s", hint)
		}
		message = "unknown flag " + flag
		suggestion = words.Suggestion(flag, flagNames(c))
	} else if m := invalidValue.FindStringSubmatch(message); m != nil {
		want := valueOf(c, m[2])
		if strings.HasSuffix(message, "value out of range") {
			want += " that fits in 64 bits"
		}
		return hintf(usagef("%s %s: want %s", dashed(m[2]), m[1], want), "%s", hintForShare(c, m[2], m[1]))
	}
	if verb != "" {
		message = verb + ": " + message
	}
	return hintf(usagef("%s", message), "%s", hintOf(suggestion, help+" lists the flags"))
}

// invalidValue matches the errors of the flag parser about a value. They name types and
// functions of Go.
var invalidValue = regexp.MustCompile(`^invalid (?:boolean )?value ("(?:[^"\\]|\\.)*") for (?:flag )?-+([\w-]+): `)

// valueOf says what the value of a flag must be.
func valueOf(c *cli.Context, name string) string {
	at := slices.IndexFunc(c.Command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if at < 0 {
		return "another value"
	}
	switch c.Command.Flags[at].(type) {
	case *cli.BoolFlag:
		return "true or false, or no value"
	case *cli.Float64Flag, *cli.Float64SliceFlag:
		return "a number"
	case *cli.Uint64Flag:
		return "a whole number from 0"
	}
	return "a whole number"
}

// flagNames lists the flags of the verb with their dashes.
func flagNames(c *cli.Context) []string {
	var names []string
	if c.Command != nil {
		for _, f := range c.Command.Flags {
			for _, name := range f.Names() {
				names = append(names, dashed(name))
			}
		}
	}
	return names
}

// dashed returns a flag as it is written: -o, --output.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
