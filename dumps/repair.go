package dumps

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Repaired says what Repair did.
type Repaired struct {
	Path    string    // the dump, which is whole now
	Whole   bool      // there was nothing to do
	Prompts int       // number of prompts in the dump
	Lost    []Problem // damage of the prompts that were left out
	Kept    string    // new name of the damaged file; empty if nothing was left out
}

// Repair makes a complete dump from the sound prompts of a cut, unfinished or damaged
// one. If everything before a cut is sound, the missing index is written there.
// Otherwise the sound prompts are copied to a new file, and the damaged one is kept
// under another name. If path does not exist, path.partial is repaired. If ctx ends
// early, the file stays as it was.
func Repair(ctx context.Context, path string) (Repaired, error) {
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
	if err := lock(f); err != nil {
		return Repaired{}, fmt.Errorf("%s: %w", r.path, err)
	}
	sound, lost, err := r.sortPrompts(ctx)
	if err != nil {
		return Repaired{}, err
	}
	scan, err := scanFile(f, r.size, r.path)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return Repaired{}, err
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
	case usable:
		err = completeFile(r.path, f, scan)
	default:
		done.Kept, err = r.replaceWith(ctx, sound, len(lost) > 0 || r.complete)
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

// sortPrompts separates the prompts whose checksums are right from the damaged ones.
func (r *Reader) sortPrompts(ctx context.Context) (sound []sourcePrompt, lost []Problem, err error) {
	for i := range r.prompts {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", r.path, err)
		}
		if damage := r.damagedBlock(i); damage != nil {
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
func (r *Reader) replaceWith(ctx context.Context, prompts []sourcePrompt, keep bool) (kept string, err error) {
	tmp := r.path + ".repaired"
	if err := writeCopies(ctx, r.path, tmp, r.header, prompts); err != nil {
		return "", err
	}
	if keep {
		if kept, err = setAside(r.path); err != nil {
			return kept, err
		}
	}
	return kept, os.Rename(tmp, r.path)
}

// damagedBlock returns the first block of a prompt whose checksum is wrong, or nil.
func (r *Reader) damagedBlock(prompt int) *Problem {
	for _, list := range r.blocks[prompt] {
		for i := range list {
			rec := &list[i]
			decoding.take(int64(rec.Stored))
			err := checkPayload(r.f, rec)
			decoding.give(int64(rec.Stored))
			if err != nil {
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
