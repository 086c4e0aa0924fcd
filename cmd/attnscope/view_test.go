package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
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
