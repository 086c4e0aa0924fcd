package experiments

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// longPrompt is the number of tokens that prompts of dialogues must exceed, as in the
// authors' scripts.
const longPrompt = 3000

// fewDialogues is the number of prompts below which truncated documents are used.
const fewDialogues = 10

// chat makes a prompt from messages. doc names the document that several prompts
// share.
func (l *Lab) chat(id, set, doc string, references []string, messages ...tokenizer.Message) (prompts.Prompt, error) {
	record := prompts.Record{ID: id, Dataset: set, References: references, Document: doc}
	for _, m := range messages {
		record.Messages = append(record.Messages, prompts.Message{Role: m.Role, Content: m.Content})
	}
	return prompts.Prepare(context.Background(), l.Tokenizer, record, prompts.Options{})
}

// longEnough returns the number of tokens that prompts of dialogues must exceed; with
// Quick, any length will do.
func (l *Lab) longEnough() int {
	if l.Quick {
		return 1
	}
	return longPrompt
}

// followed selects turns of recorded dialogues as the authors' scripts do
// (observations/ in their repository, April 2024): prompts of more than 3,000 tokens
// with replies of more than 512, which are followed token by token. It selects the
// first such turn of each dialogue, and returns the number of dialogues without one.
func (l *Lab) followed(reply int) (list []prompts.Prompt, left int, err error) {
	records, err := l.records()
	if err != nil {
		return nil, 0, err
	}
	for i := range records {
		d := &records[i]
		if len(d.Messages) == 0 {
			continue
		}
		p, found, err := l.firstTurn(d, reply)
		if err != nil {
			return nil, 0, err
		}
		if found {
			list = append(list, p)
		} else {
			left++
		}
	}
	return list, left, nil
}

// firstTurn returns the first reply of a dialogue that is long enough and follows a
// long prompt.
func (l *Lab) firstTurn(d *document, reply int) (p prompts.Prompt, found bool, err error) {
	for i, m := range d.Messages {
		if m.Role != "assistant" || i == 0 {
			continue
		}
		p, err := l.chat(fmt.Sprintf("%s/%d", d.ID, i), d.set, "", nil, d.Messages[:i]...)
		if err != nil {
			return p, false, err
		}
		p.Reply = l.Tokenizer.Encode(m.Content, false)
		most := l.Config.MaxPositions
		fits := most == 0 || len(p.Tokens)+reply <= most
		if len(p.Tokens) > l.longEnough() && len(p.Reply) >= reply && fits {
			p.Reply = p.Reply[:reply]
			return p, true, nil
		}
	}
	return prompts.Prompt{}, false, nil
}

// dialogues returns prompts of more than 3,000 tokens that end with a question: turns
// of dialogues; then long documents with their first instruction; then, if there are
// still few prompts, dialogues joined from shorter documents and their reference
// answers. Truncated documents are used only if there are fewer than ten other
// prompts.
func (l *Lab) dialogues(reply int) ([]prompts.Prompt, error) {
	list, left, err := l.followed(reply)
	if err != nil {
		return nil, err
	}
	followed := len(list)
	l.notes.DialoguesFollowed = &followed
	l.notes.DialoguesTooShort = &left
	docs, err := l.documents(reply)
	if err != nil {
		return nil, err
	}
	want := 12 // prompts, if enough documents can be joined
	most := 20
	if l.Quick {
		want = 2
		most = 2
	}
	for i := range docs {
		d := &docs[i]
		if d.truncated && len(list) >= fewDialogues {
			break
		}
		if d.tokens <= longPrompt || len(list) >= most {
			continue
		}
		text := d.Text + "\n\n" + d.Instructions[0]
		p, err := l.chat(d.ID+"/0", d.set, "", nil, tokenizer.Message{Role: "user", Content: text})
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	r := rand.New(rand.NewPCG(l.Seed, 0xd1a1))
	for n := 0; len(list) < want && n < 100; n++ {
		id, turns := l.joined(docs, r)
		if turns == nil {
			break
		}
		if slices.ContainsFunc(list, func(p prompts.Prompt) bool { return p.ID == id }) {
			continue
		}
		p, err := l.chat(id, "joined", "", nil, turns...)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, errors.New("no prompt of more than 3,000 tokens can be made of the sets:" +
			" give longer documents, or documents with outputs to join")
	}
	return list, nil
}

// joined makes a dialogue from short documents in random order, each with one of its
// instructions and the reference answer to it, until the documents have more tokens
// than a prompt needs. The last document has no answer. turns is nil if all documents
// together are too short.
func (l *Lab) joined(docs []document, r *rand.Rand) (id string, turns []tokenizer.Message) {
	var names []string
	tokens := 0
	for _, at := range r.Perm(len(docs)) {
		d := &docs[at]
		if len(d.Outputs) != len(d.Instructions) || d.tokens > longPrompt {
			continue
		}
		ask := r.IntN(len(d.Instructions))
		turns = append(turns, tokenizer.Message{Role: "user", Content: d.Text + "\n\n" + d.Instructions[ask]})
		names = append(names, fmt.Sprintf("%s%d", d.ID, ask))
		tokens += d.tokens
		if tokens > l.longEnough() {
			return strings.Join(names, "+"), turns
		}
		turns = append(turns, tokenizer.Message{Role: "assistant", Content: d.Outputs[ask]})
	}
	return "", nil
}
