package report

import (
	"strings"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
)

// piece is a token of the prompt as text. Level says how many of all heads keep
// it: 0 none, 9 all; -1 for the window and the reply, which nothing drops.
type piece struct {
	Text  string
	Level int
}

// textTokens are shown at each end of a longer prompt.
const textTokens = 700

// text makes the section that shows a prompt as text, shaded by the share of heads
// whose vote keeps a token. Without text in the dump there is none.
func (p *page) text(path string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	for i := range r.Prompts() {
		q := &r.Prompts()[i]
		if q.ID != p.Prompt {
			continue
		}
		words := pieces(q)
		if words == nil {
			return nil
		}
		kept, err := keepers(r, i, p.Config)
		if err != nil {
			return err
		}
		all := len(r.Header().Plan.Layers) * len(r.Header().Plan.Heads)
		for j, word := range words {
			switch {
			case j >= textTokens && j < q.PromptTokens-textTokens:
				p.TextCut++
				continue
			case p.TextCut > 0 && j == q.PromptTokens-textTokens:
				p.Text = append(p.Text, piece{"\n […]\n", -1})
			}
			level := -1
			if j < len(kept) {
				level = (9*kept[j] + all/2) / all
				if kept[j] > 0 {
					level = max(1, level)
				}
			}
			if strings.TrimSpace(word) == "" && strings.Contains(word, "\n") {
				word = "⏎" + word
			}
			p.Text = append(p.Text, piece{word, level})
		}
		if len(q.Pieces) == q.PromptTokens+q.ReplyTokens {
			p.Reply = strings.ToValidUTF8(strings.Join(q.Pieces[q.PromptTokens:], ""), "\uFFFD")
		}
	}
	return nil
}

// pieces are the texts of the prompt's tokens, nil where the dump has none.
func pieces(q *dumps.Prompt) []string {
	out := make([]string, q.PromptTokens)
	switch {
	case len(q.Pieces) >= q.PromptTokens:
		copy(out, q.Pieces)
	case len(q.Offsets) == q.PromptTokens && q.Text != "":
		lo := 0
		for i, end := range q.Offsets {
			if hi := int(end); lo <= hi && hi <= len(q.Text) {
				out[i] = q.Text[lo:hi]
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

// keepers counts, for each prefix position, the heads of all layers whose vote
// keeps it.
func keepers(r *dumps.Reader, prompt int, cfg Config) ([]int, error) {
	q := &r.Prompts()[prompt]
	prefix := q.PromptTokens - cfg.Window
	k := hitrate.Budget(cfg.Top, prefix)
	count := make([]int, prefix)
	rows := make([]float32, cfg.Window*q.PromptTokens)
	for _, layer := range r.Header().Plan.Layers {
		l, err := r.LayerOf(prompt, layer)
		if err != nil {
			return nil, err
		}
		for h := range r.Header().Plan.Heads {
			if err := l.Rows(rows, dumps.Prefill, h, q.WindowRows-cfg.Window, cfg.Window); err != nil {
				return nil, err
			}
			for _, j := range snapkv.TopK(snapkv.Vote(rows, cfg.Window, q.PromptTokens, cfg.Window, prefix), k) {
				count[j]++
			}
		}
	}
	return count, nil
}
