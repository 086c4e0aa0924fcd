package prompts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/attnscope/attnscope/engine/tokenizer"
)

// Options says how records become tokens.
type Options struct {
	NoSpecialTokens bool   // raw text gets none of the tokens that the post-processor adds
	NoChatTemplate  bool   // messages are joined without the chat template
	System          string // a system message before every chat; may be empty
	Follow          bool   // the first reference is the reply, unless the record has one
	MaxPromptTokens int    // largest number of tokens per prompt; only with Truncate
	Truncate        string // "middle": longer prompts lose their middle; empty: nothing is cut
}

// Prompt is a record as tokens, ready to be run.
type Prompt struct {
	ID, Dataset string
	Text        string // as it was tokenized; empty for input_ids
	Tokens      []int32
	Ends        []int32 // where each token ends in Text, in bytes; nil if not known
	Reply       []int32 // the reply to follow; nil: the model generates one
	References  []string
	Document    string // as in Record
	Context     int    // the first tokens, up to the end of Record.Context; 0: not known
	Truncated   int    // tokens cut from the middle
}

// Prepare renders and tokenizes one record. tok may be nil if the record has only
// tokens. An empty prompt is an error, and so is the end of ctx.
func Prepare(ctx context.Context, tok *tokenizer.Tokenizer, r Record, o Options) (Prompt, error) {
	p := Prompt{ID: r.ID, Dataset: r.Dataset, References: r.References, Document: r.Document}
	fail := func(err error) (Prompt, error) { return p, fmt.Errorf("%s: prompt %q: %w", r.place(), r.ID, err) }
	needs := r.IDs == nil || r.Response != nil || o.Follow && len(r.References) > 0 && r.ResponseIDs == nil
	if tok == nil && needs {
		return fail(fmt.Errorf("%w: the model has none; give input_ids (and response_ids), "+
			"or a model with tokenizer.json", tokenizer.ErrNoTokenizer))
	}
	err := ctx.Err()
	switch {
	case err != nil:
	case r.IDs != nil:
		p.Tokens = r.IDs
	case r.Text != nil:
		p.Text = *r.Text + r.AnswerPrefix
		p.Tokens, err = tok.TryEncode(p.Text, !o.NoSpecialTokens)
	default:
		var special bool
		if p.Text, special, err = render(ctx, tok, &r, o); err == nil {
			p.Text += r.AnswerPrefix
			p.Tokens, err = tok.TryEncode(p.Text, special)
		}
	}
	if err != nil {
		return fail(err)
	}
	if len(p.Tokens) == 0 {
		return fail(errors.New("empty: a prompt needs at least one token"))
	}
	if p.Text != "" {
		p.Ends = tok.Ends(p.Text, p.Tokens)
		p.Context = contextTokens(p.Text, p.Ends, strings.TrimSpace(r.Context))
	}
	p.cut(o)
	switch {
	case r.ResponseIDs != nil:
		p.Reply = r.ResponseIDs
	case r.Response != nil:
		p.Reply, err = tok.TryEncode(*r.Response, false)
	case o.Follow && len(r.References) > 0:
		p.Reply, err = tok.TryEncode(r.References[0], false)
	}
	if err != nil {
		return fail(err)
	}
	if p.Reply == nil && (r.Response != nil || o.Follow && len(r.References) > 0) {
		p.Reply = []int32{} // an empty reply is followed too, not generated
	}
	return p, nil
}

// contextTokens returns the number of tokens of a text up to the end of a context in it, or
// 0 if that is not known. A token that the context shares with the text after it does not
// count.
func contextTokens(text string, ends []int32, context string) int {
	at := strings.Index(text, context)
	if context == "" || at < 0 {
		return 0
	}
	end := int32(at + len(context))
	n := 0
	for n < len(ends) && ends[n] <= end {
		n++
	}
	return n
}

// render turns messages into text, and reports whether the tokenizer must still add its
// special tokens.
func render(ctx context.Context, tok *tokenizer.Tokenizer, r *Record, o Options) (string, bool, error) {
	if tok.HasChatTemplate() && !o.NoChatTemplate {
		text, err := renderChat(ctx, tok, r, o)
		return text, false, err
	}
	text, err := joined(r, o)
	return text, !o.NoSpecialTokens, err
}

// renderChat renders messages with the chat template.
func renderChat(ctx context.Context, tok *tokenizer.Tokenizer, r *Record, o Options) (string, error) {
	msgs := r.Messages
	if o.System != "" {
		msgs = append([]Message{{Role: "system", Content: o.System}}, msgs...)
	}
	var list bytes.Buffer
	for i := range msgs {
		object, err := msgs[i].object()
		if err != nil {
			return "", err
		}
		list.WriteByte("[,"[min(i, 1)])
		list.Write(object)
	}
	list.WriteByte(']')
	return tok.RenderChat(ctx, tokenizer.Chat{
		Messages: list.Bytes(), Tools: r.Tools, Documents: r.Documents, Variables: r.Variables, AddGenerationPrompt: true,
	})
}

// joined joins the texts of messages. What only a chat template can write is an error.
func joined(r *Record, o Options) (string, error) {
	for _, f := range []struct {
		name  string
		value json.RawMessage
	}{{"tools", r.Tools}, {"documents", r.Documents}, {"chat_template_kwargs", r.Variables}} {
		if f.value != nil {
			return "", fmt.Errorf("%s: only a chat template can use them, and none is applied: "+
				"leave them out with --ignore-field %s", f.name, f.name)
		}
	}
	var parts []string
	if o.System != "" {
		parts = append(parts, o.System)
	}
	if r.Plain != nil {
		return strings.Join(append(parts, *r.Plain), "\n\n"), nil
	}
	for i, m := range r.Messages {
		if m.Beyond != nil {
			return "", fmt.Errorf("message %d has %s: only a chat template can use that, and none is applied: "+
				"leave it out with --ignore-field %s", i+1, strings.Join(m.Beyond, ", "), shellWord(strings.Join(m.Beyond, ",")))
		}
		parts = append(parts, m.Content)
	}
	return strings.Join(parts, "\n\n"), nil
}

// cut removes the middle of a prompt that is too long.
func (p *Prompt) cut(o Options) {
	n := o.MaxPromptTokens
	if o.Truncate != "middle" || n <= 0 || len(p.Tokens) <= n {
		return
	}
	p.Truncated = len(p.Tokens) - n
	head := n / 2
	tail := len(p.Tokens) - (n - head)
	if p.Context > head {
		p.Context = max(head, p.Context-p.Truncated)
	}
	if p.Ends != nil {
		from, to := p.Ends[max(0, head-1)], p.Ends[tail-1]
		if head == 0 {
			from = 0
		}
		p.Text = p.Text[:from] + p.Text[to:]
		ends := append([]int32(nil), p.Ends[:head]...)
		for _, e := range p.Ends[tail:] {
			ends = append(ends, e-(to-from))
		}
		p.Ends = ends
	} else {
		p.Text = ""
	}
	p.Tokens = append(append([]int32(nil), p.Tokens[:head]...), p.Tokens[tail:]...)
}
