package experiments

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// resultStore keeps results of compressed decoding in a file next to the captures,
// decode-NAME.jsonl, so that a stopped run continues with the next prompt. The
// first line of the file is the key of the work; each further line holds the
// results of one prompt.
type resultStore struct {
	path string
	key  string
	done map[string][]decode.Result // by prompt id
}

// resultKey holds everything that determines the results: if any of it differs, they
// are computed again. Its hash is the key of the work.
type resultKey struct {
	Model, Prompts string // hashes
	Revision       int    // snapkv.Revision
	Methods        []string
	Configs        []snapkv.Config
	Pairs          []string // if not all pairs are decoded: "METHOD N", where N is the number of a config
	Reply          int
	IgnoreEOS      bool
	Score          string
	References     [][]string // of each prompt: the answers that replies are scored against
}

// openStore reads the existing results of this work. An incomplete last line is
// dropped; results of other work are ignored and will be replaced.
func (l *Lab) openStore(name string, c *decode.Config) (*resultStore, error) {
	key, err := l.resultKey(c)
	if err != nil {
		return nil, err
	}
	s := &resultStore{
		path: filepath.Join(l.captures(), "decode-"+name+".jsonl"),
		key:  key,
		done: map[string][]decode.Result{},
	}
	f, err := os.Open(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(make([]byte, 1<<16), 64<<20)
	if !scanner.Scan() || scanner.Text() != s.key {
		return s, scanner.Err()
	}
	for scanner.Scan() {
		var list []decode.Result
		if err := json.Unmarshal(scanner.Bytes(), &list); err != nil || len(list) == 0 {
			break
		}
		s.done[list[0].ID] = list
	}
	return s, scanner.Err()
}

// resultKey is the key of the work.
func (l *Lab) resultKey(c *decode.Config) (string, error) {
	header, err := l.Header(&dumps.Plan{}, c.Prompts)
	if err != nil {
		return "", err
	}
	key := resultKey{
		Model:     header.Model.SHA256,
		Prompts:   header.Manifest.PromptsSHA256,
		Revision:  snapkv.Revision,
		Configs:   c.Configs,
		Reply:     c.MaxNewTokens,
		IgnoreEOS: c.IgnoreEOS,
		Score:     c.Score,
	}
	for _, p := range c.Prompts {
		key.References = append(key.References, p.References)
	}
	for _, m := range c.Methods {
		key.Methods = append(key.Methods, m.Name)
		for i, cfg := range c.Configs {
			if c.Skip != nil && !c.Skip(m.Name, cfg) {
				key.Pairs = append(key.Pairs, fmt.Sprint(m.Name, " ", i))
			}
		}
	}
	text, err := json.Marshal(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// complete reports whether there are results for every prompt.
func (s *resultStore) complete(list []prompts.Prompt) bool {
	for i := range list {
		if s.done[list[i].ID] == nil {
			return false
		}
	}
	return true
}

// run decodes the prompts without results and returns the results of all prompts, in
// order. Every result passes through the file's JSON, so that a run that was stopped
// and continued gives the same bytes as an uninterrupted one.
func (s *resultStore) run(ctx context.Context, l *Lab, c decode.Config) ([]decode.Result, error) {
	all := c.Prompts
	if !s.complete(all) {
		if err := s.decode(ctx, c); err != nil {
			return nil, err
		}
	} else {
		l.noteReuse(s.path)
	}
	var out []decode.Result
	for _, p := range all {
		out = append(out, s.done[p.ID]...)
	}
	return out, nil
}

// decode writes a new file with the existing results, and appends the results of the
// other prompts as they are decoded.
func (s *resultStore) decode(ctx context.Context, c decode.Config) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(s.path + ".new")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, s.key); err != nil {
		return err
	}
	var missing []prompts.Prompt
	for _, p := range c.Prompts {
		list := s.done[p.ID]
		if list == nil {
			missing = append(missing, p)
		} else if err := s.note(f, list); err != nil {
			return err
		}
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		return err
	}
	c.Prompts = missing
	var current []decode.Result // of the prompt that is being decoded
	err = decode.Run(ctx, c, func(r decode.Result) error {
		if len(current) > 0 && current[0].ID != r.ID {
			if err := s.note(f, current); err != nil {
				return err
			}
			current = nil
		}
		current = append(current, r)
		return nil
	})
	if err != nil {
		return err
	}
	if len(current) > 0 {
		if err := s.note(f, current); err != nil {
			return err
		}
	}
	return f.Close()
}

// note appends the results of one prompt to the file and adds them to s.done, in the
// form in which a later run reads them.
func (s *resultStore) note(w io.Writer, list []decode.Result) error {
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	var back []decode.Result
	if err := json.Unmarshal(text, &back); err != nil {
		return err
	}
	s.done[list[0].ID] = back
	_, err = w.Write(append(text, '\n'))
	return err
}
