package main

import (
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/attnscope/attnscope/analysis/table"
)

// tableFlags say how a table is written.
var tableFlags = []cli.Flag{
	&cli.StringFlag{Name: "format", Usage: "table, tsv, csv, json, jsonl or parquet (default: table on a terminal, else tsv)"},
	&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "write to `FILE`, its extension chooses the format"},
	forceFlag,
}

// checkTable refuses a format or output file that cannot be, before the work.
func checkTable(c *cli.Context) error {
	if f := c.String("format"); f != "" && !slices.Contains(table.Formats, f) {
		return usagef("--format %q: want %s", f, strings.Join(table.Formats, ", "))
	}
	out := c.String("o")
	if out != "" && c.String("format") == "" && table.FormatOf(out) == "" {
		return usagef("-o %s: its extension is no format of a table: want .tsv, .csv, .json, .jsonl or .parquet, or --format", out)
	}
	return checkOutput(out, c.Bool("force"), false)
}

// writeTable writes a result to stdout or -o.
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

// stdoutFormat is table on a terminal, else tsv.
func stdoutFormat(c *cli.Context) string {
	if r, ok := c.App.Writer.(*resultWriter); ok {
		if f, ok := r.Writer.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return "table"
		}
	}
	return "tsv"
}
