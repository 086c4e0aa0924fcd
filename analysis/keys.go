package analysis

import (
	"slices"
	"strings"

	"github.com/attnscope/attnscope/internal/words"
)

// By is a key that splits a result: each of its values has its own rows. The result
// aggregates over all other keys.
type By string

// The keys, as the command line spells them.
const (
	ByLayer   By = "layer"
	ByHead    By = "head"
	ByPrompt  By = "prompt"
	ByDataset By = "dataset"
	BySpan    By = "span" // ranges of reply rows of equal length
)

// Check returns an error if b is not one of the keys.
func (b By) Check() error {
	return words.Check("by", b, []By{ByLayer, ByHead, ByPrompt, ByDataset, BySpan})
}

// ParseBy reads a comma-separated list of keys; "none" and the empty text mean no key.
func ParseBy(list string) ([]By, error) {
	var keys []By
	for _, name := range strings.Split(list, ",") {
		key := By(strings.TrimSpace(name))
		if key == "" || key == "none" {
			continue
		}
		if err := key.Check(); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Key says what a row of a result is about.
type Key struct {
	Model   string
	Dataset string  // "*" for all
	Prompt  string  // id; "*" for all
	Layer   int     // -1 for all
	Head    int     // -1 for all
	Window  int     // size of the observation window, rows
	Span    int     // number of the range of reply rows, from 0; -1 for all rows
	Top     float64 // share of the prefix that is kept; NaN if the budget was given
	Budget  int     // positions kept; -1 if prompts differ
	Theta   float64 // weights above it are significant
}

// KeyColumns lists the columns of a [Key] in tables.
var KeyColumns = []string{"model", "dataset", "prompt", "layer", "head", "window", "span", "top", "budget", "theta"}

// Cells returns the cells of the key columns.
func (k *Key) Cells() []any {
	return []any{k.Model, k.Dataset, k.Prompt, k.Layer, k.Head, k.Window, k.Span, k.Top, k.Budget, k.Theta}
}

// place says from which prompt, layer, head and span a number is. In a row of a
// result, "*" or -1 means that the row aggregates over all values.
type place struct {
	model, dataset, prompt string
	layer, head, span      int
}

// aggregate returns the place of the row to which a number from p belongs.
func (p place) aggregate(by []By) place {
	row := place{model: p.model, dataset: "*", prompt: "*", layer: -1, head: -1, span: -1}
	for _, key := range by {
		switch key {
		case ByLayer:
			row.layer = p.layer
		case ByHead:
			row.head = p.head
		case ByPrompt:
			row.prompt = p.prompt
		case ByDataset:
			row.dataset = p.dataset
		case BySpan:
			row.span = p.span
		}
	}
	return row
}

// spansOf returns the ranges of n reply rows that are rated together: all rows or, by
// span, ranges of span rows, of which the last may be shorter.
func spansOf(n, span int, by []By) [][2]int {
	if !slices.Contains(by, BySpan) || span < 1 {
		return [][2]int{{0, n}}
	}
	var list [][2]int
	for lo := 0; lo < n; lo += span {
		list = append(list, [2]int{lo, min(n, lo+span)})
	}
	return list
}
