// Package report writes what a dump shows as one offline HTML page: hit rates with
// their baselines, figures, a comparison of selection methods, explanations, and
// where the numbers come from.
//
//	page, warnings, err := report.HTML(ctx, []string{"run.attn"}, report.Config{
//		Window: 32, Top: 0.05, Theta: 0.05, SkipFirst: 4, MinSignificant: 30,
//	})
//
// The package works in three steps: compute.go computes the numbers, words.go puts
// them into words, tables and figures, summary.go answers the main questions, and layout.go
// lays out the page.
package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/internal/outfile"
	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/viz"
)

// Config says what is computed. All fields but Prompt, Origin and Progress must be set.
type Config struct {
	Window         int        // rows of the observation window
	Top            float64    // share of the prefix that is kept, in (0, 1]
	Theta          float64    // a weight strictly above it is significant
	SkipFirst      int        // first positions that the second of two hit rates leaves out, 1 or more
	MinSignificant int        // significant positions that a rate must rest on; others are marked
	Prompt         string     // id of the prompt whose layers are drawn; empty for the first that fits
	Origin         viz.Origin // of the page and its figures
	// Progress is called, if it is not nil, after each layer of a prompt.
	Progress func(analysis.Progress)
}

// MaxBytes is the largest size of a page. If a page is larger, every second figure of
// a layer is left out until it fits.
const MaxBytes = 30 << 20

// HTML returns the page for the given dumps, and warnings, which the page contains
// too. The page loads nothing and runs no scripts. It is an error if the dumps contain
// no prompt that is longer than the window and has a reply. If the page lacks a part
// because a dump is damaged or because the page would be too large, it says so, and the
// error is an [IncompleteError]: the page can be used.
func HTML(ctx context.Context, paths []string, cfg Config) ([]byte, []analysis.Warning, error) {
	n, err := compute(ctx, paths, cfg)
	if err != nil {
		return nil, nil, err
	}
	p, err := newPage(n)
	if err != nil {
		return nil, nil, err
	}
	text, err := p.html()
	if err != nil {
		return nil, nil, err
	}
	warnings := p.Warnings
	var missing []string
	if p.LeftOut > 0 {
		missing = append(missing, fmt.Sprintf("%s, to keep it below %s; attnscope heatmap draws all of them",
			words.Count(p.LeftOut, "layer figure"), sizes.Text(MaxBytes)))
	}
	switch {
	case n.methods.err != nil:
		missing = append(missing, fmt.Sprintf("the comparison of methods: %v", n.methods.err))
	case p.Missing != "":
		const comparison = "the comparison of methods"
		warnings = append(warnings, analysis.Warning{Kind: analysis.LeftOut, Method: comparison, Reason: p.Missing})
	}
	if missing != nil {
		return text, warnings, &IncompleteError{missing}
	}
	return text, warnings, nil
}

// IncompleteError says what a page lacks that could be written otherwise.
type IncompleteError struct {
	Missing []string
}

func (e *IncompleteError) Error() string {
	return "the page lacks " + strings.Join(e.Missing, ", and ")
}

// WriteFile writes the page to path. A failed call leaves no file, unless the error is an
// [IncompleteError].
func WriteFile(ctx context.Context, path string, paths []string, cfg Config) ([]analysis.Warning, error) {
	text, warnings, err := HTML(ctx, paths, cfg)
	var incomplete *IncompleteError
	if err != nil && !errors.As(err, &incomplete) {
		return warnings, err
	}
	if failed := outfile.Write(path, func(w io.Writer) error { _, err := w.Write(text); return err }); failed != nil {
		return warnings, failed
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return warnings, err
}
