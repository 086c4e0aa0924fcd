package dumps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Repaired tells what Repair did.
type Repaired struct {
	Path    string    // the dump that is whole now
	Whole   bool      // there was nothing to do
	Prompts int       // prompts it has
	Lost    []Problem // damage of the prompts that were left out
	Kept    string    // where the damaged file went; empty where nothing was left out
}

// Repair makes a dump of a cut, unfinished or damaged one: of its complete
// prompts, with an index. Where all that is before the cut is sound the index is
// put in its place; else the sound prompts are copied and the damaged file is
// kept beside. A path that is not there stands for path.partial. When ctx ends
// before it is done the file stays as it is.
func Repair(ctx context.Context, path string) (done Repaired, err error) {
	r, err := Open(path)
	if err != nil {
		return done, err
	}
	defer r.Close()
	f, err := os.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return done, err
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return done, fmt.Errorf("%s: %w", r.path, err)
	}
	var keep []place
	for i := range r.prompts {
		if err := ctx.Err(); err != nil {
			return done, fmt.Errorf("%s: %w", r.path, err)
		}
		if p := r.damagedBlock(i); p != nil {
			done.Lost = append(done.Lost, *p)
		} else {
			keep = append(keep, place{r, i})
		}
	}
	scan, err := scanFile(f, r.size, r.path)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return done, err
	}
	sound := err == nil && !scan.damaged && len(scan.prompts) == len(r.prompts)
	done.Prompts = len(keep)
	switch {
	case len(done.Lost) == 0 && r.complete && sound && scan.complete:
		done.Path, done.Whole = r.path, true
		return done, nil
	case len(done.Lost) == 0 && sound:
		w := &Writer{path: path, partial: r.path, f: f, writeAt: f.WriteAt, header: scan.header, records: scan.records, offset: scan.end}
		if err := f.Truncate(scan.end); err != nil {
			return done, err
		}
		if err := w.finish(); err != nil {
			return done, err
		}
	default:
		if err := writeCopies(ctx, r.path, r.path+".repaired", r.header, keep); err != nil {
			return done, err
		}
		if len(done.Lost) > 0 || r.complete {
			if done.Kept, err = setAside(r.path); err != nil {
				return done, err
			}
		}
		if err := os.Rename(r.path+".repaired", r.path); err != nil {
			return done, err
		}
	}
	if done.Path = path; r.path != path {
		if err := os.Rename(r.path, path); err != nil {
			return done, err
		}
	}
	return done, syncFolder(path)
}

// damagedBlock is the first block of a prompt whose checksum is wrong.
func (r *Reader) damagedBlock(prompt int) *Problem {
	for _, list := range r.blocks[prompt] {
		for i := range list {
			rec := &list[i]
			n := decoding.enter(int64(rec.Stored))
			stored, err := readPayload(r.f, rec)
			decoding.leave(n)
			if err == nil && checksum(stored) != rec.Sum {
				err = fmt.Errorf("checksum %08x, want %08x: %w", checksum(stored), rec.Sum, ErrCorrupt)
			}
			if err != nil {
				return &Problem{r.prompts[prompt].ID, int(rec.Layer), strings.TrimPrefix(rec.what(), fmt.Sprintf("layer %d, ", rec.Layer)) + ": " + err.Error()}
			}
		}
	}
	return nil
}

// setAside renames a damaged file to the first free name.
func setAside(path string) (string, error) {
	for n := 1; ; n++ {
		to := path + ".damaged"
		if n > 1 {
			to = fmt.Sprintf("%s.damaged%d", path, n)
		}
		if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
			return to, os.Rename(path, to)
		}
	}
}
