package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/words"
)

// Run submits the job, or resumes a job that an earlier Run has submitted, and follows
// it until the shards are merged. When ctx ends, Run returns and the tasks continue.
// The error wraps [ErrGivenUp] if shards are missing at the end, and [ErrNoSlurm] if
// Slurm is not installed.
func Run(ctx context.Context, j Job) (Report, error) {
	if err := j.check(); err != nil {
		return Report{}, err
	}
	text, err := j.Script()
	if err != nil {
		return Report{}, err
	}
	r := &runner{j: &j}
	if r.dir, err = filepath.Abs(j.dir()); err != nil {
		return Report{}, err
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return Report{}, err
	}
	f, err := os.OpenFile(filepath.Join(r.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return Report{}, fmt.Errorf("%s: another submitter follows this job: %w", r.dir, err)
	}
	if err := r.open(ctx); err != nil || r.report.Already {
		return r.report, err
	}
	if err := replace(filepath.Join(r.dir, "job.sh"), []byte(text), 0o755); err != nil {
		return Report{}, err
	}
	err = r.follow(ctx)
	r.report.Jobs, _ = r.saved.jobs()
	return r.report, err
}

// runner is a run in progress.
type runner struct {
	j      *Job
	dir    string
	saved  *saved
	shards []*shard
	report Report

	logged     string // last line about all shards
	loggedAt   time.Time
	queueFails bool // the last query of the queue failed, and the failure was logged
}

// Check returns the error that Run would return before it calls Slurm, and changes no
// file.
func Check(j Job) error {
	if _, err := j.Script(); err != nil {
		return err
	}
	r := &runner{j: &j}
	var err error
	if r.dir, err = filepath.Abs(j.dir()); err != nil {
		return err
	}
	if err := checkFolder(r.dir); err != nil {
		return err
	}
	return r.load()
}

// checkFolder returns an error if a folder can neither be written nor created.
func checkFolder(dir string) error {
	at, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		return checkFolder(filepath.Dir(dir))
	}
	if err != nil {
		return err
	}
	if !at.IsDir() {
		return fmt.Errorf("%s is a file, want a folder", dir)
	}
	f, err := os.CreateTemp(dir, ".writable.*")
	if err != nil {
		return fmt.Errorf("%s: the folder cannot be written: %w", dir, errors.Unwrap(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// load reads the state of an earlier run, if there is one that is resumed, and checks
// that it and the output belong to this job.
func (r *runner) load() (err error) {
	if r.saved, err = load(r.dir); err != nil && !r.j.Force {
		return err
	}
	if r.j.Force {
		return nil
	}
	_, missing := os.Stat(r.j.Out)
	exists := missing == nil
	if r.saved == nil {
		if exists {
			return fmt.Errorf("%s exists", r.j.Out)
		}
		return nil
	}
	if err := r.saved.checkSame(r.dir, r.j); err != nil {
		return err
	}
	switch {
	case exists && r.isOurs():
		r.report.Merged = true
		r.report.Already = true
		r.report.Prompts = r.saved.Prompts
	case exists:
		return fmt.Errorf("%s exists, but it is not the merged dump of %s", r.j.Out, r.dir)
	}
	return nil
}

// open loads the state of an earlier run or creates a new one.
func (r *runner) open(ctx context.Context) error {
	if err := r.load(); err != nil || r.report.Already {
		return err
	}
	if r.saved != nil && r.j.Force {
		if busy := r.inQueue(ctx); len(busy) > 0 {
			return fmt.Errorf("%s: job %s is still in the queue: scancel %s first",
				r.dir, strings.Join(busy, ", "), strings.Join(busy, " "))
		}
		r.saved = nil
	}
	var err error
	if r.saved == nil {
		r.saved, err = create(r.dir, r.j)
	} else {
		err = r.resume(ctx)
	}
	if err != nil {
		return err
	}
	for i := range r.j.Shards {
		r.shards = append(r.shards, &shard{index: i, state: "waiting"})
	}
	for _, round := range r.saved.Rounds {
		for _, i := range parseTasks(round.Tasks) {
			if i < len(r.shards) {
				s := r.shards[i]
				s.job = round.Job
				s.first = round.First
				s.old = true
			}
		}
	}
	for _, s := range r.shards {
		s.readDump(r.dir)
	}
	return nil
}

// resume continues the state of an earlier run. If its output was merged and has since
// been removed, it starts over.
func (r *runner) resume(ctx context.Context) (err error) {
	if r.saved.Merged != "" {
		if r.saved, err = create(r.dir, r.j); err != nil {
			return err
		}
	}
	if err := r.adopt(ctx); err != nil {
		return err
	}
	program := filepath.Join(r.dir, "attnscope")
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return copyProgram(r.j.Program, program)
	}
	return nil
}

// isOurs reports whether the output is the merged dump of this job.
func (r *runner) isOurs() bool {
	d, err := dumps.Open(r.j.Out)
	if err != nil {
		return false
	}
	defer d.Close()
	return d.Path() == r.j.Out && d.Complete() && len(d.Prompts()) == r.saved.Prompts &&
		d.Header().Manifest.PromptsSHA256 == r.saved.PromptsSHA256
}

// inQueue lists the jobs with tasks that have not ended.
func (r *runner) inQueue(ctx context.Context) []string {
	ids, cluster := r.saved.jobs()
	if len(ids) == 0 {
		return nil
	}
	q, err := queue(ctx, ids, cluster)
	if err != nil {
		return nil
	}
	var busy []string
	for t, s := range q {
		if active[s.state] && !slices.Contains(busy, t.job) {
			busy = append(busy, t.job)
		}
	}
	slices.Sort(busy)
	return busy
}

// adopt finds the job of a round that was saved without its id, because the submitter
// died while it called sbatch. A round whose job Slurm did not accept is dropped.
func (r *runner) adopt(ctx context.Context) error {
	kept := r.saved.Rounds[:0]
	for _, round := range r.saved.Rounds {
		if round.Job == "" {
			round.Job = findJob(ctx, round.Name)
			if round.Job == "" {
				continue
			}
		}
		kept = append(kept, round)
	}
	r.saved.Rounds = kept
	return r.saved.save(r.dir)
}

// follow polls the queue and the files, less often while nothing changes, submits shards
// that have no task, and merges when all shards are done.
func (r *runner) follow(ctx context.Context) error {
	first := max(100*time.Millisecond, min(time.Second, r.j.Poll))
	wait := first
	for {
		r.poll(ctx)
		if err := r.submit(ctx); err != nil {
			return err
		}
		changed := r.logProgress()
		if err := writeShards(r.dir, r.shards); err != nil {
			return err
		}
		if r.all(func(s *shard) bool { return s.done }) {
			return r.merge(ctx)
		}
		if r.all(func(s *shard) bool { return s.done || s.over }) {
			return r.missing()
		}
		if r.j.NoWait && r.all(func(s *shard) bool { return s.ended == 0 || s.over }) {
			return nil
		}
		wait = min(wait*3/2, max(r.j.Poll, first))
		if changed {
			wait = first
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// all reports whether all shards satisfy a condition.
func (r *runner) all(holds func(*shard) bool) bool {
	return !slices.ContainsFunc(r.shards, func(s *shard) bool { return !holds(s) })
}

// poll updates every shard from the queue and the files.
func (r *runner) poll(ctx context.Context) {
	jobs := activeJobs(r.shards)
	if len(jobs) == 0 {
		return
	}
	_, cluster := r.saved.jobs()
	q, err := queue(ctx, jobs, cluster)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && !r.queueFails:
		r.j.log("warning: the queue cannot be queried (%v): following the files of the tasks instead", err)
	}
	r.queueFails = err != nil
	if err == nil && slices.ContainsFunc(r.shards, func(s *shard) bool {
		_, listed := q[s.task()]
		return s.job != "" && !s.done && !s.over && !listed
	}) {
		for t, s := range accounting(ctx, jobs, cluster) {
			if _, listed := q[t]; !listed {
				q[t] = s
			}
		}
	}
	for _, s := range r.shards {
		before := s.prompts
		if !s.observe(r.dir, q, err == nil) {
			continue
		}
		s.readDump(r.dir)
		if s.done {
			continue
		}
		s.tries++
		s.failures++
		if s.prompts > before {
			s.failures = 0
		}
		r.decide(s)
	}
}

// decide decides whether a shard whose task ended without a complete dump is submitted
// again.
func (r *runner) decide(s *shard) {
	on := ""
	if s.node != "" {
		on = " on " + s.node
	}
	log, _ := filepath.Rel(r.dir, s.logPath(r.dir))
	switch {
	case s.old: // failures before this run do not count
		s.tries = 0
		s.failures = 0
		r.j.log("shard %d has ended with %s finished: %s; it is submitted again",
			s.index, words.Count(s.prompts, "prompt"), s.why)
	case s.state == "cancelled":
		s.over = true
		r.j.log("warning: shard %d was cancelled; the same command submits it again", s.index)
	case s.failures > r.j.Retries:
		s.state = "given up"
		s.over = true
		r.j.log("warning: shard %d failed%s %d times in a row without finishing a prompt: %s (%s)",
			s.index, on, s.failures, s.why, log)
	case s.failures == 0:
		r.j.log("shard %d ended%s with %s finished: %s; it is submitted again",
			s.index, on, words.Count(s.prompts, "prompt"), s.why)
	default:
		r.j.log("warning: shard %d failed%s: %s (%s); it is submitted again, attempt %d of %d",
			s.index, on, s.why, log, s.failures+1, r.j.Retries+1)
	}
	if !s.over {
		s.job = ""
		s.state = "waiting"
		s.ended = 0
		s.old = false
	}
}

// submit submits all shards that have no job, as one job array or, if the cluster allows
// fewer tasks in an array, as several.
func (r *runner) submit(ctx context.Context) error {
	var shards []int
	for _, s := range r.shards {
		if !s.done && !s.over && s.job == "" {
			shards = append(shards, s.index)
		}
	}
	if len(shards) == 0 || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := exec.LookPath("sbatch"); err != nil {
		return ErrNoSlurm
	}
	limit, err := r.j.arrayLimit(ctx)
	if err != nil {
		return err
	}
	arrays := splitArrays(shards, limit)
	if len(arrays) > 1 {
		r.j.log("the cluster allows task numbers up to %d in a job array: %d shards are %d arrays",
			limit.numbers-1, len(shards), len(arrays))
	}
	for i := range arrays {
		if err := r.submitArray(&arrays[i]); err != nil {
			return err
		}
	}
	return nil
}

// submitArray submits one job array. With a limit on the number of running tasks, the
// array waits for those that were submitted before it, so that the limit holds for all
// of them together.
func (r *runner) submitArray(a *array) error {
	n := len(r.saved.Rounds)
	r.saved.Rounds = append(r.saved.Rounds, round{
		Name:      fmt.Sprintf("%s-%s-%d", r.j.name(), r.saved.Token, n+1),
		Tasks:     taskList(a.shards, 0),
		First:     a.first,
		Submitted: now(),
	})
	if err := r.saved.save(r.dir); err != nil {
		return err
	}
	this := &r.saved.Rounds[n]
	args := []string{
		"--job-name=" + this.Name,
		"--array=" + taskList(a.tasks(), r.j.Slurm.Running),
	}
	if a.first > 0 {
		args = append(args, "--output="+logPattern(r.dir, a.first))
	}
	if jobs := activeJobs(r.shards); r.j.Slurm.Running > 0 && len(jobs) > 0 {
		args = append(args, "--dependency="+r.j.Slurm.after(jobs))
	}
	job, cluster, err := sbatch(args, filepath.Join(r.dir, "job.sh"), a.first)
	if err != nil {
		r.saved.Rounds = r.saved.Rounds[:n]
		return errors.Join(err, r.saved.save(r.dir))
	}
	this.Job = job
	this.Cluster = cluster
	for _, i := range a.shards {
		s := r.shards[i]
		s.job = job
		s.first = a.first
		s.state = "pending"
		s.why = ""
		s.ended = 0
	}
	r.j.log("job %s: %s", job, shardsText(a.shards, r.j.Shards))
	return r.saved.save(r.dir)
}

// shardsText formats shards for the log.
func shardsText(tasks []int, n int) string {
	if len(tasks) == 1 {
		return fmt.Sprintf("shard %d of %d", tasks[0], n)
	}
	return fmt.Sprintf("shards %s of %d", taskList(tasks, 0), n)
}

// logProgress logs the states of the shards if they have changed since they were last
// logged, or after quietFor.
func (r *runner) logProgress() (changed bool) {
	line := r.progressLine()
	changed = line != r.logged
	if changed || time.Since(r.loggedAt) >= quietFor {
		prompts := 0
		for _, s := range r.shards {
			prompts += s.now
		}
		r.j.log("%s; %d of %s", line, prompts, words.Count(r.j.Prompts, "prompt"))
		r.logged = line
		r.loggedAt = time.Now()
	}
	return changed
}

// progressLine counts the shards by state, with the nodes or reasons.
func (r *runner) progressLine() string {
	count := map[string]int{}
	where := map[string][]string{}
	for _, s := range r.shards {
		count[s.state]++
		detail := s.node
		if s.state == "pending" {
			detail = s.why
		}
		if detail != "" && !s.done && !slices.Contains(where[s.state], detail) {
			where[s.state] = append(where[s.state], detail)
		}
	}
	parts := []string{fmt.Sprintf("%d of %s done", count["done"], words.Count(len(r.shards), "shard"))}
	for _, state := range slices.Sorted(maps.Keys(count)) {
		if state == "done" {
			continue
		}
		part := fmt.Sprintf("%d %s", count[state], state)
		if list := where[state]; len(list) > 0 && len(list) <= 8 {
			part += " (" + strings.Join(list, ", ") + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// quietFor is the longest time that the log goes without a line about the shards.
const quietFor = 10 * time.Minute

// missing returns the error of a run in which not all shards are done.
func (r *runner) missing() error {
	var list []string
	first := ""
	for _, s := range r.shards {
		if s.done {
			continue
		}
		if first == "" {
			first = fmt.Sprintf("shard %d: %s", s.index, s.why)
		}
		list = append(list, fmt.Sprint(s.index))
	}
	return fmt.Errorf("%s: %w: %s of %d (%s)", r.j.Out, ErrGivenUp, strings.Join(list, ", "), r.j.Shards, first)
}

// merge merges the complete dumps of the shards, then removes them.
func (r *runner) merge(ctx context.Context) error {
	var paths, hosts []string
	prompts := 0
	for _, s := range r.shards {
		path := shardPath(r.dir, s.index)
		d, err := dumps.Open(path)
		if err != nil {
			return err
		}
		h := d.Header()
		prompts += len(d.Prompts())
		d.Close()
		if got := h.Manifest.PromptsSHA256; r.saved.PromptsSHA256 != "" && got != r.saved.PromptsSHA256 {
			return fmt.Errorf("%s: it was recorded from different prompts (prompts_sha256 %.12s, want %.12s): "+
				"the prompt file has changed", path, got, r.saved.PromptsSHA256)
		}
		if !slices.Contains(hosts, h.Manifest.Host) {
			hosts = append(hosts, h.Manifest.Host)
		}
		paths = append(paths, path)
	}
	if prompts != r.saved.Prompts {
		return fmt.Errorf("%s: the shards have %d prompts, want %d", r.dir, prompts, r.saved.Prompts)
	}
	if len(hosts) > 1 {
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("the shards were recorded on different processors (%s): "+
			"numbers may differ in their last bits from a run on one machine; "+
			"ask for one kind with --sbatch --constraint=..., or set ATTNSCOPE_CPU=avx2", strings.Join(hosts, "; ")))
	}
	if err := dumps.Merge(ctx, r.j.Out, paths, dumps.MergeOptions{Force: r.j.Force}); err != nil {
		return err
	}
	r.report.Merged = true
	r.report.Prompts = prompts
	r.saved.Merged = now()
	if err := r.saved.save(r.dir); err != nil {
		return err
	}
	if r.j.KeepShards {
		return nil
	}
	for _, path := range append(paths, filepath.Join(r.dir, "attnscope")) {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
