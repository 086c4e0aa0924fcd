package dumps

import (
	"context"
	"errors"
	"fmt"
)

// Problem is a damaged place in a dump.
type Problem struct {
	Prompt string // id; empty where the prompt is unknown
	Layer  int    // -1: none
	What   string // kind, rows and damage
}

// String names the prompt and the layer, as far as they are known, and the problem.
func (p Problem) String() string {
	switch {
	case p.Prompt == "":
		return p.What
	case p.Layer < 0:
		return fmt.Sprintf("prompt %q: %s", p.Prompt, p.What)
	}
	return fmt.Sprintf("prompt %q, layer %d: %s", p.Prompt, p.Layer, p.What)
}

// Verify reads all of a dump and reports every problem that it finds. It checks
//   - every checksum, and that the index lists exactly the records of the file;
//   - that each row of weights sums to one, with the share of a sink, and sees no later key;
//   - that sums over queries add up to the number of queries;
//   - that log-sum-exps match queries and keys;
//   - that all numbers are finite.
//
// Verify returns whether the dump is whole. It returns an error if the dump cannot be
// opened or if ctx ends early. progress may be nil.
func Verify(ctx context.Context, path string, progress Progress, report func(Problem)) (bool, error) {
	r, err := Open(path)
	if err != nil {
		return false, err
	}
	defer r.Close()
	r.unchecked = true
	v := &verifier{ctx: ctx, r: r, ok: true, report: report}
	v.progress = counter{report: progress, total: 2 * r.size}
	if !r.complete {
		v.problem("", -1, "not complete: it was not finished, or it was cut")
	}
	v.records()
	v.progress.set(r.size)
	v.prompts()
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("%s: %w", r.path, err)
	}
	v.progress.set(v.progress.total)
	return v.ok, nil
}

// verifier collects the problems of a dump.
type verifier struct {
	ctx    context.Context
	r      *Reader
	ok     bool
	report func(Problem)
	broken map[int64]bool // offsets of payloads that records has reported

	progress counter // records and prompts pass over the file
}

func (v *verifier) problem(prompt string, layer int, format string, args ...any) {
	v.ok = false
	v.report(Problem{prompt, layer, fmt.Sprintf(format, args...)})
}

// damage reports a damaged record.
func (v *verifier) damage(rec *record, err error) {
	id := v.r.idOf(rec)
	switch {
	case rec.Kind == kindHeader || rec.Kind == kindIndex:
		v.problem(id, -1, "%s: %v", rec.what(), err)
	case id == "": // of a prompt that is not complete
		v.problem(id, -1, "%s: %v", rec.place(), err)
	case rec.Kind.inLayer():
		v.problem(id, int(rec.Layer), "%s: %v", rec.whatInLayer(), err)
	default:
		v.problem(id, -1, "%s: %v", rec.what(), err)
	}
}

// damageAt is like damage but adds the byte where the problem was found.
func (v *verifier) damageAt(rec *record, at int64, err error) {
	v.damage(rec, fmt.Errorf("byte %d: %w", at, err))
}

// records checks every record of the file in order, including those that no prompt
// needs, and compares them with the records that the reader took from the index.
func (v *verifier) records() {
	r := v.r
	head := make([]byte, frameBytes)
	listed := v.listed()
	v.broken = map[int64]bool{}
	for at := int64(0); at < r.size && v.ctx.Err() == nil; {
		rec, err := readRecord(r.f, at, r.size, head)
		if was, ok := listed[at]; ok {
			delete(listed, at)
			if err != nil { // the index still tells what was here
				v.damageAt(&was, at, err)
				v.broken[was.at] = true
				rec = was
			} else if was != rec {
				v.broken[was.at] = true
				v.damageAt(&was, at, fmt.Errorf("the index and the record's head differ: %w", ErrCorrupt))
			}
		} else if err != nil {
			v.problem("", -1, "byte %d: %v", at, err)
			if at = nextRecord(r.f, at+1, r.size); at < 0 {
				break
			}
			continue
		} else if rec.Kind.array() && r.complete {
			v.damageAt(&rec, at, fmt.Errorf("it is not in the index: %w", ErrCorrupt))
		}
		v.payload(&rec)
		at = rec.at + int64(rec.Stored)
		v.progress.set(at)
	}
	if v.ctx.Err() != nil {
		return // records that were not reached are not missing
	}
	for at, rec := range listed {
		v.damageAt(&rec, at, fmt.Errorf("the index lists it, but no record begins there: %w", ErrCorrupt))
	}
}

// listed returns the blocks of complete prompts by the offset of their heads.
func (v *verifier) listed() map[int64]record {
	listed := map[int64]record{}
	for _, blocks := range v.r.blocks {
		for _, list := range blocks {
			for _, rec := range list {
				listed[rec.at-frameBytes] = rec
			}
		}
	}
	return listed
}

// payload checks the checksum of a record's payload.
func (v *verifier) payload(rec *record) {
	if rec.Kind == kindEnd {
		return
	}
	err := checkPayload(v.r.f, rec)
	if err == nil {
		return
	}
	v.broken[rec.at] = true
	v.damageAt(rec, rec.at, err)
}

// prompts checks the numbers of all prompts.
func (v *verifier) prompts() {
	seen := map[string]bool{}
	for i, p := range v.r.prompts {
		if seen[p.ID] {
			v.problem(p.ID, -1, "is in the dump twice")
		}
		seen[p.ID] = true
		for _, layer := range v.r.header.Plan.Layers {
			if v.ctx.Err() != nil {
				return
			}
			v.layer(i, layer)
			v.progress.add(v.r.layerBytes(i, layer))
		}
		v.logits(i)
	}
}

// layer checks the numbers of a layer of a prompt.
func (v *verifier) layer(prompt, layer int) {
	v.weights(prompt, layer)
	all, windows, err := v.r.SinkSums(prompt, layer)
	if err != nil {
		v.unreadable(prompt, layer, err)
	} else {
		v.sums(prompt, layer, all)
		v.windows(prompt, layer, windows)
	}
	v.overview(prompt, layer)
	v.values(prompt, layer)
}

// unreadable reports an error from reading numbers unless it is about a block that
// records has reported.
func (v *verifier) unreadable(prompt, layer int, err error) {
	if !v.reported(prompt, max(0, layer), err) {
		v.problem(v.r.prompts[prompt].ID, layer, "%v", err)
	}
}

// reported says whether an error is about a block that records has reported.
func (v *verifier) reported(prompt, layer int, err error) bool {
	if len(v.broken) == 0 || !errors.Is(err, ErrCorrupt) {
		return false
	}
	cache := v.r.header.Model.Layer(layer).CacheOf
	for key, list := range v.r.blocks[prompt] {
		for _, rec := range list {
			mine := int(key.layer) == layer || int(key.layer) == cache && key.kind.cached()
			if mine && v.broken[rec.at] {
				return true
			}
		}
	}
	return false
}
