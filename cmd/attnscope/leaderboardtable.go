package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/experiments/leaderboard"
	"github.com/attnscope/attnscope/internal/outfile"
)

// boardColumns returns the columns of the table, and those that identify a row.
func boardColumns(c *cli.Context) (columns, keys []string) {
	if c.Bool("compare") {
		return leaderboard.PairColumns, leaderboard.PairKeys
	}
	return leaderboard.Columns, leaderboard.Keys
}

// showBoard prints the table and writes the page and the figure.
func showBoard(c *cli.Context, board *leaderboard.Board) error {
	for _, r := range board.Runs {
		if missing, planned := r.Missing(); missing > 0 {
			warnf(c, "%s: %d of %s have no answer yet", r.Model, missing, count(planned, "planned prompt"))
		}
	}
	if c.Bool("compare") {
		return compareRuns(c, board)
	}
	o := leaderboard.RowOptions{Seed: c.Uint64("seed"), Against: c.String("against")}
	rows := board.Rows(o)
	if len(rows) == 0 {
		return errors.New("no prompt has an answer yet")
	}
	if out := c.String("page"); out != "" {
		write := func(w io.Writer) error { return leaderboard.WritePage(w, board, rows, o) }
		if err := outfile.Write(out, write); err != nil {
			return err
		}
	}
	if out := c.String("figure"); out != "" {
		if err := leaderboard.Figure(board, rows, origin(c).Meta()).Save(out); err != nil {
			return err
		}
	}
	t := leaderboard.Table(rows)
	shown := boardScreen{values: screenColumns, notes: boardNotes(board, rows, o), prompts: fewestPrompts(rows)}
	if c.IsSet("pivot") {
		var err error
		if t, err = pivoted(c, t, leaderboard.Keys); err != nil {
			return err
		}
		shown.values = nil
		shown.notes = append(shown.notes, pivotNote("score_low and score_high"))
	}
	return writeBoard(c, t, shown)
}

// screenColumns are the results that the format table shows without --wide.
var screenColumns = []string{
	"prompts", "score", "score_low", "score_high", "loss", "p_holm", "kl", "cache_bytes", "cache_ratio", "decode_tok_s",
}

// boardNotes returns what a reader must know of a table's rows.
func boardNotes(board *leaderboard.Board, rows []leaderboard.Row, o leaderboard.RowOptions) []string {
	var notes []string
	for i, r := range board.Runs {
		notes = append(notes, fmt.Sprintf("Settings of %s: %s.", board.Label(i+1), r.SettingsText()))
	}
	notes = append(notes, fmt.Sprintf("loss: the score of %s minus this score, prompt by prompt. "+
		"p_holm: of a sign-flip test of the losses, corrected for all rows of a task and length.",
		cmp.Or(o.Against, "the full cache")))
	return append(notes, leaderboard.LeastPNote(rows)...)
}

// fewestPrompts returns the smallest number of prompts of a row.
func fewestPrompts(rows []leaderboard.Row) int {
	return slices.MinFunc(rows, func(a, b leaderboard.Row) int { return a.Prompts - b.Prompts }).Prompts
}

// compareRuns prints a table of two runs.
func compareRuns(c *cli.Context, board *leaderboard.Board) error {
	if n := len(board.Runs); n != 2 {
		return hintf(fmt.Errorf("--compare: the files hold %s, want two", count(n, "run")),
			"runs of one model, device, arithmetic and settings are one run")
	}
	first, second := board.Runs[0], board.Runs[1]
	rows := leaderboard.Compare(first, second, c.Uint64("seed"))
	if len(rows) == 0 {
		return hintf(errors.New("--compare: no prompt has an answer in both runs"),
			"prompts are the same only with the same tokenizer, seed, lengths and files")
	}
	t := leaderboard.PairTable(rows)
	describe := func(r *leaderboard.BoardRun) string {
		return fmt.Sprintf("%s (%s, %s; %s)", r.Model, r.Device, r.Compute, r.SettingsText())
	}
	notes := []string{fmt.Sprintf("first: %s. second: %s.", describe(first), describe(second))}
	shown := boardScreen{values: []string{"prompts", "first", "second", "difference", "p"}, notes: notes, prompts: rows[0].Prompts}
	if c.IsSet("pivot") {
		var err error
		if t, err = pivoted(c, t, leaderboard.PairKeys); err != nil {
			return err
		}
		shown.values = nil
	}
	return writeBoard(c, t, shown)
}

// boardScreen says how a table is shown to readers.
type boardScreen struct {
	values  []string // columns beside those that identify a row; nil: all columns
	notes   []string
	prompts int // the fewest that a row rests on
}

// writeBoard prints a table: to stdout if -o is the file of results, else as other verbs do.
func writeBoard(c *cli.Context, t *table.Table, shown boardScreen) error {
	few := analysis.FewPromptsNote(shown.prompts)
	values := shown.values
	screen := table.Screen{Values: values, Notes: slices.Concat(shown.notes, few)}
	format := tableFormat(c)
	if c.IsSet("model") {
		format = cmp.Or(c.String("format"), stdoutFormat(c))
	}
	if format != "table" || c.Bool("wide") {
		warnNotes(c, few)
	} else if values != nil {
		_, keys := boardColumns(c)
		t = withColumns(t, slices.Concat(keys, values))
	}
	switch {
	case !c.IsSet("model"):
		return writeTable(c, t, screen)
	case format == "table" && !c.Bool("wide"):
		return t.Screen(c.App.Writer, screen)
	}
	return printTable(c, t, format)
}

// withColumns returns a table with some of the columns.
func withColumns(t *table.Table, names []string) *table.Table {
	out := table.New(names...)
	for _, row := range t.Rows {
		var cells []any
		for _, name := range names {
			cells = append(cells, row[slices.Index(t.Columns, name)])
		}
		out.Add(cells...)
	}
	return out
}
