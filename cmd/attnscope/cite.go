package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/cite"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

func citeCommand() *cli.Command {
	return &cli.Command{
		Name:      "cite",
		Usage:     "print in BibTeX what dumps, tables and figures rest on",
		ArgsUsage: "[RUN.attn | FIGURE | PAGE | TABLE | DIR]...",
		Description: "Cite prints entries for attnscope, the model with its revision and the hash of its weights,\n" +
			"the prompts and their data sets, and the papers of the methods. A dump names its model and its\n" +
			"prompts. A figure (.png, .svg, .pdf) names the command that drew it and its dumps; cite reads those\n" +
			"that are still at the named place and unchanged. Of a figure or page (.html) of leaderboard, it reads\n" +
			"the results that the named command wrote or read. A table (.tsv, .txt, .csv, .json, .jsonl) names its\n" +
			"models, data sets, tasks and methods in its columns; the results and tables of generate and\n" +
			"leaderboard also name the hash of the model. If another version of attnscope made the file, that\n" +
			"version is cited, too. Lines that begin with % say where an entry comes from, and what you must\n" +
			"add. Of a folder, all .csv tables and .jsonl results are cited. Without a file, cite prints how to\n" +
			"cite attnscope.",
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "method",
				Usage: "also cite a comma-separated `LIST` of methods, all, or common (as for snapkv): " +
					strings.Join(snapkv.MethodNames(), ", "),
			},
			outputFlag("write the entries to `FILE` instead of stdout"),
			forceFlag,
		},
		Action: runCite,
	}
}

func runCite(c *cli.Context) error {
	if err := checkOutput(c.String("o"), c.Bool("force"), false); err != nil {
		return err
	}
	var list cite.List
	list.Program(version())
	for _, path := range c.Args().Slice() {
		if err := citeFile(c, &list, path); err != nil {
			return err
		}
	}
	if err := citeMethods(&list, c.String("method")); err != nil {
		return err
	}
	return withOutput(c, list.Write)
}

// citeFile adds what a file rests on.
func citeFile(c *cli.Context, list *cite.List, path string) error {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return citeFolder(list, path)
	}
	switch ext := filepath.Ext(path); {
	case slices.Contains(viz.Formats, strings.TrimPrefix(ext, ".")):
		return citeFigure(list, path)
	case ext == ".html":
		return citePage(list, path)
	case ext == ".parquet" || ext == ".tex":
		return hintf(usagef("cite: %s: want a table in .tsv, .txt, .csv, .json or .jsonl", path),
			"write the table in one of these formats, too, or name its dump")
	case slices.Contains([]string{".tsv", ".txt", ".csv", ".json", ".jsonl"}, ext):
		return list.Table(path)
	}
	return citeDump(c, list, path)
}

// citeFolder adds the tables of a folder and its subfolders, which reproduce, leaderboard or
// generate wrote. Results come before tables, because they name the hash of the model.
func citeFolder(list *cite.List, dir string) error {
	found := false
	for _, ext := range []string{".jsonl", ".csv"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ext || ext == ".jsonl" && !cite.AreResults(path) {
				return err
			}
			err = list.Table(path)
			if errors.Is(err, cite.ErrNamesNothing) { // such as prompts as CSV
				return nil
			}
			found = true
			return err
		})
		if err != nil {
			return err
		}
	}
	if !found {
		return hintf(fmt.Errorf("%s: no .csv table or .jsonl results of attnscope in this folder", dir), "name a file")
	}
	return nil
}

func citeDump(c *cli.Context, list *cite.List, path string) error {
	r, err := openDump(c, path)
	if err != nil {
		return err
	}
	defer r.Close()
	list.Dump(r.Header(), r.Prompts())
	return nil
}

// citeFigure adds the dumps and the methods of the command that drew a figure.
func citeFigure(list *cite.List, path string) error {
	meta, err := viz.ReadMeta(path)
	if err != nil {
		return err
	}
	o, err := meta.Origin()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	list.Remark("%s was drawn by: %s", path, o.Command())
	if slices.Contains(o.Arguments[:min(1, len(o.Arguments))], "leaderboard") {
		return citeBoardFigure(list, path, o.Arguments)
	}
	for _, dump := range slices.Sorted(maps.Keys(o.Manifests)) {
		if err := citeUnchanged(list, dump, o.Manifests[dump]); err != nil {
			list.Remark("%s shows the dump %s, which cannot be cited: %v", path, dump, err)
		}
	}
	if len(o.Manifests) == 0 {
		list.Remark("%s names no dump: cite the dump as well", path)
	}
	return citeMethods(list, methodsIn(o.Arguments))
}

// citeUnchanged adds a dump if it is still the one that a figure shows.
func citeUnchanged(list *cite.List, path, want string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Header().SHA256() != want {
		return errors.New("the file is another capture now")
	}
	list.Dump(r.Header(), r.Prompts())
	return nil
}

// methodsIn returns the value of --method in a command line, or an empty string.
func methodsIn(args []string) string {
	for i, arg := range args {
		name, value, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case name != "method" || !strings.HasPrefix(arg, "-"):
		case inline:
			return value
		case i+1 < len(args):
			return args[i+1]
		}
	}
	return ""
}

// citeMethods adds the methods of a comma-separated list, or all.
func citeMethods(list *cite.List, names string) error {
	if names == "" {
		return nil
	}
	methods, _, err := methodsOf(names)
	if err != nil {
		return err
	}
	for i := range methods {
		list.Method(&methods[i])
	}
	return nil
}
