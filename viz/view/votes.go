package view

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/dumps"
)

// votes says which windows' votes are kept, whether in float32, and whether they
// and all measures are a draft.
type votes struct {
	windows []int
	short   bool
	draft   bool
}

// A draft of a long prompt looks at a few rows, evenly spread: at so many of the
// window and of the reply. It is there long before the whole is.
const (
	draftVoters  = 16
	draftReaders = 16
)

// draftWork is the number of weights from which on a draft is worth it: what two
// cores go through in about a second.
var draftWork = 300_000_000

// readers is of how many of n rows the measures are means.
func (v votes) readers(n int) int {
	if v.draft {
		return min(n, draftReaders)
	}
	return n
}

// rowsDescribed is how many rows the measures of a prompt are means over: those of
// its reply; where there is none, those recorded of it.
func rowsDescribed(p *dumps.Prompt) int {
	if p.ReplyTokens > 0 {
		return p.ReplyTokens
	}
	return p.WindowRows
}

// draft is what answers sooner than v, where that is worth it: rows are made out of
// queries and keys, are many, and the draft takes no more than half of them.
func (s *Server) draft(capture int, prompts []int, v votes, asked []int) (draft votes, worth bool) {
	c, all, some := s.captures[capture], 0, 0
	for _, i := range prompts {
		p := &c.Prompts()[i]
		if p.Store != dumps.StoreFactors {
			return v, false
		}
		keys, window := p.PromptTokens+p.ReplyTokens, 0
		if p.ReplyTokens > 0 {
			window = slices.Max(asked)
			all += slices.Max(v.windows) * keys
		}
		all += rowsDescribed(p) * keys
		some += (min(window, draftVoters) + min(rowsDescribed(p), draftReaders)) * keys
	}
	heads := len(c.Header().Plan.Heads) * len(c.Header().Plan.Layers)
	return votes{asked, true, true}, all*heads > draftWork && 2*some <= all
}

// stops are the windows whose votes are kept of every layer of some prompts, so
// that moving from one to another reads nothing again: all of them where that is
// little, else as fine a ladder as fits, the powers of two of a long prompt in
// float32; none where there is no room for them.
func (s *Server) stops(capture int, prompts []int) votes {
	c, cells, most := s.captures[capture], 0, math.MaxInt
	for _, i := range prompts {
		p := &c.Prompts()[i]
		cells += p.PromptTokens
		most = min(most, p.WindowRows, p.PromptTokens-1)
	}
	cells *= len(c.Header().Plan.Heads) * len(c.Header().Plan.Layers)
	var all, fine, coarse []int
	power := func(n int) bool { return n&(n-1) == 0 }
	for w := 1; w < most; w++ {
		all = append(all, w)
		if power(w) || w >= 6 && w%3 == 0 && power(w/3) {
			fine = append(fine, w) // 1, 2, 4, 6, 8, 12, 16, 24, ...
		}
		if w >= 8 && power(w) {
			coarse = append(coarse, w)
		}
	}
	room := s.cache.limit / 8 * 7
	for _, v := range []struct {
		windows []int
		bytes   int // of a vote
		room    int
	}{{all, 8, room / 4}, {fine, 8, room}, {coarse, 8, room}, {coarse, 4, room}} {
		if list := append(v.windows, most); most > 0 && v.bytes*(len(list)+1)*cells <= v.room {
			return votes{windows: list, short: v.bytes == 4}
		}
	}
	return votes{short: true}
}

// atHand are the stops, nil where they are all windows.
func (s *Server) atHand(capture int, prompts []int) []int {
	windows := s.stops(capture, prompts).windows
	if len(windows) > 0 && windows[len(windows)-1] == len(windows) {
		return nil
	}
	return append([]int{}, windows...)
}

// votesFor are the votes that answer a request: all stops, or where it asks for
// another window, those it asks for.
func (s *Server) votesFor(capture int, prompts, asked []int) votes {
	stops := s.stops(capture, prompts)
	for _, w := range asked {
		if !slices.Contains(stops.windows, w) {
			return votes{windows: slices.Sorted(slices.Values(asked)), short: stops.short}
		}
	}
	return stops
}
