package dumps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/attnscope/attnscope/internal/filelock"
	"github.com/attnscope/attnscope/internal/outfile"
)

// checkExisting looks at a dump that already has the name of the finished one. adopt
// reports that the dump lacks prompts and that the options allow continuing it.
func (w *Writer) checkExisting() (adopt bool, err error) {
	if err := outfile.Check(w.path); err != nil {
		return false, err
	}
	if _, err := os.Stat(w.path); err != nil || w.options.Force {
		return false, nil
	}
	if !w.options.Resume {
		return false, fmt.Errorf("%s exists", w.path)
	}
	r, err := Open(w.path)
	if err != nil {
		return false, err
	}
	defer r.Close()
	if _, err := sameRun(w.path, r.Header(), w.header); err != nil {
		return false, err
	}
	for _, id := range w.options.Prompts {
		if !slices.ContainsFunc(r.prompts, func(p Prompt) bool { return p.ID == id }) {
			return true, nil
		}
	}
	if !r.Complete() {
		return true, nil
	}
	return false, ErrComplete
}

// checkFinished returns an error if another process has finished the dump since
// checkExisting, while this one waited for the lock of the partial file.
func (w *Writer) checkFinished() error {
	if _, err := os.Stat(w.path); err != nil || w.options.Force {
		return nil
	}
	if size, err := w.file.size(); err == nil && size == 0 {
		os.Remove(w.file.name)
	}
	return fmt.Errorf("%s exists: another process has written it", w.path)
}

// adopt makes the dump at path the partial file, unless the partial file has more
// prompts.
func (w *Writer) adopt() error {
	if countPrompts(w.path) < countPrompts(w.partial()) {
		return nil
	}
	f, err := os.OpenFile(w.path, os.O_RDWR, 0)
	if err == nil {
		if err = filelock.Lock(f); err == nil {
			err = os.Rename(w.path, w.partial())
		}
	}
	if err != nil {
		return fmt.Errorf("%s: cannot resume: %w", w.path, err)
	}
	w.file.f.Close()
	w.use(f)
	return nil
}

func (w *Writer) warn(format string, args ...any) {
	w.warnings = append(w.warnings, fmt.Sprintf(format, args...))
}

// countPrompts returns the number of complete prompts of a file, 0 if it cannot be
// read.
func countPrompts(path string) int {
	r, err := Open(path)
	if err != nil {
		return 0
	}
	defer r.Close()
	return len(r.prompts)
}

// resume continues the partial file, which holds size bytes. It reports false if the
// file is to be started over: with Force, or if not even the header is whole.
func (w *Writer) resume(size int64) (resumed bool, err error) {
	if !w.options.Resume {
		if w.options.Force {
			return false, nil
		}
		return false, unfinished(w.file.name)
	}
	scan, err := scanFile(w.file.f, size, w.file.name)
	if err == nil {
		return true, w.keepSound(scan)
	}
	if !errors.Is(err, ErrCorrupt) {
		return false, err
	}
	return false, w.keepDamaged(size)
}

// keepDamaged sets aside a file whose header is damaged but which has other records,
// so that someone can look at them.
func (w *Writer) keepDamaged(size int64) error {
	if nextRecord(w.file.f, 1, size) < 0 {
		return nil // its writer was killed while it wrote the header
	}
	kept, err := setAside(w.file.name)
	if err != nil {
		return err
	}
	w.warn("%s: its header is damaged; it is kept as %s, and all prompts are run again", w.file.name, kept)
	f, err := openLocked(w.partial())
	if err != nil {
		return err
	}
	w.file.f.Close()
	w.use(f)
	return nil
}

// keepSound continues after the complete prompts that scan has found. If some are
// damaged, the others are copied into a new file; the damaged ones are run again.
func (w *Writer) keepSound(scan *scanned) error {
	unknown, err := sameRun(w.file.name, scan.header, w.header)
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		w.warnings = append(w.warnings, notCompared(w.file.name, unknown))
	}
	r := &Reader{path: w.file.name, f: w.file.f, size: scan.size, header: scan.header}
	if err := r.fill(scan.records, scan.prompts); err != nil {
		return err
	}
	kernels := []string{w.options.Kernel}
	for i := range r.prompts {
		kernels = append(kernels, r.prompts[i].Kernel)
	}
	if text := kernelsDiffer(w.file.name, kernels); text != "" {
		w.warnings = append(w.warnings, text)
	}
	w.header = scan.header
	sound := w.soundPrompts(r)
	for _, i := range sound {
		w.places = append(w.places, r.prompts[i].Index)
		w.done[r.prompts[i].ID] = true
	}
	if len(sound) < len(r.prompts) || scan.damaged {
		w.warnings = append(w.warnings, scan.warnings...)
		return w.replace(r, sound)
	}
	w.file.prompts = len(scan.prompts)
	w.file.records = scan.records
	w.file.offset = scan.end
	w.file.length.Store(scan.end)
	return w.file.f.Truncate(scan.end)
}

// soundPrompts lists the prompts of r whose checksums are right, by index, and warns
// of all others.
func (w *Writer) soundPrompts(r *Reader) []int {
	var sound []int
	for i := range r.prompts {
		if damage := r.damagedBlock(i, checkSum); damage != nil {
			w.warn("%s: %s; the prompt is run again", r.path, damage)
			continue
		}
		sound = append(sound, i)
	}
	return sound
}

// replace copies some prompts of the partial file into a new one, which takes its
// place and stays open.
func (w *Writer) replace(r *Reader, prompts []int) error {
	tmp := w.partial() + ".repaired"
	f, err := openLocked(tmp)
	if err != nil {
		return err
	}
	file := newRecordFile(tmp, f, w.options.Wrap)
	err = file.copyPrompts(w.header, r, prompts)
	if err == nil {
		err = os.Rename(tmp, w.partial())
	}
	if err != nil {
		os.Remove(tmp)
		f.Close()
		return err
	}
	old := w.file
	file.name = old.name
	w.file = file
	return old.f.Close()
}

// copyPrompts starts the file over with a header and some prompts of r.
func (w *recordFile) copyPrompts(h *Header, r *Reader, prompts []int) error {
	if err := w.f.Truncate(0); err != nil {
		return err
	}
	if err := w.appendJSON(record{Kind: kindHeader}, h); err != nil {
		return err
	}
	for _, i := range prompts {
		if err := w.copyPrompt(context.Background(), r, i); err != nil {
			return err
		}
	}
	return w.sync()
}
