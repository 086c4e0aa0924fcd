package dumps_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// contents reads everything that a dump holds, by prompt id, layer and array.
func contents(r *dumps.Reader) (map[string][]float32, error) {
	all := map[string][]float32{}
	for i, p := range r.Prompts() {
		put := func(layer int, name string, x []float32, err error) error {
			if err == nil {
				all[fmt.Sprintf("%s/%d/%s", p.ID, layer, name)] = x
			}
			if errors.Is(err, dumps.ErrAbsent) {
				return nil
			}
			return err
		}
		var errs []error
		for _, layer := range r.Header().Plan.Layers {
			for ph, name := range []string{"prompt_rows", "generation_rows"} {
				a, err := r.Weights(i, layer, dumps.Phase(ph))
				if err == nil {
					err = put(layer, name, a.Data, nil)
				}
				errs = append(errs, err)
			}
			x, err := r.Sums(i, layer)
			errs = append(errs, put(layer, "sums", x, err))
			x, _, err = r.Windows(i, layer)
			errs = append(errs, put(layer, "windows", x, err))
			x, _, err = r.Overview(i, layer)
			errs = append(errs, put(layer, "overview", x, err))
			x, err = r.Values(i, layer)
			errs = append(errs, put(layer, "values", x, err))
			if p.Store == dumps.StoreFactors {
				s, err := r.States(i, layer)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				for name, x := range map[string][]float32{"queries": s.Queries, "replies": s.Replies, "lse": s.LSE, "reply_lse": s.ReplyLSE, "keys": s.Keys} {
					errs = append(errs, put(layer, name, x, nil))
				}
			}
		}
		x, err := r.Logits(i)
		errs = append(errs, put(-1, "logits", x, err))
		if err := errors.Join(errs...); err != nil {
			return all, err
		}
	}
	return all, nil
}

func mustContents(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	all, err := contents(open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFlippedBits flips one bit at each of 2,000 places of dumps with every kind of
// block, complete and unfinished. A flip is an error or harmless, but never changes a
// number. Verify finds it and names prompt, layer and rows; Repair keeps the other
// prompts.
func TestFlippedBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	ids := []string{"a", "b", "c"}
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		whole := filepath.Join(t.TempDir(), "x.attn")
		dumpstest.Everything(t, whole, store, "fine", 1, ids...)
		want := mustContents(t, whole)
		data, err := os.ReadFile(whole)
		if err != nil {
			t.Fatal(err)
		}
		unfinished := data[:len(data)-len(data)/8] // its last prompt is cut
		for i := range 1000 {
			from, name := data, "x.attn"
			if i%4 == 3 {
				from, name = unfinished, "x.attn.partial"
			}
			bad := slices.Clone(from)
			at := rng.IntN(len(bad))
			bad[at] ^= 1 << rng.IntN(8)
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			where := fmt.Sprintf("%s, %s, bit in byte %d of %d", store, name, at, len(bad))
			found := 0
			ok, err := dumps.Verify(t.Context(), path, nil, func(p dumps.Problem) {
				found++
				if p.Prompt == "" && p.Layer >= 0 {
					t.Errorf("%s: %+v: a layer of no prompt", where, p)
				}
			})
			if ok || err == nil && found == 0 {
				t.Fatalf("%s: verify finds nothing", where)
			}
			if err != nil && !errors.Is(err, dumps.ErrCorrupt) {
				t.Fatalf("%s: %v", where, err)
			}
			r, err := dumps.Open(path)
			if err != nil {
				if !errors.Is(err, dumps.ErrCorrupt) {
					t.Fatalf("%s: %v", where, err)
				}
				continue // the header
			}
			got, err := contents(r)
			if err != nil && (!errors.Is(err, dumps.ErrCorrupt) || !strings.Contains(err.Error(), path)) {
				t.Fatalf("%s: %v", where, err)
			}
			for name, x := range got {
				if !slices.Equal(x, want[name]) {
					t.Fatalf("%s: %s is another one", where, name)
				}
			}
			lost := len(ids) - len(r.Prompts())
			if lost > 0 && len(r.Warnings()) == 0 || lost > 2 || lost > 1 && len(from) == len(data) {
				t.Fatalf("%s: %d prompts are lost, warnings %v", where, lost, r.Warnings())
			}
			r.Close()
			if i%5 > 0 { // repairing is slow: it waits for the disk
				continue
			}
			done, err := dumps.Repair(t.Context(), path, nil)
			if err != nil {
				t.Fatalf("%s: repair: %v", where, err)
			}
			if ok, err := dumps.Verify(t.Context(), path, nil, func(p dumps.Problem) { t.Errorf("%s: repaired: %s", where, p) }); !ok || err != nil {
				t.Fatalf("%s: repaired: %v", where, err)
			}
			if least := len(ids) - 1 - (len(data)-len(from)+len(data)-1)/len(data); done.Prompts < least {
				t.Fatalf("%s: %d prompts after repair, want at least %d", where, done.Prompts, least)
			}
			for name, x := range mustContents(t, path) {
				if !slices.Equal(x, want[name]) {
					t.Fatalf("%s: repaired: %s is another one", where, name)
				}
			}
		}
	}
}

