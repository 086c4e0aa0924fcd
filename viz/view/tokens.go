package view

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/attnscope/attnscope/dumps"
)

// tokensAnswer is the text of prompt and reply, a piece for each token. The
// pieces are plain text: a page must never take them for markup.
type tokensAnswer struct {
	IDs    []int32  `json:"ids"`
	Pieces []string `json:"pieces"`
	Prompt int      `json:"prompt"` // tokens of the prompt
	// Words says that the prompt's pieces are text, not ids; Reply the same of
	// the reply's.
	Words bool `json:"words"`
	Reply bool `json:"reply"`
}

func (s *Server) apiTokens(r *http.Request) (any, error) {
	p := query(r)
	c, _, prompt := s.readPrompt(p)
	if p.err != nil {
		return nil, p.err
	}
	return tokensOf(prompt, s.captures[c].pieces), nil
}

// tokensOf takes pieces from the dump, else cuts the prompt's text where its
// tokens end, else asks the tokenizer, else shows ids.
func tokensOf(p *dumps.Prompt, piece func(id int32) string) tokensAnswer {
	n := p.PromptTokens + p.ReplyTokens
	out := tokensAnswer{IDs: p.Tokens, Pieces: make([]string, n), Prompt: p.PromptTokens, Words: true, Reply: true}
	cut := len(p.Offsets) == p.PromptTokens && p.Text != ""
	for i := range n {
		switch {
		case i < len(p.Pieces):
			out.Pieces[i] = p.Pieces[i]
		case i < p.PromptTokens && cut:
			out.Pieces[i] = between(p, i)
		case piece != nil && i < len(p.Tokens):
			out.Pieces[i] = piece(p.Tokens[i])
		default:
			if i < p.PromptTokens {
				out.Words = false
			} else {
				out.Reply = false
			}
			if i < len(p.Tokens) {
				out.Pieces[i] = strconv.Itoa(int(p.Tokens[i]))
			}
		}
		out.Pieces[i] = strings.ToValidUTF8(out.Pieces[i], "\uFFFD")
	}
	return out
}

// between is the text of prompt token i; damaged offsets give no text.
func between(p *dumps.Prompt, i int) string {
	lo, hi := 0, int(p.Offsets[i])
	if i > 0 {
		lo = int(p.Offsets[i-1])
	}
	if lo < 0 || hi > len(p.Text) || lo > hi {
		return ""
	}
	return p.Text[lo:hi]
}
