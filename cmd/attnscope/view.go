package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/viz/view"
)

func viewCommand() *cli.Command {
	return &cli.Command{
		Name:      "view",
		Usage:     "look at dumps of any length in the browser: heads, text, sweeps, comparisons",
		ArgsUsage: "RUN.attn...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "http", Value: "127.0.0.1:0", Usage: "loopback `ADDRESS` to listen on; port 0: any free one"},
			&cli.BoolFlag{Name: "no-open", Usage: "only print the address, open no browser"},
			&cli.StringFlag{Name: "model", Aliases: []string{"m"}, Usage: "`MODEL` whose tokenizer shows the reply's tokens as text (default: the dump's, if it is on this machine)"},
			&cli.StringFlag{Name: "at", Usage: "`STATE` to open: what stands behind # in the address of a view; exported pictures hold theirs"},
			revisionFlag, offlineFlag,
		},
		Action: runView,
	}
}

func runView(c *cli.Context) error {
	if !c.Args().Present() {
		return usagef("view: no dump: name at least one RUN.attn")
	}
	pieces, err := piecesOf(c)
	if err != nil {
		return err
	}
	s, err := view.Open(c.Args().Slice(), view.Options{Pieces: pieces})
	if err != nil {
		return err
	}
	defer s.Close()
	for _, w := range s.Warnings() {
		warnf(c, "%s", w)
	}
	l, err := view.Listen(c.String("http"))
	if err != nil {
		return err
	}
	// What is decoded for one look is garbage after it: collect it soon.
	debug.SetGCPercent(30)
	debug.SetMemoryLimit(384 << 20)
	address := s.URL(l)
	if at := strings.TrimPrefix(c.String("at"), "#"); at != "" {
		address += "#" + at
	}
	fmt.Fprintln(c.App.Writer, address)
	notef(c, "the address holds a secret: it is for you only. Ctrl-C ends the viewer")
	if !c.Bool("no-open") {
		openBrowser(address)
	}
	return s.Serve(c.Context, l)
}

// piecesOf gives, for a dump, the tokenizer that shows its tokens: that of -m, or
// the one of the dump's own model where it is on this machine.
func piecesOf(c *cli.Context) (func(h *dumps.Header) func(id int32) string, error) {
	var given *tokenizer.Tokenizer
	if name := c.String("model"); name != "" {
		path, err := resolveModel(c, name)
		if err != nil {
			return nil, err
		}
		if given, err = tokenizer.Load(path); err != nil {
			return nil, err
		}
	}
	return func(h *dumps.Header) func(id int32) string {
		tok, want := given, h.Manifest.TokenizerSHA256
		if tok == nil && want != "" {
			if path, err := checkpoint.Resolve(c.Context, h.Model.ID, checkpoint.ResolveOptions{Revision: c.String("revision"), Offline: true}); err == nil {
				tok, _ = tokenizer.Load(path)
			}
			if tok != nil && tok.SHA256() != want {
				tok = nil
			}
		}
		switch {
		case tok == nil:
			notef(c, "%s: its tokenizer is not at hand: tokens without text show as ids (-m MODEL names it)", h.Model.ID)
			return nil
		case want != "" && tok.SHA256() != want:
			warnf(c, "%s: the dump was captured with another tokenizer than that of -m %s: its pieces may be wrong", h.Model.ID, c.String("model"))
		}
		return tok.Piece
	}, nil
}

// openBrowser shows an address in the user's browser, where there is a screen.
func openBrowser(address string) error {
	switch {
	case runtime.GOOS == "darwin":
		return exec.Command("open", address).Start()
	case runtime.GOOS == "windows":
		return exec.Command("rundll32", "url.dll,FileProtocolHandler", address).Start()
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return errors.New("no screen")
	}
	return exec.Command("xdg-open", address).Start()
}
