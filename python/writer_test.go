package python

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// writerScript compares checksums with those of one byte after another, and writes a
// dump of two prompts, whose weights are those of a causal map of random scores. One
// more prompt is taken back, and the blocks of the last one are never finished.
const writerScript = `
import sys
import numpy as np
import writer as aw

random = np.random.default_rng(1)
assert aw.crc32c(b"123456789") == 0xE3069283
for n in (0, 1, 3, 4, 255, 256, 257, 4 * 8192 - 1, 4 * 8192, 4 * 8192 + 1, 70003):
    data = random.bytes(n)
    crc = 0xFFFFFFFF
    for b in data:
        crc = aw.BYTE_LIST[(crc ^ b) & 255] ^ (crc >> 8)
    assert aw.crc32c(data) == crc ^ 0xFFFFFFFF, n

layers, heads, rows, reply = [1], 2, 3, 2
plan = dict(
    window_rows=rows, prompt_windows=0, prompt_window_size=1, max_new_tokens=reply, layers=layers,
    heads=list(range(heads)), store="rows", precision="exact", values=True, logits=False, overview=0,
    ignore_eos=False, compute="f32", temperature=0.0, seed=0)
model = dict(
    id="random", sha256="", architecture="none", layers=3, heads=heads, kv_heads=1, head_dim=4, value_dim=5, vocab=9,
    max_positions=0, scale=0.5, soft_cap=0.0, layer_windows=[0, 0, 0])
header = dict(version=1, model=model, plan=plan, manifest=dict(program="test"))

def blocks(w, prompt):
    n = prompt + reply
    score = np.where(np.tri(n, dtype=bool), random.standard_normal((heads, n, n)), -np.inf)
    weights = np.exp(score) / np.exp(score).sum(-1, keepdims=True)
    for h in range(heads):
        for phase, lo, hi, keys in ((aw.PREFILL, prompt - rows, prompt, prompt), (aw.DECODE, prompt, n, n)):
            x = weights[h, lo:hi, :keys].astype(np.float32)
            w.floats(aw.WEIGHTS, x, phase=phase, layer=1, head0=h, heads=1, rows=hi - lo, keys=keys)
    w.floats(aw.SUMS, weights[:, :prompt, :prompt].sum(1), layer=1, heads=heads, rows=1, keys=prompt)
    w.floats(aw.VALUES, np.arange(n * 5), layer=1, heads=1, rows=n, keys=5)

def end(id, prompt):
    return dict(
        id=id, prompt_tokens=prompt, reply_tokens=reply, window_rows=rows, tokens=[1] * (prompt + reply), store="rows")

with aw.Writer(sys.argv[1], header) as w:
    blocks(w, 40)
    w.finish(end("a", 40))
    blocks(w, 20)
    w.discard()
    blocks(w, 7)
    w.finish(end("b", 7))
    blocks(w, 5)
`

// TestWriterInPython: a dump that the module writer writes passes verify, has the prompts
// that were finished and only those, and holds the arrays that were given.
func TestWriterInPython(t *testing.T) {
	interpreter := python(t, "numpy, zstandard")
	path := filepath.Join(t.TempDir(), "x.attn")
	run(t, interpreter, "-c", writerScript, path)
	verify(t, path)
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if p := r.Prompts(); len(p) != 2 || p[0].ID != "a" || p[1].ID != "b" || p[1].Blocks != 6 {
		t.Errorf("prompts %+v", p)
	}
	values, err := r.Values(1, 1)
	if err != nil || len(values) != 9*5 || values[44] != 44 {
		t.Errorf("values %v, %v", values, err)
	}
	sums, err := r.Sums(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, s := range sums {
		total += float64(s)
	}
	if math.Abs(total-2*7) > 1e-5 {
		t.Errorf("sums add up to %g, want 14", total)
	}
}

// TestWriterLeavesNoFile: a run that finishes no prompt leaves no file, and one that
// fails later keeps the prompts before as PATH.partial.
func TestWriterLeavesNoFile(t *testing.T) {
	interpreter := python(t, "numpy, zstandard")
	// raises fails after each prompt is finished, or before if it finishes none.
	raises := func(path, last string) string {
		script := strings.Replace(writerScript, "    blocks(w, 40)\n    w.finish", last+"\n    w.finish", 1)
		out, err := exec.Command(interpreter, "-c", script, path).CombinedOutput()
		if err == nil {
			t.Fatal("the run did not fail")
		}
		return string(out)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.attn")
	raises(path, "    blocks(w, 40)\n    raise RuntimeError")
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("a failed run left %v", files)
	}
	raises(path, "    blocks(w, 40)\n    w.finish(end('z', 40))\n    blocks(w, 40)\n    raise RuntimeError")
	r, err := dumps.Open(path + ".partial")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if p := r.Prompts(); len(p) != 1 || p[0].ID != "z" {
		t.Errorf("prompts %+v", p)
	}
	if out := raises(path, "    raise RuntimeError"); !strings.Contains(out, "x.attn.partial exists") {
		t.Errorf("an unfinished dump is overwritten: %s", out)
	}
}

// verify fails the test if a dump has a problem.
func verify(t *testing.T, path string) {
	t.Helper()
	ok, err := dumps.Verify(t.Context(), path, nil, func(p dumps.Problem) { t.Errorf("%s: %s", path, p) })
	if err != nil || !ok {
		t.Errorf("%s does not pass verify: %v", path, err)
	}
}