// TestVerifyNamesThePlace damages one payload and one record head: the message names
// prompt, layer, head and rows, and the other prompts can be read.
func TestVerifyNamesThePlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Everything(t, path, "rows", "fine", 1, "a", "b", "c")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The first record of prompt b's head 2 in layer 1, reply rows.
	head := slices.Clone([]byte("ATN1\x02\x02\x01"))
	at := -1
	for i := 0; i+72 < len(data); i++ {
		if slices.Equal(data[i:i+len(head)], head) && data[i+8] == 1 && data[i+12] == 1 && data[i+16] == 2 {
			at = i
			break
		}
	}
	if at < 0 {
		t.Fatal("no such record")
	}
	for what, flip := range map[string]int{"payload": at + 70, "head": at + 30} {
		bad := slices.Clone(data)
		bad[flip] ^= 16
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		var found []string
		if ok, err := dumps.Verify(t.Context(), path, nil, func(p dumps.Problem) { found = append(found, p.String()) }); ok || err != nil {
			t.Fatalf("%s: %v %v", what, ok, err)
		}
		if want := `prompt "b", layer 1: head 2, weights of reply rows 0 to 4: byte `; len(found) != 1 || !strings.HasPrefix(found[0], want) {
			t.Errorf("damaged %s: verify says %q, want one line that begins with %q", what, found, want)
		}
		r := open(t, path)
		if _, err := r.Weights(0, 1, dumps.Decode); err != nil {
			t.Errorf("damaged %s: prompt a: %v", what, err)
		}
		if _, err := r.Weights(2, 1, dumps.Decode); err != nil {
			t.Errorf("damaged %s: prompt c: %v", what, err)
		}
		if _, err := r.Weights(1, 1, dumps.Decode); what == "payload" && (err == nil || !strings.Contains(err.Error(), `prompt "b", layer 1, head 2, weights of reply rows 0 to 4`)) {
			t.Errorf("damaged payload: reading it says %v", err)
		}
	}
}

