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

// origin is what the metadata of a figure say: the command line, and the hashes of
// the dumps that it reads. A dump that cannot be read is left out, since drawing
// will report it.
func origin(c *cli.Context, paths ...string) viz.Origin {
	o := viz.Origin{Arguments: commandOf(c), Manifests: map[string]string{}}
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

// drawing has the verbs that draw figures, and the flag that names their folder.
// figure runs no other verb, because the command comes from an untrusted file.
var drawing = map[string][]string{
	"heatmap":   outputNames,
	"reproduce": outputNames,
	"snapkv":    {"-figures", "--figures"},
}

var outputNames = []string{"-o", "--o", "-output", "--output"}

func figureCommand() *cli.Command {
	return &cli.Command{
		Name:      "figure",
		Usage:     "draw a figure again, by the command that its file names",
		ArgsUsage: "--from FILE [-o FILE]",
		Description: "The PNG and SVG figures of heatmap, snapkv --figures and reproduce name the command that drew them\n" +
			"and the hashes of the dumps that they show. Figure runs that command again and prints the name of\n" +
			"the new file. The dumps must be where the command names them, and unchanged.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "draw the figure in `FILE`.png or .svg again"},
			&cli.StringFlag{
				Name: "o", Aliases: []string{"output"}, DefaultText: "the figure's name, in this folder",
				Usage: "write the new figure to `FILE`",
			},
			boolFlag("print", "only print the command that drew the figure"),
			forceFlag,
		},
		Action: runFigure,
	}
}

func runFigure(c *cli.Context) error {
	from := c.String("from")
	switch {
	case c.Args().Present():
		return hintf(usagef("figure: unexpected argument %q", c.Args().First()), "name the figure with --from FILE")
	case from == "":
		return hintf(usagef("figure: no figure given"), "name one with --from FILE")
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
		err := fmt.Errorf("%s: drawn by %q, which attnscope figure does not run", from, o.Command())
		return hintf(err, "run that command yourself if you trust it")
	}
	ext := filepath.Ext(from)
	out := c.String("o")
	if out == "" {
		out = filepath.Base(from)
	}
	if filepath.Ext(out) != ext {
		return usagef("-o %s: want a name that ends in %s, as the figure's does", out, ext)
	}
	if err := checkOutput(out, c.Bool("force"), false); err != nil {
		return err
	}
	if err := checkManifests(from, o.Manifests); err != nil {
		return err
	}
	return redraw(c, o.Arguments, filepath.FromSlash(name)+ext, out)
}

// checkManifests checks that the dumps that a figure shows are there, unchanged.
func checkManifests(from string, manifests map[string]string) error {
	for path, want := range manifests {
		got, err := manifestOf(path)
		if err != nil {
			err = fmt.Errorf("%s shows the dump %s: %w", from, path, err)
			return hintf(err, "run attnscope figure in the folder in which the figure was drawn")
		}
		if got != want {
			return fmt.Errorf("%s shows a dump %s with manifest %.12s..., but that file has %.12s...: it is another capture",
				from, path, want, got)
		}
	}
	return nil
}

// redraw runs a drawing verb with a temporary output folder and keeps one figure.
func redraw(c *cli.Context, args []string, name, out string) error {
	dir, err := os.MkdirTemp("", "attnscope-figure-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	moved, folder := moveOutput(args, dir)
	if folder == "" {
		return fmt.Errorf("the command names no output folder: %q", strings.Join(args, " "))
	}
	if args[0] == "reproduce" {
		moved = append([]string{args[0], "--offline", "--captures", filepath.Join(folder, "captures")}, moved[1:]...)
	}
	moved = slices.Insert(moved, 1, "--quiet")
	notef(c, "drawing with: %s", viz.Origin{Arguments: args}.Command())
	code := runAs(c.Context, moved, args, strings.NewReader(""), io.Discard, c.App.ErrWriter)
	if code != exitDone {
		return errQuiet
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("the command drew no %s this time", name)
	}
	if err := os.WriteFile(out, data, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, out)
	return err
}

// moveOutput replaces the folder that a drawing verb writes to by dir, and returns
// the old folder. It removes the file that snapkv writes its table to.
func moveOutput(args []string, dir string) (moved []string, folder string) {
	flags := drawing[args[0]]
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		switch {
		case !slices.Contains(flags, name):
			if args[0] == "snapkv" && slices.Contains(outputNames, name) {
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
