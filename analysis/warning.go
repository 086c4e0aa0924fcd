package analysis

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// WarningKind names what a [Warning] is about.
type WarningKind int

const (
	// DamagedDump passes on a warning of a dump's reader; Reason has the text.
	DamagedDump WarningKind = iota
	// NoPrefix says that a prompt of Tokens tokens is no longer than Window.
	NoPrefix
	// NoReply says that a prompt has no reply rows.
	NoReply
	// SlidingWindow says that some layers see only the last Window keys.
	SlidingWindow
	// NothingKept says that a share of the prefix is less than one position.
	NothingKept
	// FewPrompts says that there are too few prompts for an interval.
	FewPrompts
	// SharedBudget says that Method divides its budget among Layers layers, of
	// which only Recorded are in the dump.
	SharedBudget
	// LeftOut says that Method could not be computed; Reason says why.
	LeftOut
	// NothingDropped says that a prompt of Tokens tokens is shorter than Capacity, or that
	// several Prompts are.
	NothingDropped
	// FewerRows says that a dump recorded fewer prompt rows than the default window has,
	// and that Window is used instead.
	FewerRows
	// LargerCache says that caches of some methods take more memory than the full cache;
	// Reason names them.
	LargerCache
	// Chunks says that some layers see only the keys of the query's chunk of Window
	// positions.
	Chunks
	// NoAttention says that Layers of the model have no attention and no rows.
	NoAttention
	// OneSelection says that GroupHead became GroupMean, because a cache is read by all
	// heads or by several layers; Reason says which.
	OneSelection
	// ShortPrompts says that an advice counts prompts that are no longer than a capacity;
	// Reason says how many.
	ShortPrompts
)

// Warning limits how far a result can be trusted. Fields that its kind does not use
// are zero. Warnings can be compared with ==.
type Warning struct {
	Kind     WarningKind
	Path     string // of the dump
	Prompt   string // id
	Prompts  int    // how many, if it is about several of them
	Tokens   int    // length of the prompt
	Window   int    // observation window, or window of a sliding layer
	Late     bool   // the window ends one row early, as in the authors' code
	Every    bool   // the prompt is left out for all windows, which share a prefix
	Capacity int
	Method   string
	Layers   int // of the model
	Recorded int // layers in the dump
	Reason   string
}

// String returns the sentence that the command line prints.
func (w Warning) String() string {
	switch w.Kind {
	case NoPrefix:
		where := "there"
		if w.Every {
			where = "for every window"
		}
		return fmt.Sprintf("%s: prompt %q has %s: %s leaves no prefix; it is left out %s",
			w.Path, w.Prompt, words.Count(w.Tokens, "token"), windowText(w.Window, w.Late), where)
	case NoReply:
		return fmt.Sprintf("%s: prompt %q has no reply rows; it is left out", w.Path, w.Prompt)
	case SlidingWindow:
		return fmt.Sprintf("%s: some layers see only the last %d keys; positions out of their reach have weight 0 and are never significant",
			w.Path, w.Window)
	case NothingKept:
		return "k = 0: the share is too small for a prefix of this length; nothing is kept"
	case FewPrompts:
		return "fewer than two prompts: no intervals can be computed"
	case SharedBudget:
		return fmt.Sprintf(
			"%s: %s divides its budget among all layers, but only %d of %d were recorded; these get too much",
			w.Path, w.Method, w.Recorded, w.Layers)
	case LeftOut:
		return fmt.Sprintf("%s is left out: %s", w.Method, w.Reason)
	case NothingDropped:
		if w.Prompts > 1 {
			return fmt.Sprintf("%s: %d prompts have fewer tokens than capacity %d: nothing of them is dropped", w.Path, w.Prompts, w.Capacity)
		}
		return fmt.Sprintf("%s: prompt %q has %s, fewer than capacity %d: nothing is dropped",
			w.Path, w.Prompt, words.Count(w.Tokens, "token"), w.Capacity)
	case FewerRows:
		return fmt.Sprintf("%s: only the last %d prompt rows were recorded, fewer than the default window of %d; the window is %d",
			w.Path, w.Window, snapkv.Default.Window, w.Window)
	case Chunks:
		return fmt.Sprintf("%s: in some layers a query sees only the keys of its own chunk of %d positions; all others have weight 0 "+
			"and are never significant", w.Path, w.Window)
	case NoAttention:
		return fmt.Sprintf("%s: %d of %d layers have no attention; there is nothing to rate or to select in them",
			w.Path, w.Layers-w.Recorded, w.Layers)
	case OneSelection:
		return fmt.Sprintf("%s: %s; they have one selection per kv head, by the mean of their scores (as with --group mean)",
			w.Path, w.Reason)
	case LargerCache:
		return "caches larger than the full cache: " + w.Reason
	}
	return w.Reason
}

