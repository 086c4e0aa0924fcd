package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attnscope/attnscope/dumps"
)

// Run submits the job, or goes on with it where an earlier Run was stopped, and
// follows it until the shards are merged. When ctx ends, the array jobs go on.
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

// runner is a Run under way.
type runner struct {
	j      *Job
	dir    string
	saved  *saved
	shards []*shard
	said   string // the last line about all shards, and when
	when   time.Time
	mute   bool // the queue could not be asked, and that was said
	report Report
}

// open takes up the state of an earlier run, or begins a new one.
func (r *runner) open(ctx context.Context) (err error) {
	if r.saved, err = load(r.dir); err != nil && !r.j.Force {
		return err
	}
	_, missing := os.Stat(r.j.Out)
	there := missing == nil
	if r.saved != nil && r.j.Force {
		if busy := r.inQueue(ctx); len(busy) > 0 {
			return fmt.Errorf("%s: job %s is still in the queue: scancel %s first", r.dir, strings.Join(busy, ", "), strings.Join(busy, " "))
		}
		r.saved = nil
	}
	switch {
	case r.saved == nil && there && !r.j.Force:
		return fmt.Errorf("%s exists", r.j.Out)
	case r.saved == nil:
		if r.saved, err = begin(r.dir, r.j); err != nil {
			return err
		}
	default:
		if err := r.saved.fits(r.dir, r.j); err != nil {
			return err
		}
		switch {
		case there && r.isOurs():
			r.report.Merged, r.report.Already, r.report.Prompts = true, true, r.saved.Prompts
			return nil
		case there:
			return fmt.Errorf("%s exists, and is not what %s led to", r.j.Out, r.dir)
		case r.saved.Merged != "": // and taken away since
			if r.saved, err = begin(r.dir, r.j); err != nil {
				return err
			}
		}
		if err := r.adopt(ctx); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(r.dir, "attnscope")); errors.Is(err, fs.ErrNotExist) {
			if err := copyProgram(r.j.Program, filepath.Join(r.dir, "attnscope")); err != nil {
				return err
			}
		}
	}
	for i := range r.j.Shards {
		s := &shard{index: i, state: "waiting"}
		for _, round := range r.saved.Rounds {
			if slices.Contains(parseTasks(round.Tasks), i) {
				s.job, s.old = round.Job, true
			}
		}
		s.look(r.dir)
		r.shards = append(r.shards, s)
	}
	return nil
}

// isOurs says whether the output is the merged dump of this job.
func (r *runner) isOurs() bool {
	d, err := dumps.Open(r.j.Out)
	if err != nil {
		return false
	}
	defer d.Close()
	return d.Path() == r.j.Out && d.Complete() && len(d.Prompts()) == r.saved.Prompts && d.Header().Manifest.PromptsSHA256 == r.saved.PromptsSHA256
}

// inQueue lists the jobs of the state that have tasks which have not ended.
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

// adopt finds the job of a round that was written down without its id: the
// submitter died while it called sbatch.
func (r *runner) adopt(ctx context.Context) error {
	kept := r.saved.Rounds[:0]
	for _, round := range r.saved.Rounds {
		if round.Job == "" {
			if round.Job = findJob(ctx, round.Name); round.Job == "" {
				continue // it was not accepted
			}
		}
		kept = append(kept, round)
	}
	r.saved.Rounds = kept
	return r.saved.save(r.dir)
}

