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

// ErrNoSlurm reports that the commands of Slurm are not installed.
var ErrNoSlurm = errors.New("sbatch is not in PATH")

// task identifies one task of an array job.
type task struct {
	job   string // id printed by sbatch, without the cluster
	index int
}

// status is the state of a task according to Slurm.
type status struct {
	state  string // RUNNING, PENDING, FAILED, ...
	reason string
	node   string
}

// active contains the states of tasks that have not ended.
var active = map[string]bool{
	"PENDING": true, "RUNNING": true, "SUSPENDED": true, "CONFIGURING": true, "COMPLETING": true,
	"RESIZING": true, "SIGNALING": true, "STAGE_OUT": true, "STOPPED": true,
	"REQUEUED": true, "REQUEUE_FED": true, "REQUEUE_HOLD": true, "SPECIAL_EXIT": true, "RESV_DEL_HOLD": true,
}

// command runs a command of Slurm and returns its output. An error contains the
// command's message.
func command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout = &out
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		message := strings.Join(strings.Fields(errs.String()), " ")
		if message == "" {
			message = err.Error()
		}
		return "", fmt.Errorf("%s: %s", name, strings.TrimPrefix(message, name+": "))
	}
	return out.String(), nil
}

var jobID = regexp.MustCompile(`^[0-9]+$`)

// sbatch submits the script with some options, for the shards from first on. It returns
// the id of the job, and the cluster if sbatch names one.
func sbatch(options []string, script string, first int) (job, cluster string, err error) {
	args := append([]string{"--parsable"}, options...)
	args = append(args, script)
	if first > 0 {
		args = append(args, strconv.Itoa(first))
	}
	// This must not be interrupted: the id of an accepted job must be saved.
	out, err := command(context.Background(), "sbatch", args...)
	if err != nil && strings.Contains(err.Error(), "Invalid job array specification") {
		err = fmt.Errorf("%w: the cluster allows fewer tasks in a job array (MaxArraySize): use fewer --shards", err)
	}
	if err != nil {
		return "", "", err
	}
	lines := strings.Fields(out)
	if len(lines) == 0 {
		return "", "", errors.New("sbatch printed no job id")
	}
	job, cluster, _ = strings.Cut(lines[len(lines)-1], ";")
	if !jobID.MatchString(job) {
		return "", "", fmt.Errorf("sbatch printed %q, want a job id", strings.TrimSpace(out))
	}
	return job, cluster, nil
}

// queue asks squeue for the tasks of array jobs, including tasks that ended recently.
func queue(ctx context.Context, jobs []string, cluster string) (map[task]status, error) {
	args := []string{
		"--array", "--noheader", "--states=all", "--format=%F|%K|%T|%N|%r",
		"--jobs=" + strings.Join(jobs, ","),
	}
	if cluster != "" {
		args = append(args, "--clusters="+cluster)
	}
	out, err := command(ctx, "squeue", args...)
	if err != nil {
		if strings.Contains(err.Error(), "Invalid job id") { // squeue has forgotten all of them
			return map[task]status{}, nil
		}
		return nil, err
	}
	return parseQueue(out), nil
}

// parseQueue reads the output of squeue.
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

// parseTasks reads a list of tasks such as "3", "0-3,7" or "[4-7%2]".
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

// accounting asks sacct for tasks that squeue has forgotten. On a cluster without
// accounting, it returns none.
func accounting(ctx context.Context, jobs []string, cluster string) map[task]status {
	args := []string{
		"--allocations", "--array", "--noheader", "--parsable2", "--format=JobID,State,NodeList",
		"--jobs=" + strings.Join(jobs, ","),
	}
	if cluster != "" {
		args = append(args, "--clusters="+cluster)
	}
	out, err := command(ctx, "sacct", args...)
	if err != nil {
		return nil
	}
	return parseAccounting(out)
}

// parseAccounting reads the output of sacct.
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

// findJob returns the id of the array job with the given name, or an empty string if
// there is none. It is needed if a submitter died after it submitted a job and before
// it saved the id.
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
