package tasks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/attnscope/attnscope/examples"
)

// source holds the texts from which questions are made. They are read when they are needed.
type source struct {
	Config
	essay []string // the words of the haystack
	words []string
	sets  map[string]*questionSet
	bench []benchRecord
}

// Haystack returns the text of a file, or of the documents that ship with attnscope if path
// is empty.
func Haystack(path string) (string, error) {
	if path != "" {
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
		var d struct{ Document string }
		if err := json.Unmarshal(s.Bytes(), &d); err != nil {
			return "", err
		}
		b.WriteString(d.Document + "\n\n")
	}
	return b.String(), s.Err()
}

// essayWords returns the first n words of the haystack, which is repeated if it is shorter.
func (s *source) essayWords(n int) ([]string, error) {
	if s.essay == nil {
		text, err := Haystack(s.Files["haystack"])
		if err != nil {
			return nil, err
		}
		s.essay = strings.Fields(text)
	}
	out := make([]string, 0, n)
	for len(out) < n {
		out = append(out, s.essay[:min(n-len(out), len(s.essay))]...)
	}
	return out, nil
}

// wordList returns the words of RULER's list of words: those of the file words, one per line,
// or the words of the haystack that have at least four letters and no capitals.
func (s *source) wordList() ([]string, error) {
	if s.words != nil {
		return s.words, nil
	}
	if path := s.Files["words"]; path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if s.words = unique(strings.Split(string(text), "\n")); len(s.words) < 100 {
			return nil, fmt.Errorf("%s: %d words, at least 100 are needed", path, len(s.words))
		}
		return s.words, nil
	}
	text, err := Haystack(s.Files["haystack"])
	if err != nil {
		return nil, err
	}
	var list []string
	separates := func(r rune) bool { return !unicode.IsLetter(r) && r != '\'' && r != '’' }
	for _, w := range strings.FieldsFunc(text, separates) {
		if len(w) >= 4 && strings.IndexFunc(w, func(r rune) bool { return !unicode.IsLower(r) }) < 0 {
			list = append(list, w)
		}
	}
	s.words = unique(list)
	return s.words, nil
}

// unique sorts words and drops empty and repeated ones.
func unique(list []string) []string {
	out := make([]string, 0, len(list))
	for _, w := range list {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// drawWords draws n different words of the list, or all of it and new names.
func (s *source) drawWords(r *rand.Rand, n int) ([]string, error) {
	list, err := s.wordList()
	if err != nil {
		return nil, err
	}
	if len(list) >= n {
		out := make([]string, n)
		for i, at := range sample(r, len(list), n) {
			out[i] = list[at]
		}
		return out, nil
	}
	out := slices.Clone(list)
	used := map[string]bool{}
	for len(out) < n {
		out = append(out, newName(r, used))
	}
	r.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

// sentences splits a text after the dots, question and exclamation marks that white space
// follows.
func sentences(text string) []string {
	var out []string
	from := 0
	for i := 1; i < len(text); i++ {
		if text[i] == ' ' && strings.IndexByte(".?!", text[i-1]) >= 0 {
			out = append(out, text[from:i])
			from = i + 1
		}
	}
	if from < len(text) {
		out = append(out, text[from:])
	}
	return out
}

// questionSet holds documents and questions about them.
type questionSet struct {
	docs      []string
	questions []docQuestion
}

// docQuestion is a question about documents.
type docQuestion struct {
	text    string
	answers []string
	docs    []int // that answer it
	near    []int // further ones of the same article
}

// questionSet reads squad or hotpotqa.
func (s *source) questionSet(name string) (*questionSet, error) {
	if set := s.sets[name]; set != nil {
		return set, nil
	}
	path := s.Files[name]
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	read := readSQuAD
	if name == "hotpotqa" {
		read = readHotpotQA
	}
	set, err := read(text)
	if err == nil && len(set.questions) == 0 {
		err = errors.New("no question that has an answer")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.sets == nil {
		s.sets = map[string]*questionSet{}
	}
	s.sets[name] = set
	return set, nil
}

// index numbers different documents, in the order of their texts.
func index(docs []string) (sorted []string, number map[string]int) {
	sorted = slices.Clone(docs)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	number = map[string]int{}
	for i, d := range sorted {
		number[d] = i
	}
	return sorted, number
}

// readSQuAD reads the questions of SQuAD 2.0 that have an answer.
func readSQuAD(text []byte) (*questionSet, error) {
	var file struct {
		Data []struct {
			Paragraphs []struct {
				Context string
				Qas     []struct {
					Question   string
					Answers    []struct{ Text string }
					Impossible bool `json:"is_impossible"`
				}
			}
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	var all []string
	for _, article := range file.Data {
		for _, p := range article.Paragraphs {
			all = append(all, p.Context)
		}
	}
	set := &questionSet{}
	var number map[string]int
	set.docs, number = index(all)
	for _, article := range file.Data {
		for _, p := range article.Paragraphs {
			own := number[p.Context]
			var near []int
			for _, other := range article.Paragraphs {
				if at := number[other.Context]; at != own {
					near = append(near, at)
				}
			}
			for _, q := range p.Qas {
				if q.Impossible || len(q.Answers) == 0 {
					continue
				}
				question := docQuestion{text: q.Question, docs: []int{own}, near: near}
				for _, a := range q.Answers {
					question.answers = append(question.answers, a.Text)
				}
				set.questions = append(set.questions, question)
			}
		}
	}
	return set, nil
}

// readHotpotQA reads the questions of HotpotQA that have documents.
func readHotpotQA(text []byte) (*questionSet, error) {
	var file []struct {
		Question, Answer string
		Context          []hotpotDocument
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	var all []string
	for _, q := range file {
		for _, d := range q.Context {
			all = append(all, d.text)
		}
	}
	set := &questionSet{}
	var number map[string]int
	set.docs, number = index(all)
	for _, q := range file {
		if len(q.Context) == 0 {
			continue
		}
		question := docQuestion{text: q.Question, answers: []string{q.Answer}}
		for _, d := range q.Context {
			question.docs = append(question.docs, number[d.text])
		}
		set.questions = append(set.questions, question)
	}
	return set, nil
}

// hotpotDocument is a list of a title and a list of sentences.
type hotpotDocument struct{ text string }

func (d *hotpotDocument) UnmarshalJSON(text []byte) error {
	var title string
	var sentences []string
	if err := json.Unmarshal(text, &[]any{&title, &sentences}); err != nil {
		return err
	}
	d.text = title + "\n" + strings.Join(sentences, "")
	return nil
}
