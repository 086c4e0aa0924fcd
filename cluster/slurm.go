package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// ErrNoSlurm says that Slurm's commands are not here.
var ErrNoSlurm = errors.New("sbatch is not in PATH")

// task names one task of an array job.
type task struct {
	job   string // as sbatch printed it, without the cluster
	index int
}

// status is what Slurm says of a task.
type status struct {
	state  string // RUNNING, PENDING, FAILED, ...
	reason string
	node   string
}

// active states are those from which a task can still reach its end.
var active = map[string]bool{
	"PENDING": true, "RUNNING": true, "SUSPENDED": true, "CONFIGURING": true, "COMPLETING": true, "RESIZING": true, "SIGNALING": true,
	"STAGE_OUT": true, "STOPPED": true, "REQUEUED": true, "REQUEUE_FED": true, "REQUEUE_HOLD": true, "SPECIAL_EXIT": true, "RESV_DEL_HOLD": true,
}

// command runs one of Slurm's commands and returns what it prints.
func command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		said := strings.Join(strings.Fields(errs.String()), " ")
		if said == "" {
			said = err.Error()
		}
		return "", fmt.Errorf("%s: %s", name, strings.TrimPrefix(said, name+": "))
	}
	return out.String(), nil
}

var jobID = regexp.MustCompile(`^[0-9]+$`)

// sbatch submits a script for the given tasks and returns the job's id and the
// cluster it went to, if sbatch names one.
func sbatch(ctx context.Context, path, name string, tasks []int, running int) (job, cluster string, err error) {
	if _, err := exec.LookPath("sbatch"); err != nil {
		return "", "", ErrNoSlurm
	}
	// Not stopped half way: a job that was accepted must be written down.
	out, err := command(context.WithoutCancel(ctx), "sbatch", "--parsable", "--job-name="+name, "--array="+taskList(tasks, running), path)
	if err != nil {
		return "", "", err
	}
	lines := strings.Fields(out)
	if len(lines) == 0 {
		return "", "", errors.New("sbatch: it printed no job id")
	}
	job, cluster, _ = strings.Cut(lines[len(lines)-1], ";")
	if !jobID.MatchString(job) {
		return "", "", fmt.Errorf("sbatch: it printed %q, want a job id", strings.TrimSpace(out))
	}
	return job, cluster, nil
}

// queue asks squeue about array jobs, also about tasks that ended a short while
// ago. known is false where it could not be asked; err then tells why.
func queue(ctx context.Context, jobs []string, cluster string) (map[task]status, error) {
	args := []string{"--array", "--noheader", "--states=all", "--format=%F|%K|%T|%N|%r", "--jobs=" + strings.Join(jobs, ",")}
	if cluster != "" {
		args = append(args, "--clusters="+cluster)
	}
	out, err := command(ctx, "squeue", args...)
	if err != nil {
		if strings.Contains(err.Error(), "Invalid job id") { // all of them ended and were forgotten
			return map[task]status{}, nil
		}
		return nil, err
	}
	return parseQueue(out), nil
}

func parseQueue(out string) map[task]status {
	m := map[task]status{}
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSpace(line), "|", 5)
		if len(f) < 5 {
			continue
		}
		s := status{state: f[2], node: f[3], reason: f[4]}
		if s.reason == "None" {
			s.reason = ""
		}
		for _, i := range parseTasks(f[1]) {
			m[task{f[0], i}] = s
		}
	}
	return m
}

// parseTasks reads "3", "0-3,7" or "[4-7%2]".
func parseTasks(text string) []int {
	text, _, _ = strings.Cut(strings.Trim(text, "[]"), "%")
	var list []int
	for _, part := range strings.Split(text, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(lo)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(hi)
		}
		if err != nil || last-first > 1<<20 {
			continue
		}
		for i := first; i <= last; i++ {
			list = append(list, i)
		}
	}
	return list
}

// accounting asks sacct about tasks that squeue has forgotten; where there is
// no accounting nothing is known of them.
func accounting(ctx context.Context, jobs []string, cluster string) map[task]status {
	args := []string{"--allocations", "--array", "--noheader", "--parsable2", "--format=JobID,State,NodeList", "--jobs=" + strings.Join(jobs, ",")}
	if cluster != "" {
		args = append(args, "--clusters="+cluster)
	}
	out, err := command(ctx, "sacct", args...)
	if err != nil {
		return nil
	}
	return parseAccounting(out)
}

func parseAccounting(out string) map[task]status {
	m := map[task]status{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) < 3 {
			continue
		}
		job, index, ok := strings.Cut(f[0], "_")
		state, _, _ := strings.Cut(f[1], " ") // "CANCELLED by 1000"
		for _, i := range parseTasks(index) {
			if ok {
				m[task{job, i}] = status{state: strings.TrimSuffix(state, "+"), node: f[2]}
			}
		}
	}
	return m
}

// findJob looks for an array job by its name: the one that a submitter sent off
// before it died, without time to write down the id.
func findJob(ctx context.Context, name string) string {
	out, err := command(ctx, "squeue", "--noheader", "--states=all", "--format=%F", "--name="+name)
	if err != nil {
		return ""
	}
	ids := strings.Fields(out)
	if len(ids) == 0 || !jobID.MatchString(ids[0]) {
		return ""
	}
	return ids[0]
}
