package capture

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// document holds the cache of a text with which several prompts begin, and the sums
// over its rows.
type document struct {
	tokens  int
	session *model.Session
	sums    []layerTotals // by recorded layer
}

// readDocument runs the first tokens of a prompt, which its group shares. Of these
// tokens it records only sums.
func (r *runner) readDocument(ctx context.Context, p *prompts.Prompt, shared int) (*document, error) {
	cfg := r.c.Model.Config()
	plan := r.c.Header.Plan
	plan.WindowRows = 0
	plan.PromptWindows = 0
	plan.Overview = 0
	s := r.c.Model.NewSession()
	one := &promptRun{
		runner: r, p: p, session: s, rec: newRecorder(&plan, &cfg, shared, 0, dumps.StoreRows),
	}
	start := time.Now()
	err := s.Reserve(shared)
	if err == nil {
		err = r.forward(ctx, []*promptRun{one}, [][]int32{p.Tokens[:shared]}, []model.Pass{{LogitsFrom: shared}})
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	s.Mark()
	r.summary.PrefillTime += time.Since(start)
	return &document{shared, s, one.rec.totals()}, nil
}

// promptRun runs one prompt and its reply.
type promptRun struct {
	*runner
	p       *prompts.Prompt
	info    dumps.Prompt
	session *model.Session
	shared  bool // the session is the document's
	rec     *recorder
	room    int       // largest number of reply tokens
	logits  []float32 // of the last token
	sampler *model.Sampler
	reply   []int32

	released bool
}

// begin describes a prompt and starts its part of the dump.
func (r *runner) begin(p *prompts.Prompt) (*promptRun, error) {
	cfg := r.c.Model.Config()
	plan := &r.c.Header.Plan
	one := &promptRun{runner: r, p: p, info: r.describe(p), room: r.c.ReplyRoom(p), logits: make([]float32, cfg.Vocab)}
	// The seed depends on the prompt alone, not on the order of the prompts.
	one.sampler = model.NewSampler(plan.Temperature, plan.Seed^promptSeed(p.ID))
	about := ModelInfo("", &cfg)
	one.info.Store = plan.StoreFor(&about, len(p.Tokens), one.room)
	if one.info.Store == dumps.StoreFactors && cfg.KeyBias != nil {
		if plan.Store == dumps.StoreFactors {
			return nil, errors.New("the scores of this model have biases of the positions (ALiBi), which factors do not have: record rows (--store rows)")
		}
		one.info.Store = dumps.StoreRows
	}
	if one.info.Store == dumps.StoreFactors && cfg.Rope.Restarts(len(p.Tokens), one.room) {
		if plan.Store == dumps.StoreFactors {
			return nil, fmt.Errorf("%d tokens and a reply of up to %d: past %d tokens this model computes all its keys anew, "+
				"and factors have one key for each position: record rows (--store rows)", len(p.Tokens), one.room, cfg.Rope.Original)
		}
		one.info.Store = dumps.StoreRows
	}
	begin := r.w.Begin
	if r.together() || r.c.Model.Streams() {
		begin = r.w.BeginHeld
	}
	pw, err := begin(one.info)
	if err != nil {
		return nil, err
	}
	one.rec = newRecorder(plan, &cfg, len(p.Tokens), one.room, one.info.Store)
	one.rec.pw = pw
	if r.c.Model.Streams() {
		one.rec.piece = r.c.Model.Piece()
	}
	if r.c.floats {
		one.rec.rounding = nil
		one.rec.sumBits = 0
	}
	return one, nil
}

// open makes the session of a prompt: of a document, if doc is not nil. A prompt that is
// decoded together with others has a copy of the document's cache.
func (r *promptRun) open(doc *document) error {
	positions := len(r.p.Tokens) + r.room
	switch {
	case doc == nil:
		r.session = r.c.Model.NewSession()
	case r.together():
		var err error
		if r.session, err = doc.session.Copy(doc.tokens, positions); err != nil {
			return err
		}
	default:
		r.shared = true
		r.session = doc.session
		if err := r.session.Truncate(doc.tokens); err != nil {
			return err
		}
	}
	if doc != nil {
		r.rec.addTotals(doc.sums)
		r.rec.from = doc.tokens
	}
	if err := r.session.Reserve(positions); err != nil {
		r.release()
		return err
	}
	return nil
}

// toGenerate reports whether the model is to write a reply.
func (r *promptRun) toGenerate() bool { return r.p.Reply == nil && r.room > 0 }

// finish writes what remains of a prompt whose reply has ended, and closes it.
func (r *promptRun) finish() error {
	defer r.release()
	start := time.Now()
	err := r.rec.finishReply()
	r.summary.ReplyTime += time.Since(start)
	if err != nil {
		return err
	}
	if err := r.writeCache(); err != nil {
		return err
	}
	r.info.ReplyTokens = len(r.reply)
	r.info.Tokens = slices.Concat(r.p.Tokens, r.reply)
	if err := r.rec.pw.Finish(r.info); err != nil {
		return err
	}
	r.summary.Prompts++
	r.summary.PromptTokens += int64(len(r.p.Tokens))
	r.summary.Replies += int64(len(r.reply))
	ended := int64(r.room - len(r.reply)) // tokens saved by an early end
	if r.p.Reply == nil {
		r.pace.Skip(0, ended)
	}
	r.finished(r.p, ended)
	return nil
}

// release closes the session once nothing reads it any more. It may be called again.
func (r *promptRun) release() {
	if r.released {
		return
	}
	r.released = true
	r.rec.pw.Settle()
	if !r.shared {
		r.session.Close()
	}
}

// describe returns the description of a prompt in the dump, as far as it is known
// before the run.
func (r *runner) describe(p *prompts.Prompt) dumps.Prompt {
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, p.Tokens)
	index := 1 + slices.IndexFunc(r.c.Prompts, func(q prompts.Prompt) bool { return q.ID == p.ID })
	return dumps.Prompt{
		ID: p.ID, Index: index, Dataset: p.Dataset, SHA256: hex.EncodeToString(h.Sum(nil)), Text: p.Text,
		PromptTokens: len(p.Tokens), WindowRows: min(r.c.Header.Plan.WindowRows, len(p.Tokens)),
		Offsets: p.Ends, Document: p.Document, References: p.References,
		Followed: p.Reply != nil, Truncated: p.Truncated, Kernel: r.c.Kernel,
	}
}

