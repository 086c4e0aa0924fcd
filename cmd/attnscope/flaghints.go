package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagHint says what to use instead of flags that a verb does not have but that its readers
// expect, because other verbs have them.
type flagHint struct {
	verbs []string
	flags []string
	hint  string
}

// flagHints lists the flags by the question that they ask.
var flagHints = []flagHint{
	{
		[]string{"hitrate"},
		[]string{"capacity"},
		"--budget N keeps N positions beside the window: SnapKV's capacity 256 with its window of 32 is --budget 224 --kernel 5",
	},
	{
		[]string{"hitrate"},
		[]string{"method", "group"},
		"hitrate rates the votes of each query head; attnscope snapkv compares methods, and takes --method and --group",
	},
	{
		[]string{"snapkv"},
		[]string{"sort", "first", "skip-first"},
		"attnscope hitrate has --sort, --first and --skip-first; --budget N (capacity minus window) with --kernel 5 rates SnapKV's selection",
	},
	{
		[]string{"snapkv", "generate"},
		[]string{"against"},
		"attnscope hitrate --against compares windows, and attnscope leaderboard --against compares methods, prompt by prompt",
	},
	{[]string{"snapkv", "advise"}, []string{"budget"}, sharesHint},
	{
		[]string{"snapkv", "advise"},
		[]string{"top"},
		"--capacity N keeps N positions, the window included; attnscope hitrate --top keeps a share of the prefix",
	},
}

// sharesHint names the verbs that take shares of a prompt.
const sharesHint = "attnscope generate and attnscope leaderboard take shares of each prompt, such as --budget 25%; " +
	"here, --capacity N is a number of positions, the window included"

// hintForFlag returns what to use instead of an unknown flag of a verb, or an empty string.
func hintForFlag(verb, flag string) string {
	for _, h := range flagHints {
		if slices.Contains(h.verbs, verb) && slices.Contains(h.flags, strings.TrimLeft(flag, "-")) {
			return h.hint
		}
	}
	return ""
}

// hintForShare returns where a share such as 25% can be given, if the value of a flag that
// is a number of positions is one. text is quoted.
func hintForShare(c *cli.Context, flag, text string) string {
	if !strings.HasSuffix(strings.Trim(text, `"`), "%") {
		return ""
	}
	switch {
	case flag == "capacity" && hasFlag(c, "budget"):
		return "--budget takes shares of each prompt, such as --budget 25%"
	case flag == "capacity":
		return sharesHint
	case flag == "budget" && hasFlag(c, "top"):
		return "--top takes a share of the prefix, such as --top 0.25"
	}
	return ""
}
