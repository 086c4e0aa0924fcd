package experiments

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/examples"
)

// The names of lines and keys consist of one of these adjectives and one of these
// nouns.
var (
	adjectives = strings.Fields(`
		amber ancient brisk calm clever cobalt crimson dusty eager early faint fierce gentle golden grand
		hidden hollow icy idle ivory jolly keen late lively lonely loyal lucky mellow misty modest narrow
		noble odd patient plain polite proud quick quiet rapid rough rusty shady sharp shy silent silver
		simple sleepy slim smooth solid spare steady steep stern sturdy sunny swift tame tidy tiny vast
		vivid warm wary wild wise witty young`)
	nouns = strings.Fields(`
		acorn anchor apple arrow badger barn basket beacon bell bench birch bottle bridge brook button cabin
		candle canyon cedar cellar cherry cliff clock cloud comet copper coral cottage crane creek desk
		engine falcon feather fern field flute forest fountain garden gate glacier goose grove hammer harbor
		hazel heron hill island jacket kettle ladder lake lantern lemon lily linen maple marble meadow mill
		mirror moose moss needle oak oar ocean orchard otter owl paper pebble pine plum pond quill rabbit
		raven reef ribbon river robin saddle sail shore sparrow spruce stone stove thistle thread tower
		trail valley violin wagon walnut willow window wren`)
)

// lineTask is LongEval's lines task in our own words: a record of lines with random
// numbers, one of which is asked for. depth, in [0, 1], is the place of that line.
func lineTask(seed uint64, lines int, depth float64) (text, answer string) {
	r := rand.New(rand.NewPCG(seed, uint64(lines)))
	used := map[string]bool{}
	at := min(lines-1, int(depth*float64(lines)))
	var b strings.Builder
	b.WriteString("Here is a record of lines. Each line has a name and holds a number between < and >." +
		" Remember the number of every line, because one of them will be asked for at the end.\n\n")
	asked := ""
	for i := range lines {
		name := newName(r, used)
		value := fmt.Sprint(10000 + r.IntN(90000))
		fmt.Fprintf(&b, "line %s: REGISTER_CONTENT is <%s>\n", name, value)
		if i == at {
			asked = name
			answer = value
		}
	}
	fmt.Fprintf(&b, "\nThe record is over. What is the REGISTER_CONTENT in line %s? Answer with the number only.", asked)
	return b.String(), answer
}

// haystack returns the text of the set haystack, or of the shipped documents if there
// is no such set.
func (l *Lab) haystack() (string, error) {
	if path := l.Sets["haystack"]; path != "" {
		text, err := os.ReadFile(path)
		if err == nil && len(bytes.TrimSpace(text)) == 0 {
			err = fmt.Errorf("%s: the haystack is empty", path)
		}
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

// The needle of the original needle-in-a-haystack test, the question about it, and
// the phrase that a correct answer holds.
const (
	needleText     = "The best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day."
	needleQuestion = "What is the best thing to do in San Francisco? Answer with the sentence from the text."
	needleAnswer   = "eat a sandwich and sit in Dolores Park"
)

// needleTask hides the needle at depth, in [0, 1], in about the given number of
// haystack tokens, and asks for it.
func needleTask(tok *tokenizer.Tokenizer, hay string, tokens int, depth float64) string {
	text := stack(tok, hay, tokens)
	at := sentence(tok, text, depth)
	return text[:at] + needleText + " " + text[at:] + "\n\n" + needleQuestion
}

// rulerTask hides a number for each of the given count of keys in the haystack and
// asks for one of them. That number is at depth, in [0, 1]; the others are at random
// places.
func rulerTask(tok *tokenizer.Tokenizer, seed uint64, hay string, tokens int, depth float64, keys int) (text, answer string) {
	r := rand.New(rand.NewPCG(seed, uint64(keys)))
	text = stack(tok, hay, tokens)
	asked := ""
	used := map[string]bool{}
	for i := range keys {
		key := newName(r, used)
		value := fmt.Sprint(1000000 + r.IntN(9000000))
		at := r.Float64()
		if i == keys-1 { // the last one, so that the others do not move it
			asked = key
			answer = value
			at = depth
		}
		pos := sentence(tok, text, at)
		text = text[:pos] + fmt.Sprintf("One of the special magic numbers for %s is: %s. ", key, value) + text[pos:]
	}
	const question = "What is the special magic number for %s in the text above? Answer with the number only."
	text = "Some special magic numbers are hidden in the following text. Remember them: one is asked for afterwards.\n\n" +
		text + "\n\n" + fmt.Sprintf(question, asked)
	return text, answer
}

// newName draws an adjective and a noun that have not been used together.
func newName(r *rand.Rand, used map[string]bool) string {
	for {
		name := adjectives[r.IntN(len(adjectives))] + "-" + nouns[r.IntN(len(nouns))]
		if !used[name] {
			used[name] = true
			return name
		}
	}
}

// stack returns the beginning of a text, with the given number of tokens. A shorter
// text is repeated.
func stack(tok *tokenizer.Tokenizer, hay string, tokens int) string {
	ids := tok.Encode(hay, false)
	for len(ids) < tokens {
		hay += "\n" + hay
		ids = tok.Encode(hay, false)
	}
	return hay[:tok.Ends(hay, ids)[tokens-1]]
}

// sentence returns the byte offset at which the sentence with the token at depth, in
// [0, 1], begins; at depth 1 it returns the end of the text.
func sentence(tok *tokenizer.Tokenizer, text string, depth float64) int {
	if depth >= 1 {
		return len(text)
	}
	ids := tok.Encode(text, false)
	at := 0
	if n := int(depth * float64(len(ids))); n > 0 {
		at = int(tok.Ends(text, ids)[n-1])
	}
	if dot := strings.LastIndex(text[:at], ". "); dot >= 0 {
		return dot + 2
	}
	return 0
}
