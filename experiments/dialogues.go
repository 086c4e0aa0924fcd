package experiments

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// chat makes a prompt of messages.
func (l *Lab) chat(id, set, doc string, refs []string, messages ...tokenizer.Message) (prompts.Prompt, error) {
	return prompts.Prepare(l.Tokenizer, prompts.Record{ID: id, Dataset: set, Messages: messages, References: refs, Document: doc}, prompts.Options{})
}

// followed are the turns of recorded dialogues that the authors' scripts take
// (observations/ in their repository, April 2024): prompts of more than 3,000 tokens, replies of more than 512,
// followed token by token. Of each dialogue the first such turn.
func (l *Lab) followed(reply int) (list []prompts.Prompt, left int, err error) {
	long, most := 3000, l.Config.MaxPositions
	if l.Quick {
		long = 1
	}
	records, err := l.records()
	if err != nil {
		return nil, 0, err
	}
	for _, d := range records {
		if len(d.Messages) == 0 {
			continue
		}
		found := false
		for i, m := range d.Messages {
			if m.Role != "assistant" || i == 0 {
				continue
			}
			p, err := l.chat(fmt.Sprintf("%s/%d", d.ID, i), d.set, "", nil, d.Messages[:i]...)
			if err != nil {
				return nil, 0, err
			}
			p.Reply = l.Tokenizer.Encode(m.Content, false)
			if len(p.Tokens) <= long || len(p.Reply) < reply || most > 0 && len(p.Tokens)+reply > most {
				continue
			}
			p.Reply = p.Reply[:reply]
			list, found = append(list, p), true
			break
		}
		if !found {
			left++
		}
	}
	return list, left, nil
}

// dialogues are prompts of more than 3,000 tokens that end with a question:
// dialogues that are long enough, long documents as they are, shorter ones
// joined, with their answers as turns. Truncated documents are taken only where
// there are fewer than ten others.
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
	want, most := 12, 20
	if l.Quick {
		want, most = 2, 2
	}
	r := rand.New(rand.NewPCG(l.Seed, 0xd1a1))
	for _, d := range docs {
		if d.truncated && len(list) >= 10 {
			break
		}
		if d.tokens > 3000 && len(list) < most {
			p, err := l.chat(fmt.Sprintf("%s/0", d.ID), d.set, "", nil, tokenizer.Message{Role: "user", Content: d.Text + "\n\n" + d.Instructions[0]})
			if err != nil {
				return nil, err
			}
			list = append(list, p)
		}
	}
	target := 3000
	if l.Quick {
		target = 1
	}
	for n := 0; len(list) < want && n < 100; n++ {
		var turns []tokenizer.Message
		var names []string
		tokens := 0
		for _, at := range r.Perm(len(docs)) {
			d := docs[at]
			if len(d.Outputs) != len(d.Instructions) || d.tokens > 3000 {
				continue
			}
			ask := r.IntN(len(d.Instructions))
			turns = append(turns, tokenizer.Message{Role: "user", Content: d.Text + "\n\n" + d.Instructions[ask]})
			names = append(names, fmt.Sprintf("%s%d", d.ID, ask))
			if tokens += d.tokens; tokens > target {
				break
			}
			turns = append(turns, tokenizer.Message{Role: "assistant", Content: d.Outputs[ask]})
		}
		if tokens <= target {
			break
		}
		id := strings.Join(names, "+")
		if seen(list, id) {
			continue
		}
		p, err := l.chat(id, "joined", "", nil, turns...)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no prompt of more than 3,000 tokens can be made of the sets: give longer documents, or documents with outputs to join")
	}
	return list, nil
}

func seen(list []prompts.Prompt, id string) bool {
	for i := range list {
		if list[i].ID == id {
			return true
		}
	}
	return false
}