// shapeWarnings warns if layers have no attention, which is easily overlooked.
func shapeWarnings(path string, h *dumps.Header) []Warning {
	var list []Warning
	if attending := len(h.Model.AttentionLayers()); attending < h.Model.Layers {
		list = append(list, Warning{Kind: NoAttention, Path: path, Recorded: attending, Layers: h.Model.Layers})
	}
	return list
}

// jointWarnings warns about heads that have one selection although the config does not
// merge them.
func jointWarnings(path string, h *dumps.Header, configs []snapkv.Config) []Warning {
	if !slices.ContainsFunc(configs, func(c snapkv.Config) bool { return !c.Group.Merges() }) {
		return nil
	}
	latent, shared := false, false
	for _, layer := range h.Plan.Layers {
		latent = latent || h.Model.Layer(layer).Latent
		shared = shared || h.Model.SharedCache(layer)
	}
	var list []Warning
	if latent {
		list = append(list, Warning{Kind: OneSelection, Path: path, Reason: "all heads of a layer read the same cache entries"})
	}
	if shared {
		list = append(list, Warning{Kind: OneSelection, Path: path, Reason: "some layers read the cache of an earlier layer"})
	}
	return list
}

// LargerCaches returns a warning for the rows, of all layers and heads, whose cache takes
// more memory than the full one, if there are any.
func LargerCaches(rows []MethodRow) []Warning {
	var list []string
	group := false
	for i := range rows {
		r := &rows[i]
		if !(r.CacheRatio > 1+1e-6) { // sums of bytes over layers that share a cache are rounded
			continue
		}
		group = group || r.Group == snapkv.GroupHead
		if text := fmt.Sprintf("%s at capacity %d (%.2f times)", r.Method, r.Capacity, r.CacheRatio); !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	if len(list) == 0 {
		return nil
	}
	const few = 3
	if n := len(list); n > few {
		list = append(list[:few:few], fmt.Sprintf("%d more", n-few))
	}
	text := strings.Join(list, ", ")
	if group {
		text += "; with --group head, every query head keeps positions of its own; --group mean selects for each kv head"
	}
	return []Warning{{Kind: LargerCache, Reason: text}}
}

// windowText names a window. With late, it also names the row after the window, which
// the authors' code counts as reply.
func windowText(window int, late bool) string {
	if late {
		return fmt.Sprintf("window %d and the row after it (code-exact ends the prompt one token early)", window)
	}
	return fmt.Sprintf("window %d", window)
}

// Without returns the warnings that are not of the given kind.
func Without(list []Warning, kind WarningKind) []Warning {
	return slices.DeleteFunc(slices.Clone(list), func(w Warning) bool { return w.Kind == kind })
}

// sumUpShort makes one warning of those that say of several prompts of a dump that nothing
// is dropped at a capacity. It stands where the first of them stood.
func sumUpShort(list []Warning) []Warning {
	type place struct {
		path     string
		capacity int
	}
	first := map[place]int{} // index in out
	var out []Warning
	for _, w := range list {
		if w.Kind == NothingDropped {
			at, seen := first[place{w.Path, w.Capacity}]
			if seen {
				n := max(1, out[at].Prompts) + 1
				out[at] = Warning{Kind: NothingDropped, Path: w.Path, Capacity: w.Capacity, Prompts: n}
				continue
			}
			first[place{w.Path, w.Capacity}] = len(out)
		}
		out = append(out, w)
	}
	return out
}

// dumpWarnings turns the warnings of a dump's reader into Warnings.
func dumpWarnings(texts []string) []Warning {
	var list []Warning
	for _, text := range texts {
		list = append(list, Warning{Kind: DamagedDump, Reason: text})
	}
	return list
}
