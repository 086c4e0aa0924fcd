package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// The tests of this file run the command as a reader of its numbers does. Each stands for a
// wrong conclusion that true numbers led to.

// plantedDump has three layers. The window votes for positions 0 and 7. In layer 0 the reply
// attends to few positions, of which the vote keeps one of five. In layer 1 half of what it
// attends to is the first position. In layer 2 the vote keeps everything.
const plantedDump = `
dump layers=3 heads=1 rows=2
prompt a tokens=12 reply=40
0 * 10-11 7=0.5
0 * 12    7=0.5
0 * 13-16 8=0.5
1 * 10-11 0=0.5
1 * 12-51 0=0.5 8=0.25
2 * 10-11 7=0.5
2 * 12-51 7=0.5
`

func writePlantedDump(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "planted.attn")
	dumpstest.WriteText(t, path, plantedDump)
	return path
}

// reportText returns the report of a dump as text.
func reportText(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.html")
	must(t, append([]string{"report", "-o", path}, args...)...)
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(string(page), " ")
}

// recordedDump captures two prompts of 150 and 160 tokens, with 64 of their rows.
func recordedDump(t *testing.T, model, prompts string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	must(t, "capture", "-m", model, "-p", prompts, "-o", path, "--max-new-tokens", "8", "--ignore-eos",
		"--window-rows", "64", "--prompt-windows", "0", "--no-prompt-sums")
	return path
}

// TestInfoLeadsBackToThePrompts: info prints the command of the capture, and how much was
// cut from prompts, which generate does not cut unless it is told.
func TestInfoLeadsBackToThePrompts(t *testing.T) {
	model := randomLlama(t, 32, 2)
	prompts := promptsFile(t, 2, 40)
	dir := t.TempDir()
	info := func(name string, flags ...string) string {
		out := filepath.Join(dir, name)
		must(t, append([]string{"capture", "-m", model, "-p", prompts, "-o", out, "--max-new-tokens", "1"}, flags...)...)
		return must(t, "info", out)
	}
	cut := info("cut.attn", "--max-prompt-tokens", "30", "--truncate", "middle")
	for _, want := range []string{
		"\ncommand    attnscope capture -m " + model + " -p " + prompts + " -o " + filepath.Join(dir, "cut.attn") +
			" --max-new-tokens 1 --max-prompt-tokens 30 --truncate middle\n",
		"\ncut        2 of 2 prompts, by 30 tokens in all; generate needs the same --max-prompt-tokens and --truncate\n",
	} {
		if !strings.Contains(cut, want) {
			t.Errorf("info lacks %q:\n%s", want, cut)
		}
	}
	if whole := info("whole.attn"); strings.Contains(whole, "\ncut ") {
		t.Errorf("info of whole prompts:\n%s", whole)
	}
}

// TestFewPositionsAreNotAResult: the layer with the lowest rate, one hit of five, is neither
// named as the lowest nor printed without a mark.
func TestFewPositionsAreNotAResult(t *testing.T) {
	dump := writePlantedDump(t)
	table := must(t, "hitrate", dump, "--window", "2", "--top", "0.1", "--format", "table")
	if !strings.Contains(table, "(0.200)") || !strings.Contains(table, " 0.500 ") {
		t.Errorf("0.200 is not marked, or 0.500 is:\n%s", table)
	}
	page := reportText(t, dump, "--window", "2", "--top", "0.1")
	if regexp.MustCompile(`(?i)lowest[^.]*layer 0\b`).MatchString(page) || strings.Contains(page, "layer 0 (0.200") {
		t.Error("the report names layer 0, with one hit of five, as the lowest")
	}
	if !strings.Contains(page, "n = 5") && !strings.Contains(page, "fewer than 30") {
		t.Error("the report does not say that a rate rests on few positions")
	}
}

