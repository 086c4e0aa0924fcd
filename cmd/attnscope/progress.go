package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/visible"
)

// quietFor is the time between two progress lines when stderr is not a terminal:
// ten seconds during the first ten minutes of a run, then a minute.
func quietFor(elapsed time.Duration) time.Duration {
	if elapsed > 10*time.Minute {
		return time.Minute
	}
	return 10 * time.Second
}

// bar shows progress on stderr: a bar with the time left on a terminal, else a
// plain line now and then.
type bar struct {
	w       io.Writer
	what    string
	out     string                   // the growing file, for the free space of its disk; may be empty
	screen  *screen                  // nil if stderr is not a terminal
	bar     *progressbar.ProgressBar // nil if there is no screen
	started time.Time
	last    time.Time
	drawn   bool       // the bar may be on the screen
	mu      sync.Mutex // downloads report from several goroutines
}

func newBar(w io.Writer, what string) *bar {
	if _, quiet := w.(quietly); quiet {
		w = io.Discard
	}
	b := &bar{w: w, what: visible.Line(what), started: time.Now(), last: time.Now()}
	if b.screen = screenOf(w); b.screen != nil {
		b.bar = progressbar.NewOptions64(1,
			progressbar.OptionSetWriter(b.screen.file), progressbar.OptionSetDescription(b.what),
			progressbar.OptionSetPredictTime(false), progressbar.OptionThrottle(200*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
		b.screen.show(b)
	}
	return b
}

// capture shows the progress of a capture, or of decoding.
func (b *bar) capture(p capture.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar == nil && time.Since(b.last) < quietFor(time.Since(b.started)) {
		return
	}
	prompt := p.Place
	if prompt == 0 {
		prompt = min(p.Prompt+1, p.Prompts)
	}
	if b.bar != nil {
		b.drawn = true
		b.bar.ChangeMax64(max(1, p.Total))
		b.bar.Describe(b.line(fmt.Sprintf("%s %d/%d", b.what, prompt, p.Prompts), p))
		_ = b.bar.Set64(min(p.Tokens, p.Total))
		return
	}
	b.last = time.Now()
	finished := ""
	if p.Place > 0 { // prompts before this one may be under way, and prompts after it finished
		finished = fmt.Sprintf(" %d finished,", p.Prompt)
	}
	fmt.Fprintf(b.w, "attnscope: %s: prompt %d of %d (%s),%s %d of %d tokens, %s\n",
		b.what, prompt, p.Prompts, visible.Line(p.ID), finished, p.Tokens, p.Total, strings.Join(b.figures(p), ", "))
}

// figures returns the speed, the time left, the size of the dump and the free space
// of its disk.
func (b *bar) figures(p capture.Progress) []string {
	var list []string
	rate := p.Rate
	left := p.Left
	if left < 0 && p.Rate == 0 && p.Tokens > 0 && p.Elapsed > 0 { // the sender measures no rate itself
		rate = float64(p.Tokens) / p.Elapsed.Seconds()
		left = time.Duration(float64(p.Total-p.Tokens) / rate * float64(time.Second))
	}
	if rate > 0 {
		list = append(list, fmt.Sprintf("%.3g tokens/s", rate))
	}
	if left >= 0 {
		list = append(list, left.Round(time.Second).String()+" left")
	} else {
		list = append(list, "unknown time left")
	}
	if p.Bytes > 0 {
		list = append(list, sizes.Text(p.Bytes)+" written")
		if free, ok := freeBytes(b.out); ok {
			list = append(list, sizes.Text(free)+" free")
		}
	}
	return list
}

// line returns the text in front of a bar, short enough to leave a third of the
// screen to the bar.
func (b *bar) line(what string, p capture.Progress) string {
	width := 80
	if b.screen != nil {
		if w, _, err := term.GetSize(int(b.screen.file.Fd())); err == nil {
			width = w
		}
	}
	id := []rune(visible.Line(p.ID))
	if len(id) > 20 {
		id = append(id[:19], '…')
	}
	list := b.figures(p)
	all := strings.Join(list, ", ")
	for _, text := range []string{
		what + " " + string(id) + ", " + all,
		what + ", " + all,
		what + ", " + strings.Join(list[:min(2, len(list))], ", "),
	} {
		if len(text) <= width*2/3 {
			return text
		}
	}
	return what
}

// layers shows the progress of a computation over the layers of dumps.
func (b *bar) layers(p analysis.Progress) {
	prompt := visible.Line(p.Prompt)
	if b.bar != nil {
		b.mu.Lock()
		b.drawn = true
		b.bar.Describe(b.what + " " + prompt)
		b.mu.Unlock()
	}
	b.show(p.Done, p.Total, func() string { return fmt.Sprintf("prompt %s, %d %%", prompt, 100*p.Done/max(1, p.Total)) })
}

// steps shows how much of a work is done, which has total steps.
func (b *bar) steps(done, total int64) {
	b.show(done, total, func() string { return fmt.Sprintf("%d %%", 100*done/max(1, total)) })
}

// bytes shows the progress of a download or of a copy.
func (b *bar) bytes(done, total int64) {
	b.show(min(done, total), total, func() string { return sizes.Text(done) + " of " + sizes.Text(total) })
}

// show moves the bar or, without a screen, prints text now and then.
func (b *bar) show(done, total int64, text func() string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.drawn = true
		b.bar.ChangeMax64(max(1, total))
		_ = b.bar.Set64(done)
		return
	}
	if time.Since(b.last) >= quietFor(time.Since(b.started)) {
		b.last = time.Now()
		fmt.Fprintf(b.w, "attnscope: %s: %s\n", b.what, text())
	}
}

// clear removes the bar from the screen, for lines that are printed meanwhile.
func (b *bar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil && b.drawn {
		_ = b.bar.Clear()
		b.drawn = false
	}
}

func (b *bar) close() {
	if b.bar != nil {
		_ = b.bar.Finish()
		b.screen.hide(b)
	}
}
