package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attnscope/attnscope/dumps/dumpstest"
)

func smallDump(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WithValues(t, path, "factors", "fine", 2, rand.New(rand.NewPCG(1, 2)))
	return path
}

// TestView starts the viewer as a user does, reads the page and ends it.
func TestView(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		done <- run(ctx, []string{"view", smallDump(t), "--no-open", "--at", "#v=head&head=2"}, strings.NewReader(""), w, &errs)
		w.Close()
	}()
	line := make([]byte, 200)
	n, err := r.Read(line)
	if err != nil {
		t.Fatalf("no address: %v: %s", err, errs.String())
	}
	url, at, _ := strings.Cut(strings.TrimSpace(string(line[:n])), "#")
	if at != "v=head&head=2" {
		t.Errorf("it opens at %q", at)
	}
	if !strings.HasPrefix(url, "http://127.0.0.1:") || len(url) < 50 {
		t.Fatalf("address %q", url)
	}
	answer, err := http.Get(url + "api/captures")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if answer.StatusCode != 200 || !bytes.Contains(text, []byte(`"id":"p1"`)) {
		t.Errorf("%d: %s", answer.StatusCode, text)
	}
	stop()
	select {
	case code := <-done:
		if code != exitDone {
			t.Errorf("exit %d: %s", code, errs.String())
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
}

func TestViewMisused(t *testing.T) {
	dump := smallDump(t)
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{exitUsage, []string{"view"}, "no dump"},
		{exitFailed, []string{"view", dump, "--http", "0.0.0.0:0", "--no-open"}, "loopback"},
		{exitFailed, []string{"view", filepath.Join(t.TempDir(), "none.attn"), "--no-open"}, "none.attn"},
		{exitUsage, []string{"report", dump}, "-o"},
		{exitUsage, []string{"report", "-o", "x.html"}, "dump"},
		{exitUsage, []string{"report", dump, "-o", "x.html", "--window", "0"}, "window"},
		{exitUsage, []string{"report", dump, "-o", "x.html", "--top", "2"}, "top"},
	} {
		if code, _, errs := call(t, c.args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d: %s", c.args, code, errs)
		}
	}
}

// TestReport writes the page once, refuses to replace it, and leaves nothing of
// a failed run.
func TestReport(t *testing.T) {
	dump, out := smallDump(t), filepath.Join(t.TempDir(), "report.html")
	must(t, "report", dump, "-o", out, "--window", "4")
	page, err := os.ReadFile(out)
	if err != nil || !bytes.HasPrefix(page, []byte("<!doctype html>")) {
		t.Fatalf("%v: %.40q", err, page)
	}
	if code, _, errs := call(t, "report", "-o", out, dump); code != exitFailed || !strings.Contains(errs, "--force") {
		t.Errorf("exit %d: %s", code, errs)
	}
	must(t, "report", dump, "-o", out, "--window", "8", "--force")
	if again, _ := os.ReadFile(out); bytes.Equal(page, again) {
		t.Error("--force left the old page")
	}
	bad := filepath.Join(t.TempDir(), "bad.html")
	if code, _, _ := call(t, "report", dump, "-o", bad, "--window", "99"); code != exitFailed {
		t.Errorf("window 99: exit %d", code)
	}
	if list, _ := filepath.Glob(bad + "*"); list != nil {
		t.Errorf("left over: %v", list)
	}
}