// TestWithoutIndexPastDamage: without an index, a damaged record head costs only the
// prompt to which it belongs.
func TestWithoutIndexPastDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Everything(t, path, "rows", "fine", 1, "a", "b", "c", "d")
	want := mustContents(t, path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data = data[:len(data)-80] // no end record
	bad := slices.Clone(data)
	middle := strings.Index(string(bad[len(bad)/3:]), "ATN1") + len(bad)/3 // within prompt b
	bad[middle+20] ^= 1
	if err := os.WriteFile(path, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	r := open(t, path)
	var ids []string
	for _, p := range r.Prompts() {
		ids = append(ids, p.ID)
	}
	if !slices.Equal(ids, []string{"a", "c", "d"}) {
		t.Fatalf("prompts %v are read, want a, c and d; warnings %q", ids, r.Warnings())
	}
	for name, x := range mustContents(t, path) {
		if !slices.Equal(x, want[name]) {
			t.Errorf("%s is another one", name)
		}
	}
	done, err := dumps.Repair(t.Context(), path, nil)
	if err != nil || done.Prompts != 3 {
		t.Fatalf("repair: %+v, %v", done, err)
	}
	lacks := []string{"what was not in x.attn, which was not whole"}
	if r := open(t, path); !r.Complete() || !slices.Equal(r.Lacks(), lacks) || len(r.Warnings()) != 1 {
		t.Errorf("repaired: complete %v, lacks %q, warnings %q", r.Complete(), r.Lacks(), r.Warnings())
	}
}

// TestResumeRunsDamagedPromptsAgain: resuming a partial file, a cut dump or a repaired
// dump runs damaged prompts again and keeps the others. The result lists the prompts in
// the order of their set.
func TestResumeRunsDamagedPromptsAgain(t *testing.T) {
	ids := []string{"a", "b", "c", "d"}
	write := func(w *dumps.Writer) (ran []string) {
		t.Helper()
		for i, id := range ids {
			if w.Done(id) {
				continue
			}
			ran = append(ran, id)
			pw, err := w.Begin(dumps.Prompt{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			p := dumps.Prompt{ID: id, Index: i + 1, PromptTokens: 3, Tokens: make([]int32, 3), Store: dumps.StoreRows}
			for layer := range dumpstest.Layers {
				x := make([]float32, 3*dumpstest.Heads)
				for j := range x {
					x[j] = 1
				}
				x[0], x[1] = 1+float32(i)/100, 1-float32(i)/100
				if err := pw.Sums(layer, x); err != nil {
					t.Fatal(err)
				}
			}
			if err := pw.Finish(p); err != nil {
				t.Fatal(err)
			}
		}
		return ran
	}
	header := func() *dumps.Header {
		h := dumpstest.Header("rows", "exact")
		h.Plan.WindowRows = 0
		return h
	}
	o := dumps.CreateOptions{Resume: true, Prompts: ids}
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.attn")
	w, err := dumps.Create(whole, header(), dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	write(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := mustContents(t, whole)
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	var heads []int // of records
	for i := 0; i+8 < len(data); i++ {
		if string(data[i:i+4]) == "ATN1" {
			heads = append(heads, i)
		}
	}
	flip := func(at int) []byte { b := slices.Clone(data); b[at] ^= 4; return b }
	second := heads[4] // header, a's two sums and end, b's first sums
	for name, c := range map[string]struct {
		data    []byte
		partial bool
		repair  bool
		ran     []string
	}{
		"partial, payload damaged":  {flip(second + 70), true, false, []string{"b"}},
		"partial, head damaged":     {flip(second + 30), true, false, []string{"b"}},
		"partial, end damaged":      {flip(heads[6] + 70), true, false, []string{"b"}},
		"cut":                       {data[:heads[7]+30], false, false, []string{"c", "d"}},
		"cut in its index":          {data[:len(data)-90], false, false, nil},
		"payload damaged, repaired": {flip(second + 70), false, true, []string{"b"}},
		"cut, repaired":             {data[:heads[7]+30], false, true, []string{"c", "d"}},
		"header damaged":            {flip(100), true, false, ids},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.attn")
			to := path
			if c.partial {
				to += ".partial"
			}
			if err := os.WriteFile(to, c.data, 0o644); err != nil {
				t.Fatal(err)
			}
			if c.repair {
				if _, err := dumps.Repair(t.Context(), path, nil); err != nil {
					t.Fatal(err)
				}
			}
			w, err := dumps.Create(path, header(), o)
			if err != nil {
				t.Fatal(err)
			}
			if ran := write(w); !slices.Equal(ran, c.ran) {
				t.Errorf("ran %v, want %v; warnings %q", ran, c.ran, w.Warnings())
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			r := open(t, path)
			for i, p := range r.Prompts() {
				if p.ID != ids[i] {
					t.Errorf("prompt %d is %s, want %s", i, p.ID, ids[i])
				}
			}
			got := mustContents(t, path)
			if len(got) != len(want) || !r.Complete() {
				t.Fatalf("%d arrays, want %d", len(got), len(want))
			}
			for name, x := range want {
				if !slices.Equal(got[name], x) {
					t.Errorf("%s differs", name)
				}
			}
			if _, err := os.Stat(path + ".partial"); err == nil {
				t.Error("a partial file is left")
			}
		})
	}
}
