package answers

import (
	"bufio"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// TestPublishedScores compares all scores with those of the published code, which
// testdata/make_goldens.py ran: 300 answers of LongBench and 200 of RULER.
func TestPublishedScores(t *testing.T) {
	f, err := os.Open("testdata/goldens.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	answers := map[bool]int{}
	between := map[Scorer]int{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var row struct {
			Scorer     Scorer
			Reply      string
			References []string
			Classes    []string
			Score      float64
		}
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		if err := row.Scorer.Check(); err != nil {
			t.Fatal(err)
		}
		ruler := row.Scorer == MatchAll || row.Scorer == MatchPart
		tolerance := 0.0
		if ruler {
			tolerance = 0.5e-4 // RULER rounds percentages to two digits
		}
		got := row.Scorer.Score(row.Reply, row.References, row.Classes)
		if math.Abs(got-row.Score) > tolerance {
			t.Errorf("%s of %q against %q: %v, want %v", row.Scorer, row.Reply, row.References, got, row.Score)
		}
		answers[ruler]++
		if row.Score > 0 && row.Score < 1 {
			between[row.Scorer]++
		}
	}
	if answers[false] != 300 || answers[true] != 200 {
		t.Errorf("%d answers of LongBench and %d of RULER", answers[false], answers[true])
	}
	for _, s := range Scorers {
		if s != MatchPart && between[s] < 5 {
			t.Errorf("%s: only %d scores are not 0 or 1", s, between[s])
		}
	}
}

func TestFirstLine(t *testing.T) {
	for reply, want := range map[string]string{"\n\nParis\nLondon": "Paris", "": "", "x": "x", "\n": ""} {
		if got := FirstLine(reply); got != want {
			t.Errorf("first line of %q: %q, want %q", reply, got, want)
		}
	}
}

func TestNoReferences(t *testing.T) {
	for _, s := range Scorers {
		if got := s.Score("42", nil, nil); got != 0 {
			t.Errorf("%s without references: %v", s, got)
		}
	}
	if err := Scorer("bleu").Check(); err == nil {
		t.Error("bleu is a scorer")
	}
}
