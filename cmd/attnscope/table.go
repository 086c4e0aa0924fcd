package main

import (
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/attnscope/attnscope/analysis/table"
)

// tableFlags are the flags of verbs that write a table.
var tableFlags = []cli.Flag{
	&cli.StringFlag{
		Name: "format", DefaultText: "table on a terminal, else tsv",
		Usage: "format of the table: table, tsv, csv, json, jsonl or parquet",
	},
	outputFlag("write the table to `FILE` instead of stdout; its extension sets the format"),
	forceFlag,
}

// checkTable refuses an unknown format and an output file that exists, before any
// work is done.
func checkTable(c *cli.Context) error {
	format := c.String("format")
	if format != "" && !slices.Contains(table.Formats, format) {
		return usagef("--format %q: want %s", format, strings.Join(table.Formats, ", "))
	}
	out := c.String("o")
	if out != "" && format == "" && table.FormatOf(out) == "" {
		err := usagef("-o %s: the extension names no table format", out)
		return hintf(err, "use .tsv, .csv, .json, .jsonl or .parquet, or set --format")
	}
	return checkOutput(out, c.Bool("force"), false)
}

// writeTable writes a table to stdout or to the file of -o.
func writeTable(c *cli.Context, t *table.Table) error {
	format := c.String("format")
	if out := c.String("o"); out != "" {
		if format == "" {
			format = table.FormatOf(out)
		}
		return t.WriteFile(out, format)
	}
	if format == "" {
		format = stdoutFormat(c)
	}
	return t.Write(c.App.Writer, format)
}

// stdoutFormat is the format of a table on stdout where --format is not given.
func stdoutFormat(c *cli.Context) string {
	results, ok := c.App.Writer.(*resultWriter)
	if !ok {
		return "tsv"
	}
	if f, ok := results.Writer.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "table"
	}
	return "tsv"
}
