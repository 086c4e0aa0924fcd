package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps"
)

// openDump opens a dump and prints its warnings.
func openDump(c *cli.Context, path string) (*dumps.Reader, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	for _, w := range r.Warnings() {
		warnf(c, "%s", w)
	}
	return r, nil
}

// promptIndex returns the index of the prompt with an id, or of the first prompt
// if id is empty.
func promptIndex(r *dumps.Reader, id string) (int, error) {
	list := r.Prompts()
	if len(list) == 0 {
		return 0, fmt.Errorf("%s: the dump has no complete prompt", r.Path())
	}
	if id == "" {
		return 0, nil
	}
	for i := range list {
		if list[i].ID == id {
			return i, nil
		}
	}
	err := fmt.Errorf("%s: no prompt %q", r.Path(), id)
	return 0, hintf(err, "attnscope info %s lists the prompts; the first is %q", r.Path(), list[0].ID)
}

// noDump is the error of a verb that was called without a dump.
func noDump(verb string) error {
	return hintf(usagef("%s: no dump given", verb), "name at least one RUN.attn; attnscope capture makes them")
}
