package answers

import "strings"

// matchAll is string_match_all of RULER (scripts/eval/synthetic/constants.py): the share of
// the references that the reply contains, whatever their case.
func matchAll(reply string, references []string) float64 {
	reply = lower(printable(reply))
	found := 0
	for _, reference := range references {
		if strings.Contains(reply, lower(reference)) {
			found++
		}
	}
	return float64(found) / float64(max(1, len(references)))
}

// matchPart is string_match_part of RULER: 1 if the reply contains a reference.
func matchPart(reply string, references []string) float64 {
	if matchAll(reply, references) > 0 {
		return 1
	}
	return 0
}

// printable is postprocess_pred of RULER (scripts/eval/evaluate.py): control characters
// become line breaks, and white space at both ends is dropped.
func printable(reply string) string {
	reply = strings.Map(func(r rune) rune {
		if r < 0x20 {
			return '\n'
		}
		return r
	}, strings.TrimFunc(reply, isSpace))
	return strings.TrimFunc(reply, isSpace)
}
