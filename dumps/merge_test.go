package dumps

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// synthetic writes a dump whose blocks have the given stored size and are holes
// in the file, all zero, unless fill makes them. Merging does not decompress, so
// it is a dump to Merge, though not to those who want the values.
func synthetic(t testing.TB, path, shard string, first, prompts, blocks, size int, fill func([]byte)) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h := &Header{
		Version: 1, Model: ModelInfo{ID: "synthetic", Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 1, LayerWindows: []int{0}},
		Plan: Plan{Layers: []int{0}, Heads: []int{0}, WindowRows: 1, Shard: shard},
	}
	w := newRecordFile(path, f, nil)
	check(w.appendJSON(record{Kind: kindHeader}, h))
	payload := make([]byte, size)
	sum := checksum(payload)
	for i := range prompts {
		for range blocks {
			r := record{Kind: kindWeights, Enc: encF32, Prompt: uint32(i), NH: 1, Rows: 1, Keys: 1, Raw: 4, Stored: uint64(size), Sum: sum}
			if fill != nil {
				fill(payload)
				r.Sum = checksum(payload)
				check(w.append(block{r: r, payload: payload}))
				continue
			}
			_, err := f.WriteAt(r.marshal(nil), w.offset)
			check(err)
			w.add(r, w.offset+frameBytes+int64(size))
		}
		check(w.appendJSON(record{Kind: kindPrompt, Prompt: uint32(i)}, Prompt{ID: fmt.Sprint("p", first+i), Index: first + i + 1, PromptTokens: 1, WindowRows: 1, Tokens: []int32{1}, Blocks: blocks}))
	}
	check(w.finish(w.records))
}

// TestMergeCopiesLargeBlocks: blocks of more than one piece, whole or not, are copied
// without change, and a flipped bit in the last piece is found.
func TestMergeCopiesLargeBlocks(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 6))
	a, b, out := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "out")
	var sums []uint32
	random := func(x []byte) {
		for i := range x {
			x[i] = byte(rng.Uint32())
		}
		sums = append(sums, crc32.Checksum(x, castagnoli))
	}
	synthetic(t, a, "1/2", 1, 1, 2, 2*copyPiece+17, random)
	synthetic(t, b, "0/2", 0, 1, 3, copyPiece, random)
	if err := Merge(t.Context(), out, []string{a, b}, MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !r.Complete() || len(r.Prompts()) != 2 || r.Prompts()[0].ID != "p0" {
		t.Fatalf("complete %v, prompts %+v", r.Complete(), r.Prompts())
	}
	var got []uint32
	for i := range 2 {
		for _, rec := range r.blocks[i][blockKey{kindWeights, Prefill, 0}] {
			stored, err := readPayload(r.f, &rec)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, checksum(stored))
		}
	}
	if want := append(sums[2:], sums[:2]...); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("checksums %x, want %x", got, want)
	}
	f, err := os.OpenFile(a, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	d, _ := Open(a)
	last := d.blocks[0][blockKey{kindWeights, Prefill, 0}][1]
	d.Close()
	at := last.at + int64(last.Stored) - 1
	_, _ = f.ReadAt(one, at)
	one[0] ^= 1
	_, _ = f.WriteAt(one, at)
	f.Close()
	if err := Merge(t.Context(), filepath.Join(dir, "bad"), []string{a, b}, MergeOptions{}); err == nil {
		t.Error("a flipped bit was merged")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "bad*")); len(left) > 0 {
		t.Errorf("%s is left of a merge that failed", left)
	}
}

// half is a context that ends after its Err was called a number of times.
type half struct {
	context.Context
	left int
}

