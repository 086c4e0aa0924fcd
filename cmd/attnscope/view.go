package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/viz/view"
)

// anyPort is the loopback address with a free port.
const anyPort = "127.0.0.1:0"

func viewCommand() *cli.Command {
	return &cli.Command{
		Name:      "view",
		Usage:     "show dumps of any length in the browser: heads, text, windows, methods, comparisons",
		ArgsUsage: "RUN.attn...",
		Description: "View prints the address of a page that only this machine can open, and serves it until you interrupt\n" +
			"it with Ctrl-C. The browser is given a private file that leads to the address, because the address of a\n" +
			"program's argument can be read by all users of this machine. If the browser cannot read that file, open\n" +
			"the printed address.",
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "http", Value: anyPort,
				Usage: "listen on the loopback `ADDRESS`; port 0: any free port",
			},
			boolFlag("no-open", "print the address without opening a browser"),
			&cli.StringFlag{
				Name: "model", Aliases: []string{"m"}, DefaultText: "the dump's model, if it is on this machine",
				Usage: "show tokens as text with the tokenizer of `MODEL`",
			},
			&cli.StringFlag{
				Name:  "at",
				Usage: "open at `STATE`: the part after # in the address of a view, which exported pictures contain too",
			},
			&cli.StringFlag{
				Name: "frame", DefaultText: "none",
				Usage: "let pages of the space-separated `ORIGINS`, such as http://localhost:8888, show the viewer" +
					" in a frame",
			},
			minSignificantFlag, revisionFlag, offlineFlag,
		},
		Action: runView,
	}
}

func runView(c *cli.Context) error {
	if !c.Args().Present() {
		return noDump("view")
	}
	at, err := stateOf(c)
	if err != nil {
		return err
	}
	pieces, err := piecesOf(c)
	if err != nil {
		return err
	}
	return serve(c, c.Args().Slice(), viewing{
		address: c.String("http"), at: at, open: !c.Bool("no-open"),
		options: view.Options{Pieces: pieces, Frames: strings.Fields(c.String("frame"))},
	})
}

// viewing says how dumps are shown.
type viewing struct {
	address string // to listen on
	at      string // the state of the page
	open    bool   // open a browser
	options view.Options
}

// serve shows dumps in the browser until the context ends.
func serve(c *cli.Context, paths []string, v viewing) error {
	s, err := view.Open(paths, v.options)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, w := range s.Warnings() {
		warnf(c, "%s", w)
	}
	l, err := view.Listen(v.address)
	if err != nil {
		return err
	}
	// What is decoded for one request is garbage after it: collect it soon.
	debug.SetGCPercent(30)
	debug.SetMemoryLimit(384 << 20)
	address := s.URL(l)
	if v.at != "" {
		address += "#" + v.at
	}
	fmt.Fprintln(c.App.Writer, address)
	notef(c, "the address contains a secret; do not share it. Ctrl-C ends the viewer")
	if v.open {
		defer openBrowser(address)()
	}
	return s.Serve(c.Context, l)
}

// stateOf returns the state of the page to open at, empty for its default.
func stateOf(c *cli.Context) (string, error) {
	at := strings.TrimPrefix(c.String("at"), "#")
	if !c.IsSet("min-significant") {
		return at, nil
	}
	n := c.Int("min-significant")
	if n < 0 {
		return "", usagef("--min-significant %d: want 0 or more", n)
	}
	if at != "" {
		at += "&"
	}
	return at + fmt.Sprintf("min=%d", n), nil
}

// piecesOf returns a function that finds, for a dump, the text of its tokens: with
// the tokenizer of -m, or with the one of the dump's model if it is on this machine.
func piecesOf(c *cli.Context) (func(h *dumps.Header) func(id int32) string, error) {
	var given *tokenizer.Tokenizer
	if name := c.String("model"); name != "" {
		var err error
		if given, err = capture.OpenTokenizer(c.Context, name, modelOptions(c, name)); err != nil {
			return nil, err
		}
	}
	return func(h *dumps.Header) func(id int32) string {
		want := h.Manifest.TokenizerSHA256
		tok := given
		if tok == nil && want != "" {
			tok = ownTokenizer(c, h)
		}
		switch {
		case tok == nil:
			notef(c, "%s: no tokenizer on this machine, so tokens without text are shown as ids; name the model with"+
				" -m", h.Model.ID)
			return nil
		case want != "" && tok.SHA256() != want:
			warnf(c, "%s: the dump was captured with another tokenizer than that of -m %s; the text of its tokens may"+
				" be wrong", h.Model.ID, c.String("model"))
		}
		return tok.Piece
	}, nil
}

// ownTokenizer returns the tokenizer that a dump was captured with, or nil if it
// is not on this machine.
func ownTokenizer(c *cli.Context, h *dumps.Header) *tokenizer.Tokenizer {
	path, err := checkpoint.Resolve(c.Context, h.Model.ID, checkpoint.ResolveOptions{
		Revision: c.String("revision"), Offline: true,
	})
	if err != nil {
		return nil
	}
	tok, err := tokenizer.Load(path)
	if err != nil || tok.SHA256() != h.Manifest.TokenizerSHA256 {
		return nil
	}
	return tok
}
