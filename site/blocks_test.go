package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"github.com/attnscope/attnscope/snapkv"
)

// A block is a block of code of a document.
type block struct {
	source   string
	line     int
	language string
	text     string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.source, b.line) }

// notRun lists the commands and blocks that TestBlocks does not run, by how they begin,
// and why. Verbs and flags of its attnscope commands are checked all the same.
var notRun = []struct{ source, begins, why string }{
	{"README.md", "make demo", "needs the default model; TestReadmeTable runs the demo"},
	{"README.md", "make test", "runs this test"},
	{"README.md", "make build", "builds the program, as TestReleaseIsReproducible does"},
	{"README.md", "attnscope view", "serves until it is interrupted; viz/view tests it"},
	{"README.md", "attnscope reproduce", "takes minutes even for a tiny model; experiments tests it"},
	{"README.md", "attnscope submit", "needs a cluster; cmd/attnscope tests it on a Slurm cluster of one machine"},
	{"README.md", "attnscope leaderboard", "needs prompts of thousands of tokens; cmd/attnscope tests it"},
	{"docs/LEADERBOARD.md", "attnscope leaderboard", "needs prompts of thousands of tokens; cmd/attnscope tests it"},
	{"docs/PYTHON.md", "pip install", "needs the network"},
	{"docs/PYTHON.md", "make wheels", "builds for five platforms; python/wheel tests it"},
	{"docs/CLUSTERS.md", "attnscope submit", "needs a cluster; cmd/attnscope tests it on a Slurm cluster of one machine"},
	{"docs/CLUSTERS.md", "kubectl", "needs a cluster; TestKubernetes checks the files"},
	{"docs/CLUSTERS.md", "for i in", "needs four machines"},
	{"docs/CLUSTERS.md", "attnscope merge", "needs the shards of four machines"},
	{"docs/CONTRIBUTING.md", "make", "runs this test"},
	{"docs/CUDA.md", "make", "needs a card"},
	{"docs/CUDA.md", "./attnscope", "needs a card"},
	{"docs/REPRODUCTION.md", "make reproduce", "takes two hours"},
	{"docs/GALLERY.md", "attnscope heatmap", "needs the demo's dump; TestGallery compares the command with the one that the figure names"},
	{"docs/GALLERY.md", "attnscope snapkv", "the same"},
	{"docs/GALLERY.md", "attnscope reproduce", "takes an hour; TestGallery compares the command with the one that the figure names"},
	{"docs/GALLERY.md", "attnscope view", "serves until it is interrupted; viz/view tests it"},
	{"docs/TUTORIAL.md", "attnscope view", "serves until it is interrupted; viz/view tests it"},
	{"docs/ADVICE.md", "attnscope advise", "the tiny model of this test loses nothing that could be calibrated; cmd/attnscope tests it"},
}

// guide is the document whose commands within the text are run after those of its blocks.
const guide = "docs/GUIDE.md"

// oldCode is the document that quotes code as it was before it was rewritten.
const oldCode = "docs/CODE.md"

// pythonPages are the documents whose blocks of Python are run by TestTutorials of python,
// with the installed package and the default model.
var pythonPages = []string{"docs/PYTHON.md"}

// notCode are the languages of blocks that are no code: output, pictures and files.
var notCode = []string{"", "text", "hex", "json"}

// commandLine matches lines that belong into a block of the language sh.
var commandLine = regexp.MustCompile(`^(\$ |(\./)?attnscope [a-z]+ |make [a-z]|go (run|install|test|build) |pip3? |python3? |kubectl )`)

// TestBlocks runs the blocks of commands of every document, one after the other in one
// folder for each document, with a tiny model in the place of MODEL and of the default
// model. Blocks of Go must be in the repository, and other blocks hold no commands.
func TestBlocks(t *testing.T) {
	b := siteOf(t)
	used := map[int]bool{}
	count := 0
	for _, p := range b.pages {
		if p.source == "" {
			continue
		}
		t.Run(p.source, func(t *testing.T) {
			for _, command := range commandsIn(p) {
				checkFlags(t, b.program, block{source: p.source}, command)
			}
			var script strings.Builder
			for _, block := range blocksOf(p) {
				count++
				switch {
				case block.language == "sh":
					script.WriteString(runnable(t, b.program, block, used))
				case block.language == "python" && !slices.Contains(pythonPages, block.source):
					script.WriteString(runnablePython(t, block))
				case block.language == "go":
					checkQuote(t, block)
				case block.language == "python" && slices.Contains(pythonPages, block.source):
				case !slices.Contains(notCode, block.language):
					t.Errorf("%s: a block of %q, which this test cannot run", block, block.language)
				default:
					for line := range strings.Lines(block.text) {
						if commandLine.MatchString(line) {
							t.Errorf("%s: the command %q is in a block without the language sh, so that no test runs it", block, line)
						}
					}
				}
			}
			if p.source == guide {
				script.WriteString(strings.Join(commandsIn(p), "\n"))
			}
			if script.Len() > 0 {
				runScript(t, b.program, p.source, script.String())
			}
		})
	}
	if count < 30 {
		t.Errorf("%d blocks", count)
	}
	for i, n := range notRun {
		if !used[i] {
			t.Errorf("%s has no command that begins with %q: remove the exception", n.source, n.begins)
		}
	}
}

