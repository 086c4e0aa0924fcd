package dumps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/attnscope/attnscope/internal/filelock"
)

// Repaired says what Repair did.
type Repaired struct {
	Path    string    // the dump, which is whole now
	Whole   bool      // there was nothing to do
	Prompts int       // number of prompts in the dump
	Lost    []Problem // damage of the prompts that were left out
	Lacks   []string  // what the dump lacks, as far as it is known
	Kept    string    // new name of the damaged file; empty if nothing was left out
}

// Repair makes a complete dump from the sound prompts of a cut, unfinished or damaged
// one. If everything before a cut is sound, the missing index is written there.
// Otherwise the sound prompts are copied to a new file, and the damaged one is kept
// under another name. If path does not exist, path.partial is repaired. If ctx ends
// early, the file stays as it was. progress may be nil.
func Repair(ctx context.Context, path string, progress Progress) (Repaired, error) {
	r, err := Open(path)
	if err != nil {
		return Repaired{}, err
	}
	defer r.Close()
	f, err := os.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return Repaired{}, err
	}
	defer f.Close()
	if err := filelock.Lock(f); err != nil {
		return Repaired{}, fmt.Errorf("%s: %w", r.path, err)
	}
	scan, err := scanFile(f, r.size, r.path)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return Repaired{}, err
	}
	if err == nil && r.complete && !r.listsOf(scan) { // the index lies: the records' heads count
		if err := r.useScan(scan); err != nil {
			return Repaired{}, err
		}
	}
	checked := counter{report: progress}
	for i := range r.prompts {
		checked.total += 2 * r.storedBytes(i) // to check and to copy
	}
	sound, lost, failed := r.sortPrompts(ctx, &checked)
	if failed != nil {
		return Repaired{}, failed
	}
	if len(sound) == 0 {
		return Repaired{Lost: lost}, fmt.Errorf("%s: none of its prompts can be saved; the file is unchanged: %w", r.path, ErrCorrupt)
	}
	done := Repaired{Path: path, Prompts: len(sound), Lost: lost}
	// The file can stay as it is, or gets an index, if no record before its end is
	// damaged and the index, if any, lists all prompts.
	usable := err == nil && len(lost) == 0 && !scan.damaged && len(scan.prompts) == len(r.prompts)
	switch {
	case usable && r.complete && scan.complete:
		done.Path = r.path
		done.Whole = true
		return done, nil
	case usable && (scan.complete || r.counted()):
		err = completeFile(r.path, f, scan)
	default:
		r.noteLost(lost, scan)
		checked.total = checked.done
		for _, p := range sound {
			checked.total += r.storedBytes(p.index)
		}
		done.Kept, err = r.replaceWith(ctx, sound, len(lost) > 0 || r.complete, &checked)
	}
	if err == nil {
		done.Lacks, err = lacksOf(r.path)
	}
	if err == nil && r.path != path {
		err = os.Rename(r.path, path)
	}
	if err != nil {
		done.Path = ""
		return done, err
	}
	return done, syncFolder(path)
}

// listsOf reports whether the reader has exactly the records that a walk found.
func (r *Reader) listsOf(scan *scanned) bool {
	found := map[record]bool{}
	for _, rec := range scan.records {
		found[rec] = true
	}
	n := 0
	for _, blocks := range r.blocks {
		for _, list := range blocks {
			for _, rec := range list {
				if !found[rec] {
					return false
				}
				n++
			}
		}
	}
	return n+len(r.prompts)+1 == len(scan.records)
}

// counted reports whether the dump knows which prompts of its set it lacks.
func (r *Reader) counted() bool {
	_, known := missingPlaces(r.header, r.prompts)
	return known
}

// noteLost notes in the header what the repaired dump lacks.
func (r *Reader) noteLost(lost []Problem, scan *scanned) {
	h := *r.header
	lacks := &h.Manifest.Lacks
	if scan == nil || !scan.complete || scan.damaged {
		name := filepath.Base(r.path)
		if !slices.Contains(lacks.Dumps, name) {
			lacks.Dumps = append(slices.Clone(lacks.Dumps), name)
		}
	}
	lacks.Prompts = slices.Clone(lacks.Prompts)
	for _, p := range lost {
		lacks.Prompts = append(lacks.Prompts, p.Prompt)
	}
	r.header = &h
}

// lacksOf returns what the dump at path lacks.
func lacksOf(path string) ([]string, error) {
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Lacks(), nil
}

// sortPrompts separates the prompts whose blocks can be read from the damaged ones.
func (r *Reader) sortPrompts(ctx context.Context, checked *counter) (sound []sourcePrompt, lost []Problem, err error) {
	for i := range r.prompts {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", r.path, err)
		}
		damage := r.damagedBlock(i, r.checkDecodes)
		checked.add(r.storedBytes(i))
		if damage != nil {
			lost = append(lost, *damage)
			continue
		}
		sound = append(sound, sourcePrompt{r, i})
	}
	return sound, lost, nil
}

// completeFile writes an index after the last complete prompt of a file.
func completeFile(name string, f *os.File, scan *scanned) error {
	w := newRecordFile(name, f, nil)
	w.records = scan.records
	w.offset = scan.end
	if err := f.Truncate(scan.end); err != nil {
		return err
	}
	return w.finish(w.records)
}

// replaceWith replaces the file with a dump of some of its prompts. With keep, the
// file is first renamed to the returned name.
func (r *Reader) replaceWith(ctx context.Context, prompts []sourcePrompt, keep bool, copied *counter) (kept string, err error) {
	tmp := r.path + ".repaired"
	if err := writeCopies(ctx, r.path, tmp, r.header, prompts, copied); err != nil {
		return "", err
	}
	if keep {
		if kept, err = setAside(r.path); err != nil {
			return kept, err
		}
	}
	return kept, os.Rename(tmp, r.path)
}

// checkDecodes returns an error unless a block can be read.
func (r *Reader) checkDecodes(_ io.ReaderAt, rec *record) error {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	_, err := r.decodeInto(rec, b)
	return err
}

// damagedBlock returns the first block of a prompt that does not pass a check, or nil.
func (r *Reader) damagedBlock(prompt int, check func(io.ReaderAt, *record) error) *Problem {
	for _, list := range r.blocks[prompt] {
		for i := range list {
			rec := &list[i]
			if err := check(r.f, rec); err != nil {
				return &Problem{
					Prompt: r.prompts[prompt].ID,
					Layer:  int(rec.Layer),
					What:   fmt.Sprintf("%s: %v", rec.whatInLayer(), err),
				}
			}
		}
	}
	return nil
}
