package tasks

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/tokenizer"
)

// bytesTokenizer returns a tokenizer with a token for each byte.
func bytesTokenizer(t *testing.T) *tokenizer.Tokenizer {
	t.Helper()
	var vocab []string
	for b := range 256 {
		r := rune(b)
		if b <= 32 || b >= 127 && b <= 160 || b == 173 { // the characters of the byte-level tokenizers
			r = rune(256 + len(vocab))
		}
		vocab = append(vocab, fmt.Sprintf("%q:%d", string(r), b))
	}
	// ByteLevel numbers the bytes without a glyph of their own from 256 on, in their order.
	n := 256
	for b := range 256 {
		if b <= 32 || b >= 127 && b <= 160 || b == 173 {
			vocab[b] = fmt.Sprintf("%q:%d", string(rune(n)), b)
			n++
		}
	}
	text := `{"version":"1.0","added_tokens":[],"normalizer":null,` +
		`"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false},` +
		`"post_processor":null,"decoder":{"type":"ByteLevel"},` +
		`"model":{"type":"BPE","dropout":null,"unk_token":null,"vocab":{` + strings.Join(vocab, ",") + `},"merges":[]}}`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// published holds the prompts of RULER's scripts/data/synthetic/constants.py, with the
// beginning of the answer. The last group is what the scripts fill in.
var published = map[string]string{
	"one": "A special magic {v} is hidden within the following text. Make sure to memorize it. I will quiz you about the {v} afterwards.\n" +
		"{context}\nWhat is the special magic {v} for {query} mentioned in the provided text?" +
		" The special magic {v} for {query} mentioned in the provided text is",
	"several": "Some special magic {v}s are hidden within the following text. Make sure to memorize it. " +
		"I will quiz you about the {v}s afterwards.\n" +
		"{context}\nWhat are all the special magic {v}s for {query} mentioned in the provided text?" +
		" The special magic {v}s for {query} mentioned in the provided text are",
	"vt": "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{context}\n" +
		"Question: Find all variables that are assigned the value {query} in the text above." +
		" Answer: According to the chain(s) of variable assignment in the text above, 5 variables are assigned the value {query}, they are: ",
	"cwe": "Below is a numbered list of words. In these words, some appear more often than others. " +
		"Memorize the ones that appear most often.\n" +
		"{context}\nQuestion: What are the 10 most common words in the above list?" +
		" Answer: The top 10 words that appear most often in the list are:",
	"fwe": "Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded words. " +
		"{context}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. " +
		"What are the three most frequently appeared words in the above coded text?" +
		" Answer: According to the coded text above, the three most frequently appeared words are:",
	"qa": "Answer the question based on the given documents. Only give me the answer and do not output any other words.\n\n" +
		"The following are given documents.\n\n{context}\n\n" +
		"Answer the question based on the given documents. Only give me the answer and do not output any other words." +
		"\n\nQuestion: {query} Answer:",
}

// fill reads what a prompt has in the places of a published one. A place that occurs
// several times must have one value.
func fill(t *testing.T, text, template string) map[string]string {
	t.Helper()
	place := regexp.MustCompile(`\\\{([a-z]+)\\\}`)
	var names []string
	pattern := place.ReplaceAllStringFunc(regexp.QuoteMeta(template), func(m string) string {
		name := place.FindStringSubmatch(m)[1]
		names = append(names, name)
		return "(.*?)"
	})
	match := regexp.MustCompile("(?s)^" + pattern + "$").FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("the prompt is not the published one: %.300q ... %q", text, text[max(0, len(text)-300):])
	}
	values := map[string]string{}
	for i, name := range names {
		if v, ok := values[name]; ok && v != match[i+1] {
			t.Fatalf("{%s} is both %q and %q", name, v, match[i+1])
		}
		values[name] = match[i+1]
	}
	return values
}

