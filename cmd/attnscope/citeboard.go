package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis/cite"
)

// citeBoardFigure adds the results that a figure of leaderboard shows, from the arguments
// of the command that drew it.
func citeBoardFigure(list *cite.List, path string, args []string) error {
	found, missing, err := citeResults(list, path, args)
	if err != nil || found {
		return err
	}
	list.Remark("%s shows results that are not at the named place: cite them as well (%s)", path, strings.Join(missing, ", "))
	return citeMethods(list, methodsIn(args))
}

// boardCommand matches the command of a run on a page of leaderboard.
var boardCommand = regexp.MustCompile(`<dt>command</dt><dd><code>([^<]*)</code></dd>`)

// citePage adds the results that a page of leaderboard shows. Other pages are an error that
// says what to name instead.
func citePage(list *cite.List, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var args []string
	for _, m := range boardCommand.FindAllStringSubmatch(string(text), -1) {
		args = append(args, strings.Fields(html.UnescapeString(m[1]))...)
	}
	if args == nil {
		return hintf(fmt.Errorf("%s: a page is cited by what it shows", path), "name its dumps (.attn) or results (.jsonl)")
	}
	found, missing, err := citeResults(list, path, args)
	if err != nil || found {
		return err
	}
	return hintf(fmt.Errorf("%s: the results that it shows are not at the named place (%s)", path, strings.Join(missing, ", ")),
		"name the file of results that the page was made from")
}

// citeResults adds the files of results that a command line names. missing lists those that
// are not there.
func citeResults(list *cite.List, path string, args []string) (found bool, missing []string, err error) {
	var names []string
	for _, arg := range args {
		name := arg
		if _, value, inline := strings.Cut(arg, "="); inline && strings.HasPrefix(arg, "-") {
			name = value
		}
		if filepath.Ext(name) == ".jsonl" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if !cite.AreResults(name) {
			missing = append(missing, name)
			continue
		}
		found = true
		list.Remark("%s shows results of %s", path, name)
		if err := list.Table(name); err != nil {
			return found, missing, err
		}
	}
	return found, missing, nil
}
