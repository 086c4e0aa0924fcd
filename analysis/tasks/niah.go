package tasks

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis/answers"
)

// rulerTasks are the thirteen tasks of RULER (arXiv:2404.06654, github.com/NVIDIA/RULER,
// scripts/synthetic.yaml).
var rulerTasks = []Task{
	niah("niah_single_1", needles{hay: noise, keys: 1, values: 1, queries: 1}),
	niah("niah_single_2", needles{hay: essay, keys: 1, values: 1, queries: 1}),
	niah("niah_single_3", needles{hay: essay, keys: 1, values: 1, queries: 1, value: uuids}),
	niah("niah_multikey_1", needles{hay: essay, keys: 4, values: 1, queries: 1}),
	niah("niah_multikey_2", needles{hay: others, keys: 1, values: 1, queries: 1}),
	niah("niah_multikey_3", needles{hay: others, keys: 1, values: 1, queries: 1, key: uuids, value: uuids}),
	niah("niah_multivalue", needles{hay: essay, keys: 1, values: 4, queries: 1}),
	niah("niah_multiquery", needles{hay: essay, keys: 4, values: 1, queries: 4}),
	{Name: "vt", Suite: "ruler", Reply: 30, Scorer: answers.MatchAll, recipe: variables},
	{Name: "cwe", Suite: "ruler", Reply: 120, Scorer: answers.MatchAll, recipe: commonWords},
	{Name: "fwe", Suite: "ruler", Reply: 50, Scorer: answers.MatchAll, recipe: frequentWords},
	qa("qa_1", "squad"),
	qa("qa_2", "hotpotqa"),
}

// qa makes a task of the family qa, with the questions of a file.
func qa(name, file string) Task {
	return Task{
		Name: name, Suite: "ruler", Reply: 32, Scorer: answers.MatchPart, File: file, recipe: documents(file),
	}
}

// hay is the text in which needles are hidden.
type hay int

const (
	essay  hay = iota // the haystack
	noise             // five short sentences, repeated
	others            // needles that are not asked for
)

// kind is the kind of a key or a value.
type kind int

const (
	plain kind = iota // keys: pairs of words; values: numbers of seven digits
	uuids
)

// needles is a task of RULER that hides values under keys.
type needles struct {
	hay        hay
	keys       int
	values     int // of each key
	queries    int // keys that are asked for
	key, value kind
}

// niah makes a task of the family niah.
func niah(name string, n needles) Task {
	return Task{
		Name: name, Suite: "ruler", Reply: 128, Scorer: answers.MatchAll,
		recipe: func(s *source, length, _ int) (recipe, error) {
			step := smallStep(length, 25)
			if n.hay == essay {
				step = min(500, max(50, length/8))
			}
			return recipe{
				step: step,
				make: func(r *rand.Rand, size, _ int) (question, error) { return n.question(s, r, size) },
			}, nil
		},
	}
}

// smallStep returns the published step of a recipe, which is 5 below 4,096 tokens.
func smallStep(length, step int) int {
	if length < 4096 {
		return 5
	}
	return step
}

// noiseText is the sentence of RULER's noise.
const noiseText = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."

// question hides the needles among size words of the haystack, or among size sentences.
func (n *needles) question(s *source, r *rand.Rand, size int) (question, error) {
	var keys, hidden []string
	var values [][]string
	used := map[string]bool{}
	for range n.keys {
		key := n.newKey(r, used)
		keys = append(keys, key)
		var of []string
		for range n.values {
			v := n.newValue(r)
			of = append(of, v)
			hidden = append(hidden, n.needle(key, v))
		}
		values = append(values, of)
	}
	r.Shuffle(len(hidden), func(i, j int) { hidden[i], hidden[j] = hidden[j], hidden[i] })
	context, err := n.context(s, r, size, hidden, used)
	if err != nil {
		return question{}, err
	}
	var asked []string
	q := question{context: context}
	for _, i := range sample(r, n.keys, n.queries) {
		asked = append(asked, keys[i])
		q.answers = append(q.answers, values[i]...)
	}
	query := asked[0]
	if last := len(asked) - 1; last > 0 {
		query = strings.Join(asked[:last], ", ") + ", and " + asked[last]
	}
	q.text, q.prefix = n.template(context, query)
	return q, nil
}

// valueName is the name of the values in the text.
func (n *needles) valueName() string {
	if n.value == uuids {
		return "uuids"
	}
	return "numbers"
}

// needle is the sentence that hides a value.
func (n *needles) needle(key, value string) string {
	return fmt.Sprintf("One of the special magic %s for %s is: %s.", n.valueName(), key, value)
}

// template puts context and query into the text of the task. With one answer, it is in the
// singular.
func (n *needles) template(context, query string) (text, prefix string) {
	values := n.valueName()
	some, are, areAll := "Some", "are", "are all"
	if n.queries*n.values == 1 {
		values = strings.TrimSuffix(values, "s")
		some, are, areAll = "A", "is", "is"
	}
	text = fmt.Sprintf("%s special magic %s %s hidden within the following text. Make sure to memorize it. "+
		"I will quiz you about the %s afterwards.\n%s\n"+
		"What %s the special magic %s for %s mentioned in the provided text?",
		some, values, are, values, context, areAll, values, query)
	prefix = fmt.Sprintf(" The special magic %s for %s mentioned in the provided text %s", values, query, are)
	return text, prefix
}

// context hides the needles in the text.
func (n *needles) context(s *source, r *rand.Rand, size int, hidden []string, used map[string]bool) (string, error) {
	if n.hay == essay {
		words, err := s.essayWords(size)
		if err != nil {
			return "", err
		}
		return among(r, sentences(strings.Join(words, " ")), hidden), nil
	}
	lines := make([]string, size)
	for i := range lines {
		lines[i] = noiseText
		if n.hay == others {
			lines[i] = n.needle(n.newKey(r, used), n.newValue(r))
		}
	}
	places := sample(r, size, len(hidden))
	slices.Sort(places)
	slices.Reverse(places)
	for i, at := range places {
		lines = slices.Insert(lines, at, hidden[i])
	}
	return strings.Join(lines, "\n"), nil
}

// depths are the 40 depths at which RULER hides needles, in percent.
var depths = func() []int {
	out := make([]int, 40)
	for i := range out {
		out[i] = int(math.RoundToEven(100 * float64(i) / 39))
	}
	return out
}()

// among puts needles between sentences, each at another depth.
func among(r *rand.Rand, list, hidden []string) string {
	var places []int
	for _, i := range sample(r, len(depths), len(hidden)) {
		places = append(places, len(list)*depths[i]/100)
	}
	slices.Sort(places)
	var out []string
	last := 0
	for i, at := range places {
		out = append(out, strings.Join(list[last:at], " "), hidden[i])
		last = at
	}
	return strings.Join(append(out, strings.Join(list[last:], " ")), " ")
}

// newKey draws a key.
func (n *needles) newKey(r *rand.Rand, used map[string]bool) string {
	if n.key == uuids {
		return newUUID(r)
	}
	return newName(r, used)
}

// newValue draws a value.
func (n *needles) newValue(r *rand.Rand) string {
	if n.value == uuids {
		return newUUID(r)
	}
	return fmt.Sprint(1_000_000 + r.IntN(9_000_000))
}

// newUUID draws a UUID of version 4.
func newUUID(r *rand.Rand) string {
	high := r.Uint64()&^0xf000 | 0x4000
	low := r.Uint64()&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&(1<<48-1))
}
