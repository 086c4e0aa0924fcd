package tokenizer

import (
	"errors"
	"fmt"
	"time"

	"github.com/dlclark/regexp2"
)

// A tokenizer.json brings its own expressions, and one that backtracks can take
// for ever on a text that is made for it. Known patterns have scanners; the
// others get this long for a match, and for all matches in a text as long as a
// text of its length may ask for.
const patternTime = 30 * time.Second

// patternError is panicked with by an expression that is out of time, and
// recovered by [Tokenizer.TryEncode].
type patternError struct{ error }

func compilePattern(pattern string) (*regexp2.Regexp, error) {
	re, err := regexp2.Compile(pattern, regexp2.Unicode)
	if err == nil {
		re.MatchTimeout = patternTime
	}
	return re, err
}

// eachFound calls f for every match that is not empty.
func eachFound(re *regexp2.Regexp, text []rune, f func(m *regexp2.Match)) {
	end := time.Now().Add(patternTime + time.Duration(len(text))*30*time.Microsecond)
	m, err := re.FindRunesMatch(text)
	for ; err == nil && m != nil; m, err = re.FindNextMatch(m) {
		if m.Length > 0 {
			f(m)
		}
		if time.Now().After(end) {
			err = errors.New("out of time")
			break
		}
	}
	outOfTime(re, err)
}

func outOfTime(re *regexp2.Regexp, err error) {
	if err != nil {
		panic(patternError{fmt.Errorf("pattern %.200q is not done with the text: %.100v", re.String(), err)})
	}
}

// TryEncode is [Tokenizer.Encode] for a tokenizer that may be hostile: an
// expression of it that backtracks without end is an error.
func (t *Tokenizer) TryEncode(text string, addSpecial bool) (ids []int32, err error) {
	defer func() {
		if x := recover(); x != nil {
			p, ok := x.(patternError)
			if !ok {
				panic(x)
			}
			ids, err = nil, fmt.Errorf("%s: %w", t.source, p.error)
		}
	}()
	return t.Encode(text, addSpecial), nil
}