// samplesOf makes samples of one task.
func samplesOf(t *testing.T, name string, length, n int, files map[string]string) []Sample {
	t.Helper()
	list, err := Find([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	samples, warnings, err := Make(t.Context(), Config{
		Tokenizer: bytesTokenizer(t), Tasks: list, Lengths: []int{length}, Samples: n, Seed: 7, Files: files,
	})
	if err != nil || len(samples) != n || warnings != nil {
		t.Fatalf("%s: %d samples, warnings %v, error %v", name, len(samples), warnings, err)
	}
	for _, s := range samples {
		p := &s.Prompt
		if p.Context == 0 || strings.Contains(p.Text[:p.Ends[p.Context-1]], "uestion:") && name != "cwe" && name != "vt" ||
			strings.Count(p.Text[p.Ends[p.Context-1]:], "?")+strings.Count(p.Text[p.Ends[p.Context-1]:], "Find all") == 0 {
			t.Errorf("%s: the context ends after %d of %d tokens: ...%q",
				p.ID, p.Context, len(p.Tokens), p.Text[p.Ends[max(0, p.Context-1)]:])
		}
		if room := length - len(s.Prompt.Tokens) - s.Task.Reply; room < 0 {
			t.Errorf("%s: %d tokens too long", s.Prompt.ID, -room)
		}
		if got := s.Score("so: " + strings.Join(s.Prompt.References, ", ")); got != 1 {
			t.Errorf("%s: the answers score %g", s.Prompt.ID, got)
		}
		if got := s.Score("nothing"); got != 0 {
			t.Errorf("%s: a wrong reply scores %g", s.Prompt.ID, got)
		}
	}
	first := samples[0]
	if room := length - len(first.Prompt.Tokens) - first.Task.Reply; room > length/5 {
		t.Errorf("%s leaves %d of %d tokens unused", first.Prompt.ID, room, length)
	}
	return samples
}

// TestNeedles: the values of the keys in question, and only these, are the answers.
func TestNeedles(t *testing.T) {
	const number, uuid = `[1-9][0-9]{6}`, `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	const word = `[a-z]+-[a-z]+`
	for _, c := range []struct {
		name, key, value string
		keys, of, asked  int // keys of the task, values of each, keys in the question
		hay              hay
	}{
		{"niah_single_1", word, number, 1, 1, 1, noise},
		{"niah_single_2", word, number, 1, 1, 1, essay},
		{"niah_single_3", word, uuid, 1, 1, 1, essay},
		{"niah_multikey_1", word, number, 4, 1, 1, essay},
		{"niah_multikey_2", word, number, 1, 1, 1, others},
		{"niah_multikey_3", uuid, uuid, 1, 1, 1, others},
		{"niah_multivalue", word, number, 1, 4, 1, essay},
		{"niah_multiquery", word, number, 4, 1, 4, essay},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range samplesOf(t, c.name, 6000, 3, nil) {
				template := "one"
				if c.of*c.asked > 1 {
					template = "several"
				}
				kind := "number"
				if c.value == uuid {
					kind = "uuid"
				}
				got := fill(t, s.Prompt.Text, published[template])
				if got["v"] != kind {
					t.Errorf("values are called %s", got["v"])
				}
				needle := regexp.MustCompile("One of the special magic " + kind + "s for (" + c.key + ") is: (" + c.value + `)\.`)
				values := map[string][]string{}
				all := needle.FindAllStringSubmatch(got["context"], -1)
				for _, m := range all {
					values[m[1]] = append(values[m[1]], m[2])
				}
				asked := strings.Split(strings.Replace(got["query"], ", and ", ", ", 1), ", ")
				var want []string
				for _, key := range asked {
					want = append(want, values[key]...)
				}
				answers := slices.Clone(s.Prompt.References)
				if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(answers)), want) || len(asked) != c.asked {
					t.Errorf("asked for %v: answers %v, in the text %v", asked, answers, want)
				}
				rest := needle.ReplaceAllString(got["context"], "")
				switch c.hay {
				case others:
					if strings.TrimSpace(rest) != "" || len(all) < 20 || len(values) != len(all) {
						t.Errorf("%d needles with %d keys between %.80q", len(all), len(values), rest)
					}
				case noise:
					if strings.TrimSpace(strings.ReplaceAll(rest, noiseText, "")) != "" || len(all) != 1 {
						t.Errorf("%d needles in %.80q", len(all), rest)
					}
				case essay:
					text, _ := Haystack("")
					words := strings.Fields(rest)
					if !slices.Equal(words, strings.Fields(text)[:len(words)]) || len(all) != c.keys*c.of {
						t.Errorf("%d needles in %.80q", len(all), rest)
					}
				}
			}
		})
	}
}

// TestNeedlesAreAtPublishedDepths: a needle stands after a share of the sentences that is
// one of 40.
func TestNeedlesAreAtPublishedDepths(t *testing.T) {
	if len(depths) != 40 || depths[0] != 0 || depths[1] != 3 || depths[19] != 49 || depths[39] != 100 {
		t.Fatalf("depths %v", depths)
	}
	list := make([]string, 200)
	for i := range list {
		list[i] = fmt.Sprintf("s%d.", i)
	}
	s := source{}
	seen := map[int]bool{}
	for i := range 300 {
		words := strings.Fields(among(s.random("x", 0, i), list, []string{"N", "M"}))
		first := slices.IndexFunc(words, func(w string) bool { return w == "N" || w == "M" })
		second := slices.IndexFunc(words[first+1:], func(w string) bool { return w == "N" || w == "M" }) + first
		for _, at := range []int{first, second} {
			if !slices.Contains(depths, (at+1)/2) || at%2 != 0 && at != 200*depths[slices.Index(depths, (at+1)/2)]/100 {
				t.Fatalf("a needle stands after %d sentences", at)
			}
			seen[at] = true
		}
	}
	if len(seen) != 40 {
		t.Errorf("%d depths were used", len(seen))
	}
}

// TestVariables follows the assignments literally.
func TestVariables(t *testing.T) {
	for _, s := range samplesOf(t, "vt", 6000, 3, nil) {
		example, text, found := strings.Cut(s.Prompt.Text, "\n\nMemorize")
		if noises := strings.Count(example, noiseText); !found || noises != 5 { // more would pass 500 tokens
			t.Fatalf("the example has %d lines of noise", noises)
		}
		for i, part := range []string{example, "Memorize" + text} {
			template := published["vt"]
			if i == 0 {
				template += " {answer}"
			}
			got := fill(t, part, template)
			value := map[string]string{}
			var names []string
			for _, line := range strings.Split(got["context"], "\n") {
				var name, from string
				if n, _ := fmt.Sscanf(line, "VAR %s = VAR %s", &name, &from); n == 2 {
					value[name] = value[from]
				} else if n, _ := fmt.Sscanf(line, "VAR %s = %s", &name, &from); n == 2 {
					value[name] = from
				} else if line != noiseText {
					t.Fatalf("line %q", line)
				}
				if name != "" {
					names = append(names, name)
				}
			}
			for _, name := range names {
				if value[name] != got["query"] || len(name) != 3+2*i {
					t.Errorf("%s = %q, asked for %s", name, value[name], got["query"])
				}
			}
			want := s.Prompt.References
			if i == 0 {
				want = strings.Fields(got["answer"])
			}
			if !slices.Equal(names, want) || len(names) != 5 {
				t.Errorf("the variables are %v, the answers %v", names, want)
			}
		}
	}
}

// counted counts the words of a numbered list.
func counted(t *testing.T, list string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for i, entry := range regexp.MustCompile(`(?:^| )(\d+)\. `).Split(list, -1)[1:] {
		if !strings.Contains(list, fmt.Sprintf("%d. %s", i+1, entry)) {
			t.Errorf("%q is not number %d", entry, i+1)
		}
		counts[entry]++
	}
	return counts
}

// TestCommonWords counts the words literally: 30 and 3 times, 6 times and once in short
// prompts, and 10 and 3 times or 3 times and once in the solved example.
func TestCommonWords(t *testing.T) {
	for length, want := range map[int][4]int{3000: {6, 1, 3, 1}, 12000: {30, 3, 10, 3}} {
		for _, s := range samplesOf(t, "cwe", length, 2, nil) {
			at := strings.LastIndex(s.Prompt.Text, "\nBelow is")
			for i, part := range []string{s.Prompt.Text[:at], s.Prompt.Text[at+1:]} {
				template := published["cwe"]
				if i == 0 {
					template += " {answer}"
				}
				got := fill(t, part, template)
				answers := s.Prompt.References
				many, rare := want[0], want[1]
				if i == 0 {
					answers = nil
					for w := range counted(t, got["answer"]) {
						answers = append(answers, w)
					}
					many, rare = want[2], want[3]
				}
				counts := counted(t, got["context"])
				for w, n := range counts {
					expected := rare
					if slices.Contains(answers, w) {
						expected = many
					}
					if n != expected {
						t.Errorf("length %d: %s occurs %d times, want %d", length, w, n, expected)
					}
				}
				if len(answers) != 10 || i == 0 && len(counts) != want[2]/7*20+20 {
					t.Errorf("length %d: %d answers, %d words", length, len(answers), len(counts))
				}
			}
		}
	}
}

// TestFrequentWords: the k-th word occurs int(n/(k² ζ(2))) times.
func TestFrequentWords(t *testing.T) {
	const length = 6000
	for _, s := range samplesOf(t, "fwe", length, 2, nil) {
		counts := map[string]int{}
		for _, w := range strings.Fields(fill(t, s.Prompt.Text, published["fwe"])["context"]) {
			counts[w]++
		}
		dots := counts["..."]
		n := float64(dots) * math.Pi * math.Pi / 6 // at least, and less than one more word of the first rank
		for i, w := range s.Prompt.References {
			k := float64(i + 2)
			low := int(n / k / k / (math.Pi * math.Pi / 6))
			if counts[w] < low || counts[w] > low+1 || len(w) != 6 {
				t.Errorf("%s, the answer %d, occurs %d times, the dots %d times", w, i+1, counts[w], dots)
			}
		}
		for w, n := range counts {
			if !slices.Contains(s.Prompt.References, w) && w != "..." && n > counts[s.Prompt.References[2]] {
				t.Errorf("%s occurs more often than an answer", w)
			}
		}
		if len(counts) > (length-50)/50 {
			t.Errorf("%d words", len(counts))
		}
	}
}

// TestDocuments: the documents that answer are among those of the prompt, with all others of
// the article before those of other articles.
func TestDocuments(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	filler := strings.Repeat(" filler", 20)
	var articles []string
	for a := range 6 {
		var paragraphs []string
		for p := range 3 {
			paragraphs = append(paragraphs, fmt.Sprintf(`{"context":"a%dp%d%s","qas":[`+
				`{"question":"q%d%d?","answers":[{"text":"answer%d%d"},{"text":"other"}],"is_impossible":false},`+
				`{"question":"no?","answers":[],"is_impossible":true}]}`, a, p, filler, a, p, a, p))
		}
		articles = append(articles, `{"paragraphs":[`+strings.Join(paragraphs, ",")+`]}`)
	}
	squad := write("squad.json", `{"data":[`+strings.Join(articles, ",")+`]}`)
	var items []string
	for q := range 5 {
		items = append(items, fmt.Sprintf(
			`{"question":"h%d?","answer":"yes%d","context":[["t%d",["x."," y."]],["u%d",["z%s."]]]}`, q, q, q, q, filler))
	}
	hotpot := write("hotpot.json", `[`+strings.Join(items, ",")+`]`)
	files := map[string]string{"squad": squad, "hotpotqa": hotpot}
	document := regexp.MustCompile(`Document \d+:\n(\S+)`)
	for i, s := range samplesOf(t, "qa_1", 2000, 5, files) {
		got := fill(t, s.Prompt.Text, published["qa"])
		var docs []string
		for _, m := range document.FindAllStringSubmatch(got["context"], -1) {
			docs = append(docs, m[1])
		}
		article := fmt.Sprintf("a%dp", i/3)
		for p := range 3 {
			if !slices.Contains(docs, article+fmt.Sprint(p)) {
				t.Errorf("%s asks %s about %v", s.Prompt.ID, got["query"], docs)
			}
		}
		sorted := slices.Sorted(slices.Values(docs))
		if len(slices.Compact(sorted)) != len(docs) || len(docs) < 6 {
			t.Errorf("%s has documents %v", s.Prompt.ID, docs)
		}
		if want := fmt.Sprintf("q%d%d?", i/3, i%3); got["query"] != want || s.Score("Other.") != 1 {
			t.Errorf("%s asks %s, want %s", s.Prompt.ID, got["query"], want)
		}
	}
	for i, s := range samplesOf(t, "qa_2", 1500, 3, files) {
		got := fill(t, s.Prompt.Text, published["qa"])
		for _, want := range []string{fmt.Sprintf(":\nt%d\nx. y.", i), fmt.Sprintf(":\nu%d\nz", i)} {
			if !strings.Contains(got["context"], want) {
				t.Errorf("%s lacks %q: %s", s.Prompt.ID, want, got["context"])
			}
		}
	}
}

// TestSamplesStandAlone: samples depend neither on the number of samples nor on other tasks,
// and another seed has others.
func TestSamplesStandAlone(t *testing.T) {
	list, err := Find([]string{"ruler", "needle", "lines"})
	if err != nil {
		t.Fatal(err)
	}
	texts := func(seed uint64, n int, list []Task) map[string]string {
		samples, _, err := Make(t.Context(), Config{
			Tokenizer: bytesTokenizer(t), Tasks: list, Lengths: []int{7000}, Samples: n, Seed: seed,
		})
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, s := range samples {
			out[s.Prompt.ID] = s.Prompt.Text
		}
		return out
	}
	all := texts(1, 2, list)
	if len(all) != 2*(len(list)-2) { // without files for qa_1 and qa_2
		t.Errorf("%d samples", len(all))
	}
	other := texts(2, 2, list)
	for _, task := range list {
		for id, text := range texts(1, 1, []Task{task}) {
			if all[id] != text {
				t.Errorf("%s is another prompt alone", id)
			}
			if other[id] == text && task.Name != "needle" {
				t.Errorf("%s is the same with another seed", id)
			}
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	list, _ := Find([]string{"niah_single_2", "qa_1"})
	c := Config{Tokenizer: bytesTokenizer(t), Tasks: list, Lengths: []int{300}, Samples: 1}
	if _, _, err := Make(t.Context(), c); err == nil || !strings.Contains(err.Error(), "niah_single_2, length 300: its shortest prompt takes ") {
		t.Errorf("a length that is too short: error %v", err)
	}
	c.Lengths = []int{3000}
	_, warnings, err := Make(t.Context(), c)
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "qa_1 is left out: it needs") {
		t.Errorf("without SQuAD: warnings %v, error %v", warnings, err)
	}
	if _, err := Find([]string{"niah"}); err == nil {
		t.Error("niah is a task")
	}
}
