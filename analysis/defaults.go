package analysis

import (
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// DefaultWindow returns the observation window, in rows, that is used for the dumps if
// none is asked for: that of [snapkv.Default], or the number of prompt rows that every
// dump recorded, if that is less. In the second case, it also returns a warning of kind
// FewerRows.
func DefaultWindow(paths []string) (int, []Warning, error) {
	window := snapkv.Default.Window
	var warnings []Warning
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return 0, nil, err
		}
		recorded := r.Header().Plan.WindowRows
		if err := r.Close(); err != nil {
			return 0, nil, err
		}
		if recorded < window {
			window = recorded
			warnings = []Warning{{Kind: FewerRows, Path: path, Window: recorded}}
		}
	}
	return window, warnings, nil
}
