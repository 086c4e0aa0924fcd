package main

import (
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell",
		ArgsUsage: "bash | zsh | fish",
		Description: "The script completes verbs, flags, their values and files.\n" +
			"bash: source <(attnscope completion bash)                    in ~/.bashrc\n" +
			"zsh:  source <(attnscope completion zsh)                     in ~/.zshrc, after compinit\n" +
			"fish: attnscope completion fish > ~/.config/fish/completions/attnscope.fish",
		Action: runCompletion,
	}
}

func runCompletion(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return hintf(usagef("completion: %d shells given, want one", c.Args().Len()), "name bash, zsh or fish")
	}
	shell := shells[c.Args().First()]
	if shell == nil {
		return usagef("completion: no completion for %q: want bash, zsh or fish", c.Args().First())
	}
	return shell.Execute(c.App.Writer, describeVerbs(c.App.Commands))
}

// verbWords is what the scripts know about a verb.
type verbWords struct {
	Name, Usage string
	Words       []string // possible arguments
	Files       bool     // the arguments are files
	Flags       []flagWords
}

// flagWords is what the scripts know about a flag.
type flagWords struct {
	Names       []string // with their dashes; the long name first
	Usage       string
	Takes       bool     // a value
	List        bool     // values may be joined by commas
	Words       []string // possible values
	Files, Dirs bool     // the value is a file, or a folder
}

// flagValues has the values of flags that take one of a few words.
var flagValues = map[string][]string{
	"average":    {"pooled", "rows", "heads"},
	"by":         {"layer", "head", "prompt", "dataset", "span"},
	"compute":    {"f32", "bf16", "f16"},
	"device":     {"auto", "cpu", "cuda"},
	"engine":     {"slurm"},
	"generation": {"rows", "mean"},
	"group":      wordsOf(snapkv.Groups()),
	"heads":      {"all"},
	"layers":     {"all"},
	"mem":        {"auto"},
	"pooling":    wordsOf(snapkv.Poolings()),
	"precision":  wordsOf(dumps.Precisions()),
	"store":      wordsOf(dumps.Stores()),
	"truncate":   {"middle"},
}

// verbValues has the values of flags whose words differ by verb, under "VERB FLAG",
// and possible arguments of verbs, under "VERB ".
var verbValues = map[string][]string{
	"completion ":     {"bash", "zsh", "fish"},
	"pull ":           {"smollm2-135m"},
	"reproduce ":      append(experimentNames(), "all"),
	"advise by":       {"layer", "head"},
	"advise preset":   snapkv.PresetNames(),
	"generate preset": snapkv.PresetNames(),
	"heatmap format":  viz.Formats,
	"hitrate preset":  analysis.HitRatePresets,
	"snapkv preset":   snapkv.PresetNames(),
}

// wordsOf returns the words of a closed set.
func wordsOf[T ~string](set []T) []string {
	words := make([]string, len(set))
	for i, word := range set {
		words[i] = string(word)
	}
	return words
}

var placeholder = regexp.MustCompile("`([^`]*)`")

// describeVerbs reads the command tree. The placeholder of a flag's value says what
// the value is: FILE, RUN.attn, DIR, MODEL or LIST.
func describeVerbs(list []*cli.Command) []verbWords {
	var verbs []verbWords
	for _, cmd := range list {
		if cmd.Hidden {
			continue
		}
		v := verbWords{
			Name: cmd.Name, Usage: cmd.Usage, Words: verbValues[cmd.Name+" "],
			Files: strings.Contains(cmd.ArgsUsage, ".attn") && !strings.Contains(cmd.ArgsUsage, "-p "),
		}
		flags := cmd.Flags
		if !slices.Contains(flags, cli.HelpFlag) { // the command that runs has it already
			flags = append(slices.Clone(flags), cli.HelpFlag)
		}
		for _, f := range flags {
			v.Flags = append(v.Flags, describeFlag(cmd.Name, f))
		}
		verbs = append(verbs, v)
	}
	return verbs
}

func describeFlag(verb string, f cli.Flag) flagWords {
	var w flagWords
	for _, name := range f.Names() {
		w.Names = append(w.Names, dashed(name))
	}
	slices.SortStableFunc(w.Names, func(a, b string) int { return len(b) - len(a) })
	usage := f.(cli.DocGenerationFlag).GetUsage()
	_, isBool := f.(*cli.BoolFlag)
	w.Takes = !isBool
	if m := placeholder.FindStringSubmatch(usage); m != nil && w.Takes {
		w.describeValue(m[1])
	}
	w.Usage = strings.ReplaceAll(usage, "`", "")
	for _, name := range f.Names() {
		for _, words := range [][]string{flagValues[name], verbValues[verb+" "+name]} {
			if words != nil && w.Takes {
				w.Words = words
			}
		}
		switch {
		case name == "format" && w.Words == nil:
			w.Words = []string{"table", "tsv", "csv", "json", "jsonl", "parquet", "latex"}
		case name == "method":
			w.Words = append(snapkv.MethodNames(), "common", "all")
		}
	}
	return w
}

// describeValue reads the placeholder of a flag's value.
func (w *flagWords) describeValue(name string) {
	switch {
	case name == "MODEL":
		w.Files = true
		w.Words = []string{"smollm2-135m"}
	case name == "DIR":
		w.Dirs = true
	case name == "LIST":
		w.List = true
	case strings.Contains(name, "FILE"), strings.HasSuffix(name, ".attn"), strings.HasSuffix(name, ".jsonl"):
		w.Files = true
	}
}

