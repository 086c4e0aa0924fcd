package experiments

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// kept are results of compressed decoding, kept beside the captures in
// decode-NAME.jsonl: the first line is the key of the work, every further one
// holds the results of one prompt. A stopped run goes on with the next prompt.
type kept struct {
	path string
	key  string
	done map[string][]decode.Result
}

// keyForm is what decides the results: where any of it differs they are made
// again.
type keyForm struct {
	Model, Prompts string // hashes
	Methods        []string
	Configs        []snapkv.Config
	Pairs          []string // of method and config that are decoded, where not all are: "METHOD N" with the config's number
	Reply          int
	IgnoreEOS      bool
	Score          string
	References     [][]string // of the prompts: what the replies are scored on
}

// openKept reads what is there for these prompts and caches. A last line that
// was cut is dropped.
func (l *Lab) openKept(name string, c *decode.Config) (*kept, error) {
	header, err := l.Header(&dumps.Plan{}, c.Prompts)
	if err != nil {
		return nil, err
	}
	form := keyForm{Model: header.Model.SHA256, Prompts: header.Manifest.PromptsSHA256, Configs: c.Configs, Reply: c.MaxNewTokens, IgnoreEOS: c.IgnoreEOS, Score: c.Score}
	for _, p := range c.Prompts {
		form.References = append(form.References, p.References)
	}
	for _, m := range c.Methods {
		form.Methods = append(form.Methods, m.Name)
		for i, cfg := range c.Configs {
			if c.Skip != nil && !c.Skip(m.Name, cfg) {
				form.Pairs = append(form.Pairs, fmt.Sprint(m.Name, " ", i))
			}
		}
	}
	text, err := json.Marshal(form)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	k := &kept{path: filepath.Join(l.captures(), "decode-"+name+".jsonl"), key: hex.EncodeToString(sum[:]), done: map[string][]decode.Result{}}
	f, err := os.Open(k.path)
	if errors.Is(err, os.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 1<<16), 64<<20)
	if !s.Scan() || s.Text() != k.key {
		return k, s.Err()
	}
	for s.Scan() {
		var list []decode.Result
		if err := json.Unmarshal(s.Bytes(), &list); err != nil || len(list) == 0 {
			break
		}
		k.done[list[0].ID] = list
	}
	return k, s.Err()
}

func (k *kept) complete(list []prompts.Prompt) bool {
	for i := range list {
		if k.done[list[i].ID] == nil {
			return false
		}
	}
	return true
}

// run decodes the prompts that are not there yet and returns the results of
// all, in the order of the prompts. All of them went through the file's JSON,
// so that a run that was stopped gives the bytes of one that was not.
func (k *kept) run(ctx context.Context, l *Lab, c decode.Config) ([]decode.Result, error) {
	all := c.Prompts
	if !k.complete(all) {
		c.Prompts = nil
		for _, p := range all {
			if k.done[p.ID] == nil {
				c.Prompts = append(c.Prompts, p)
			}
		}
		if err := os.MkdirAll(filepath.Dir(k.path), 0o755); err != nil {
			return nil, err
		}
		f, err := os.Create(k.path + ".new")
		if err != nil {
			return nil, err
		}
		defer f.Close()
		write := func(v []byte) error { _, err := f.Write(append(v, '\n')); return err }
		if err := write([]byte(k.key)); err != nil {
			return nil, err
		}
		note := func(list []decode.Result) error {
			text, err := json.Marshal(list)
			if err != nil {
				return err
			}
			var back []decode.Result
			if err := json.Unmarshal(text, &back); err != nil {
				return err
			}
			k.done[list[0].ID] = back
			return write(text)
		}
		for _, p := range all {
			if list := k.done[p.ID]; list != nil {
				if err := note(list); err != nil {
					return nil, err
				}
			}
		}
		if err := os.Rename(k.path+".new", k.path); err != nil {
			return nil, err
		}
		var now []decode.Result
		flush := func() error {
			if len(now) == 0 {
				return nil
			}
			list := now
			now = nil
			return note(list)
		}
		err = decode.Run(ctx, c, func(r decode.Result) error {
			if len(now) > 0 && now[0].ID != r.ID {
				if err := flush(); err != nil {
					return err
				}
			}
			now = append(now, r)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if err := flush(); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	} else if l.Log != nil {
		l.Log("%s: %s is used again", l.name, k.path)
	}
	var out []decode.Result
	for _, p := range all {
		out = append(out, k.done[p.ID]...)
	}
	return out, nil
}
