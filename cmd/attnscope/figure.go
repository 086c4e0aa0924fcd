package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/viz"
)

// origin says, for the metadata of figures, what was called and which dumps it
// read. A dump that cannot be read is left out: drawing will say so.
func origin(paths ...string) viz.Origin {
	o := viz.Origin{Arguments: commandLine, Manifests: map[string]string{}}
	for _, path := range paths {
		if sum, err := manifestOf(path); err == nil {
			o.Manifests[path] = sum
		}
	}
	return o
}

func manifestOf(path string) (string, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	return r.Header().SHA256(), nil
}

// drawing lists the verbs that draw figures, and the flag that names their
// folder: nothing else is run for a figure.
var drawing = map[string][]string{
	"heatmap":   {"-o", "--o", "-output", "--output"},
	"reproduce": {"-o", "--o", "-output", "--output"},
	"snapkv":    {"-figures", "--figures"},
}

func figureCommand() *cli.Command {
	return &cli.Command{
		Name:      "figure",
		Usage:     "draw a figure again from what its file says",
		ArgsUsage: "--from FILE [-o FILE]",
		Description: "PNG and SVG figures of heatmap, snapkv --figures and reproduce carry the command that drew them and the hashes of the dumps they show. The dumps have\n" +
			"to be where the command names them.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "the figure, `FILE`.png or .svg"},
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the new `FILE` (default: the figure's name, here)"},
			&cli.BoolFlag{Name: "print", Usage: "only print the command that drew it"},
			forceFlag,
		},
		Action: runFigure,
	}
}

func runFigure(c *cli.Context) error {
	from := c.String("from")
	if from == "" || c.Args().Present() {
		return usagef("figure: name one figure with --from FILE")
	}
	meta, err := viz.ReadMeta(from)
	if err != nil {
		return err
	}
	o, err := meta.Origin()
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if c.Bool("print") {
		_, err := fmt.Fprintln(c.App.Writer, o.Command())
		return err
	}
	name := meta["figure"]
	if !filepath.IsLocal(filepath.FromSlash(name)) || len(o.Arguments) == 0 || drawing[o.Arguments[0]] == nil {
		return hintf(fmt.Errorf("%s: it was drawn by %q, which figure does not run", from, o.Command()), "run that command yourself if you trust it")
	}
	out, ext := c.String("o"), filepath.Ext(from)
	if out == "" {
		out = filepath.Base(from)
	}
	if filepath.Ext(out) != ext {
		return usagef("-o %s: the figure is a %s file", out, ext)
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	for path, want := range o.Manifests {
		got, err := manifestOf(path)
		if err != nil {
			return hintf(fmt.Errorf("%s: it shows %s: %w", from, path, err), "call it in the folder in which it was drawn")
		}
		if got != want {
			return fmt.Errorf("%s: it shows a dump %s with manifest %.12s..., the one there has %.12s...: it is another capture", from, path, want, got)
		}
	}
	return redraw(c, o.Arguments, filepath.FromSlash(name)+ext, out)
}

// redraw runs a drawing verb into a folder of its own and keeps one figure.
func redraw(c *cli.Context, args []string, name, out string) error {
	dir, err := os.MkdirTemp("", "attnscope-figure-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	moved, folder := moveOutput(args, dir)
	if folder == "" {
		return fmt.Errorf("the command names no folder: %q", strings.Join(args, " "))
	}
	if args[0] == "reproduce" {
		moved = append([]string{args[0], "--offline", "--captures", filepath.Join(folder, "captures")}, moved[1:]...)
	}
	notef(c, "drawing with: %s", viz.Origin{Arguments: args}.Command())
	drawnAs = args
	defer func() { drawnAs = nil }()
	if code := run(c.Context, moved, strings.NewReader(""), io.Discard, c.App.ErrWriter); code != exitDone {
		return errQuiet
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("the command did not draw %s this time", name)
	}
	if err := os.WriteFile(out, data, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, out)
	return err
}

// moveOutput replaces the folder that a drawing verb writes to.
func moveOutput(args []string, dir string) (moved []string, folder string) {
	flags := drawing[args[0]]
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		switch {
		case !slices.Contains(flags, name):
			if args[0] == "snapkv" && slices.Contains([]string{"-o", "--o", "-output", "--output"}, name) { // its table
				if !inline {
					i++
				}
				continue
			}
			moved = append(moved, args[i])
			continue
		case inline:
			folder = value
		case i+1 < len(args):
			i++
			folder = args[i]
		}
		moved = append(moved, name, dir)
	}
	return moved, folder
}
