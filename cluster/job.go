package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Job is a capture that is split into the tasks of a job array.
type Job struct {
	Out           string   // path of the merged dump
	Dir           string   // state folder; empty: Out + ".submit"
	Program       string   // the executable, which is copied into the state folder
	Capture       []string // arguments of capture, without output, shard and resume
	Shards        int
	Prompts       int    // of all shards together
	PromptsSHA256 string // hash of all prompts, as dumps record it
	Slurm         Resources
	Retries       int           // extra attempts per shard after failures without a finished prompt
	Poll          time.Duration // longest time between two queries of the queue
	Force         bool          // discard the state and replace Out
	KeepShards    bool          // keep the dumps of the shards after merging
	NoWait        bool          // submit and merge what can be done now, then return
	Log           func(format string, args ...any)
}

// Resources holds the resources of one task. For empty and zero fields, the cluster's
// defaults apply.
type Resources struct {
	Partition, Account, QOS, Time, Mem, Gres string
	CPUs                                     int           // per task
	Running                                  int           // largest number of tasks that run at the same time
	Grace                                    time.Duration // from the warning to the time limit
	Options                                  []string      // additional options of sbatch, such as --constraint=avx512
	Setup                                    []string      // shell lines to run before the capture, such as module load
}

// Report is the result of a run.
type Report struct {
	Merged   bool     // Out is complete
	Already  bool     // Out was complete before the run
	Prompts  int      // in Out
	Jobs     []string // ids of all array jobs of the state folder
	Warnings []string
}

// ErrGivenUp is wrapped by the error of a run that ended with shards missing.
var ErrGivenUp = errors.New("shards are missing")

// dir returns the state folder.
func (j *Job) dir() string {
	if j.Dir != "" {
		return j.Dir
	}
	return j.Out + ".submit"
}

// name returns the first part of an array job's name in the queue.
func (j *Job) name() string {
	base := strings.TrimSuffix(filepath.Base(j.Out), ".attn")
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 127 && !strings.ContainsRune(`"'\%,;/`, r) {
			return r
		}
		return '_'
	}, base)
}

// check returns an error if the number of shards is not possible.
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

// shardPath returns the path of the dump of shard i.
func shardPath(dir string, i int) string {
	return filepath.Join(dir, "shards", fmt.Sprintf("shard-%04d.attn", i))
}

// logPattern returns the path of the logs of an array, with the wildcards of sbatch for
// the task (%4a) and the job (%A). first is the shard of the array's task 0.
func logPattern(dir string, first int) string {
	name := "shard-%4a-job-%A.log"
	if first > 0 {
		name = fmt.Sprintf("shard-%d+%%4a-job-%%A.log", first)
	}
	return filepath.Join(strings.ReplaceAll(dir, "%", "%%"), "logs", name)
}