func promptSeed(id string) int64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return int64(h.Sum64())
}

func firstNaN(x []float32) int {
	return slices.IndexFunc(x, func(v float32) bool { return v != v })
}

// writeCache writes, for all positions of every cache that a recorded layer reads, the
// keys in the factors form and the values if the plan asks for them.
func (r *promptRun) writeCache() error {
	const step = 1024
	header := &r.c.Header
	factors := r.rec.store == dumps.StoreFactors
	for _, layer := range header.Caches() {
		shape := header.Model.Layer(layer)
		for pos := 0; pos < r.session.Len(); pos += step {
			n := min(step, r.session.Len()-pos)
			if factors {
				if err := r.writeKeys(layer, pos, n); err != nil {
					return err
				}
			}
			if !header.Plan.Values || factors && shape.Latent { // the keys hold a latent's values
				continue
			}
			v, err := r.session.Values(layer, pos, n)
			if err == nil {
				err = r.rec.pw.Values(layer, pos, n, v)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// writeKeys writes n keys of a layer. Keys in the processor's memory are gathered by
// the writer's goroutines.
func (r *promptRun) writeKeys(layer, pos, n int) error {
	if r.session.InMemory() {
		return r.rec.pw.KeysLater(layer, pos, n, func() []float32 {
			k, _ := r.session.Keys(layer, pos, n) // does not fail in memory
			return k
		})
	}
	k, err := r.session.Keys(layer, pos, n)
	if err != nil {
		return err
	}
	return r.rec.pw.Keys(layer, pos, n, k)
}
