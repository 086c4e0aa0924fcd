package dumps

import (
	"fmt"
	"math"
	"os"
	"slices"
)

// Problem is a damaged place.
type Problem struct {
	Prompt string // id; empty where the prompt is not known
	Layer  int    // -1: none
	What   string
}

func (p Problem) String() string {
	switch {
	case p.Prompt == "":
		return p.What
	case p.Layer < 0:
		return fmt.Sprintf("prompt %q: %s", p.Prompt, p.What)
	}
	return fmt.Sprintf("prompt %q, layer %d: %s", p.Prompt, p.Layer, p.What)
}

// Verify reads all of a dump: every checksum, that every row of weights sums to
// one and sees no later key, that states are finite. It reports what it finds
// and says whether the dump is whole.
func Verify(path string, report func(Problem)) (bool, error) {
	r, err := Open(path)
	if err != nil {
		return false, err
	}
	defer r.Close()
	ok := true
	bad := func(p Problem) { ok = false; report(p) }
	if !r.complete {
		bad(Problem{Layer: -1, What: "not complete: it was not finished, or cut"})
	}
	r.walk(bad)
	for i := range r.prompts {
		for _, layer := range r.header.Plan.Layers {
			r.verifyLayer(i, layer, bad)
		}
	}
	return ok, nil
}

// walk checks every record of the file in order, also those no prompt needs.
func (r *Reader) walk(bad func(Problem)) {
	head := make([]byte, frameBytes)
	for at := int64(0); at < r.size; {
		rec, err := readRecord(r.f, at, r.size, head)
		if err != nil {
			bad(Problem{Layer: -1, What: fmt.Sprintf("byte %d: %v", at, err)})
			return
		}
		if rec.Kind != kindEnd {
			stored, err := readPayload(r.f, &rec)
			if err == nil && checksum(stored) != rec.Sum {
				err = fmt.Errorf("%s: checksum %08x, want %08x", rec.place(), checksum(stored), rec.Sum)
			}
			if err != nil {
				id := ""
				if int(rec.Prompt) < len(r.prompts) {
					id = r.prompts[rec.Prompt].ID
				}
				bad(Problem{id, int(rec.Layer), err.Error()})
			}
		}
		at = rec.at + int64(rec.Stored)
	}
}

func (r *Reader) verifyLayer(prompt, layer int, bad func(Problem)) {
	id := r.prompts[prompt].ID
	for _, ph := range []Phase{Prefill, Decode} {
		for h := range r.header.Plan.Heads {
			a, err := r.WeightsOf(prompt, layer, ph, h, 1)
			if err != nil {
				bad(Problem{id, layer, err.Error()})
				return
			}
			if what := a.check(r.header.Plan.Precision); what != "" {
				bad(Problem{id, layer, fmt.Sprintf("head %d, %s: %s", r.header.Plan.Heads[h], [...]string{"prompt rows", "reply rows"}[ph], what)})
			}
		}
	}
	if _, err := r.Sums(prompt, layer); err != nil {
		bad(Problem{id, layer, err.Error()})
	}
	if _, _, err := r.Windows(prompt, layer); err != nil {
		bad(Problem{id, layer, err.Error()})
	}
}

// check says what is wrong with the weights of one head, if anything.
func (a *Attention) check(precision string) string {
	tolerance := map[string]float64{"exact": 1e-4, "coarse": 0.1}[precision]
	if tolerance == 0 {
		tolerance = 0.03
	}
	for row := range a.Rows {
		x := a.Data[row*a.Keys : (row+1)*a.Keys]
		sum := 0.0
		for j, w := range x {
			if w < 0 || w > 1.001 || w != w {
				return fmt.Sprintf("row %d, key %d: weight %g", row, j, w)
			}
			sum += float64(w)
			if j > a.Pos0+row && w != 0 {
				return fmt.Sprintf("row %d sees key %d, which comes later", row, j)
			}
		}
		if math.Abs(sum-1) > tolerance {
			return fmt.Sprintf("row %d sums to %.4f", row, sum)
		}
	}
	return ""
}

// Repair writes path anew from its complete prompts, with an index. A partial
// file becomes a complete dump of the prompts it has.
func Repair(path string) error {
	r, err := Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.complete {
		return nil
	}
	return mergeInto(path, []*Reader{r}, true)
}

// Merge joins dumps of one model and plan without recompression.
func Merge(out string, in []string, force bool) error {
	var list []*Reader
	for _, path := range in {
		r, err := Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		list = append(list, r)
		if len(list) > 1 {
			a, b := *list[0].header, *r.header
			a.Plan.Shard, b.Plan.Shard = "", ""
			if err := sameHeader(path, &b, &a); err != nil {
				return fmt.Errorf("%w: only dumps of one model and plan can be merged", err)
			}
		}
	}
	return mergeInto(out, list, force)
}

func mergeInto(out string, list []*Reader, force bool) (err error) {
	if _, err := os.Stat(out); err == nil && !force {
		return fmt.Errorf("%s exists", out)
	}
	tmp := out + ".merging"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
		}
	}()
	h := *list[0].header
	if len(list) > 1 {
		h.Plan.Shard = ""
	}
	w := &Writer{path: out, partial: tmp, f: f, writeAt: f.WriteAt, header: &h}
	if err := w.put(record{Kind: kindHeader}, &h); err != nil {
		return err
	}
	order, err := mergeOrder(list)
	if err != nil {
		return err
	}
	for _, at := range order {
		if err := w.copyPrompt(at.r, at.prompt); err != nil {
			return err
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	return os.Rename(tmp, out)
}

// place is a prompt of one of several dumps.
type place struct {
	r      *Reader
	prompt int
}

// mergeOrder lists the prompts of all dumps: one dump after the other, but those
// of shards as they stand in the prompt set.
func mergeOrder(list []*Reader) ([]place, error) {
	var order []place
	seen, shards := map[string]bool{}, true
	for _, r := range list {
		shards = shards && r.header.Plan.Shard != ""
		for i, p := range r.prompts {
			if seen[p.ID] {
				return nil, fmt.Errorf("%s: prompt %q stands in an earlier dump too", r.path, p.ID)
			}
			seen[p.ID] = true
			shards = shards && p.Index > 0
			order = append(order, place{r, i})
		}
	}
	if shards {
		slices.SortStableFunc(order, func(a, b place) int { return a.r.prompts[a.prompt].Index - b.r.prompts[b.prompt].Index })
	}
	return order, nil
}

// copyPrompt copies the blocks of a prompt as they are, in order of the file.
func (w *Writer) copyPrompt(r *Reader, i int) error {
	var list []record
	for _, blocks := range r.blocks[i] {
		list = append(list, blocks...)
	}
	slices.SortFunc(list, func(a, b record) int { return int(min(1, max(-1, a.at-b.at))) })
	index := uint32(len(w.prompts))
	for _, rec := range list {
		stored, err := readPayload(r.f, &rec)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		if checksum(stored) != rec.Sum {
			return fmt.Errorf("%s: %s: checksum %08x, want %08x: %w", r.path, rec.place(), checksum(stored), rec.Sum, ErrCorrupt)
		}
		rec.Prompt = index
		if err := w.writeBlock(block{r: rec, payload: stored}); err != nil {
			return err
		}
	}
	p := r.prompts[i]
	w.prompts = append(w.prompts, p)
	return w.put(record{Kind: kindPrompt, Prompt: index}, p)
}
