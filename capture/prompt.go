package capture

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// document is the cache of a text that several prompts begin with, and the
// sums its rows have contributed.
type document struct {
	tokens  int
	session *model.Session
	totals  []*Sums
}

// readDocument runs the shared tokens of a group once.
func (r *runner) readDocument(ctx context.Context, p *prompts.Prompt, shared int) (*document, error) {
	cfg, plan := r.c.Model.Config(), &r.c.Header.Plan
	// Seen as a prompt of its own without recorded rows: only sums are taken.
	bare := *plan
	bare.WindowRows, bare.PromptWindows, bare.Overview = 0, 0, 0
	rec := newRecorder(&bare, cfg.Layers, cfg.Heads, shared, 0, dumps.StoreRows)
	s := r.c.Model.NewSession()
	if err := s.Reserve(shared); err != nil {
		s.Close()
		return nil, err
	}
	start := time.Now()
	if err := r.read(ctx, s, p.ID, p.Tokens[:shared], rec, model.Pass{LogitsFrom: shared}); err != nil {
		s.Close()
		return nil, err
	}
	r.summary.PrefillTime += time.Since(start)
	return &document{shared, s, rec.totals}, rec.failed()
}

// prompt records one prompt and its reply.
func (r *runner) prompt(ctx context.Context, p *prompts.Prompt, doc *document) error {
	cfg, plan := r.c.Model.Config(), &r.c.Header.Plan
	room := r.c.replyRoom(p)
	info := r.describe(p)
	info.Store = Store(plan, cfg, len(p.Tokens), room)
	pw, err := r.w.Begin(info)
	if err != nil {
		return err
	}
	rec := newRecorder(plan, cfg.Layers, cfg.Heads, len(p.Tokens), room, info.Store)
	rec.pw = pw
	if r.c.floats {
		rec.halves, rec.sumBits = nil, 0
	}
	s, from := (*model.Session)(nil), 0
	if doc != nil {
		s, from = doc.session, doc.tokens
		s.Truncate(from)
		for i := range rec.totals {
			if rec.totals[i] != nil {
				rec.totals[i] = doc.totals[i].clone(len(p.Tokens))
			}
		}
	} else {
		s = r.c.Model.NewSession()
		defer s.Close()
	}
	defer pw.Settle() // before the session is closed
	if err := s.Reserve(len(p.Tokens) + room); err != nil {
		return err
	}

	start := time.Now()
	last := make([]float32, cfg.Vocab)
	n := len(p.Tokens) - from
	err = r.read(ctx, s, p.ID, p.Tokens[from:], rec, model.Pass{
		LogitsFrom: n - 1,
		Logits:     func(_ int, l []float32) { copy(last, l) },
	})
	if err == nil {
		err = rec.finishPrompt()
	}
	if err != nil {
		return err
	}
	r.summary.PrefillTime += time.Since(start)

	start = time.Now()
	var reply []int32
	if p.Reply != nil {
		reply = p.Reply[:room]
		err = r.follow(ctx, s, p.ID, rec, reply, last)
	} else {
		reply, err = r.generate(ctx, s, p.ID, rec, room, last)
	}
	if err == nil {
		err = rec.finishReply()
	}
	r.summary.ReplyTime += time.Since(start)
	if err == nil {
		err = writeCache(pw, s, plan, info.Store == dumps.StoreFactors)
	}
	if err != nil {
		return err
	}
	info.ReplyTokens = len(reply)
	info.Tokens = append(slices.Clone(p.Tokens), reply...)
	if err := pw.Finish(info); err != nil {
		return err
	}
	r.summary.Prompts++
	r.summary.PromptTokens += int64(len(p.Tokens))
	r.summary.Replies += int64(len(reply))
	if p.Reply == nil { // replies may end early: keep the total right
		r.pace.skip(0, int64(room-len(reply)))
	}
	r.finished(p, int64(room-len(reply)))
	return nil
}

// describe fills in what the dump says of a prompt before it is run.
func (r *runner) describe(p *prompts.Prompt) dumps.Prompt {
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, p.Tokens)
	index := 1 + slices.IndexFunc(r.c.Prompts, func(q prompts.Prompt) bool { return q.ID == p.ID })
	return dumps.Prompt{
		ID: p.ID, Index: index, Dataset: p.Dataset, SHA256: hex.EncodeToString(h.Sum(nil)), Text: p.Text,
		PromptTokens: len(p.Tokens), WindowRows: min(r.c.Header.Plan.WindowRows, len(p.Tokens)),
		Offsets: p.Ends, Document: p.Document, References: p.References,
		Followed: p.Reply != nil, Truncated: p.Truncated,
	}
}

