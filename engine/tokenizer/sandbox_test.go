package tokenizer

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain has chat templates rendered in a process of their own, as the program
// has.
func TestMain(m *testing.M) {
	Sandbox()
	os.Exit(m.Run())
}

// TestHostileTemplates: templates that take all time, all memory or all stack
// there is are errors that name the file, and the next template is rendered as if
// nothing had been.
func TestHostileTemplates(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the memory of a process is limited on Linux only")
	}
	good := newTokenizer()
	if err := good.setTemplate("good.json", "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"); err != nil {
		t.Fatal(err)
	}
	nested := strings.Repeat("[", 30000) + strings.Repeat("]", 30000)
	for name, c := range map[string]struct{ template, want string }{
		"a loop without end":           {"{% for i in range(2000) %}{% for j in range(2000) %}{% for k in range(2000) %}{% endfor %}{% endfor %}{% endfor %}", "not done after 1s"},
		"a string that doubles":        {"{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "takes more than 512 MB of memory or calls itself without end"},
		"a string times a thousand G":  {"{{ ('x' * 1000000000000)|length }}", "takes more than 512 MB of memory or calls itself without end"},
		"a range without end":          {"{{ range(100000000000)|length }}", "takes more than 512 MB of memory or calls itself without end"},
		"a macro that calls itself":    {"{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}", "calls itself without end"},
		"output without end":           {"{% for i in range(80) %}{{ 'x' * 1000000 }}{% endfor %}", "at most 67108864 are taken"},
		"a negative repeat":            {"{{ 'x' * -1 }}", "it fails"},
		"an exception of the template": {"{{ raise_exception('only users') }}", "only users"},
		"lists in lists":               {"{{ " + nested + " }}", ""},
		"more than it may be":          {"{{ '" + strings.Repeat("x", templateSource) + "' }}", "at most 131072 are taken"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(c.want, "not done after 1s") {
				templates.wait = time.Second
				defer func() { templates.wait = templateTime }()
			}
			tok := newTokenizer()
			err := tok.setTemplate("bad.json", c.template)
			if err == nil {
				_, err = tok.ApplyChat([]Message{{"user", "hi"}}, true)
			}
			slow := err != nil && strings.Contains(c.want, "without end") && strings.Contains(err.Error(), "not done after 10s") // on a busy machine
			if c.want != "" && !slow && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "bad.json: chat template")) {
				t.Errorf("%v, want an error of bad.json with %q", err, c.want)
			}
			for i := range 2 {
				if text, err := good.ApplyChat([]Message{{"user", fmt.Sprint("hi", i)}}, true); err != nil || text != fmt.Sprint("<user>hi", i) {
					t.Fatalf("afterwards: %q, %v", text, err)
				}
			}
		})
	}
}

// TestSandboxIsTheSame: bytes that are no UTF-8 pass through, and both ways of
// rendering agree.
func TestSandboxIsTheSame(t *testing.T) {
	tok := newTokenizer()
	tok.bosToken, tok.eosToken = "<s>", "\xff"
	if err := tok.setTemplate("x", "{{ bos_token }}{% for m in messages %}{{ m['role'] ~ ':' ~ m['content']|trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}>{% endif %}\xfe"); err != nil {
		t.Fatal(err)
	}
	msgs := []Message{{"user", " a\xc3 "}, {"assistant", "b\x00é"}}
	boxed, err := tok.ApplyChat(msgs, true)
	if err != nil {
		t.Fatal(err)
	}
	templates.on = false
	here, err := tok.ApplyChat(msgs, true)
	templates.on = true
	if want := "<s>user:a\xc3\xffassistant:b\x00é\xff>\xfe"; err != nil || boxed != want || here != want {
		t.Errorf("in the sandbox %q, here %q (%v), want %q", boxed, here, err, want)
	}
	if templates.cmd == nil {
		t.Error("no process was started")
	}
}
