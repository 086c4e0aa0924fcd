package experiments

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/capture/tokenizer"
	"github.com/attnscope/attnscope/examples"
)

// document is a text with instructions on it and reference answers.
type document struct {
	ID           string              `json:"id"`
	Text         string              `json:"document"`
	Instructions []string            `json:"instructions"`
	Outputs      []string            `json:"outputs"`
	Messages     []tokenizer.Message `json:"messages"`
	set          string
	tokens       int // of the text, after truncation
}

// documents reads the sets of -p, or the documents that ship. Texts longer than
// limit tokens lose their middle; their set is named so.
func (l *Lab) documents(limit int) ([]document, error) {
	if l.MaxTokens > 0 {
		limit = min(limit, l.MaxTokens)
	}
	var list []document
	read := func(set string, text []byte) error {
		s := bufio.NewScanner(bytes.NewReader(text))
		s.Buffer(make([]byte, 1<<20), 256<<20)
		for line := 1; s.Scan(); line++ {
			d := document{set: set}
			if err := json.Unmarshal(s.Bytes(), &d); err != nil {
				return fmt.Errorf("%s: line %d: %w", set, line, err)
			}
			if d.Text == "" || len(d.Instructions) == 0 {
				continue // a dialogue; see dialogues
			}
			list = append(list, d)
		}
		return s.Err()
	}
	for _, set := range l.SetOrder {
		if set == "haystack" || set == "lines" {
			continue
		}
		text, err := os.ReadFile(l.Sets[set])
		if err != nil {
			return nil, err
		}
		if err := read(set, text); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		if err := read("examples", examples.Prompts); err != nil {
			return nil, err
		}
	}
	for i := range list {
		d := &list[i]
		ids := l.Tokenizer.Encode(d.Text, false)
		if d.tokens = len(ids); len(ids) > limit {
			ends := l.Tokenizer.Ends(d.Text, ids)
			d.Text = d.Text[:ends[limit/2-1]] + d.Text[ends[len(ids)-(limit-limit/2)-1]:]
			d.set, d.tokens = d.set+" (truncated)", limit
		}
	}
	return list, nil
}

// room is how many document tokens leave place for an instruction and a reply.
func (l *Lab) room(reply int) int {
	if n := l.Model.Config().MaxPositions; n > 0 {
		return max(256, n-reply-400)
	}
	return 1 << 20
}

// chat makes a prompt of messages.
func (l *Lab) chat(id, set, doc string, refs []string, messages ...tokenizer.Message) (prompts.Prompt, error) {
	return prompts.Prepare(l.Tokenizer, prompts.Record{ID: id, Dataset: set, Messages: messages, References: refs, Document: doc}, prompts.Options{})
}

// dialogues are prompts of more than 3,000 tokens that end with a question: long
// documents as they are, shorter ones joined, with their answers as turns.
func (l *Lab) dialogues(reply int) ([]prompts.Prompt, error) {
	docs, err := l.documents(l.room(reply))
	if err != nil {
		return nil, err
	}
	want, most := 12, 12
	if l.Quick {
		want, most = 2, 2
	}
	r := rand.New(rand.NewPCG(l.Seed, 0xd1a1))
	var list []prompts.Prompt
	for _, d := range docs {
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

// Adjectives and nouns of the lines' names.
var (
	adjectives = strings.Fields("amber ancient brisk calm clever cobalt crimson dusty eager early faint fierce gentle golden grand hidden hollow icy idle ivory jolly keen late lively lonely loyal lucky mellow misty modest narrow noble odd patient plain polite proud quick quiet rapid rough rusty shady sharp shy silent silver simple sleepy slim smooth solid spare steady steep stern sturdy sunny swift tame tidy tiny vast vivid warm wary wild wise witty young")
	nouns      = strings.Fields("acorn anchor apple arrow badger barn basket beacon bell bench birch bottle bridge brook button cabin candle canyon cedar cellar cherry cliff clock cloud comet copper coral cottage crane creek desk engine falcon feather fern field flute forest fountain garden gate glacier goose grove hammer harbor hazel heron hill island jacket kettle ladder lake lantern lemon lily linen maple marble meadow mill mirror moose moss needle oak oar ocean orchard otter owl paper pebble pine plum pond quill rabbit raven reef ribbon river robin saddle sail shore sparrow spruce stone stove thistle thread tower trail valley violin wagon walnut willow window wren")
)

// lineTask is a record of lines with random numbers, one of which is asked for:
// LongEval's lines task, in own words. depth in [0, 1] says where the asked line
// stands.
func lineTask(seed uint64, lines int, depth float64) (text, answer string) {
	r := rand.New(rand.NewPCG(seed, uint64(lines)))
	used := map[string]bool{}
	at := min(lines-1, int(depth*float64(lines)))
	var b strings.Builder
	b.WriteString("Here is a record of lines. Each line has a name and holds a number between < and >. Remember the number of every line, because one of them will be asked for at the end.\n\n")
	asked := ""
	for i := range lines {
		name := ""
		for name == "" || used[name] {
			name = adjectives[r.IntN(len(adjectives))] + "-" + nouns[r.IntN(len(nouns))]
		}
		used[name] = true
		value := fmt.Sprint(10000 + r.IntN(90000))
		fmt.Fprintf(&b, "line %s: REGISTER_CONTENT is <%s>\n", name, value)
		if i == at {
			asked, answer = name, value
		}
	}
	fmt.Fprintf(&b, "\nThe record is over. What is the REGISTER_CONTENT in line %s? Answer with the number only.", asked)
	return b.String(), answer
}

// haystack is the text of -p haystack=FILE, or of the documents that ship.
func (l *Lab) haystack() (string, error) {
	if path := l.Sets["haystack"]; path != "" {
		text, err := os.ReadFile(path)
		return string(text), err
	}
	var b strings.Builder
	s := bufio.NewScanner(bytes.NewReader(examples.Prompts))
	s.Buffer(make([]byte, 1<<20), 1<<24)
	for s.Scan() {
		var d document
		if err := json.Unmarshal(s.Bytes(), &d); err != nil {
			return "", err
		}
		b.WriteString(d.Text + "\n\n")
	}
	return b.String(), s.Err()
}

// The needle of the original needle-in-a-haystack test, its question, and what
// an answer must hold.
const (
	needleText     = "The best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day."
	needleQuestion = "What is the best thing to do in San Francisco? Answer with the sentence from the text."
	needleAnswer   = "eat a sandwich and sit in Dolores Park"
)

// needleTask hides the needle in a haystack of about so many tokens, repeated as
// often as needed, at a sentence that begins near depth.
func needleTask(tok *tokenizer.Tokenizer, hay string, tokens int, depth float64) string {
	ids := tok.Encode(hay, false)
	for len(ids) < tokens {
		hay += "\n" + hay
		ids = tok.Encode(hay, false)
	}
	ends := tok.Ends(hay, ids)
	text := hay[:ends[tokens-1]]
	at := len(text)
	if depth < 1 {
		at = 0
		if n := int(depth * float64(tokens)); n > 0 {
			at = int(ends[n-1])
		}
		if dot := strings.LastIndex(text[:at], ". "); dot >= 0 {
			at = dot + 2
		} else {
			at = 0
		}
	}
	return text[:at] + needleText + " " + text[at:] + "\n\n" + needleQuestion
}