// TestOneSetOfDefaults: window, kernel, pooling and group that no flag names are the same in
// every verb, and each says which they are. What "snapkv at 128" keeps is one number in the
// table and in the report; TestSameNumbersEverywhere compares more of them.
func TestOneSetOfDefaults(t *testing.T) {
	model := randomLlama(t, 32, 2)
	prompts := promptsFile(t, 2, 150)
	dump := recordedDump(t, model, prompts)
	var mass string
	eachLine(t, must(t, "snapkv", dump, "--by", "none", "--capacity", "128", "--format", "jsonl"), func(row map[string]any) {
		if row["window"] != 32.0 || row["kernel"] != 5.0 || row["pooling"] != "avgpool" || row["group"] != "head" {
			t.Errorf("snapkv: %v", row)
		}
		mass = jsonOf(row["mass"])[:5]
	})
	decoded := must(t, "generate", "-m", model, "-p", prompts, "--capacity", "128", "--max-new-tokens", "2", "--ignore-eos")
	eachLine(t, decoded, func(row map[string]any) {
		same := row["window"] == 32.0 && row["kernel"] == 5.0 && row["pooling"] == "avgpool" && row["group"] == "head"
		if row["method"] == "snapkv" && !same {
			t.Errorf("generate: %v", row)
		}
	})
	eachLine(t, must(t, "hitrate", dump, "--by", "none", "--format", "jsonl"), func(row map[string]any) {
		if row["window"] != 32.0 {
			t.Errorf("hitrate: %v", row)
		}
	})
	_, _, advice := call(t, "advise", dump, "--loss", "2", "--method", "snapkv", "--capacity", "128")
	if !strings.Contains(advice, "window 32, kernel 5, avgpool") {
		t.Errorf("advise: %s", advice)
	}
	page := strings.Join(strings.Fields(reportText(t, dump)), " ")
	if !strings.Contains(page, "window 32, kernel 5") {
		t.Error("the report does not say which settings the methods have")
	}
	if line := regexp.MustCompile(`snapkv (0\.\d+) (0\.\d+)`).FindStringSubmatch(page); line == nil || !nearText(line[2], mass) {
		t.Errorf("the report has %q, snapkv at 128 keeps %s", line, mass)
	}
}

// nearText reports whether two numbers of three decimals differ at most in the last one.
func nearText(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && math.Abs(x-y) < 0.0011
}

// TestSinksDoNotFlatter: next to the rate of a layer whose hits are all on the first
// position stands the one without the first four positions, which is 0.
func TestSinksDoNotFlatter(t *testing.T) {
	dump := writePlantedDump(t)
	table := must(t, "hitrate", dump, "--window", "2", "--top", "0.1", "--format", "table")
	if !regexp.MustCompile(`(?m)^ *1 .* 0?\.?500 +0\.?0* `).MatchString(table) || !strings.Contains(table, "without_first_4") {
		t.Errorf("no rate without the first four positions next to 0.500:\n%s", table)
	}
	page := strings.Join(strings.Fields(reportText(t, dump, "--window", "2", "--top", "0.1")), " ")
	if !regexp.MustCompile(`(?i)without the first 4[^.]*: layer 1 \(0\.000`).MatchString(page) {
		t.Error("the report does not name layer 1 as the lowest without the first positions")
	}
}

// TestWithoutFirstIsSkipFirst: the column without_first_4 of a file is the hit rate with
// --skip-first 4, and few says that it rests on too few positions if that does.
func TestWithoutFirstIsSkipFirst(t *testing.T) {
	dump := filepath.Join(t.TempDir(), "run.attn")
	dumpstest.Random(t, dump, "rows", "fine", rand.New(rand.NewPCG(1, 2)))
	args := []string{"hitrate", dump, "--window", "2", "--theta", "0.01", "--by", "layer,head", "--format", "jsonl"}
	var skipped []map[string]any
	eachLine(t, must(t, append(args, "--skip-first", "4")...), func(row map[string]any) { skipped = append(skipped, row) })
	least := skipped[0]["significant"].(float64) + 1 // which the first head has only with its first positions
	args = append(args, "--min-significant", fmt.Sprint(least))
	i := 0
	marked := map[bool]int{}
	eachLine(t, must(t, args...), func(row map[string]any) {
		if row["without_first_4"] != skipped[i]["hit_rate"] || row["hit_rate"] == skipped[i]["hit_rate"] {
			t.Errorf("row %d: %v, want without_first_4 %v", i, row, skipped[i]["hit_rate"])
		}
		few := skipped[i]["significant"].(float64) < least
		marked[few && row["significant"].(float64) >= least]++
		if got := slices.Contains(strings.Fields(row["few"].(string)), "positions_without_first_4"); got != few {
			t.Errorf("row %d: few %q, but %v positions without the first four", i, row["few"], skipped[i]["significant"])
		}
		i++
	})
	if marked[true] == 0 || marked[false] == 0 {
		t.Errorf("marked rows %v: the test has only one kind", marked)
	}
}

// TestHitRatesOfSnapKV: hitrate with the budget and the kernel of SnapKV rates the
// selection that snapkv makes for each head, as docs/GUIDE.md says.
func TestHitRatesOfSnapKV(t *testing.T) {
	dump := recordedDump(t, randomLlama(t, 32, 2), promptsFile(t, 2, 150))
	common := []string{dump, "--by", "layer,head", "--window", "32", "--theta", "0.01", "--format", "jsonl"}
	rows := func(args ...string) []map[string]any {
		var list []map[string]any
		eachLine(t, must(t, append(args, common...)...), func(row map[string]any) { list = append(list, row) })
		return list
	}
	kept := rows("snapkv", "--capacity", "64")
	differs := false
	for _, kernel := range []string{"5", "1"} {
		for i, row := range rows("hitrate", "--budget", "32", "--kernel", kernel) {
			same := row["hit_rate"] == kept[i]["hit_rate"] && row["mass"] == kept[i]["mass"]
			if kernel == "5" && !same {
				t.Errorf("row %d: hitrate has %v and %v, snapkv %v and %v", i, row["hit_rate"], row["mass"], kept[i]["hit_rate"], kept[i]["mass"])
			}
			differs = differs || !same
		}
	}
	if !differs {
		t.Error("the rates do not depend on the kernel: the test cannot fail")
	}
}

