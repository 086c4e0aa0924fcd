package dumpstest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// WriteText writes the dump that text describes, so that a test shows its whole
// input. Lines are:
//
//	dump layers=2 heads=2 rows=4 windows=2x4   the shape; windows is optional
//	prompt a tokens=12 reply=2 dataset=qa      a prompt; dataset is optional
//	* 0-1 12-13 0=0.5 3=0.25                   weights of the prompt above
//
// A line of weights names layers, heads and queries (positions from 0), each as "*",
// "3" or "3-5", and then key=weight pairs. The rest up to 1 goes to the query's own
// position. Later lines replace earlier ones; a query that no line names attends only
// to itself. Text from "#" to the end of a line is a comment.
func WriteText(t testing.TB, path, text string) {
	t.Helper()
	d, err := parseText(text)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var list []Planted
	for _, p := range d.prompts {
		tokens := make([]int32, p.tokens)
		for i := range tokens {
			tokens[i] = int32(i)
		}
		list = append(list, Planted{ID: p.id, Dataset: p.dataset, Tokens: tokens, Reply: p.reply, Weight: p.weight})
	}
	writePlanted(t, path, d.shape, list, true)
}

// textDump is a parsed text.
type textDump struct {
	shape   PlantedShape
	prompts []*textPrompt
}

type textPrompt struct {
	id, dataset   string
	tokens, reply int
	rules         []rule
}

// A rule gives the weights of some queries.
type rule struct {
	layers, heads, queries interval
	weights                map[int]float32
}

// An interval holds the numbers from first to last.
type interval struct{ first, last int }

func (s interval) has(i int) bool { return s.first <= i && i <= s.last }

// weight returns the weight of a key by the last rule that matches it.
func (p *textPrompt) weight(layer, head, query, key int) float32 {
	for i := len(p.rules) - 1; i >= 0; i-- {
		r := &p.rules[i]
		if !r.layers.has(layer) || !r.heads.has(head) || !r.queries.has(query) {
			continue
		}
		if key != query {
			return r.weights[key]
		}
		rest := float32(1)
		for k, w := range r.weights {
			if k < query {
				rest -= w
			}
		}
		return rest
	}
	if key == query {
		return 1
	}
	return 0
}

func parseText(text string) (*textDump, error) {
	d := &textDump{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := d.parseLine(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return d, nil
}

func (d *textDump) parseLine(words []string) error {
	switch words[0] {
	case "dump":
		return parseFields(words[1:], map[string]any{
			"layers": &d.shape.Layers, "heads": &d.shape.Heads, "rows": &d.shape.Rows,
			"windows": [2]*int{&d.shape.Windows, &d.shape.WindowSize},
		})
	case "prompt":
		if len(words) < 2 {
			return fmt.Errorf("the prompt has no id")
		}
		p := &textPrompt{id: words[1]}
		d.prompts = append(d.prompts, p)
		return parseFields(words[2:], map[string]any{"tokens": &p.tokens, "reply": &p.reply, "dataset": &p.dataset})
	}
	if len(d.prompts) == 0 || len(words) < 3 {
		return fmt.Errorf("%q is neither a dump, a prompt nor weights of a prompt", strings.Join(words, " "))
	}
	r, err := parseRule(words)
	if err != nil {
		return err
	}
	p := d.prompts[len(d.prompts)-1]
	p.rules = append(p.rules, r)
	return nil
}

func parseRule(words []string) (rule, error) {
	r := rule{weights: map[int]float32{}}
	for i, s := range []*interval{&r.layers, &r.heads, &r.queries} {
		var err error
		if *s, err = parseInterval(words[i]); err != nil {
			return r, err
		}
	}
	for _, word := range words[3:] {
		name, value, _ := strings.Cut(word, "=")
		key, err := strconv.Atoi(name)
		if err != nil {
			return r, err
		}
		weight, err := strconv.ParseFloat(value, 32)
		if err != nil {
			return r, err
		}
		r.weights[key] = float32(weight)
	}
	return r, nil
}

// parseFields reads NAME=VALUE words into the variables of their names.
func parseFields(words []string, fields map[string]any) error {
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch to := fields[name].(type) {
		case *int:
			*to, err = strconv.Atoi(value)
		case *string:
			*to = value
		case [2]*int:
			_, err = fmt.Sscanf(value, "%dx%d", to[0], to[1])
		default:
			err = fmt.Errorf("unknown field %q", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseInterval(word string) (interval, error) {
	if word == "*" {
		return interval{0, 1 << 30}, nil
	}
	first, last, ok := strings.Cut(word, "-")
	if !ok {
		last = first
	}
	lo, err := strconv.Atoi(first)
	if err != nil {
		return interval{}, err
	}
	hi, err := strconv.Atoi(last)
	return interval{lo, hi}, err
}
