package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// zshHarness types a line into an interactive zsh, presses Tab, and prints what
// the completion adds, a match a line.
const zshHarness = `zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "source $1"
repeat 100; do zpty -r shell line; [[ $line == ready* ]] && break; done
zpty -n -w shell "$2"$'\t'
repeat 2000; do
	zpty -r shell line || break
	line=${${line%$'\n'}%$'\r'}
	[[ $line == *"<end>"* ]] && break
	[[ $line == *"<match>"* ]] && print -r -- "${line##*<match>}" # the first stands behind what was typed
done
zpty -d shell
`

const zshSetup = `PROMPT= RPROMPT=
autoload -Uz compinit && compinit -u -d ${ZDOTDIR:-.}/compdump
source %s
bindkey '^I' complete-word
compadd() {
	builtin compadd "$@"
	local code=$?
	[[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]] && return $code
	local -a hits
	builtin compadd -O hits "$@"
	local hit
	for hit in $hits; do print -r -- "<match>$hit"; done
	return $code
}
finish() { print -r -- "<end>"; }
comppostfuncs=(finish)
echo ready
`

// TestCompletion asks each shell what may stand at the end of a line.
func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"run.attn", "with space.attn", "notes.txt"} {
		touch(t, dir, name)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := map[string]string{}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script[shell] = write(t, "attnscope."+shell, must(t, "completion", shell))
	}
	zsh := write(t, "harness.zsh", zshHarness)
	setup := write(t, "setup.zsh", fmt.Sprintf(zshSetup, script["zsh"]))
	ask := map[string]func(line string) *exec.Cmd{
		"bash": func(line string) *exec.Cmd {
			// Words as readline splits them, at = too.
			var words []string
			for _, w := range strings.Split(strings.ReplaceAll(line, "=", " = "), " ") {
				words = append(words, "'"+w+"'")
			}
			return exec.Command("bash", "-c", fmt.Sprintf(`source "$0"; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _attnscope; printf '%%s\n' "${COMPREPLY[@]}"`,
				strings.Join(words, " ")), script["bash"])
		},
		"zsh": func(line string) *exec.Cmd {
			return exec.Command("env", "ZDOTDIR="+filepath.Dir(zsh), "zsh", "-f", zsh, setup, line)
		},
		"fish": func(line string) *exec.Cmd {
			return exec.Command("fish", "--no-config", "-c", `source $argv[1]; complete -C $argv[2] | string replace -r '\t.*' ''; true`, script["fish"], line)
		},
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("SKIPPED, the completion of %s was not tried: there is no %s", shell, shell)
			}
			for _, c := range []struct {
				line string
				want []string // all of the matches
				has  []string // some of them
			}{
				{"attnscope hi", []string{"hitrate"}, nil},
				{"attnscope ver", []string{"verify", "version"}, nil},
				{"attnscope capture --prec", []string{"--precision"}, nil},
				{"attnscope capture --store ", []string{"auto", "rows", "factors"}, nil},
				{"attnscope capture run --store f", []string{"factors"}, nil},
				{"attnscope snapkv --method snapkv,h2", nil, []string{"h2o"}},
				{"attnscope hitrate --preset code", []string{"code", "code-exact"}, nil},
				{"attnscope snapkv --preset k", []string{"kvpress", "kvcache-factory"}, nil},
				{"attnscope completion ", []string{"bash", "zsh", "fish"}, nil},
				{"attnscope hitrate ru", []string{"run.attn"}, nil},
				{"attnscope hitrate --by layer run.attn w", nil, []string{"with space.attn"}},
				{"attnscope capture -p no", []string{"notes.txt"}, nil},
				{"attnscope capture -m smoll", []string{"smollm2-135m"}, nil},
				{"attnscope heatmap -o fol", nil, []string{"folder"}},
				{"attnscope submit --kee", []string{"--keep-shards"}, nil},
			} {
				cmd := ask[shell](c.line)
				cmd.Dir = dir
				stop := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
				out, err := cmd.Output()
				stop.Stop()
				if err != nil {
					t.Fatalf("%s: %v: %s", c.line, err, out)
				}
				var got []string
				for line := range strings.Lines(string(out)) {
					line = strings.TrimSuffix(strings.TrimRight(line, "\n"), "/")
					line = strings.TrimPrefix(strings.ReplaceAll(line, `\ `, " "), "snapkv,")
					if line = strings.TrimSuffix(line, "="); line != "" && !slices.Contains(got, line) {
						got = append(got, line)
					}
				}
				for _, w := range append(slices.Clone(c.want), c.has...) {
					if !slices.Contains(got, w) {
						t.Errorf("%s: %q is not among %q", c.line, w, got)
					}
				}
				if c.want != nil && len(got) != len(c.want) {
					t.Errorf("%s: %q, want %q", c.line, got, c.want)
				}
			}
		})
	}
}

// TestCompletionKnowsEveryFlag: verbs and flags are those of the command tree,
// and words offered as values are those that the flag's help speaks of.
func TestCompletionKnowsEveryFlag(t *testing.T) {
	spoken := regexp.MustCompile(`[a-z0-9-]+`)
	for _, v := range describeVerbs(commands()) {
		for _, shell := range []string{"bash", "zsh", "fish"} {
			if !strings.Contains(must(t, "completion", shell), v.Name) {
				t.Errorf("%s: no %s", shell, v.Name)
			}
		}
		for _, f := range v.Flags {
			words := spoken.FindAllString(f.Usage, -1)
			for _, w := range f.Words {
				if !slices.Contains(words, w) && f.Names[0] != "--model" && f.Names[0] != "--preset" {
					t.Errorf("%s %s offers %q, its help does not: %s", v.Name, f.Names[0], w, f.Usage)
				}
			}
		}
	}
	if code, _, said := call(t, "completion", "tcsh"); code != 2 || !strings.Contains(said, "bash, zsh or fish") {
		t.Errorf("exit %d: %s", code, said)
	}
}

// TestManualPage: every verb and flag that help shows, in roff.
func TestManualPage(t *testing.T) {
	page := must(t, "man")
	if !strings.HasPrefix(page, ".nh\n.TH attnscope 1\n") {
		t.Errorf("it begins with %.60q", page)
	}
	for _, verb := range describeVerbs(commands()) {
		_, rest, found := strings.Cut(page, ".SH "+verb.Name+"\n")
		section, _, _ := strings.Cut(rest, ".SH ")
		if !found || !strings.Contains(section, verb.Usage[:min(12, len(verb.Usage))]) {
			t.Errorf("%s is not in it", verb.Name)
		}
		for _, flag := range verb.Flags {
			if name := flag.Names[0]; name != "--help" && !strings.Contains(section, name) {
				t.Errorf("%s: no %s in %.300s", verb.Name, name, section)
			}
		}
	}
	if strings.Contains(page, `\[la]`) {
		t.Error("brackets before a default became a link")
	}
}

// TestCompletionListsEachFlagOnce also for the verb that prints the completion.
func TestCompletionListsEachFlagOnce(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		for line := range strings.Lines(must(t, "completion", shell)) {
			if strings.Count(line, "--help") > 1 || strings.Count(line, "-h ") > 1 {
				t.Errorf("%s: %s", shell, line)
			}
		}
		if shell == "fish" {
			text := must(t, "completion", shell)
			for line := range strings.Lines(text) {
				if strings.Contains(line, "-l help") && strings.Count(text, line) > 1 {
					t.Errorf("fish: %s occurs %d times", line, strings.Count(text, line))
				}
			}
		}
	}
}
