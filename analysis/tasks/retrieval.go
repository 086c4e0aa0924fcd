package tasks

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf8"

	"github.com/attnscope/attnscope/analysis/answers"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// linesTask asks for the number in one of many lines.
var linesTask = Task{
	Name: "lines", Suite: "lines", Reply: 16, Scorer: answers.MatchAll,
	recipe: func(*source, int, int) (recipe, error) {
		return recipe{
			step: 5,
			make: func(r *rand.Rand, size, index int) (question, error) {
				text, answer := Lines(r.Uint64(), size, depth(index))
				context, _, _ := strings.Cut(text, linesQuestion)
				return question{text: text, context: context, answers: []string{answer}}, nil
			},
		}, nil
	},
}

// needleTask asks for the needle in a haystack.
var needleTask = Task{
	Name: "needle", Suite: "needle", Reply: 24, Scorer: answers.MatchAll,
	recipe: func(s *source, _, _ int) (recipe, error) {
		hay, err := Haystack(s.Files["haystack"])
		return recipe{
			step: 50,
			make: func(_ *rand.Rand, size, index int) (question, error) {
				text := Needle(s.Tokenizer, hay, size, depth(index))
				context := strings.TrimSuffix(text, needleQuestion)
				return question{text: text, context: context, answers: []string{NeedleAnswer}}, nil
			},
		}, err
	},
}

// linesQuestion begins the question about the lines.
const linesQuestion = "\nThe record is over."

// depth returns the depth of the answer in a sample: 1/2, 1/4, 3/4, 1/8, 5/8 and so on, so
// that any number of first samples is spread evenly.
func depth(index int) float64 {
	out := 0.0
	step := 0.5
	for n := index + 1; n > 0; n /= 2 {
		out += step * float64(n%2) // an exact product
		step /= 2
	}
	return out
}

// Lines is LongEval's lines task in our own words: a record of lines with random
// numbers, one of which is asked for. depth, in [0, 1], is the place of that line.
func Lines(seed uint64, lines int, depth float64) (text, answer string) {
	r := rand.New(rand.NewPCG(seed, uint64(lines)))
	used := map[string]bool{}
	at := min(lines-1, int(depth*float64(lines)))
	var b strings.Builder
	b.WriteString("Here is a record of lines. Each line has a name and holds a number between < and >. " +
		"Remember the number of every line, because one of them will be asked for at the end.\n\n")
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
	fmt.Fprintf(&b, linesQuestion+" What is the REGISTER_CONTENT in line %s? Answer with the number only.", asked)
	return b.String(), answer
}

// The needle of the original needle-in-a-haystack test, the question about it, and
// the phrase that a correct answer holds.
const (
	NeedleText     = "The best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day."
	needleQuestion = "What is the best thing to do in San Francisco? Answer with the sentence from the text."
	NeedleAnswer   = "eat a sandwich and sit in Dolores Park"
)

// Needle hides the needle at depth, in [0, 1], in about the given number of
// haystack tokens, and asks for it.
func Needle(tok *tokenizer.Tokenizer, hay string, tokens int, depth float64) string {
	text := stack(tok, hay, tokens)
	at := sentence(tok, text, depth)
	return text[:at] + NeedleText + " " + text[at:] + "\n\n" + needleQuestion
}

// Number hides a number for each of the given count of keys in the haystack and
// asks for one of them. That number is at depth, in [0, 1]; the others are at random
// places.
func Number(
	tok *tokenizer.Tokenizer, seed uint64, hay string, tokens int, depth float64, keys int,
) (text, answer string) {
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
	text = "Some special magic numbers are hidden in the following text. " +
		"Remember them: one is asked for afterwards.\n\n" + text + "\n\n" + fmt.Sprintf(question, asked)
	return text, answer
}

// ends returns the byte end of each token. If the tokens do not spell the text, because
// the vocabulary lacks some of it, all take equally many bytes.
func ends(tok *tokenizer.Tokenizer, text string, ids []int32) []int32 {
	if list := tok.Ends(text, ids); list != nil {
		return list
	}
	list := make([]int32, len(ids))
	for i := range list {
		at := len(text) * (i + 1) / len(ids)
		for at < len(text) && !utf8.RuneStart(text[at]) {
			at++
		}
		list[i] = int32(at)
	}
	return list
}

// stack returns the beginning of a text, with the given number of tokens. A shorter
// text is repeated.
func stack(tok *tokenizer.Tokenizer, hay string, tokens int) string {
	ids := tok.Encode(hay, false)
	for len(ids) < tokens {
		hay += "\n" + hay
		ids = tok.Encode(hay, false)
	}
	return hay[:ends(tok, hay, ids)[tokens-1]]
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
		at = int(ends(tok, text, ids)[n-1])
	}
	if dot := strings.LastIndex(text[:at], ". "); dot >= 0 {
		return dot + 2
	}
	return 0
}
