package tokenizer

import (
	"errors"
	"fmt"
	"time"

	"github.com/dlclark/regexp2"
)

// patternTime limits the time of one match of a regular expression. A tokenizer.json
// may contain any expression, and an expression that backtracks can take forever on a
// text that exploits it. The limit for all matches in a text also grows with its
// length. Patterns that have a scanner need no limit.
const patternTime = 8 * time.Second

// patternError is the value of the panic when an expression runs out of time, or when a
// normalizer makes a text too long. [Tokenizer.TryEncode] recovers it.
type patternError struct{ error }

// compilePattern compiles an expression with the time limit.
func compilePattern(pattern string) (*regexp2.Regexp, error) {
	re, err := regexp2.Compile(pattern, regexp2.Unicode)
	if err == nil {
		re.MatchTimeout = patternTime
	}
	return re, err
}

// eachFound calls f for each match that is not empty. It panics with a patternError if
// the matching takes too long.
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

// outOfTime panics with a patternError if err is not nil.
func outOfTime(re *regexp2.Regexp, err error) {
	if err != nil {
		panic(patternError{fmt.Errorf("pattern %.200q takes too long for the text: %.100v", re.String(), err)})
	}
}

// TryEncode is [Tokenizer.Encode] for a tokenizer that may be hostile: it returns an error
// if a regular expression of the tokenizer takes too long or its normalizer makes the text
// too long.
func (t *Tokenizer) TryEncode(text string, addSpecial bool) (ids []int32, err error) {
	defer recoverPattern(t.source, &err)
	return t.Encode(text, addSpecial), nil
}

// recoverPattern turns the panic of a patternError into an error that names the source.
func recoverPattern(source string, err *error) {
	if x := recover(); x != nil {
		p, ok := x.(patternError)
		if !ok {
			panic(x)
		}
		*err = fmt.Errorf("%s: %w", source, p.error)
	}
}
