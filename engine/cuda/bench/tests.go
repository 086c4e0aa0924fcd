//go:build cuda

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
)

// suites lists the test binaries, the folder that each runs in, and the tests that
// concern the card. The slim bundle has the first one alone.
var suites = []struct{ binary, dir, run string }{
	{"cuda.test", "engine/cuda", "."},
	{"model.test", "engine/model", "Card"},
	{"attnscope.test", "cmd/attnscope", "Card"},
}

var ended = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

// test runs the test binaries.
func (r *report) test(ctx context.Context, o *options) error {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	for _, s := range suites {
		binary := filepath.Join(dir, s.binary)
		if !exists(binary) {
			r.note("%s: left out: this bundle does not have it", s.binary)
			continue
		}
		work := filepath.Join(dir, s.dir)
		if err := os.MkdirAll(work, 0o755); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.run", s.run)
		cmd.Dir = work
		cmd.Env = os.Environ()
		if shared := filepath.Join(dir, "shared"); os.Getenv("ATTNSCOPE_SHARED") == "" && exists(shared) {
			cmd.Env = append(cmd.Env, "ATTNSCOPE_SHARED="+shared)
		}
		cmd.WaitDelay = 5 * time.Second
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		r.parse(s.dir, out.String())
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("%s: %w", s.binary, err)
		}
		switch {
		case err != nil && ctx.Err() != nil:
			r.note("%s: out of time after %s", s.binary, running(out.String()))
		case err != nil && r.count("fail") == 0: // the binary crashed without reporting a failed test
			r.Tests = append(r.Tests, judge.Test{
				Package: s.dir, Name: s.binary, Result: "fail", Output: tail(out.String()),
			})
		}
		fmt.Fprintf(os.Stderr, "bench: %s: %d passed, %d failed, %d skipped so far\n",
			s.dir, r.count("pass"), r.count("fail"), r.count("skip"))
	}
	if n := r.count("fail"); n > 0 {
		return fmt.Errorf("%d tests failed", n)
	}
	return nil
}

// count returns the number of tests with a result.
func (r *report) count(result string) (n int) {
	for _, t := range r.Tests {
		if t.Result == result {
			n++
		}
	}
	return n
}

var begun = regexp.MustCompile(`(?m)^=== RUN +([^\s/]+)$`)

// running returns the test that began last.
func running(out string) string {
	all := begun.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return "no test"
	}
	return all[len(all)-1][1]
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (r *report) parse(pkg, out string) {
	lines := strings.Split(out, "\n")
	from := 0
	for i, line := range lines {
		m := ended.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		t := judge.Test{Package: pkg, Name: m[2], Result: strings.ToLower(m[1])}
		_, _ = fmt.Sscan(m[3], &t.Seconds)
		if t.Result != "pass" { // a test's own output precedes its result line; its subtests' output follows
			to := i + 1
			for to < len(lines) && strings.HasPrefix(lines[to], " ") {
				to++
			}
			t.Output = tail(strings.Join(lines[from:to], "\n"))
		}
		from = i + 1
		r.Tests = append(r.Tests, t)
	}
}

// tail keeps the end of a long text.
func tail(text string) string {
	const most = 8 << 10
	if len(text) > most {
		return "... " + text[len(text)-most:]
	}
	return text
}