// follow looks at queue and files, more seldom while nothing changes, submits
// what has to be submitted, and merges when all shards are done.
func (r *runner) follow(ctx context.Context) error {
	first := max(100*time.Millisecond, min(time.Second, r.j.Poll))
	wait := first
	for {
		r.look(ctx)
		if err := r.submit(ctx); err != nil {
			return err
		}
		changed := r.tell()
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
		if wait = min(wait*3/2, max(r.j.Poll, first)); changed {
			wait = first
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (r *runner) all(holds func(*shard) bool) bool {
	return !slices.ContainsFunc(r.shards, func(s *shard) bool { return !holds(s) })
}

// look asks the queue and the files about every shard.
func (r *runner) look(ctx context.Context) {
	var jobs []string
	for _, s := range r.shards {
		if s.job != "" && !s.done && !s.over && !slices.Contains(jobs, s.job) {
			jobs = append(jobs, s.job)
		}
	}
	if len(jobs) == 0 {
		return
	}
	_, cluster := r.saved.jobs()
	q, err := queue(ctx, jobs, cluster)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && !r.mute:
		r.j.log("warning: the queue cannot be asked (%v): the files of the tasks are followed meanwhile", err)
	}
	r.mute = err != nil
	if err == nil && slices.ContainsFunc(r.shards, func(s *shard) bool {
		_, listed := q[task{s.job, s.index}]
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
		s.look(r.dir)
		if s.done {
			continue
		}
		s.tries++
		if s.failures++; s.prompts > before {
			s.failures = 0
		}
		r.decide(s)
	}
}

// decide says what becomes of a shard whose task ended without a dump.
func (r *runner) decide(s *shard) {
	on := ""
	if s.node != "" {
		on = " on " + s.node
	}
	log, _ := filepath.Rel(r.dir, logPath(r.dir, s.index, s.job))
	switch {
	case s.old: // what became of it before this run counts for nothing
		s.tries, s.failures = 0, 0
		r.j.log("shard %d has ended with %d prompts finished: %s; it is submitted again", s.index, s.prompts, s.why)
	case s.state == "cancelled":
		s.over = true
		r.j.log("warning: shard %d was cancelled; the same command submits it again", s.index)
	case s.failures > r.j.Retries:
		s.state, s.over = "given up", true
		r.j.log("warning: shard %d failed%s %d times in a row without finishing a prompt: %s (%s)", s.index, on, s.failures, s.why, log)
	case s.failures == 0:
		r.j.log("shard %d ended%s with %d prompts finished: %s; it is submitted again", s.index, on, s.prompts, s.why)
	default:
		r.j.log("warning: shard %d failed%s: %s (%s); it is submitted again, try %d of %d", s.index, on, s.why, log, s.failures+1, r.j.Retries+1)
	}
	if !s.over {
		s.job, s.state, s.ended, s.old = "", "waiting", 0, false
	}
}

// submit sends off an array job of all shards that have none.
func (r *runner) submit(ctx context.Context) error {
	var tasks []int
	for _, s := range r.shards {
		if !s.done && !s.over && s.job == "" {
			tasks = append(tasks, s.index)
		}
	}
	if len(tasks) == 0 || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := exec.LookPath("sbatch"); err != nil {
		return ErrNoSlurm
	}
	n := len(r.saved.Rounds)
	r.saved.Rounds = append(r.saved.Rounds, round{Name: fmt.Sprintf("%s-%s-%d", r.j.name(), r.saved.Token, n+1), Tasks: taskList(tasks, 0), Submitted: now()})
	if err := r.saved.save(r.dir); err != nil {
		return err
	}
	this := &r.saved.Rounds[n]
	job, cluster, err := sbatch(ctx, filepath.Join(r.dir, "job.sh"), this.Name, tasks, r.j.Slurm.Running)
	if err != nil {
		r.saved.Rounds = r.saved.Rounds[:n]
		return errors.Join(err, r.saved.save(r.dir))
	}
	this.Job, this.Cluster = job, cluster
	for _, i := range tasks {
		r.shards[i].job, r.shards[i].state, r.shards[i].why, r.shards[i].ended = job, "pending", "", 0
	}
	r.j.log("job %s: %s", job, shardsText(tasks, r.j.Shards))
	return r.saved.save(r.dir)
}

func shardsText(tasks []int, n int) string {
	if len(tasks) == 1 {
		return fmt.Sprintf("shard %d of %d", tasks[0], n)
	}
	return fmt.Sprintf("shards %s of %d", taskList(tasks, 0), n)
}

// tell says how the shards stand when that has changed.
func (r *runner) tell() (changed bool) {
	count, where := map[string]int{}, map[string][]string{}
	var order []string
	for _, s := range r.shards {
		if count[s.state]++; count[s.state] == 1 {
			order = append(order, s.state)
		}
		detail := s.node
		if s.state == "pending" {
			detail = s.why
		}
		if detail != "" && !s.done && !slices.Contains(where[s.state], detail) {
			where[s.state] = append(where[s.state], detail)
		}
	}
	slices.Sort(order)
	var parts []string
	for _, state := range order {
		if state == "done" {
			continue
		}
		part := fmt.Sprintf("%d %s", count[state], state)
		if list := where[state]; len(list) > 0 && len(list) <= 8 {
			part += " (" + strings.Join(list, ", ") + ")"
		}
		parts = append(parts, part)
	}
	line := strings.Join(append([]string{fmt.Sprintf("%d of %d shards done", count["done"], len(r.shards))}, parts...), "; ")
	if changed = line != r.said; changed || time.Since(r.when) >= quietFor {
		prompts := 0
		for _, s := range r.shards {
			prompts += s.now
		}
		r.j.log("%s; %d of %d prompts", line, prompts, r.j.Prompts)
		r.said, r.when = line, time.Now()
	}
	return changed
}

// quietFor is the longest time without a line about the shards.
const quietFor = 10 * time.Minute

// missing is the error of a run whose shards are not all done.
func (r *runner) missing() error {
	var list, first []string
	for _, s := range r.shards {
		if !s.done {
			list = append(list, fmt.Sprint(s.index))
			first = append(first, fmt.Sprintf("shard %d: %s", s.index, s.why))
		}
	}
	return fmt.Errorf("%s: %w: %s of %d (%s)", r.j.Out, ErrGivenUp, strings.Join(list, ", "), r.j.Shards, first[0])
}

// merge joins the shards, which were checked to be complete.
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
			return fmt.Errorf("%s: it was recorded from other prompts (prompts_sha256 %.12s, want %.12s): the prompt file changed meanwhile", path, got, r.saved.PromptsSHA256)
		}
		if !slices.Contains(hosts, h.Manifest.Host) {
			hosts = append(hosts, h.Manifest.Host)
		}
		paths = append(paths, path)
	}
	if prompts != r.saved.Prompts {
		return fmt.Errorf("%s: the shards hold %d prompts, the set has %d", r.dir, prompts, r.saved.Prompts)
	}
	if len(hosts) > 1 {
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("the shards were recorded on different processors (%s): numbers may differ in their last bits from those of one machine; ask for one kind with --sbatch --constraint=..., or set ATTNSCOPE_CPU=avx2", strings.Join(hosts, "; ")))
	}
	if err := dumps.Merge(ctx, r.j.Out, paths, r.j.Force); err != nil {
		return err
	}
	r.report.Merged, r.report.Prompts = true, prompts
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