func (h *half) Err() error {
	if h.left--; h.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestMergeInterrupted: a merge that is canceled, even in the middle of a block, leaves
// neither a dump nor a part of one, and a file that was there before stays.
func TestMergeInterrupted(t *testing.T) {
	dir := t.TempDir()
	in := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	for i, path := range in {
		synthetic(t, path, fmt.Sprintf("%d/2", i), i, 1, 2, 3*copyPiece, nil) // 6 pieces
	}
	for _, pieces := range []int{0, 1, 4, 11} {
		out := filepath.Join(dir, fmt.Sprint("out", pieces))
		if err := Merge(&half{t.Context(), pieces}, out, in, MergeOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d pieces: %v", pieces, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "out*")); len(left) > 0 {
			t.Errorf("cancelled after %d pieces: %s is left", pieces, left)
		}
	}
	out := filepath.Join(dir, "all")
	if err := Merge(&half{t.Context(), 12}, out, in, MergeOptions{}); err != nil {
		t.Errorf("never cancelled: %v", err)
	}
	was, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := Merge(&half{t.Context(), 4}, out, in, MergeOptions{Force: true}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if is, err := os.Stat(out); err != nil || !os.SameFile(is, was) {
		t.Errorf("a cancelled merge took away what it was to replace: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "all*")); len(left) != 1 {
		t.Errorf("left: %s", left)
	}
}

// TestVerifyAndRepairInterrupted: wherever they are interrupted, they return an error,
// report no false damage and leave the file as it was.
func TestVerifyAndRepairInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	synthetic(t, path, "", 0, 3, 4, 1000, nil)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	find := func(ctx context.Context) (list []string, ok bool, err error) {
		ok, err = Verify(ctx, path, nil, func(p Problem) { list = append(list, p.String()) })
		return list, ok, err
	}
	all, _, err := find(t.Context()) // its blocks hold no weights
	if err != nil {
		t.Fatal(err)
	}
	interrupted := 0
	for n := 0; ; n++ {
		got, ok, err := find(&half{t.Context(), n})
		if !errors.Is(err, context.Canceled) {
			break
		}
		if interrupted++; ok || len(got) > len(all) || !slices.Equal(got, all[:len(got)]) {
			t.Errorf("after %d steps: whole %v, %q, of %q", n, ok, got, all)
		}
	}
	if interrupted < 12 {
		t.Errorf("verify was interrupted at %d places", interrupted)
	}
	for n := range 3 {
		if _, err := Repair(&half{t.Context(), n}, path, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("repair after %d prompts: %v", n, err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file changed: %v", err)
	}
}

// mergeChild lets the test binary merge the dumps of a folder, in a process of its own
// whose memory can be measured.
func mergeChild(t *testing.T, dir string) (peak int64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestMergeMemoryIsFlat$")
	cmd.Env = append(os.Environ(), "ATTNSCOPE_TEST_MERGE="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return peakMemory(t, cmd.ProcessState)
}

// TestMergeMemoryIsFlat merges sparse dumps of 10 MB and of 1 GB (10 GB with
// ATTNSCOPE_LONG=1) with blocks of a usual size: the peak memory does not grow with the
// size of the dumps.
func TestMergeMemoryIsFlat(t *testing.T) {
	if dir := os.Getenv("ATTNSCOPE_TEST_MERGE"); dir != "" {
		if err := Merge(t.Context(), filepath.Join(dir, "out"), []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}, MergeOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	}
	large := 1000
	if os.Getenv("ATTNSCOPE_LONG") != "" {
		large = 10000
	} else {
		t.Log("1 GB; ATTNSCOPE_LONG=1 (make test-long) merges 10 GB")
	}
	const blockSize, perPrompt = 250_000, 200 // 50 MB per prompt
	peak := map[int]int64{}
	for _, mb := range []int{10, large} {
		dir := t.TempDir()
		blocks := min(perPrompt, mb*1_000_000/2/blockSize)
		prompts := max(1, mb*1_000_000/2/blockSize/perPrompt)
		synthetic(t, filepath.Join(dir, "a"), "0/2", 0, prompts, blocks, blockSize, nil)
		synthetic(t, filepath.Join(dir, "b"), "1/2", prompts, prompts, blocks, blockSize, nil)
		peak[mb] = mergeChild(t, dir)
		r, err := Open(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		if !r.Complete() || len(r.Prompts()) != 2*prompts || r.Size() < int64(mb)*1_000_000 {
			t.Errorf("%d MB: complete %v, %d prompts, %d bytes", mb, r.Complete(), len(r.Prompts()), r.Size())
		}
		r.Close()
		os.RemoveAll(dir)
	}
	t.Logf("peak memory: %d MB merged in %.1f MB, %d MB in %.1f MB", 10, float64(peak[10])/1e6, large, float64(peak[large])/1e6)
	// Only the index may grow, by one entry per block: 40,000 of them.
	if grown := peak[large] - peak[10]; grown > 40<<20 {
		t.Errorf("peak memory grew by %d MB", grown>>20)
	}
}

// BenchmarkMerge alternates between merging 256 MB and copying as many bytes to the same
// disk, both made durable. "of-copy" is the throughput of merging as a share of that of
// copying, the median over pairs of neighboring runs.
func BenchmarkMerge(b *testing.B) {
	dir := b.TempDir()
	in := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	const blocks, size = 512, 250_000
	rng := rand.New(rand.NewPCG(7, 8))
	noise := func(x []byte) {
		for i := 0; i+8 <= len(x); i += 8 {
			binary.LittleEndian.PutUint64(x[i:], rng.Uint64())
		}
	}
	for i, path := range in {
		synthetic(b, path, fmt.Sprintf("%d/2", i), i, 1, blocks, size, noise)
	}
	out := filepath.Join(dir, "out")
	work := []func() error{
		func() error { return Merge(b.Context(), out, in, MergeOptions{Force: true}) },
		func() error { return plainCopy(out, in) },
	}
	var took [2]time.Duration
	var shares []float64
	b.SetBytes(2 * 2 * blocks * size)
	for round := 0; b.Loop(); round++ {
		for i := range work {
			which := (i + round) % 2
			start := time.Now()
			if err := work[which](); err != nil {
				b.Fatal(err)
			}
			took[which] = time.Since(start)
		}
		shares = append(shares, float64(took[1])/float64(took[0]))
	}
	slices.Sort(shares)
	b.ReportMetric(shares[len(shares)/2], "of-copy")
	b.ReportMetric(shares[0], "least")
	b.ReportMetric(shares[len(shares)-1], "most")
}

// plainCopy writes to a temporary file and renames it to out, as Merge does.
func plainCopy(out string, in []string) error {
	f, err := os.Create(out + ".copying")
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for _, path := range in {
		g, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{g}, buf)
		g.Close()
		if err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(out+".copying", out)
}
