package checkpoint

import "bytes"

// constants lists the numbers that Python's json writes though JSON does not have them.
var constants = []string{"-Infinity", "Infinity", "NaN"}

// replaceConstants replaces these numbers by the objects that newer versions of
// transformers write instead, as in {"__float__": "Infinity"}.
func replaceConstants(text []byte) []byte {
	var out []byte
	inside := false // a string
	for len(text) > 0 {
		n := 1
		switch {
		case inside && text[0] == '\\':
			n = min(2, len(text))
		case text[0] == '"':
			inside = !inside
		case !inside:
			for _, name := range constants {
				if bytes.HasPrefix(text, []byte(name)) {
					out = append(out, `{"__float__": "`+name+`"}`...)
					text = text[len(name):]
					n = 0
					break
				}
			}
		}
		out = append(out, text[:n]...)
		text = text[n:]
	}
	return out
}
