package dumps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func faultHeader() *Header {
	return &Header{
		Model: ModelInfo{ID: "m", Architecture: "llama", Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 4, ValueDim: 4, Vocab: 9, Scale: 0.5, LayerWindows: []int{0, 0}},
		Plan:  Plan{WindowRows: 3, Layers: []int{0, 1}, Heads: []int{0, 1}, Store: StoreRows, Precision: Exact},
	}
}

// faultPrompt writes a prompt of twenty tokens, unless it is done already. Its weights
// depend on n.
func faultPrompt(w *Writer, n int) error {
	p := Prompt{ID: fmt.Sprint("p", n), PromptTokens: 20, WindowRows: 3, ReplyTokens: 2, Store: StoreRows, Tokens: make([]int32, 22)}
	if w.Done(p.ID) {
		return nil
	}
	pw, err := w.Begin(p)
	if err != nil {
		return err
	}
	for layer := range 2 {
		sums := make([]float32, 40)
		for i := range sums {
			sums[i] = 1
		}
		if err := pw.Sums(layer, sums); err != nil {
			return err
		}
		for head := range 2 {
			for ph, rows := range []int{3, 2} {
				keys := 20 + 2*ph
				x := make([]float32, rows*keys)
				for i := range rows {
					pos := 17 + 3*ph + i
					x[i*keys+(n+layer+head+i)%pos] = 0.75
					x[i*keys+pos] = 0.25
				}
				if err := pw.Rows(Rows{
					Layer: layer, Head: head, Phase: Phase(ph),
					Rows: rows, Keys: keys,
					Weights: x,
				}); err != nil {
					return err
				}
			}
		}
	}
	return pw.Finish(p)
}

// testFile stands in for the file of a Writer.
type testFile struct {
	*os.File
	write func(b []byte, at int64) (int, error) // nil: write to the file
	sync  func() error
}

func (f testFile) WriteAt(b []byte, at int64) (int, error) {
	if f.write == nil {
		return f.File.WriteAt(b, at)
	}
	return f.write(b, at)
}

func (f testFile) Sync() error { return f.sync() }

// noSync makes syncing free: tests make hundreds of files.
func noSync() error { return nil }

