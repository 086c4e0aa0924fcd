package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/visible"
)

// shard is one part of the prompts and its progress.
type shard struct {
	index    int
	job      string // id of the array job that records it; empty: none
	first    int    // the shard of the job's task 0
	node     string
	state    string // done, waiting, given up, cancelled, or a state of Slurm in lower case
	why      string // reason of the state
	prompts  int    // finished prompts in the dump
	now      int    // finished prompts, including those in the running task's status
	tries    int    // tasks that ended without a complete dump during this run
	failures int    // the number of most recent consecutive tries that finished no prompt
	ended    int    // consecutive observations that the task has ended
	old      bool   // the job was submitted by an earlier run
	over     bool   // there will be no more attempts
	done     bool   // the dump is complete
}

// task identifies the task that records the shard.
func (s *shard) task() task { return task{s.job, s.index - s.first} }

// logPath returns the path of the task's log.
func (s *shard) logPath(dir string) string {
	pattern := logPattern("", s.first)
	name := strings.NewReplacer("%4a", fmt.Sprintf("%04d", s.index-s.first), "%A", s.job).Replace(pattern)
	return filepath.Join(dir, name)
}

// exited is the content of the file that a task writes when it ends, shard-0003.exit.
type exited struct {
	job, node string
	code      int
}

// readExit reads the exit file of shard i. ok is false if there is no valid one.
func readExit(dir string, i int) (e exited, ok bool) {
	text, err := os.ReadFile(strings.TrimSuffix(shardPath(dir, i), ".attn") + ".exit")
	if err != nil {
		return e, false
	}
	for _, field := range strings.Fields(string(text)) {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "job":
			e.job = value
		case "node":
			e.node = value
		case "exit":
			if _, err := fmt.Sscan(value, &e.code); err != nil {
				return e, false
			}
			ok = true
		}
	}
	return e, ok
}

// readDump updates the shard from its dump: whether it is complete, and its number of
// prompts.
func (s *shard) readDump(dir string) {
	r, err := dumps.Open(shardPath(dir, s.index))
	if err != nil {
		return
	}
	defer r.Close()
	s.prompts = len(r.Prompts())
	s.now = s.prompts
	s.done = r.Complete()
	if s.done {
		s.state = "done"
		s.why = ""
		if e, ok := readExit(dir, s.index); ok {
			s.node = e.node
		}
	}
}

// readStatus updates the number of finished prompts from the running task's status file.
func (s *shard) readStatus(dir string) {
	text, err := os.ReadFile(strings.TrimSuffix(shardPath(dir, s.index), ".attn") + ".json")
	if err != nil {
		return
	}
	var status struct {
		Done int `json:"prompts_done"`
	}
	if json.Unmarshal(text, &status) == nil {
		s.now = max(s.prompts, status.Done)
	}
}

// hasDump reports whether the dump exists under its final name.
func (s *shard) hasDump(dir string) bool {
	_, err := os.Stat(shardPath(dir, s.index))
	return err == nil
}

// observe updates the shard from the queue and the files. It returns true if the task has
// ended without a complete dump. asked says whether the queue could be queried.
//
// Two consecutive observations are needed: files appear late on shared file systems,
// and a requeued task seems to have ended for a moment.
func (s *shard) observe(dir string, q map[task]status, asked bool) bool {
	if s.done || s.over || s.job == "" {
		return false
	}
	if s.hasDump(dir) {
		s.readDump(dir)
		if s.done {
			return false
		}
	}
	exit, left := readExit(dir, s.index)
	left = left && exit.job == s.job
	st, listed := q[s.task()]
	switch {
	case listed && active[st.state]:
		s.state = strings.ToLower(st.state)
		s.why = st.reason
		s.node = st.node
		s.ended = 0
		s.readStatus(dir)
		return false
	case listed:
		s.state = strings.ToLower(st.state)
		s.why = ""
		s.node = st.node
	case left:
		s.state = "ended"
		s.why = ""
		s.node = exit.node
	case asked: // Slurm has forgotten the task, and it left no file
		s.state = "lost"
		s.why = ""
	default:
		if _, err := os.Stat(s.logPath(dir)); err == nil {
			s.state = "running"
			s.readStatus(dir)
		}
		return false
	}
	s.ended++
	if s.ended < 2 {
		return false
	}
	s.why = s.cause(dir, exit, left)
	return true
}

// cause returns the reason why the task ended without a complete dump. left says
// whether the task left an exit file, whose content is exit.
func (s *shard) cause(dir string, exit exited, left bool) string {
	var why string
	switch {
	case s.state == "cancelled":
		return "cancelled"
	case left && exit.code != 0:
		why = fmt.Sprintf("exit %d", exit.code)
	case left:
		why = "exit 0, but there is no complete dump"
	default:
		why = strings.ReplaceAll(s.state, "_", " ")
	}
	if line := lastLine(s.logPath(dir)); line != "" {
		why += ": " + line
	}
	return why
}

// lastLine returns the line of a log that most likely states the cause of a failure:
// the program's last line that is neither a hint nor progress, or else the last line of
// another program, such as Slurm.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return ""
	}
	const tail = 8 << 10
	b := make([]byte, min(tail, fi.Size()))
	if _, err := f.ReadAt(b, fi.Size()-int64(len(b))); err != nil {
		return ""
	}
	other := ""
	lines := bytes.Split(b, []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(string(lines[i]))
		message, ours := strings.CutPrefix(line, "attnscope: ")
		if ours && strings.HasPrefix(message, "shard ") && strings.Contains(message, ", job ") {
			break // the first line that this start of the task logged
		}
		if ours && !strings.HasPrefix(message, "hint: ") && !strings.HasPrefix(message, "capture: ") {
			return message
		}
		if other == "" && !ours {
			other = line
		}
	}
	return other
}

// writeShards writes shards.tsv.
func writeShards(dir string, list []*shard) error {
	var b bytes.Buffer
	rows := visible.NewRows(&b, '\t')
	_ = rows.Write([]string{"shard", "state", "job", "node", "prompts", "tries", "log", "note"})
	for _, s := range list {
		log := ""
		if s.job != "" {
			log, _ = filepath.Rel(dir, s.logPath(dir))
		}
		_ = rows.Write([]string{
			fmt.Sprint(s.index), visible.Cell(s.state), s.job, visible.Cell(s.node), fmt.Sprint(s.now), fmt.Sprint(s.tries), log,
			visible.Cell(s.why),
		})
	}
	rows.Flush()
	return replace(filepath.Join(dir, "shards.tsv"), b.Bytes(), 0o644)
}
