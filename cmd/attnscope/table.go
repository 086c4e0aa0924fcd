package main

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/internal/outfile"
)

// tableFlags are the flags of verbs that write a table.
var tableFlags = []cli.Flag{
	&cli.StringFlag{
		Name: "format", DefaultText: "table on a terminal, else tsv",
		Usage: "format of the table: table, tsv, csv, json, jsonl, parquet or latex",
	},
	boolFlag("wide", "in the format table, print all columns with six digits"),
	outputFlag("write the table to `FILE` instead of stdout; its extension sets the format"),
	forceFlag,
}

// warnNotes writes to stderr what a table for readers says below it, so that the notes are
// also seen by those who write the table to a file or to another program.
func warnNotes(c *cli.Context, notes []string) {
	for _, note := range notes {
		first, size := utf8.DecodeRuneInString(note)
		warnf(c, "%c%s", unicode.ToLower(first), strings.TrimSuffix(note[size:], "."))
	}
}

// checkTable refuses an unknown format and an output file that exists, before any
// work is done.
func checkTable(c *cli.Context) error {
	format := c.String("format")
	if format != "" {
		if err := checkWord(c, "format", table.Formats); err != nil {
			return err
		}
	}
	out := c.String("o")
	if out != "" && format == "" && table.FormatOf(out) == "" {
		err := usagef("-o %s: the extension names no table format", out)
		return hintf(err, "use .tsv, .csv, .json, .jsonl, .parquet or .tex, or set --format")
	}
	return checkOutput(out, c.Bool("force"), false)
}

// onScreen reports whether the table is written for readers, with [table.Table.Screen].
func onScreen(c *cli.Context) bool { return tableFormat(c) == "table" && !c.Bool("wide") }

// writeTable writes a table to stdout or to the file of -o. screen describes how it is
// shown in the format table.
func writeTable(c *cli.Context, t *table.Table, screen table.Screen) error {
	format := tableFormat(c)
	write := func(w io.Writer) error {
		if onScreen(c) {
			return t.Screen(w, screen)
		}
		t.Values = screen.Values
		return t.Write(w, format)
	}
	if out := c.String("o"); out != "" {
		return outfile.Write(out, write)
	}
	return write(tableOutput(c, format))
}

// printTable writes a table to stdout.
func printTable(c *cli.Context, t *table.Table, format string) error {
	return t.Write(tableOutput(c, format), format)
}

// tableOutput returns stdout for a table. Only aligned text is meant for people; all other
// formats are written exactly.
func tableOutput(c *cli.Context, format string) io.Writer {
	if format == "table" {
		return c.App.Writer
	}
	return exactOutput(c)
}

// tableFormat returns the format in which the verb writes its table.
func tableFormat(c *cli.Context) string {
	if format := c.String("format"); format != "" {
		return format
	}
	if out := c.String("o"); out != "" {
		return table.FormatOf(out)
	}
	return stdoutFormat(c)
}

// pivotFlags are the flags of verbs whose tables can be pivoted; measure is the
// default of --measure.
func pivotFlags(measure string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name:  "pivot",
			Usage: "print one measure, without intervals, with a column for each value of `COLUMN`, such as window",
		},
		&cli.StringFlag{Name: "measure", Value: measure, Usage: "the `COLUMN` that --pivot prints"},
	}
}

// checkPivot refuses names that --pivot and --measure cannot have, before any work is done.
// columns are those of the table, and keys those that identify a row.
func checkPivot(c *cli.Context, columns, keys []string) error {
	switch {
	case c.IsSet("pivot"):
		if err := table.New(columns...).CheckPivot(c.String("pivot"), c.String("measure"), keys); err != nil {
			return usagef("--%w", err)
		}
	case c.IsSet("measure"):
		return hintf(usagef("%s: --measure needs --pivot", c.Command.Name), "add, for example, --pivot window")
	}
	return nil
}

// pivotNote says what a pivoted table lacks.
func pivotNote(intervals string) string {
	return "This table has no intervals: print " + intervals + " with --measure, or everything without --pivot."
}

// pivoted applies --pivot to a table whose other key columns are keys.
func pivoted(c *cli.Context, t *table.Table, keys []string) (*table.Table, error) {
	out, err := t.Pivot(c.String("pivot"), c.String("measure"), keys)
	if err != nil {
		return nil, usagef("--%w", err)
	}
	return out, nil
}

// stdoutFormat is the format of a table on stdout where --format is not given.
func stdoutFormat(c *cli.Context) string {
	if results, ok := c.App.Writer.(*resultWriter); ok && results.terminal() {
		return "table"
	}
	return "tsv"
}
