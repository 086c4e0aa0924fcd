package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDamageRepairResume goes the way of a user whose disk has flipped a bit: the
// table is refused, verify names the place, repair leaves the prompt out and keeps
// the file, --resume runs it again, and the table is that of before.
func TestDamageRepairResume(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.tokens(longPrompt)
	var lines []string
	for i := range 4 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("p", i), "input_ids": ids[:90+5*i]}))
	}
	out := filepath.Join(t.TempDir(), "x.attn")
	args := []string{"capture", "-m", f.dir, "-p", write(t, "p.jsonl", strings.Join(lines, "\n")), "--max-new-tokens", "8", "--ignore-eos", "--store", "rows", "--threads", "1", "-o", out}
	must(t, args...)
	want := must(t, "hitrate", out, "--by", "layer,prompt")
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	block := []byte("ATN1\x02\x02\x01\x0a\x02\x00\x00\x00\x01\x00\x00\x00") // weights, halves, reply, 10 bits, prompt 2, layer 1
	at := bytes.Index(data, block)
	if at < 0 {
		t.Fatal("no such block")
	}
	data[at+100] ^= 64
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`prompt "p2", layer 1[,:] head \d+, weights of reply rows 0 to 7: (byte \d+: )?checksum`)
	if code, stdout, errs := call(t, "hitrate", out); code != 1 || stdout != "" || !place.MatchString(errs) {
		t.Errorf("hitrate: exit %d, %q, %q", code, stdout, errs)
	}
	if code, stdout, _ := call(t, "verify", out); code != 1 || !place.MatchString(stdout) || strings.Count(stdout, "\n") != 1 {
		t.Errorf("verify: exit %d, %q", code, stdout)
	}
	code, stdout, errs := call(t, "repair", out)
	if code != 0 || stdout != "" || !place.MatchString(errs) || !strings.Contains(errs, "the prompt is left out") || !strings.Contains(errs, out+".damaged") || !strings.Contains(errs, "repaired, with 3 prompts") || !strings.Contains(errs, "lacks 1 of the 4 prompts") {
		t.Errorf("repair: exit %d, %q, %q", code, stdout, errs)
	}
	if kept, err := os.ReadFile(out + ".damaged"); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("the damaged file is not kept as it was: %v", err)
	}
	must(t, "verify", out)
	if code, _, errs := call(t, "repair", out); code != 0 || !strings.Contains(errs, "nothing to repair") {
		t.Errorf("repair again: exit %d, %q", code, errs)
	}
	must(t, append(args, "--resume")...)
	must(t, "verify", out)
	if got := must(t, "hitrate", out, "--by", "layer,prompt"); got != want {
		t.Errorf("the table is another one:\n%s\nwant\n%s", got, want)
	}
	if code, _, errs := call(t, append(args, "--resume")...); code != 0 || !strings.Contains(errs, "is already complete") {
		t.Errorf("resumed again: exit %d, %q", code, errs)
	}
}
