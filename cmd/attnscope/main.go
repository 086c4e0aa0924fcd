// Command attnscope records what a language model attends to and tells what a
// compressed KV cache would have kept of it.
//
//	attnscope capture -m MODEL -p prompts.jsonl -o run.attn
//	attnscope hitrate run.attn
//	attnscope heatmap run.attn -o figures
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/engine/tokenizer"
)

func main() {
	tokenizer.Sandbox()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes: done, failed, misused.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// commandLine is what the program was called with, for manifests; drawnAs takes
// its place while a figure is drawn again.
var commandLine, drawnAs []string

// run executes one command line and returns the exit code. Results go to
// stdout; progress, warnings and errors to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if commandLine = args; drawnAs != nil {
		commandLine = drawnAs
	}
	results := &resultWriter{Writer: stdout}
	app := newApp(stdin, results, stderr)
	if len(args) == 0 {
		app.Writer = stderr
		_ = app.RunContext(ctx, []string{"attnscope", "--help"})
		return exitUsage
	}
	args = spelled(args)
	args, err := reorder(app, args)
	if err == nil {
		err = app.RunContext(ctx, append([]string{"attnscope"}, args...))
	}
	if err == nil && results.err != nil { // whoever prints line by line need not look
		err = fmt.Errorf("stdout: %w", results.err)
	}
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %w", err)
	}
	if !errors.Is(err, errQuiet) {
		fmt.Fprintf(stderr, "attnscope: %v\n", err)
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		fmt.Fprintf(stderr, "attnscope: hint: %s\n", hinted.Hint())
	}
	var misuse *usageError
	if errors.As(err, &misuse) {
		return exitUsage
	}
	return exitFailed
}

// resultWriter is stdout; it remembers the first failure.
type resultWriter struct {
	io.Writer
	err error
}

func (w *resultWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if err != nil && w.err == nil {
		w.err = err
	}
	return n, err
}

// spelled turns what people try for help and version into what there is.
func spelled(args []string) []string {
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
		Name:            "attnscope",
		Usage:           "see what a language model attends to, and what a compressed KV cache would keep of it",
		UsageText:       "attnscope VERB [flags] [files]     (flags and files in any order; -- ends flags)",
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
				return usagef("unknown verb %q; attnscope --help lists the verbs", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	setUsageErrors(app.Commands)
	return app
}

func setUsageErrors(list []*cli.Command) {
	for _, cmd := range list {
		cmd.OnUsageError = onUsageError
		cmd.HideHelpCommand = true
		setUsageErrors(cmd.Subcommands)
	}
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	return usagef("%v; attnscope %s--help shows the flags", err, verbPrefix(c))
}

func verbPrefix(c *cli.Context) string {
	if c.Command == nil || c.Command.Name == "" || c.Command.Name == "attnscope" {
		return ""
	}
	return c.Command.Name + " "
}
