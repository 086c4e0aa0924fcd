package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Job is a capture to be split into the tasks of a job array.
type Job struct {
	Out           string   // the dump in the end
	Dir           string   // state folder; empty: Out + ".submit"
	Program       string   // the executable; it is copied into the state folder
	Capture       []string // arguments of capture, without output, shard and resume
	Shards        int
	Prompts       int    // of the whole set
	PromptsSHA256 string // of the whole set, as dumps record it
	Slurm         Resources
	Retries       int           // tries more for a shard that fails without finishing a prompt
	Poll          time.Duration // longest time between two looks at the queue
	Force         bool          // begin anew, replace Out
	KeepShards    bool          // leave the shards' dumps after merging
	NoWait        bool          // submit what is to be submitted, merge what can be merged, return
	Log           func(format string, args ...any)
}

// Resources are what a task asks Slurm for; empty and 0 leave it to the cluster.
type Resources struct {
	Partition, Account, QOS, Time, Mem, Gres string
	CPUs                                     int           // per task
	Running                                  int           // tasks at once
	Grace                                    time.Duration // between the warning and the time limit
	Options                                  []string      // further options of sbatch, such as --constraint=avx512
	Setup                                    []string      // shell lines before the capture, such as module load
}

// Report is how a run ended.
type Report struct {
	Merged   bool // Out is there
	Already  bool // it was there before
	Prompts  int
	Jobs     []string // array jobs that were submitted, all rounds
	Warnings []string
}

// ErrGivenUp is in the chain of the error of a run that ended with shards missing.
var ErrGivenUp = errors.New("shards are missing")

func (j *Job) dir() string {
	if j.Dir != "" {
		return j.Dir
	}
	return j.Out + ".submit"
}

// name of the job in the queue, before the round.
func (j *Job) name() string {
	base := strings.TrimSuffix(filepath.Base(j.Out), ".attn")
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 127 && !strings.ContainsRune(`"'\%,;/`, r) {
			return r
		}
		return '_'
	}, base)
}

func (j *Job) check() error {
	switch {
	case j.Shards < 1:
		return fmt.Errorf("%d shards, want 1 or more", j.Shards)
	case j.Prompts < j.Shards:
		return fmt.Errorf("%d shards of %d prompts: want no more shards than prompts", j.Shards, j.Prompts)
	}
	return nil
}

func (j *Job) log(format string, args ...any) {
	if j.Log != nil {
		j.Log(format, args...)
	}
}

// shardPath is the dump of shard i.
func shardPath(dir string, i int) string {
	return filepath.Join(dir, "shards", fmt.Sprintf("shard-%04d.attn", i))
}

// logPath is where task i of an array job writes: as the script names it.
func logPath(dir string, i int, job string) string {
	return filepath.Join(dir, "logs", fmt.Sprintf("shard-%04d-job-%s.log", i, job))
}
