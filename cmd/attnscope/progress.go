package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/attnscope/attnscope/capture"
)

// quietFor is the time between two progress lines where stderr is no terminal.
const quietFor = 10 * time.Second

// bar shows progress on stderr: a bar with the time left on a terminal, a
// plain line every ten seconds elsewhere.
type bar struct {
	w    io.Writer
	what string
	bar  *progressbar.ProgressBar // nil where stderr is no terminal
	last time.Time
	mu   sync.Mutex // downloads report from several goroutines
}

func newBar(w io.Writer, what string) *bar {
	b := &bar{w: w, what: what, last: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.bar = progressbar.NewOptions64(1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("tok"),
			progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
	}
	return b
}

func (b *bar) capture(p capture.Progress) {
	if b.bar != nil {
		b.bar.ChangeMax64(max(1, p.Total))
		b.bar.Describe(fmt.Sprintf("%s %d/%d %s", b.what, min(p.Prompt+1, p.Prompts), p.Prompts, p.ID))
		_ = b.bar.Set64(min(p.Tokens, p.Total))
		return
	}
	if time.Since(b.last) < quietFor {
		return
	}
	b.last = time.Now()
	left := "?"
	if p.Tokens > 0 {
		left = time.Duration(float64(p.Elapsed) * float64(p.Total-p.Tokens) / float64(p.Tokens)).Round(time.Second).String()
	}
	fmt.Fprintf(b.w, "attnscope: %s: prompt %d of %d (%s), %d of %d tokens, %s left\n",
		b.what, min(p.Prompt+1, p.Prompts), p.Prompts, p.ID, p.Tokens, p.Total, left)
}

// bytes shows what of a download is here.
func (b *bar) bytes(done, total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.ChangeMax64(max(1, total))
		_ = b.bar.Set64(min(done, total))
		return
	}
	if time.Since(b.last) >= quietFor {
		b.last = time.Now()
		fmt.Fprintf(b.w, "attnscope: %s: %s of %s\n", b.what, humanBytes(done), humanBytes(total))
	}
}

func (b *bar) close() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}
