package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/attnscope/attnscope/dumps"
)

// shard is one part of the prompt set on its way.
type shard struct {
	index    int
	job      string // the array job that has it now; empty: none
	node     string
	state    string // done, or as Slurm says, or waiting, given up, cancelled
	why      string
	prompts  int  // finished, as of the last end of a task
	now      int  // finished, as the running task says
	tries    int  // tasks that ended without a dump, this run of the submitter
	failures int  // of these the last ones, that finished no prompt
	ended    int  // looks at the queue in a row that saw the task ended
	old      bool // the job was submitted by an earlier run of the submitter
	over     bool // nothing more is tried
	done     bool
}

// exited is what a task leaves when it ends: shard-0003.exit.
type exited struct {
	job, node string
	code      int
}

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

// look reads the shard's dump: whether it is complete, and how many prompts it has.
func (s *shard) look(dir string) {
	r, err := dumps.Open(shardPath(dir, s.index))
	if err != nil {
		return
	}
	defer r.Close()
	s.prompts = len(r.Prompts())
	s.now = s.prompts
	if s.done = r.Complete(); s.done {
		s.state, s.why = "done", ""
		if e, ok := readExit(dir, s.index); ok {
			s.node = e.node
		}
	}
}

// progress reads how far the running task is from its status file.
func (s *shard) progress(dir string) {
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

// there is a cheap look for the finished dump.
func (s *shard) there(dir string) bool {
	_, err := os.Stat(shardPath(dir, s.index))
	return err == nil
}

// observe takes in what the queue and the files say, and returns true when the
// task has ended without a dump. An end is believed at the second look: files
// come late on shared file systems, and a task that is requeued seems to have
// ended for a moment.
func (s *shard) observe(dir string, q map[task]status, asked bool) bool {
	if s.done || s.over || s.job == "" {
		return false
	}
	if s.there(dir) {
		if s.look(dir); s.done {
			return false
		}
	}
	exit, left := readExit(dir, s.index)
	left = left && exit.job == s.job
	st, listed := q[task{s.job, s.index}]
	switch {
	case listed && active[st.state]:
		s.state, s.why, s.node, s.ended = strings.ToLower(st.state), st.reason, st.node, 0
		s.progress(dir)
		return false
	case listed:
		s.state, s.why, s.node = strings.ToLower(st.state), "", st.node
	case left:
		s.state, s.why, s.node = "ended", "", exit.node
	case asked: // Slurm has forgotten it, and it left nothing
		s.state, s.why = "lost", ""
	default:
		if _, err := os.Stat(logPath(dir, s.index, s.job)); err == nil {
			s.state = "running"
			s.progress(dir)
		}
		return false
	}
	if s.ended++; s.ended < 2 {
		return false
	}
	switch {
	case s.state == "cancelled":
		s.why = "cancelled"
	case left && exit.code != 0:
		s.why = fmt.Sprintf("exit %d", exit.code)
	case left:
		s.why = "exit 0, but there is no complete dump"
	default:
		s.why = strings.ReplaceAll(s.state, "_", " ")
	}
	if line := lastLine(logPath(dir, s.index, s.job)); line != "" && s.state != "cancelled" {
		s.why += ": " + line
	}
	return true
}

// lastLine is the last line of a log that says something; the program's own
// words come before what Slurm adds, but hints and progress are no cause.
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
	any := ""
	lines := bytes.Split(b, []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(string(lines[i]))
		said, ours := strings.CutPrefix(line, "attnscope: ")
		if ours && strings.HasPrefix(said, "shard ") && strings.Contains(said, ", job ") {
			break // the first line of this start of the task
		}
		if ours && !strings.HasPrefix(said, "hint: ") && !strings.HasPrefix(said, "capture: ") {
			return said
		}
		if any == "" && !ours {
			any = line
		}
	}
	return any
}

// writeShards writes shards.tsv.
func writeShards(dir string, list []*shard) error {
	var b bytes.Buffer
	b.WriteString("shard\tstate\tjob\tnode\tprompts\ttries\tlog\tnote\n")
	for _, s := range list {
		log := ""
		if s.job != "" {
			log, _ = filepath.Rel(dir, logPath(dir, s.index, s.job))
		}
		fmt.Fprintf(&b, "%d\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", s.index, s.state, s.job, s.node, s.now, s.tries, log, s.why)
	}
	return replace(filepath.Join(dir, "shards.tsv"), b.Bytes(), 0o644)
}
