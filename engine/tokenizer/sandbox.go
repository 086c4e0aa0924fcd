package tokenizer

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"sync"
	"time"
)

// Chat templates are programs that come with a model. A loop without end cannot
// be stopped from within a process, nor can a string that doubles until memory is
// gone, or a macro that calls itself: so they are rendered in a process of their
// own, a copy of the program, which the system holds to its limits.

// sandboxed is set in the environment of such a process.
const sandboxed = "ATTNSCOPE_TEMPLATE_SANDBOX"

// Limits on what a template may do.
const (
	templateSource = 128 << 10 // bytes of its text
	templateTime   = 10 * time.Second
	templateOutput = 64 << 20
	templateMemory = 512 << 20
	templateStack  = 64 << 20
)

// Sandbox is the first thing a program calls that opens models of others: from
// then on chat templates are rendered in a process of their own. In that process
// it does not return. Without it they are rendered in the program itself, where
// only time and output are limited.
func Sandbox() {
	if os.Getenv(sandboxed) != "" {
		serveTemplates(os.Stdin, os.Stdout)
		os.Exit(0)
	}
	box.on = true
}

// rendering is what a template is rendered with.
type rendering struct {
	Template, BOS, EOS  string
	Messages            []Message
	AddGenerationPrompt bool
}

type rendered struct{ Text, Err string }

// serveTemplates answers until the program that started it is gone.
func serveTemplates(in io.Reader, out io.Writer) {
	if err := limitMemory(templateMemory); err != nil {
		fmt.Fprintln(os.Stderr, "attnscope: limiting the memory of chat templates:", err)
		os.Exit(1)
	}
	debug.SetMaxStack(templateStack)
	ask, answer := gob.NewDecoder(bufio.NewReader(in)), gob.NewEncoder(out)
	for {
		var r rendering
		if ask.Decode(&r) != nil {
			return
		}
		alarm := time.AfterFunc(templateTime+time.Second, func() { os.Exit(1) }) // also when nobody waits any more
		var a rendered
		text, err := r.render()
		if a.Text = text; err != nil {
			a = rendered{Err: err.Error()}
		}
		alarm.Stop()
		if answer.Encode(a) != nil {
			return
		}
	}
}

// sandbox is the process that renders templates, started when it is needed.
type sandbox struct {
	on   bool
	wait time.Duration // for an answer
	mu   sync.Mutex
	cmd  *exec.Cmd
	in   io.WriteCloser
	ask  *gob.Encoder
	said *gob.Decoder
}

var box = sandbox{wait: templateTime}

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
	b.cmd, b.in, b.ask, b.said = cmd, in, gob.NewEncoder(in), gob.NewDecoder(bufio.NewReader(out))
	return nil
}

func (b *sandbox) stop() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.cmd = nil
}

// render renders in the sandbox. A process that dies of a template is replaced
// for the next one; one that has died since the last, for this one.
func (b *sandbox) render(r rendering) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := b.cmd == nil
	for {
		if b.cmd == nil {
			if err := b.start(); err != nil {
				return "", fmt.Errorf("starting a process to render it in: %w", err)
			}
		}
		a, err := b.exchange(r)
		if err == nil && a.Err != "" {
			err = errors.New(a.Err)
		}
		if !errors.Is(err, errDied) || fresh {
			return a.Text, err
		}
		fresh = true
	}
}

// errDied says that the process ended over a template.
var errDied = fmt.Errorf("it takes more than %d MB of memory or calls itself without end", templateMemory>>20)

func (b *sandbox) exchange(r rendering) (rendered, error) {
	done := make(chan error, 1)
	var a rendered
	go func() {
		err := b.ask.Encode(r)
		if err == nil {
			err = b.said.Decode(&a)
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
	case <-timer.C:
		b.stop()
		<-done
		return rendered{}, fmt.Errorf("not done after %s", b.wait)
	}
}