// TestBlocksOfMadePages runs the commands on the pages of methods and families, each once.
// Their other blocks are tested elsewhere: help by the golden scripts of the command,
// declarations by the compiler, and examples by the tests of their packages.
func TestBlocksOfMadePages(t *testing.T) {
	b := siteOf(t)
	scripts := map[string][]string{}
	for _, p := range b.pages {
		folder, _, _ := strings.Cut(p.url, "/")
		for _, block := range blocksOf(p) {
			if p.source == "" && block.language == "sh" && !slices.Contains(scripts[folder], block.text) {
				scripts[folder] = append(scripts[folder], block.text)
			}
		}
	}
	if len(scripts) != 2 || len(scripts["methods"]) != len(snapkv.Methods) || len(scripts["models"]) != 1 {
		t.Errorf("commands: %q", scripts)
	}
	for folder, list := range scripts {
		runScript(t, b.program, folder, strings.Join(list, ""))
	}
}

// blocksOf returns the blocks of code of a document.
func blocksOf(p *page) []block {
	var list []block
	doc := markdown.Parser().Parse(text.NewReader(p.text))
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		fenced, ok := n.(*ast.FencedCodeBlock)
		if !ok || !entering || fenced.Lines().Len() == 0 {
			return ast.WalkContinue, nil
		}
		list = append(list, block{
			source:   p.source,
			line:     bytes.Count(p.text[:fenced.Lines().At(0).Start], []byte("\n")),
			language: string(fenced.Language(p.text)),
			text:     string(fenced.Lines().Value(p.text)),
		})
		return ast.WalkContinue, nil
	})
	return list
}

// importLine matches the first import of a line of Python.
var importLine = regexp.MustCompile(`(?m)^(?:from|import) (\w+)`)

// runnablePython returns the command that runs a block of Python, unless a package that it
// imports is missing here.
func runnablePython(t *testing.T, b block) string {
	interpreter := cmp.Or(os.Getenv("ATTNSCOPE_PYTHON"), "python3")
	for _, m := range append([][]string{{"", "pandas"}, {"", "zstandard"}}, importLine.FindAllStringSubmatch(b.text, -1)...) {
		if m[1] != "attnscope" && exec.Command(interpreter, "-c", "import "+m[1]).Run() != nil {
			t.Logf("SKIPPED, %s cannot import %s: the block at %s is not run", interpreter, m[1], b)
			return ""
		}
	}
	return interpreter + " - <<'END_OF_PYTHON'\n" + b.text + "END_OF_PYTHON\n"
}

// commandsIn returns the commands that a document names within its text.
func commandsIn(p *page) []string {
	var list []string
	_ = ast.Walk(markdown.Parser().Parse(text.NewReader(p.text)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if n.Kind() != ast.KindCodeSpan || !entering {
			return ast.WalkContinue, nil
		}
		if command := plain(n, p.text); strings.HasPrefix(command, "attnscope ") {
			list = append(list, command)
		}
		return ast.WalkContinue, nil
	})
	return list
}

// runnable returns the commands of a block that can be run, and checks the others.
func runnable(t *testing.T, program string, b block, used map[int]bool) string {
	var script strings.Builder
	joined := strings.ReplaceAll(b.text, "\\\n", "")
	for _, command := range strings.SplitAfter(joined, "\n") {
		exception := slices.IndexFunc(notRun, func(n struct{ source, begins, why string }) bool {
			return n.source == b.source && strings.HasPrefix(command, n.begins)
		})
		if exception < 0 {
			script.WriteString(command)
			continue
		}
		used[exception] = true
		checkFlags(t, program, b, command)
	}
	return script.String()
}

