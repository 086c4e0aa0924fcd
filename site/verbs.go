package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// verbsURL is the page that lists the verbs.
const verbsURL = "verbs/index.html"

// verbPages makes a page of each verb from its help, after one that lists them.
func verbPages(program string) ([]*page, error) {
	help, err := helpOf(program)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("# Verbs\n\n" + fenced(help["USAGE"]) + "\n| verb | what it does |\n|---|---|\n")
	pages := []*page{{url: verbsURL, base: ".", label: "Verbs"}}
	for _, line := range strings.Split(help["COMMANDS"], "\n") {
		verb, about, _ := strings.Cut(strings.TrimSpace(line), " ")
		p, err := verbPage(program, verb)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "| [%s](%s) | %s |\n", verb, p.url, prose(about))
		pages = append(pages, p)
	}
	b.WriteString("\n[Terms](terms.html) explains the words that they use, as `attnscope help WORD` does.\n")
	pages[0].text = []byte(b.String())
	return pages, nil
}

// verbPage makes the page of one verb.
func verbPage(program, verb string) (*page, error) {
	help, err := helpOf(program, verb)
	if err != nil {
		return nil, err
	}
	_, about, _ := strings.Cut(help["NAME"], " - ")
	usage := strings.Replace(strings.TrimSpace(help["USAGE"]), " [command options]", "", 1)
	var b strings.Builder
	fmt.Fprintf(&b, "# attnscope %s\n\n%s.\n\n%s\n", verb, prose(strings.ToUpper(about[:1])+about[1:]), fenced(usage))
	for _, paragraph := range strings.Split(help["DESCRIPTION"], "\n\n") {
		if inColumns.MatchString(paragraph) {
			b.WriteString(fenced(paragraph) + "\n")
		} else {
			b.WriteString(prose(paragraph) + "\n\n")
		}
	}
	b.WriteString("## Flags\n\n| flag | meaning |\n|---|---|\n")
	for _, line := range strings.Split(help["OPTIONS"], "\n") {
		option := optionLine.FindStringSubmatch(line)
		if option == nil {
			return nil, fmt.Errorf("attnscope %s --help: %q is not a line of a flag", verb, line)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", option[1], prose(option[3]))
	}
	return &page{
		url: "verbs/" + verb + ".html", base: ".", label: verb, parent: verbsURL, text: []byte(b.String()),
	}, nil
}

var (
	// inColumns matches text whose spaces have a meaning.
	inColumns = regexp.MustCompile(`(?m)^ |\S  +\S`)
	// optionLine matches a flag, its repetition, and its meaning.
	optionLine = regexp.MustCompile(`^(-.*?)( \[ .* \])?  +(.*)$`)
	// headline matches the headings of a help.
	headline = regexp.MustCompile(`^([A-Z ]+):$`)
)

// helpOf returns the parts of the help of a verb, without their indentation, by heading.
func helpOf(program string, verb ...string) (map[string]string, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(program, append(verb, "--help")...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s --help: %w", program, strings.Join(verb, " "), err)
	}
	parts := map[string]string{}
	heading := ""
	for _, line := range strings.Split(string(bytes.TrimSpace(out)), "\n") {
		if m := headline.FindStringSubmatch(line); m != nil {
			heading = m[1]
			continue
		}
		parts[heading] += strings.TrimPrefix(line, "   ") + "\n"
	}
	for heading, text := range parts {
		parts[heading] = strings.Trim(text, "\n")
	}
	return parts, nil
}

// fenced returns a text as a block of code.
func fenced(text string) string {
	return "```text\n" + strings.Trim(text, "\n") + "\n```\n"
}