// read passes tokens through the model in pieces and records them. pass.LogitsFrom
// counts from the first of them.
func (r *runner) read(ctx context.Context, s *model.Session, id string, tokens []int32, rec *recorder, pass model.Pass) error {
	pass.Recorder = rec.callbacks
	logits, from := pass.Logits, pass.LogitsFrom
	piece := r.c.Model.Piece() // tokens between two looks at the clock and the context
	if pass.Length == 0 {
		pass.Length = s.Len() + len(tokens)
	}
	for lo := 0; lo < len(tokens); lo += piece {
		hi := min(lo+piece, len(tokens))
		pass.LogitsFrom = max(0, from-lo)
		if logits != nil {
			pass.Logits = func(row int, l []float32) { logits(lo+row, l) }
		}
		if err := s.Forward(ctx, tokens[lo:hi], pass); err != nil {
			return err
		}
		if err := rec.failed(); err != nil {
			return err
		}
		r.tokens += int64(hi - lo)
		r.pace.step(reading, int64(hi-lo))
		r.report(id)
	}
	return nil
}

// follow runs a given reply, as one prefill.
func (r *runner) follow(ctx context.Context, s *model.Session, id string, rec *recorder, reply []int32, first []float32) error {
	want, piece := r.c.Header.Plan.Logits, r.c.Model.Piece()
	if want && len(reply) > 0 {
		if err := rec.pw.Logits(0, 1, first); err != nil {
			return err
		}
	}
	for lo := 0; lo < len(reply); lo += piece {
		hi := min(lo+piece, len(reply))
		if err := rec.beginReply(hi - lo); err != nil {
			return err
		}
		pass := model.Pass{LogitsFrom: hi - lo, Length: 1} // rotated as if decoded
		if want {
			pass.LogitsFrom = 0
			pass.Logits = func(row int, l []float32) {
				if next := lo + row + 1; next < len(reply) {
					rec.fail(rec.pw.Logits(next, 1, append([]float32(nil), l...)))
				}
			}
		}
		if err := r.read(ctx, s, id, reply[lo:hi], rec, pass); err != nil {
			return err
		}
		if err := rec.endReply(); err != nil {
			return err
		}
	}
	return nil
}

// generate lets the model write its reply, token by token.
func (r *runner) generate(ctx context.Context, s *model.Session, id string, rec *recorder, room int, logits []float32) ([]int32, error) {
	cfg, plan := r.c.Model.Config(), &r.c.Header.Plan
	sampler := model.NewSampler(plan.Temperature, plan.Seed^promptSeed(id)) // the same reply in whatever order prompts run
	var reply []int32
	for len(reply) < room {
		if at := firstNaN(logits); at >= 0 {
			return nil, fmt.Errorf("the model's logits are not numbers (logit %d at position %d): the weights are damaged or overflow in this arithmetic", at, s.Len())
		}
		if plan.Logits {
			if err := rec.pw.Logits(len(reply), 1, logits); err != nil {
				return nil, err
			}
		}
		next := sampler.Next(logits)
		reply = append(reply, next)
		if err := rec.beginReply(1); err != nil {
			return nil, err
		}
		last := len(reply) == room || !plan.IgnoreEOS && slices.Contains(cfg.EOS, next)
		pass := model.Pass{LogitsFrom: 1, Recorder: rec.callbacks} // the last token runs for its row alone
		if !last {
			pass.LogitsFrom, pass.Logits = 0, func(_ int, l []float32) { copy(logits, l) }
		}
		err := s.Forward(ctx, []int32{next}, pass)
		if err == nil {
			err = rec.endReply()
		}
		if err != nil {
			return nil, err
		}
		r.tokens++
		r.pace.step(generating, 1)
		r.report(id)
		if last {
			break
		}
	}
	return reply, nil
}

func promptSeed(id string) int64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return int64(h.Sum64())
}

func firstNaN(x []float32) int {
	return slices.IndexFunc(x, func(v float32) bool { return v != v })
}

// writeKeys writes keys of a layer; those in the processor's memory are gathered
// beside the caller.
func writeKeys(pw *dumps.PromptWriter, s *model.Session, layer, pos, n int) error {
	if s.InMemory() {
		return pw.KeysLater(layer, pos, n, func() []float32 {
			k, _ := s.Keys(layer, pos, n)
			return k
		})
	}
	k, err := s.Keys(layer, pos, n)
	if err != nil {
		return err
	}
	return pw.Keys(layer, pos, n, k)
}

// writeCache writes the keys, if keys says so, and the values, if the plan wants
// them, of all positions of a session.
func writeCache(pw *dumps.PromptWriter, s *model.Session, plan *dumps.Plan, keys bool) error {
	const step = 1024
	for _, layer := range plan.Layers {
		for pos := 0; pos < s.Len(); pos += step {
			n := min(step, s.Len()-pos)
			if keys {
				if err := writeKeys(pw, s, layer, pos, n); err != nil {
					return err
				}
			}
			if plan.Values {
				v, err := s.Values(layer, pos, n)
				if err == nil {
					err = pw.Values(layer, pos, n, v)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
