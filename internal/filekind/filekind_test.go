package filekind

import (
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		head string
		want Kind
	}{
		{"", Unknown},
		{" \n", Unknown},
		{"\x00\x01\x02\x03", Unknown},
		{"\x5a\x2a\x4d\x18\x40\x00\x00\x00ATN1\x01", Dump},
		{"\x5a\x2a\x4d\x18\x40\x00\x00\x00ATN", Unknown}, // a dump that was cut, or another file
		{"\x40\x01\x00\x00\x00\x00\x00\x00{\"a\":{", Safetensors},
		{"GGUF\x03\x00\x00\x00", GGUF},
		{`{"id": "a", "prompt": "x"}` + "\n", JSONLines},
		{"\ufeff{\"id\": 1}", JSONLines},
		{"{\n  \"id\": 1\n}", JSON},
		{`[{"id": 1}]`, JSON},
		{"<!DOCTYPE html>\n<html>", HTML},
		{"\n <HTML lang=en>", HTML},
		{"<svg xmlns=", XML},
		{"layer\thit_rate\n0\t0.5\n", Text},
		{strings.Repeat("a", HeadBytes-1) + "é", Text}, // the last character is cut
		{"abc\x00def", Unknown},
		{"abc\xffdefgh", Unknown},
		{"\x1f\x8b\x08\x00", Gzip},
		{"\x28\xb5\x2f\xfd\x04", Zstd},
		{"PAR1\x15", Parquet},
		{"\x80\x04\x95", Pickle},
	} {
		if got := Of([]byte(c.head)); got != c.want {
			t.Errorf("%.20q is %q, want %q", c.head, got, c.want)
		}
	}
}
