package report

import (
	"strings"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
)

// promptText is a prompt as text, with the number of heads that keep each token. It
// is empty if the dump has no text.
type promptText struct {
	pieces []piece
	cut    int // tokens left out in the middle
	reply  string
}

// piece is a token of the prompt as text. Level says how many of all heads keep it:
// from 0, no head, to 9, all heads. It is -1 for tokens that are always kept.
type piece struct {
	Text  string
	Level int
}

// textTokens is the number of tokens shown at each end of a long prompt.
const textTokens = 700

// readText reads the prompt whose layers are shown.
func (n *numbers) readText(path string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	for i := range r.Prompts() {
		p := &r.Prompts()[i]
		if p.ID != n.prompt {
			continue
		}
		words := pieces(p)
		if words == nil {
			return nil
		}
		kept, err := keepers(r, i, n.cfg)
		if err != nil {
			return err
		}
		heads := 0
		for _, layer := range r.Header().Plan.Layers {
			heads += len(r.Header().HeadsOf(layer))
		}
		n.text.shade(words, kept, heads)
		if len(p.Pieces) == p.PromptTokens+p.ReplyTokens {
			n.text.reply = strings.ToValidUTF8(strings.Join(p.Pieces[p.PromptTokens:], ""), "\uFFFD")
		}
	}
	return nil
}

// shade adds the words of a prompt. kept counts the heads that keep each word of the
// prefix, out of heads.
func (t *promptText) shade(words []string, kept []int, heads int) {
	for j, word := range words {
		switch {
		case j >= textTokens && j < len(words)-textTokens:
			t.cut++
			continue
		case t.cut > 0 && j == len(words)-textTokens:
			t.pieces = append(t.pieces, piece{"\n […]\n", -1})
		}
		level := -1
		if j < len(kept) {
			level = (9*kept[j] + heads/2) / heads
			if kept[j] > 0 {
				level = max(1, level)
			}
		}
		if strings.TrimSpace(word) == "" && strings.Contains(word, "\n") {
			word = "⏎" + word
		}
		t.pieces = append(t.pieces, piece{word, level})
	}
}

// pieces returns the texts of the prompt's tokens; nil if the dump has none.
func pieces(p *dumps.Prompt) []string {
	out := make([]string, p.PromptTokens)
	switch {
	case len(p.Pieces) >= p.PromptTokens:
		copy(out, p.Pieces)
	case len(p.Offsets) == p.PromptTokens && p.Text != "":
		lo := 0
		for i, end := range p.Offsets {
			if hi := int(end); lo <= hi && hi <= len(p.Text) {
				out[i] = p.Text[lo:hi]
				lo = hi
			}
		}
	default:
		return nil
	}
	for i := range out {
		out[i] = strings.ToValidUTF8(out[i], "\uFFFD")
	}
	return out
}

// keepers counts, for each position of the prefix, the heads of all layers whose
// vote keeps it.
func keepers(r *dumps.Reader, prompt int, cfg Config) ([]int, error) {
	p := &r.Prompts()[prompt]
	prefix := p.PromptTokens - cfg.Window
	k := hitrate.Budget(cfg.Top, prefix)
	count := make([]int, prefix)
	rows := make([]float32, cfg.Window*p.PromptTokens)
	for _, layer := range r.Header().Plan.Layers {
		l, err := r.LayerOf(prompt, layer)
		if err != nil {
			return nil, err
		}
		for h := range r.Header().HeadsOf(layer) {
			if err := l.Rows(rows, dumps.Prefill, h, p.WindowRows-cfg.Window, cfg.Window); err != nil {
				return nil, err
			}
			for _, j := range snapkv.TopK(snapkv.Vote(rows, cfg.Window, p.PromptTokens, cfg.Window, prefix), k) {
				count[j]++
			}
		}
	}
	return count, nil
}
