package main

import (
	"bytes"
	"context"
	"html"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
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

// TestViewHidesItsAddress: the browser is given a file that only this user can read, and
// no argument with the token. The file leads to the address and is gone in the end.
func TestViewHidesItsAddress(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED, the opener of this system was not replaced")
	}
	seen := t.TempDir()
	temporary := t.TempDir()
	script := "#!/bin/sh\nstat -c %a \"$1\" \"$(dirname \"$1\")\" >" + seen + "/modes\ncp \"$1\" " + seen + "/page\nprintf '%s\\n' \"$@\" >" + seen + "/new\nmv " + seen + "/new " + seen + "/args\n"
	if err := os.WriteFile(filepath.Join(seen, "xdg-open"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", seen+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("DISPLAY", ":9")
	t.Setenv("TMPDIR", temporary)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"view", smallDump(t), "--at", "v=head&head=2"}, strings.NewReader(""), w, io.Discard)
	}()
	line := make([]byte, 200)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(string(line[:n]))
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(seen, name))
		return string(text)
	}
	for end := time.Now().Add(time.Minute); read("args") == ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no browser was opened")
		}
	}
	token := strings.Split(address, "/")[3]
	if args := read("args"); len(token) < 16 || strings.Contains(args, token) || strings.Contains(args, "127.0.0.1") || !strings.HasPrefix(args, temporary) {
		t.Errorf("the arguments are %q, the token %q", args, token)
	}
	if modes := read("modes"); modes != "600\n700\n" {
		t.Errorf("modes of the file and its folder: %q", modes)
	}
	if page := html.UnescapeString(read("page")); !strings.Contains(page, `content="0; url=`+address+`"`) {
		t.Errorf("the file does not lead to %s: %s", address, page)
	}
	stop()
	if code := <-done; code != exitDone {
		t.Errorf("exit %d", code)
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
