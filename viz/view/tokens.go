package view

import (
	"context"
	"strconv"
	"strings"

	"github.com/attnscope/attnscope/dumps"
)

// tokensAnswer is the text of prompt and reply, one piece per token. The pieces are
// plain text: a page must never take them for markup.
type tokensAnswer struct {
	IDs    []int32  `json:"ids"`
	Pieces []string `json:"pieces"`
	Prompt int      `json:"prompt"` // tokens of the prompt
	Words  bool     `json:"words"`  // the prompt's pieces are text, not ids
	Reply  bool     `json:"reply"`  // the reply's pieces are text, not ids
}

func (s *Server) tokens(_ context.Context, q promptQuery) (tokensAnswer, error) {
	c := s.captures[q.capture]
	return tokensOf(&c.Prompts()[q.prompt], c.pieces), nil
}

// tokensOf takes each token's text from the pieces in the dump, else from the
// prompt's text and the ends of its tokens, else from the tokenizer. Tokens without a
// text show their ids.
func tokensOf(p *dumps.Prompt, piece func(id int32) string) tokensAnswer {
	n := p.PromptTokens + p.ReplyTokens
	out := tokensAnswer{IDs: p.Tokens, Pieces: make([]string, n), Prompt: p.PromptTokens, Words: true, Reply: true}
	hasOffsets := len(p.Offsets) == p.PromptTokens && p.Text != ""
	for i := range n {
		text := ""
		switch {
		case i < len(p.Pieces):
			text = p.Pieces[i]
		case i < p.PromptTokens && hasOffsets:
			text = textOf(p, i)
		case piece != nil && i < len(p.Tokens):
			text = piece(p.Tokens[i])
		default:
			if i < p.PromptTokens {
				out.Words = false
			} else {
				out.Reply = false
			}
			if i < len(p.Tokens) {
				text = strconv.Itoa(int(p.Tokens[i]))
			}
		}
		out.Pieces[i] = strings.ToValidUTF8(text, "\uFFFD")
	}
	return out
}

// textOf returns the text of prompt token i, empty if its offsets are damaged.
func textOf(p *dumps.Prompt, i int) string {
	lo, hi := 0, int(p.Offsets[i])
	if i > 0 {
		lo = int(p.Offsets[i-1])
	}
	if lo < 0 || hi > len(p.Text) || lo > hi {
		return ""
	}
	return p.Text[lo:hi]
}