var (
	verbIn = regexp.MustCompile(`(?:^|[ /])attnscope ([a-z]+)`)
	flagIn = regexp.MustCompile(` (--?[a-z][a-z-]*)`)
)

// checkFlags checks that a command line names a verb, and flags that its help has.
func checkFlags(t *testing.T, program string, b block, line string) {
	line, _, _ = strings.Cut(line, " #")
	verb := verbIn.FindStringSubmatchIndex(line)
	if verb == nil || line[verb[2]:verb[3]] == "help" {
		return
	}
	help, err := helpOf(program, line[verb[2]:verb[3]])
	if err != nil {
		t.Errorf("%s: %v", b, err)
		return
	}
	for _, flag := range flagIn.FindAllStringSubmatch(line[verb[3]:], -1) {
		if !regexp.MustCompile(`(?m)(^|, )` + flag[1] + `\b`).MatchString(help["OPTIONS"]) {
			t.Errorf("%s: %s has no flag %s", b, line[verb[2]:verb[3]], flag[1])
		}
	}
}

// checkQuote checks that a block of Go is in the repository, as it stands there. The line
// "..." stands for lines that are left out. Every other block of oldCode quotes old code.
func checkQuote(t *testing.T, b block) {
	for _, quote := range strings.Split(b.text, "\n...\n") {
		pattern := []byte(strings.TrimSpace(quote))
		found := false
		for _, file := range goFiles(t) {
			if found = bytes.Contains(file, pattern); found {
				break
			}
		}
		if !found && b.source != oldCode {
			t.Errorf("%s: this is in no file of the repository:\n%s", b, quote)
		}
	}
}

// goFiles returns the texts of the Go files of the repository.
func goFiles(t *testing.T) [][]byte {
	out, err := exec.Command("git", "-C", "..", "ls-files", "*.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list [][]byte
	for _, name := range strings.Fields(string(out)) {
		data, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, data)
	}
	return list
}

// runScript runs commands in a folder with a tiny model.
func runScript(t *testing.T, program, source, script string) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED, no bash in PATH: the commands of the documents are not run")
	}
	dir := t.TempDir()
	makeModel(t, filepath.Join(dir, "models", "smollm2-135m"))
	makeModel(t, filepath.Join(dir, "MODEL"))
	long := strings.Repeat("the hose may be used before nine in the morning. ", 8)
	prompts := fmt.Sprintf("{\"id\": \"one\", \"prompt\": %q, \"answer\": \"nine\"}\n{\"id\": \"two\", \"prompt\": %q}\n", long, long[20:])
	writeTest(t, filepath.Join(dir, "prompts.jsonl"), prompts)
	script = before[source] + script
	cmd := exec.Command("bash", "-euxo", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ATTNSCOPE_MODELS="+filepath.Join(dir, "models"), "HF_HUB_OFFLINE=1",
		"HOME="+dir, "PYTHONDONTWRITEBYTECODE=1",
		"PYTHONPATH="+absolute(t, "../python")+string(filepath.ListSeparator)+os.Getenv("PYTHONPATH"),
		"ATTNSCOPE="+program, "PATH="+filepath.Dir(program)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: the commands of its blocks fail (%v):\n%s", source, err, out)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// before has commands that make what a document assumes.
var before = map[string]string{
	"docs/TUTORIAL.md":    "mkdir demo\nattnscope capture -m MODEL -p prompts.jsonl --max-new-tokens 8 --ignore-eos -o demo/run.attn\n",
	"docs/COMING-FROM.md": "attnscope capture -m MODEL -p prompts.jsonl -o run.attn\n",
	"methods": "attnscope capture -m MODEL -p prompts.jsonl --store factors --values --window-rows 400 -o run.attn\n" +
		"echo '[[1, 2, 3, 4], [4, 3, 2, 1]]' >scores.json\n",
}

// makeModel makes a folder with a tiny model, whose tokens are letters.
func makeModel(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from := "../engine/model/testdata/qwen3/"
	config := strings.Replace(string(readTest(t, from+"config.json")),
		`"max_position_embeddings": 256`, `"max_position_embeddings": 32768`, 1)
	writeTest(t, filepath.Join(dir, "config.json"), config)
	writeTest(t, filepath.Join(dir, "model.safetensors"), string(readTest(t, from+"model.safetensors")))
	writeTest(t, filepath.Join(dir, "tokenizer.json"), string(readTest(t, "../cmd/attnscope/testdata/letters.json")))
}

func readTest(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeTest(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