// TestEveryWriteMayFail lets each write of a capture fail once, after none or a part of
// it was written. The error names file and cause, finished prompts can be read, and the
// resumed dump holds the same as one that was written without failures.
func TestEveryWriteMayFail(t *testing.T) {
	const prompts = 48
	dir := t.TempDir()
	writes := 0
	undisturbed, err := Create(filepath.Join(dir, "whole.attn"), faultHeader(), CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	undisturbed.file.out = testFile{
		File:  undisturbed.file.f,
		write: func(b []byte, at int64) (int, error) { writes++; return undisturbed.file.f.WriteAt(b, at) },
		sync:  noSync,
	}
	for n := range prompts {
		if err := faultPrompt(undisturbed, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := undisturbed.Close(); err != nil {
		t.Fatal(err)
	}
	want := everyWeight(t, filepath.Join(dir, "whole.attn"))
	step := 1
	if testing.Short() {
		step = 13
	}
	for bad := 0; bad < writes; bad += step {
		path := filepath.Join(dir, fmt.Sprint(bad, ".attn"))
		w, err := Create(path, faultHeader(), CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		w.file.out = testFile{File: w.file.f, sync: noSync, write: func(b []byte, at int64) (int, error) {
			if count++; count-1 >= bad {
				part := 0
				if bad%3 > 0 { // a torn block
					part = len(b) * (bad % 3) / 3
					if _, err := w.file.f.WriteAt(b[:part], at); err != nil {
						t.Fatal(err)
					}
				}
				return part, syscall.ENOSPC
			}
			return w.file.f.WriteAt(b, at)
		}}
		finished := 0
		for ; err == nil && finished < prompts; finished++ {
			err = faultPrompt(w, finished)
		}
		if err == nil {
			err = w.Close()
		} else {
			finished--
			err = errors.Join(err, w.Abort())
		}
		if err == nil || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) {
			t.Fatalf("write %d failed, but the capture says %v", bad, err)
		}
		if finished > 0 {
			r, err := Open(path + ".partial")
			if err != nil {
				t.Fatalf("write %d: %d prompts were finished: %v", bad, finished, err)
			}
			if n := len(r.Prompts()); n != finished || r.Complete() {
				t.Fatalf("write %d: %d prompts can be read (complete: %v), want %d", bad, n, r.Complete(), finished)
			}
			r.Close()
		}
		if w, err = Create(path, faultHeader(), CreateOptions{Resume: true}); err != nil {
			t.Fatalf("write %d: %v", bad, err)
		}
		w.file.out = testFile{File: w.file.f, sync: noSync}
		for n := range prompts {
			if n < finished != w.Done(fmt.Sprint("p", n)) {
				t.Fatalf("write %d: prompt %d done %v after %d were finished", bad, n, w.Done(fmt.Sprint("p", n)), finished)
			}
			if err := faultPrompt(w, n); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := everyWeight(t, path); got != want {
			t.Fatalf("write %d: the resumed dump holds other weights", bad)
		}
	}
	if writes < 500 {
		t.Errorf("only %d writes were there to fail", writes)
	}
}

// everyWeight verifies a dump and returns its weights as text.
func everyWeight(t *testing.T, path string) string {
	t.Helper()
	if ok, err := Verify(t.Context(), path, nil, func(p Problem) { t.Error(p) }); !ok || err != nil {
		t.Fatalf("%s: %v %v", path, ok, err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for i, p := range r.Prompts() {
		for layer := range 2 {
			for _, ph := range []Phase{Prefill, Decode} {
				a, err := r.Weights(i, layer, ph)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintln(&b, p.ID, layer, ph, a.Data)
			}
		}
	}
	return b.String()
}

// TestEverySyncMayFail: a failed sync is an error, and the prompts before it can still
// be read.
func TestEverySyncMayFail(t *testing.T) {
	for bad := range 4 {
		path := filepath.Join(t.TempDir(), "x.attn")
		w, err := Create(path, faultHeader(), CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		syncs := 0
		w.file.out = testFile{File: w.file.f, sync: func() error {
			if syncs++; syncs > bad {
				return syscall.EIO
			}
			return nil
		}}
		for n := 0; n < 3 && err == nil; n++ {
			w.queue.synced = time.Time{} // long ago
			err = faultPrompt(w, n)
		}
		if bad < 3 != (err != nil) {
			t.Fatalf("sync %d failed while three prompts were written: %v", bad, err)
		}
		if err == nil {
			err = w.Close()
		} else {
			err = errors.Join(err, w.Abort())
		}
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), path) {
			t.Fatalf("sync %d failed, but the capture says %v", bad, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Fatalf("sync %d failed, but the dump has its name", bad)
		}
		if bad == 0 {
			continue // no prompt was made durable, so that nothing is left
		}
		if w, err = Create(path, faultHeader(), CreateOptions{Resume: true}); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if err := faultPrompt(w, n); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		everyWeight(t, path)
	}
}

// TestTwoWriters: a second writer of a file is refused while the first one runs and
// after it has finished. So is a repair while the first one runs.
func TestTwoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	first, err := Create(path, faultHeader(), CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := faultPrompt(first, 0); err != nil {
		t.Fatal(err)
	}
	for _, o := range []CreateOptions{{}, {Resume: true}, {Force: true}} {
		if _, err := Create(path, faultHeader(), o); err == nil || !strings.Contains(err.Error(), "another process is writing") {
			t.Errorf("a second writer with %+v: %v", o, err)
		}
	}
	if _, err := Repair(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "another process is writing") {
		t.Errorf("repair of a file that is being written: %v", err)
	}
	if err := faultPrompt(first, 1); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, faultHeader(), CreateOptions{Resume: true, Prompts: []string{"p0", "p1"}}); !errors.Is(err, ErrComplete) {
		t.Errorf("resumed after the other writer was done: %v", err)
	}
	everyWeight(t, path)
}

// TestWritersRace starts many writers of one file: each one is refused or writes the
// file, and the result is whole.
func TestWritersRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	var wg sync.WaitGroup
	var done, refused atomic.Int32
	for range 16 {
		wg.Go(func() {
			for {
				w, err := Create(path, faultHeader(), CreateOptions{Resume: true, Prompts: []string{"p0", "p1", "p2"}})
				if errors.Is(err, ErrComplete) {
					return
				}
				if err != nil {
					if !strings.Contains(err.Error(), "another process") && !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
						return
					}
					refused.Add(1)
					time.Sleep(time.Millisecond)
					continue
				}
				for n := range 3 {
					if err := faultPrompt(w, n); err != nil {
						t.Error(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 {
		t.Errorf("%d writers wrote the dump, want 1", done.Load())
	}
	everyWeight(t, path)
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestNoRoomForTheHeader: a disk on which not even the header fits leaves no partial file,
// which would look as if it held prompts.
func TestNoRoomForTheHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	full := func(f *os.File) File {
		return testFile{File: f, write: func([]byte, int64) (int, error) { return 0, syscall.ENOSPC }}
	}
	_, err := Create(path, faultHeader(), CreateOptions{Wrap: full})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want a full disk", err)
	}
	if list, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(list) > 0 {
		t.Errorf("left over: %v", list)
	}
}