var shells = map[string]*template.Template{
	"bash": shellTemplate("bash", bashCompletion),
	"zsh":  shellTemplate("zsh", zshCompletion),
	"fish": shellTemplate("fish", fishCompletion),
}

func shellTemplate(name, text string) *template.Template {
	return template.Must(template.New(name).Funcs(template.FuncMap{
		"join": func(words []string, by string) string { return strings.Join(words, by) },
		"word": func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" },
		// A text of zsh's _arguments, inside single quotes.
		"zsh": func(s string) string {
			return strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`, "\n", " ").Replace(s)
		},
		// A text of fish, inside single quotes.
		"fish": func(s string) string { return strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) },
		"trim": func(s string) string { return strings.TrimLeft(s, "-") },
		"long": func(s string) bool { return strings.HasPrefix(s, "--") },
		"alt":  func(names []string) string { return strings.Join(names, "|") },
	}).Parse(text))
}

const bashCompletion = `# bash completion of attnscope: source <(attnscope completion bash)
_attnscope() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= i
	# bash splits --flag=value into three words.
	if [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; elif [[ $cur == = ]]; then cur=; fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} != -* ]]; then verb=${COMP_WORDS[i]}; break; fi
	done
	COMPREPLY=()
	_attnscope_words() { COMPREPLY=($(compgen -W "$1" -- "$cur")); }
	_attnscope_list() {
		local head=
		[[ $cur != *,* ]] || head=${cur%,*},
		COMPREPLY=($(compgen -P "$head" -W "$1" -- "${cur##*,}"))
	}
	_attnscope_files() {
		local IFS=$'\n'
		compopt -o filenames 2>/dev/null
		COMPREPLY+=($(compgen "$1" -- "$cur"))
	}
	case $verb in
	'') _attnscope_words '{{range .}}{{.Name}} {{end}}--help' ;;
{{- range .}}
	{{.Name}})
		case $prev in
{{- range .Flags}}{{if .Takes}}
		{{alt .Names}}) {{if .Words}}{{if .List}}_attnscope_list{{else}}_attnscope_words{{end}} '{{join .Words " "}}'; {{end}}{{if .Files}}_attnscope_files -f; {{end}}{{if .Dirs}}_attnscope_files -d; {{end}}return ;;
{{- end}}{{end}}
		esac
		if [[ $cur == -* ]]; then _attnscope_words '{{range .Flags}}{{join .Names " "}} {{end}}'; else {{if .Words}}_attnscope_words '{{join .Words " "}}'{{else if .Files}}_attnscope_files -f{{else}}:{{end}}; fi
		;;
{{- end}}
	esac
}
complete -F _attnscope attnscope
`

const zshCompletion = `#compdef attnscope
# zsh completion of attnscope: source <(attnscope completion zsh), or this file as _attnscope in fpath
_attnscope_or_file() {
	local code=1
	compadd -- "$@" && code=0
	_files && code=0
	return $code
}
_attnscope() {
	local line state
	_arguments -C '1: :->verb' '*:: :->rest'
	case $state in
	verb)
		local -a verbs=(
{{- range .}}
			'{{.Name}}:{{zsh .Usage}}'
{{- end}}
		)
		_describe verb verbs
		;;
	rest)
		case $line[1] in
{{- range .}}
		{{.Name}})
			_arguments -S \
{{- range $f := .Flags}}{{range .Names}}
				'*{{.}}{{if $f.Takes}}{{if long .}}={{else}}+{{end}}{{end}}[{{zsh $f.Usage}}]{{if $f.Takes}}:{{zsh (trim .)}}:{{template "value" $f}}{{end}}' \
{{- end}}{{end}}
				'*: :{{if .Words}}({{join .Words " "}}){{else if .Files}}_files{{end}}'
			;;
{{- end}}
		esac
		;;
	esac
}
if [[ $funcstack[1] == _attnscope ]]; then _attnscope "$@"; else compdef _attnscope attnscope; fi
{{- define "value"}}{{if and .Words .Files}} _attnscope_or_file {{join .Words " "}}{{else if .Words}}{{if .List}}_sequence compadd - {{join .Words " "}}{{else}}({{join .Words " "}}){{end}}{{else if .Files}}_files{{else if .Dirs}}_files -/{{end}}{{end}}
`

const fishCompletion = `# fish completion of attnscope: ~/.config/fish/completions/attnscope.fish
complete -c attnscope -f
{{- range $v := .}}
complete -c attnscope -n __fish_use_subcommand -a {{.Name}} -d '{{fish .Usage}}'
{{- if .Files}}
complete -c attnscope -n '__fish_seen_subcommand_from {{.Name}}' -F
{{- end}}
{{- if .Words}}
complete -c attnscope -n '__fish_seen_subcommand_from {{.Name}}' -a '{{join .Words " "}}'
{{- end}}
{{- range .Flags}}
complete -c attnscope -n '__fish_seen_subcommand_from {{$v.Name}}'{{range .Names}} {{if long .}}-l{{else}}-s{{end}} {{trim .}}{{end}}{{if or .Files .Dirs}} -r -F{{else if .Takes}} -x{{end}}{{if .List}}{{if .Words}} -a '(__fish_append , {{join .Words " "}})'{{end}}{{else if .Words}} -a '{{join .Words " "}}'{{end}} -d '{{fish .Usage}}'
{{- end}}
{{- end}}
`
