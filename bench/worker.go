package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// worker is a process that answers tasks and is idle between them.
type worker struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	tail  *tail
}

// tail keeps the last bytes that a worker writes to standard error.
type tail struct{ text []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	if n := len(t.text); n > 2000 {
		t.text = t.text[n-2000:]
	}
	return len(b), nil
}

// start starts a worker and waits until it is ready.
func start(name string, argv ...string) (*worker, error) {
	w := &worker{name: name, cmd: exec.Command(argv[0], argv[1:]...), tail: &tail{}}
	w.cmd.Stderr = w.tail
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.lines = bufio.NewScanner(out)
	w.lines.Buffer(nil, 1<<20)
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	if !w.lines.Scan() || !strings.Contains(w.lines.Text(), "ready") {
		w.stop()
		return nil, fmt.Errorf("%s did not start: %s", name, lastLine(w.tail.text))
	}
	return w, nil
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// do sends a task and waits for the answer.
func (w *worker) do(t task) (answer, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return answer{}, err
	}
	if _, err := fmt.Fprintf(w.in, "%s\n", text); err != nil {
		return answer{}, fmt.Errorf("%s: %w", w.name, err)
	}
	if !w.lines.Scan() {
		return answer{}, fmt.Errorf("%s died (%v): %s", w.name, w.cmd.Wait(), lastLine(w.tail.text))
	}
	var a answer
	if err := json.Unmarshal(w.lines.Bytes(), &a); err != nil {
		return a, fmt.Errorf("%s: %w", w.name, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", w.name, a.Error)
	}
	time.Sleep(200 * time.Millisecond) // until threads that spin after a task sleep
	return a, nil
}

func (w *worker) stop() {
	w.in.Close()
	done := make(chan struct{})
	go func() { _ = w.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = w.cmd.Process.Kill()
	}
}

// note logs a line.
func note(line string) { fmt.Fprintln(os.Stderr, "bench:", line) }
