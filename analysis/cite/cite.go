// Package cite lists in BibTeX what a dump, a table or a figure rests on: the program,
// the model with its revision and the hash of its weights, the prompts and their data
// sets, and the papers of the methods.
//
//	var list cite.List
//	list.Program("attnscope 0.1.0")
//	list.Dump(r.Header(), r.Prompts())
//	err := list.Write(os.Stdout)
//
// The entries of papers are in references.bib. A paper that is not there is cited by its
// arXiv number alone.
package cite

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/visible"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// List is a bibliography with remarks. Each entry appears once, where it was first
// added. The zero value is empty.
type List struct {
	parts   []string
	keys    map[string]bool
	program string          // that Program named
	hashed  map[string]bool // ids of models that were added with the hash of their weights
}

// Remark adds a line that BibTeX ignores, and a blank line.
func (l *List) Remark(format string, args ...any) {
	text := "% " + visible.Line(fmt.Sprintf(format, args...)) + "\n\n"
	if !slices.Contains(l.parts, text) {
		l.parts = append(l.parts, text)
	}
}

func (l *List) add(e Entry) {
	if l.keys == nil {
		l.keys = map[string]bool{}
	}
	if !l.keys[e.Key] {
		l.keys[e.Key] = true
		l.parts = append(l.parts, e.Text+"\n")
	}
}

// Write writes the bibliography.
func (l *List) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, part := range l.parts {
		b.WriteString(part)
	}
	return b.Flush()
}

// Program adds attnscope and the paper whose question its measures answer. version is
// the program's version.
func (l *List) Program(version string) {
	l.program = "attnscope " + version
	l.add(software("attnscope", version))
	l.add(known["li2024snapkv"])
}

func software(key, version string) Entry {
	return newEntry("software", key,
		field{"title", "{attnscope}: what a language model attends to, and what a compressed {KV} cache keeps of it"},
		field{"author", "{The attnscope authors}"},
		field{"version", plain(version)},
		field{"url", "https://github.com/attnscope/attnscope"})
}

// madeBy adds the program that made a file, if it is another version of attnscope than the
// one that [List.Program] named. Another program, which wrote the dump through the Python
// package, becomes a remark.
func (l *List) madeBy(path, program string) {
	if program == "" || program == l.program {
		return
	}
	version, own := strings.CutPrefix(program, "attnscope ")
	if !own {
		l.Remark("%s was made by %s: cite it as well", path, program)
		return
	}
	l.Remark("%s was made by another version, %s, than the one that prints this", path, program)
	l.add(software(keyOf("attnscope", version), version))
}

// Dump adds the model, the prompts and the data sets of a dump, with the command that
// recorded it as a remark.
func (l *List) Dump(h *dumps.Header, prompts []dumps.Prompt) {
	if m := &h.Manifest; m.Program != "" {
		l.Remark("recorded by %s on %s: %s", m.Program, m.Created, strings.Join(m.Command, " "))
	}
	l.madeBy("the dump", h.Manifest.Program)
	l.Model(h.Model.ID, h.Manifest.ModelRevision, h.Model.SHA256)
	l.prompts(&h.Manifest, prompts)
	for i := range prompts {
		l.Dataset(prompts[i].Dataset)
	}
}

// Model adds a model by its id. revision is the commit of a model of the hub, and sum the
// hash of its weights; both may be empty.
func (l *List) Model(id, revision, sum string) {
	var notes []string
	address := ""
	author := ""
	name := id
	owner, _, hosted := strings.Cut(id, "/")
	switch {
	case revision != "" && hosted:
		repository, _, _ := strings.Cut(id, ":")
		address = "https://huggingface.co/" + repository
		author = verbatim(owner)
		notes = append(notes, "revision "+plain(revision))
	case id == defaultModel:
		l.add(known["allal2025smollm2"])
		notes = append(notes, "SmolLM2-135M-Instruct with weights in Q4\\_1")
	case filepath.IsAbs(id) || strings.HasPrefix(id, "."):
		name = filepath.Base(id)
	}
	if sum != "" {
		notes = append(notes, "SHA-256 of the weights "+sum)
		if l.hashed == nil {
			l.hashed = map[string]bool{}
		}
		l.hashed[id] = true
	}
	l.add(newEntry("misc", keyOf("model", name, short(sum)), field{"title", verbatim(name)}, field{"author", author},
		field{"url", address}, field{"note", sentence(notes)}))
}

// defaultModel is the name of the model that attnscope fetches by itself.
const defaultModel = "smollm2-135m"

// prompts adds the prompt set of a dump.
func (l *List) prompts(m *dumps.Manifest, list []dumps.Prompt) {
	number := words.Count(len(list), "prompt")
	if m.Prompts > len(list) {
		number = fmt.Sprintf("%d of %s", len(list), words.Count(m.Prompts, "prompt"))
	}
	notes := []string{number}
	if m.PromptsSHA256 != "" {
		notes = append(notes, "SHA-256 of ids and tokens "+m.PromptsSHA256)
	}
	name := ""
	if m.PromptsFile != "" {
		name = filepath.Base(m.PromptsFile)
	}
	l.add(newEntry("misc", keyOf("prompts", name, short(m.PromptsSHA256)),
		field{"title", verbatim(cmp.Or(name, "prompts"))}, field{"note", sentence(notes)}))
}

// Dataset adds the paper of a data set. A name whose paper is not known becomes a
// remark.
func (l *List) Dataset(name string) {
	if name == "" || name == "*" {
		return
	}
	for _, d := range datasets {
		if rest, ok := strings.CutPrefix(strings.ToLower(name), d.name); ok && !startsWithLetter(rest) {
			l.add(known[d.key])
			return
		}
	}
	l.Remark("data set %s: add its source yourself", name)
}

// datasets has the keys of the papers of data sets. The name of a set may continue, as in
// qasper_e or ruler-niah.
var datasets = []struct{ name, key string }{
	{"gov_report", "huang2021govreport"},
	{"hotpotqa", "yang2018hotpotqa"},
	{"longbench", "bai2023longbench"},
	{"lines", "li2023longeval"}, // made by the recipe of LongEval-Lines
	{"longeval", "li2023longeval"},
	{"multidoc2dial", "feng2021multidoc2dial"},
	{"needle", "kamradt2023needle"},
	{"qasper", "dasigi2021qasper"},
	{"qmsum", "zhong2021qmsum"},
	{"ruler", "hsieh2024ruler"},
	{"triviaqa", "joshi2017triviaqa"},
}

func startsWithLetter(s string) bool {
	return s != "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= '0' && s[0] <= '9')
}

// Method adds the source of a method. Baselines have none.
func (l *List) Method(m *snapkv.Method) {
	number, paper := strings.CutPrefix(m.Source, "arXiv:")
	e, found := known[number]
	switch {
	case found:
		l.add(e)
	case paper:
		l.add(newEntry("misc", keyOf("arXiv:"+number), field{"title", verbatim("The method " + m.Name)},
			field{"eprint", number}, field{"archivePrefix", "arXiv"}))
	}
}

// short returns the beginning of a hash.
func short(sum string) string { return sum[:min(len(sum), 12)] }

// sentence joins notes.
func sentence(notes []string) string { return strings.Join(notes, "; ") }
