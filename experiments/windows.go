package experiments

import (
	"context"

	"github.com/attnscope/attnscope/internal/words"
)

// windowsReport holds the data for windows.md.tmpl.
type windowsReport struct {
	Prompts int
	Lines   []windowsLine
}

// windowsLine compares the first of the prompt's windows with the last.
type windowsLine struct {
	Keys        string
	Skip        int // first positions that were left out
	First, Last windowRow
}

// windows rates the vote of each of the last prompt windows on the reply.
func windows(ctx context.Context, l *Lab) (any, error) {
	path, list, err := l.dialogueCapture(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := windowRates(path, l.Seed)
	if err != nil {
		return nil, err
	}
	if err := l.table(windowTable(rows), "hit-rate"); err != nil {
		return nil, err
	}
	report := &windowsReport{Prompts: len(list)}
	for _, keys := range windowKeys {
		for _, skip := range sinkSkips {
			k := windowCurves(rows, keys, skip)
			k.Caption = l.caption("top 5 %% of the keys, weight > 0.05; all layers; mean over %s;"+
				" band: 95 %% bootstrap interval; thin: every fifth layer.", words.Count(len(list), "prompt"))
			name := "hit-rate-" + keys
			if skip > 0 {
				name += "-without-first-four"
			}
			if err := l.curves(k, name); err != nil {
				return nil, err
			}
			var all []windowRow
			for _, row := range rows {
				if row.keys == keys && row.skip == skip && row.layer == allLayers {
					all = append(all, row)
				}
			}
			if n := len(all); n > 0 {
				report.Lines = append(report.Lines, windowsLine{keys, skip, all[0], all[n-1]})
			}
		}
	}
	return report, nil
}