// TestCarriedFlags: the command that follows advise has the capture's flags that decide
// which prompts are read and what is decoded, and no others.
func TestCarriedFlags(t *testing.T) {
	for _, command := range [][]string{
		strings.Fields("attnscope capture -m M -p p.jsonl --values -o run.attn"),
		{"attnscope", "capture", "--max-new-tokens"}, // lacks its value
	} {
		if got := carriedFlags(command); len(got) != 0 {
			t.Errorf("%q: flags %q, want none", command, got)
		}
	}
	want := []string{
		"--offline", "--max-new-tokens", "32", "--truncate=middle", "--max-prompt-tokens", "900", "--limit", "4", "-limit=4",
		"--system", "Be brief.", "--no-chat-template", "--no-special-tokens", "--follow", "--template", "t.txt", "--ignore-field", "a",
		"--ignore-field", "b", "--revision", "v2", "--compute", "f16", "--ignore-eos",
	}
	command := slices.Concat(strings.Fields("attnscope capture -m M --values -p p.jsonl"), want, []string{"--shard", "0/2", "-o", "run.attn"})
	if got := carriedFlags(command); !slices.Equal(got, want) {
		t.Errorf("flags %q, want %q", got, want)
	}
	names := flagNamesOf(generateCommand())
	for _, f := range promptFlags {
		if got := carriedFlags([]string{"--" + f.Names()[0], "1"}); len(got) == 0 || !slices.Contains(names, f.Names()[0]) {
			t.Errorf("--%s is not carried over, or generate does not have it", f.Names()[0])
		}
	}
}

// flagNamesOf returns the names of a verb's flags.
func flagNamesOf(cmd *cli.Command) []string {
	var names []string
	for _, f := range cmd.Flags {
		names = append(names, f.Names()...)
	}
	return names
}

// TestAdviceIsOneRecommendation: advise recommends one method and capacity in a sentence,
// with what it saves, and lists no method that it left out.
func TestAdviceIsOneRecommendation(t *testing.T) {
	dump := recordedDump(t, randomLlama(t, 32, 2), promptsFile(t, 2, 150))
	code, table, advice := call(t, "advise", dump, "--loss", "2", "--format", "jsonl")
	if code != 0 || strings.Count(advice, "Recommended: ") != 1 {
		t.Fatalf("exit %d: %s", code, advice)
	}
	for _, want := range []string{"with capacity ", " % of the prompts' positions", " % of the full cache (", " of prompts lose more than "} {
		if !strings.Contains(advice, want) {
			t.Errorf("the recommendation lacks %q: %s", want, advice)
		}
	}
	left := regexp.MustCompile(`warning: (\w+) is left out`).FindAllStringSubmatch(advice, -1)
	if len(left) == 0 {
		t.Fatalf("no method is left out: %s", advice)
	}
	for _, name := range left {
		if strings.Contains(table, `"method":"`+name[1]+`"`) {
			t.Errorf("%s is left out and listed", name[1])
		}
	}
}

// TestLargerCachesAreNamed: a cache by query head that is larger than the full cache has a
// ratio above 1 in its row, and a warning names the flag that helps.
func TestLargerCachesAreNamed(t *testing.T) {
	args := []string{
		"generate", "-m", randomLlama(t, 32, 2), "-p", promptsFile(t, 1, 150), "--capacity", "120",
		"--max-new-tokens", "2", "--ignore-eos",
	}
	for group, larger := range map[string]bool{"head": true, "mean": false} {
		code, lines, warnings := call(t, append(args, "--group", group)...)
		if code != 0 {
			t.Fatal(warnings)
		}
		eachLine(t, lines, func(row map[string]any) {
			ratio, ok := row["cache_ratio"].(float64)
			if !ok || row["method"] == "full" && ratio != 1 || row["method"] == "snapkv" && (ratio > 1) != larger {
				t.Errorf("group %s: %s has cache_ratio %v", group, row["method"], row["cache_ratio"])
			}
		})
		if strings.Contains(warnings, "--group mean") != larger {
			t.Errorf("group %s: %s", group, warnings)
		}
	}
}
