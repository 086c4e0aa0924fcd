package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/internal/visible"
)

// promptFlags say how a prompt file is read.
var promptFlags = []cli.Flag{
	boolFlag("no-special-tokens", "do not add the special tokens that the tokenizer puts around raw text, such as BOS"),
	boolFlag("no-chat-template", "join the text of the messages instead of applying the model's chat template"),
	&cli.StringFlag{Name: "system", Usage: "put the system message `TEXT` before every chat"},
	boolFlag("follow", "follow the reference answers (outputs, answers or answer) instead of generating a reply"),
	&cli.IntFlag{Name: "limit", DefaultText: "all", Usage: "use only the first `N` prompts of the file"},
	&cli.IntFlag{
		Name: "max-prompt-tokens", DefaultText: "no limit",
		Usage: "cut prompts longer than `N` tokens; needs --truncate",
	},
	&cli.StringFlag{Name: "truncate", Usage: "where to cut a longer prompt: middle"},
	&cli.StringFlag{
		Name:  "template",
		Usage: "make each prompt from the template in `FILE`, where {field} stands for a field of the record and {{ for a brace",
	},
	&cli.StringSliceFlag{
		Name:  "ignore-field",
		Usage: "leave out the field `NAME` of prompt records, which is not understood; repeatable; '*' means all such fields",
	},
}

// noPrompts is the error of a verb that was called without -p.
func noPrompts(verb string) error {
	return hintf(usagef("%s: no prompts given", verb), "name a file with -p, one JSON object per line")
}

// misplaced is the error of a verb that takes the model from -m and the prompts
// from -p, and was called with something else.
func misplaced(verb, argument string) error {
	err := usagef("%s: unexpected argument %q", verb, argument)
	return hintf(err, "name the model with -m and the prompts with -p")
}

// readPrompts reads and tokenizes the prompt file of -p, and returns the names of the
// fields that were ignored.
func readPrompts(c *cli.Context, tok *tokenizer.Tokenizer) (list []prompts.Prompt, ignored []string, err error) {
	if err := checkPromptFlags(c); err != nil {
		return nil, nil, err
	}
	set, err := readSet(c)
	if err != nil {
		return nil, nil, err
	}
	if len(set.Ignored) > 0 {
		notef(c, "fields that were ignored: %s", visible.Line(strings.Join(set.Ignored, ", ")))
	}
	opt := prompts.Options{
		NoSpecialTokens: c.Bool("no-special-tokens"), NoChatTemplate: c.Bool("no-chat-template"),
		System: c.String("system"), Follow: c.Bool("follow"),
		MaxPromptTokens: c.Int("max-prompt-tokens"), Truncate: c.String("truncate"),
	}
	if n := c.Int("limit"); c.IsSet("limit") {
		set.Records = set.Records[:min(n, len(set.Records))]
	}
	list = make([]prompts.Prompt, 0, len(set.Records))
	bar := newBar(c.App.ErrWriter, "prompts")
	defer bar.close()
	for i, rec := range set.Records {
		p, err := prompts.Prepare(c.Context, tok, rec, opt)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.String("prompts"), err)
		}
		list = append(list, p)
		bar.steps(int64(i+1), int64(len(set.Records)))
	}
	bar.close()
	warnTruncated(c, list)
	warnNotFollowed(c, list)
	return list, set.Ignored, nil
}

// warnTruncated says how many prompts were cut, and by how much.
func warnTruncated(c *cli.Context, list []prompts.Prompt) {
	var cut []prompts.Prompt
	least, most := 0, 0
	for _, p := range list {
		if p.Truncated == 0 {
			continue
		}
		cut = append(cut, p)
		most = max(most, p.Truncated)
		if least == 0 || p.Truncated < least {
			least = p.Truncated
		}
	}
	switch len(cut) {
	case 0:
	case 1:
		warnf(c, "prompt %q: %s cut from the middle", cut[0].ID, count(most, "token"))
	default:
		removed := fmt.Sprintf("%d to %d tokens", least, most)
		if least == most {
			removed = count(most, "token")
		}
		warnf(c, "%d of %d prompts are longer than --max-prompt-tokens %d: %s were cut from the middle of each",
			len(cut), len(list), c.Int("max-prompt-tokens"), removed)
	}
}

// warnNotFollowed says how many prompts have no answer for --follow.
func warnNotFollowed(c *cli.Context, list []prompts.Prompt) {
	without := 0
	for i := range list {
		if list[i].Reply == nil {
			without++
		}
	}
	if c.Bool("follow") && without > 0 {
		warnf(c, "--follow: %d of %d prompts have no answer; their replies are generated", without, len(list))
	}
}

// readSet reads the records of the prompt file of -p.
func readSet(c *cli.Context) (prompts.Set, error) {
	opt := prompts.ReadOptions{Ignore: c.StringSlice("ignore-field")}
	if name := c.String("template"); name != "" {
		var err error
		if opt.Template, err = prompts.ReadTemplate(name); err != nil {
			return prompts.Set{}, err
		}
	}
	return prompts.ReadFile(c.String("prompts"), c.App.Reader, opt)
}

func checkPromptFlags(c *cli.Context) error {
	limited := c.IsSet("max-prompt-tokens")
	limit := c.Int("max-prompt-tokens")
	where := c.String("truncate")
	switch {
	case c.IsSet("limit") && c.Int("limit") < 1:
		return usagef("--limit %d: want 1 or more", c.Int("limit"))
	case limited && limit < 1:
		return usagef("--max-prompt-tokens %d: want 1 or more", limit)
	case where != "" && where != "middle":
		return usagef("--truncate %q: want middle", where)
	case limited != (where != ""):
		err := usagef("--max-prompt-tokens and --truncate need each other")
		return hintf(err, "give --max-prompt-tokens N --truncate middle; nothing is cut silently")
	}
	return nil
}
