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
)

type testResult struct {
	Package string  `json:"package"`
	Name    string  `json:"name"`
	Result  string  `json:"result"` // pass, fail, skip
	Seconds float64 `json:"seconds"`
	Output  string  `json:"output,omitempty"` // of tests that did not pass
}

// suites lists the test binaries, the folder that each runs in, and the tests that
// concern the card.
var suites = []struct{ binary, dir, run string }{
	{"cuda.test", "engine/cuda", "."},
	{"model.test", "engine/model", "Card"},
	{"attnscope.test", "cmd/attnscope", "Card"},
}

var ended = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

// test runs the test binaries.
func (r *report) test(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for _, s := range suites {
		work := filepath.Join(dir, s.dir)
		if err := os.MkdirAll(work, 0o755); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, filepath.Join(dir, s.binary), "-test.v", "-test.run", s.run)
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
		if err != nil && r.Failed == 0 { // the binary crashed or ran out of time without reporting a failed test
			r.Failed++
			r.Tests = append(r.Tests, testResult{s.dir, s.binary, "fail", 0, tail(out.String())})
		}
		fmt.Fprintf(os.Stderr, "bench: %s: %d passed, %d failed, %d skipped so far\n", s.dir, r.Passed, r.Failed, r.Skipped)
	}
	if r.Failed > 0 {
		return fmt.Errorf("%d tests failed", r.Failed)
	}
	return nil
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
		t := testResult{Package: pkg, Name: m[2], Result: strings.ToLower(m[1])}
		_, _ = fmt.Sscan(m[3], &t.Seconds)
		switch t.Result {
		case "pass":
			r.Passed++
		case "fail":
			r.Failed++
		default:
			r.Skipped++
		}
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
