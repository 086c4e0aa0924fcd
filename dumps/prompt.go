package dumps

import (
	"fmt"
	"io"
)

// Prompt describes one prompt of a dump.
type Prompt struct {
	ID           string   `json:"id"`
	Index        int      `json:"index,omitempty"` // place in the prompt set, from 1; 0: unknown
	Dataset      string   `json:"dataset,omitempty"`
	SHA256       string   `json:"sha256,omitempty"` // of the token ids
	Text         string   `json:"text,omitempty"`
	PromptTokens int      `json:"prompt_tokens"`
	ReplyTokens  int      `json:"reply_tokens"`
	WindowRows   int      `json:"window_rows"`       // recorded rows at the end of the prompt
	Tokens       []int32  `json:"tokens,omitempty"`  // of prompt and reply
	Offsets      []int32  `json:"offsets,omitempty"` // byte end of each prompt token in Text
	Pieces       []string `json:"pieces,omitempty"`  // text of each token
	Document     string   `json:"document,omitempty"`
	References   []string `json:"references,omitempty"`
	Followed     bool     `json:"followed,omitempty"` // the reply was given, not generated
	Store        Store    `json:"store"`
	Truncated    int      `json:"truncated,omitempty"` // tokens that were cut from the prompt
	Blocks       int      `json:"blocks"`              // records of the prompt before its end
	Kernel       string   `json:"kernel,omitempty"`    // what computed the numbers: avx2, cuda NAME
}

// Shape returns how many rows of a phase the prompt has, how many keys each row
// spans, and the position of the first row's query.
func (p *Prompt) Shape(ph Phase) (rows, keys, pos0 int) {
	if ph == Decode {
		return p.ReplyTokens, p.PromptTokens + p.ReplyTokens, p.PromptTokens
	}
	return p.WindowRows, p.PromptTokens, p.PromptTokens - p.WindowRows
}

// endBudget counts what the ends of the prompts of a file of size bytes take.
type endBudget struct {
	name   string // of the file, for errors
	size   int64
	bytes  uint64 // decompressed
	values uint64 // in their JSON
}

// take counts an end of so many bytes. Its error is about the whole file.
func (b *endBudget) take(bytes uint64) error {
	b.bytes += bytes
	if b.bytes > maxPrompts(b.size) {
		return fmt.Errorf("%s: the ends of its prompts take %d bytes in a file of %d bytes, at most %d are read: %w",
			b.name, b.bytes, b.size, maxPrompts(b.size), ErrCorrupt)
	}
	return nil
}

// readPrompt reads and checks the end of a prompt, whose bytes the budget has counted.
func (b *endBudget) readPrompt(f io.ReaderAt, r record) (*Prompt, error) {
	raw, values, err := readJSON(f, r, maxPromptValues(b.size)-b.values)
	if err != nil {
		return nil, err
	}
	b.values += values
	p := &Prompt{}
	if err := unmarshal(r.Kind, raw, p); err != nil {
		return nil, err
	}
	if p.Store != "" && p.Store != StoreRows && p.Store != StoreFactors {
		return nil, fmt.Errorf("prompt %q: store %q, want %s or %s: %w", p.ID, p.Store, StoreRows, StoreFactors, ErrCorrupt)
	}
	if !p.sound() {
		return nil, fmt.Errorf("prompt %q: its counts make no sense: %w", p.ID, ErrCorrupt)
	}
	return p, nil
}

// sound reports whether the counts are possible, within the limits and fit each
// other.
func (p *Prompt) sound() bool {
	return within(p.PromptTokens, 1, maxTokens) &&
		within(p.ReplyTokens, 0, maxTokens) &&
		within(p.WindowRows, 0, p.PromptTokens) &&
		p.Blocks >= 0 && p.Index >= 0 &&
		len(p.Tokens) == p.PromptTokens+p.ReplyTokens &&
		p.textFits()
}

// textFits reports whether offsets and pieces fit the tokens and the text.
func (p *Prompt) textFits() bool {
	last := int32(0)
	for _, end := range p.Offsets {
		if end < last || int(end) > len(p.Text) {
			return false
		}
		last = end
	}
	return (len(p.Offsets) == 0 || len(p.Offsets) == p.PromptTokens) &&
		(len(p.Pieces) == 0 || len(p.Pieces) == len(p.Tokens))
}
