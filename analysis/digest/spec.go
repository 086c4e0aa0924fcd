package digest

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/dumps"
)

// Spec says what the digests of a layer hold.
type Spec struct {
	Windows []int // windows whose votes are kept, ascending
	// Short means that votes and mean rows are kept in float32, which takes half the
	// memory. Positions whose votes are equal in float32 count as equal, and the lower
	// one is kept.
	Short bool
	// Draft means that only 16 rows of the longest window and 16 of the reply are
	// read, evenly spread and including the last. For a long prompt, a draft is ready
	// long before the full digest.
	Draft bool
}

// draftRows is the number of rows of the window, and of the reply, that a draft
// reads.
const draftRows = 16

// FitSpec returns a spec with as many windows for all heads of a capture as fit into
// room bytes: all windows of the prompts if they take at most a quarter of room,
// otherwise a fine ladder of windows (1, 2, 4, 6, 8, 12, 16, 24, ...), otherwise the
// powers of two from 8 on, in float64 or else in float32. heads is the number of
// recorded heads of all layers together. The longest window of the shortest prompt is
// always among them. If nothing fits, the spec has no windows.
func FitSpec(prompts []*dumps.Prompt, heads, room int) Spec {
	positions := 0
	longest := math.MaxInt
	for _, p := range prompts {
		positions += p.PromptTokens
		longest = min(longest, p.WindowRows, p.PromptTokens-1)
	}
	if len(prompts) == 0 || longest < 1 {
		return Spec{Short: true}
	}
	var all, fine, coarse []int
	for w := 1; w < longest; w++ {
		all = append(all, w)
		if isPower(w) || w >= 6 && w%3 == 0 && isPower(w/3) {
			fine = append(fine, w) // 1, 2, 4, 6, 8, 12, 16, 24, ...
		}
		if w >= 8 && isPower(w) {
			coarse = append(coarse, w)
		}
	}
	for _, ladder := range []struct {
		windows []int
		bytes   int // per number
		room    int
	}{
		{all, 8, room / 4},
		{fine, 8, room},
		{coarse, 8, room},
		{coarse, 4, room},
	} {
		windows := append(ladder.windows, longest)
		columns := len(windows) + 1 // and one for the mean row
		if ladder.bytes*columns*positions*heads <= ladder.room {
			return Spec{Windows: windows, Short: ladder.bytes == 4}
		}
	}
	return Spec{Short: true}
}

func isPower(n int) bool { return n&(n-1) == 0 }

// HasAll reports whether the spec holds every window from 1 to its longest.
func (s Spec) HasAll() bool {
	n := len(s.Windows)
	return n > 0 && s.Windows[n-1] == n
}

// Covering returns s if it holds all the windows, otherwise a spec of only these
// windows.
func (s Spec) Covering(windows []int) Spec {
	for _, w := range windows {
		if !slices.Contains(s.Windows, w) {
			return Spec{Windows: slices.Sorted(slices.Values(windows)), Short: s.Short}
		}
	}
	return s
}

// Drafted returns the draft of s for some windows, and whether it is worth it: if rows
// are rebuilt from queries and keys, s takes more than least weights, and the draft
// takes at most half of them. heads is the number of recorded heads of all layers
// together.
func (s Spec) Drafted(prompts []*dumps.Prompt, heads int, windows []int, least int) (draft Spec, worth bool) {
	whole := 0
	part := 0
	for _, p := range prompts {
		if p.Store != dumps.StoreFactors {
			return s, false
		}
		keys := p.PromptTokens + p.ReplyTokens
		voters := 0
		if p.ReplyTokens > 0 {
			voters = slices.Max(windows)
			whole += slices.Max(s.Windows) * keys
		}
		readers := ReaderRows(p)
		whole += readers * keys
		part += (min(voters, draftRows) + min(readers, draftRows)) * keys
	}
	draft = Spec{Windows: windows, Short: true, Draft: true}
	return draft, whole*heads > least && 2*part <= whole
}

// ReaderRows returns the number of rows over which the measures of a prompt are
// averaged: the rows of its reply or, without a reply, the recorded rows of the
// prompt.
func ReaderRows(p *dumps.Prompt) int {
	if p.ReplyTokens > 0 {
		return p.ReplyTokens
	}
	return p.WindowRows
}

// Readers returns the number of rows, of n, over which the measures are averaged.
func (s Spec) Readers(n int) int {
	if s.Draft {
		return min(n, draftRows)
	}
	return n
}

// String returns a name of the spec. Equal specs have equal names.
func (s Spec) String() string { return fmt.Sprint(s.Windows, s.Short, s.Draft) }
