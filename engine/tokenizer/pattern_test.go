package tokenizer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
)

// TestPatternOutOfTime checks that an expression which backtracks without end is an error
// that names the file and the expression, in every step.
func TestPatternOutOfTime(t *testing.T) {
	re, err := regexp2.Compile(`(a+)+$`, regexp2.Unicode)
	if err != nil {
		t.Fatal(err)
	}
	re.MatchTimeout = 50 * time.Millisecond
	for name, use := range map[string]func(tok *Tokenizer){
		"split": func(tok *Tokenizer) { tok.splits = []splitter{func(s string, emit func(string)) { eachMatch(s, re) }} },
		"normalizer": func(tok *Tokenizer) {
			tok.normalizers = []normalizer{func(s string, _ int) string {
				out, err := re.ReplaceFunc(s, func(regexp2.Match) string { return "" }, -1, -1)
				outOfTime(re, err)
				return out
			}}
		},
	} {
		tok, err := fromJSON([]byte(tinyTokenizer))
		if err != nil {
			t.Fatal(err)
		}
		tok.source = "hostile.json"
		use(tok)
		ids, err := tok.TryEncode(strings.Repeat("a", 60)+"b", false)
		want := `hostile.json: pattern "(a+)+$" takes too long`
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: ids %v, error %v, want error %s", name, ids, err, want)
		}
	}
	for _, part := range []string{
		`"pre_tokenizer":{"type":"Split","pattern":{"Regex":"x"},"behavior":"Isolated"}`,
		`"pre_tokenizer":{"type":"Split","pattern":{"Regex":"x"},"behavior":"Removed"}`,
		`"normalizer":{"type":"Replace","pattern":{"Regex":"x"},"content":""}`,
	} { // all of them are compiled with the limit
		if tok, err := fromJSON([]byte(fmt.Sprintf(`{%s,"model":{"type":"BPE","vocab":{"x":0},"merges":[]}}`, part))); err != nil || tok == nil {
			t.Errorf("%s: %v", part, err)
		}
	}
	if re, err := compilePattern("x"); err != nil || re.MatchTimeout != patternTime {
		t.Errorf("a pattern gets %v, want %v", re.MatchTimeout, patternTime)
	}
}
