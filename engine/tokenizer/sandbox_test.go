package tokenizer

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain renders chat templates in a separate process, as the program does.
func TestMain(m *testing.M) {
	Sandbox()
	os.Exit(m.Run())
}

// TestHostileTemplates checks that a template which exhausts time, memory or stack is an
// error that names the file, and that the next template is rendered nevertheless.
func TestHostileTemplates(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the memory of a process is limited on Linux only")
	}
	good := newTokenizer()
	err := good.setTemplate("good.json", "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	loop := strings.Repeat("{% for i in range(2000) %}", 3) + strings.Repeat("{% endfor %}", 3)
	double := "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"
	keep := "{% set ns = namespace(l=[]) %}" +
		"{% for i in range(60) %}{% set ns.l = ns.l + ['x' * 60000000 ~ i] %}{% endfor %}"
	selfish := "{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}"
	output := "{% for i in range(80) %}{{ 'x' * 1000000 }}{% endfor %}"
	nested := strings.Repeat("[", 30000) + strings.Repeat("]", 30000)
	for name, c := range map[string]struct{ template, want string }{
		"a loop without end":           {loop, "not done after 1s"},
		"a string that doubles":        {double, "a string of more than 67108864 bytes"},
		"strings that are kept":        {keep, "takes more than 512 MB of memory or calls itself without end"},
		"a string times a thousand G":  {"{{ ('x' * 1000000000000)|length }}", "of more than 67108864 bytes"},
		"a range without end":          {"{{ range(100000000000)|length }}", "ranges larger than MAX_RANGE"},
		"a macro that calls itself":    {selfish, "line 1: it calls itself without end"},
		"output without end":           {output, "more than 67108864 bytes"},
		"an exception of the template": {"{{ raise_exception('only users') }}", "only users"},
		"lists in lists":               {"{{ " + nested + " }}", "more than 200 brackets in each other"},
		"a source that is too long":    {"{{ '" + strings.Repeat("x", templateSource) + "' }}", "at most 131072 are taken"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(c.want, "not done after 1s") {
				templates.wait = time.Second
				defer func() { templates.wait = templateTime }()
			}
			tok := newTokenizer()
			err := tok.setTemplate("bad.json", c.template)
			if err == nil {
				_, err = tok.ApplyChat(t.Context(), []Message{{"user", "hi"}}, true)
			}
			message := fmt.Sprint(err)
			// On a busy machine the time can run out before the memory.
			slow := strings.Contains(c.want, "without end") && strings.Contains(message, "not done after 10s")
			named := strings.HasPrefix(message, "bad.json: chat template")
			if c.want != "" && !slow && (!named || !strings.Contains(message, c.want)) {
				t.Errorf("error %v, want one that begins with bad.json: chat template and has %q", err, c.want)
			}
			for i := range 2 {
				text, err := good.ApplyChat(t.Context(), []Message{{"user", fmt.Sprint("hi", i)}}, true)
				if want := fmt.Sprint("<user>hi", i); err != nil || text != want {
					t.Fatalf("the next template renders %q (%v), want %q", text, err, want)
				}
			}
		})
	}
}

// TestSandboxIsTheSame checks that rendering with and without the separate process gives
// the same text, and that bytes of tokens and templates which are not UTF-8 are kept.
func TestSandboxIsTheSame(t *testing.T) {
	tok := newTokenizer()
	tok.setSpecial("bos_token", "<s>")
	tok.setSpecial("eos_token", "\xff")
	err := tok.setTemplate("x", "{{ bos_token }}"+
		"{% for m in messages %}{{ m['role'] ~ ':' ~ m['content']|trim }}{{ eos_token }}{% endfor %}"+
		"{% if add_generation_prompt %}>{% endif %}\xfe")
	if err != nil {
		t.Fatal(err)
	}
	msgs := []Message{{"user", " a "}, {"assistant", "b\x00é"}}
	boxed, err := tok.ApplyChat(t.Context(), msgs, true)
	if err != nil {
		t.Fatal(err)
	}
	templates.on = false
	here, err := tok.ApplyChat(t.Context(), msgs, true)
	templates.on = true
	if want := "<s>user:a\xffassistant:b\x00é\xff>\xfe"; err != nil || boxed != want || here != want {
		t.Errorf("in the sandbox %q, here %q (%v), want %q", boxed, here, err, want)
	}
	if templates.cmd == nil {
		t.Error("no process was started")
	}
}
