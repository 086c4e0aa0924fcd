package tokenizer

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"sync"
	"time"

	"github.com/attnscope/attnscope/internal/jinja"
)

// Chat templates are programs that come with a model. A process cannot stop an endless
// loop in one of its goroutines, a string that doubles until memory is exhausted, or a
// macro that calls itself. Templates are therefore rendered in a separate process, a copy
// of the program, on which the operating system enforces limits.

// sandboxed is set in the environment of that process.
const sandboxed = "ATTNSCOPE_TEMPLATE_SANDBOX"

// Limits of a template.
const (
	templateSource = 128 << 10 // bytes of its source
	templateTime   = 10 * time.Second
	templateOutput = 64 << 20  // bytes
	templateMemory = 512 << 20 // bytes
	templateStack  = 64 << 20  // bytes
)

// Sandbox moves the rendering of chat templates to a separate process, with limits on
// time, memory, stack and output. A program that opens untrusted models should call
// Sandbox first in main: the separate process runs the same program, and Sandbox does
// not return there. Without Sandbox, templates are rendered in the program itself, with
// limits only on time and output.
func Sandbox() {
	if os.Getenv(sandboxed) != "" {
		serveTemplates(os.Stdin, os.Stdout)
		os.Exit(0)
	}
	templates.on = true
}

// rendered is the result of a rendering.
type rendered struct{ Text, Err string }

// serveTemplates renders templates until the program that started this process ends.
func serveTemplates(in io.Reader, out io.Writer) {
	if err := limitMemory(templateMemory); err != nil {
		fmt.Fprintln(os.Stderr, "attnscope: limiting the memory of chat templates:", err)
		os.Exit(1)
	}
	debug.SetMaxStack(templateStack)
	requests := gob.NewDecoder(bufio.NewReader(in))
	results := gob.NewEncoder(out)
	var source string
	var compiled *jinja.Template // of source; prompts of a set mostly have one template
	for {
		var r rendering
		if requests.Decode(&r) != nil {
			return
		}
		// The alarm ends the process if the program no longer waits for it.
		alarm := time.AfterFunc(templateTime+time.Second, func() { os.Exit(1) })
		text, err := "", error(nil)
		if compiled == nil || r.Template != source {
			source = r.Template
			compiled, err = jinja.Compile(source)
		}
		if err == nil {
			text, err = r.with(compiled, nil)
		}
		a := rendered{Text: text}
		if err != nil {
			a = rendered{Err: err.Error()}
		}
		alarm.Stop()
		if results.Encode(a) != nil {
			return
		}
	}
}

// sandbox is the process that renders templates. It is started when first needed.
type sandbox struct {
	on       bool
	wait     time.Duration // for a result
	mu       sync.Mutex
	cmd      *exec.Cmd // nil: there is no process
	in       io.WriteCloser
	requests *gob.Encoder
	results  *gob.Decoder
}

// templates is the sandbox of the program.
var templates = sandbox{wait: templateTime}

func (b *sandbox) start() error {
	self, err := executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), sandboxed+"=1", "GOTRACEBACK=none")
	cmd.SysProcAttr = dieWithParent()
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	b.cmd = cmd
	b.in = in
	b.requests = gob.NewEncoder(in)
	b.results = gob.NewDecoder(bufio.NewReader(out))
	return nil
}

func (b *sandbox) stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.cmd = nil
}

// render renders in the sandbox. If a process from an earlier call has died, render
// starts a new one and tries again. If the new process dies, the error is errDied.
func (b *sandbox) render(ctx context.Context, r rendering) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := b.cmd == nil
	for {
		if b.cmd == nil {
			if err := b.start(); err != nil {
				return "", fmt.Errorf("starting the process that renders it: %w", err)
			}
		}
		a, err := b.exchange(ctx, r)
		if err == nil && a.Err != "" {
			err = errors.New(a.Err)
		}
		if !errors.Is(err, errDied) || fresh {
			return a.Text, err
		}
		fresh = true
	}
}

// errDied reports that a template killed the process.
var errDied = fmt.Errorf("it takes more than %d MB of memory or calls itself without end", templateMemory>>20)

// exchange sends a rendering and waits for its result, for as long as templates may take
// and ctx lasts.
func (b *sandbox) exchange(ctx context.Context, r rendering) (rendered, error) {
	done := make(chan error, 1)
	var a rendered
	go func() {
		err := b.requests.Encode(r)
		if err == nil {
			err = b.results.Decode(&a)
		}
		done <- err
	}()
	timer := time.NewTimer(b.wait)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			b.stop()
			return rendered{}, errDied
		}
		return a, nil
	case <-ctx.Done():
		b.stop()
		<-done
		return rendered{}, ctx.Err()
	case <-timer.C:
		b.stop()
		<-done
		return rendered{}, fmt.Errorf("not done after %s", b.wait)
	}
}
