package cluster

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

// script is the batch script of every task. The submitter needs only the task's dump
// and exit code. When the time limit is near, Slurm sends USR1, which nothing else
// sends: the capture then ends as on SIGTERM, and the task goes back into the queue if
// it has finished a prompt since it started. On SIGTERM (preemption, scancel) the task
// ends, and Slurm decides whether to start it again.
var script = template.Must(template.New("job.sh").Parse(`#!/bin/bash
{{- range .Lines}}
#SBATCH {{.}}
{{- end}}

# Written by attnscope submit. Task i of the array records shard i of {{.Shards}} into
# shards/ of the folder below and resumes what an earlier task has finished. With an
# argument F it records shard F + i: a cluster limits the numbers of tasks (MaxArraySize).
state={{.Dir}}
task=$((${1:-0} + SLURM_ARRAY_TASK_ID))
shard=$(printf '%s/shards/shard-%04d' "$state" "$task")

ended() {
	code=$?
	printf 'job=%s restart=%s exit=%s node=%s at=%s\n' "$SLURM_ARRAY_JOB_ID" "${SLURM_RESTART_COUNT:-0}" \
		"$code" "${SLURMD_NODENAME:-$(uname -n)}" "$(date -u +%FT%TZ)" >"$shard.exit.new" && mv "$shard.exit.new" "$shard.exit"
}
prompts() { "$state/attnscope" info --json "$shard.attn" 2>/dev/null | grep -c '"prompt_tokens"'; }

rm -f "$shard.exit"
trap ended EXIT
near= pid=
trap 'near=1; [ -z "$pid" ] || kill -TERM "$pid"' USR1
trap 'near=; [ -z "$pid" ] || kill -TERM "$pid"' TERM
echo "attnscope: shard $task of {{.Shards}}, job $SLURM_ARRAY_JOB_ID on ${SLURMD_NODENAME:-$(uname -n)}, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date -u +%FT%TZ)"
{{range .Setup}}
{{.}}
{{- end}}

before=$(prompts)
"$state/attnscope" capture \
{{- range .Capture}}
	{{.}} \
{{- end}}
{{- if .Threads}}
	--threads="${SLURM_CPUS_ON_NODE:-0}" \
{{- end}}
	--shard="$task/{{.Shards}}" --resume --status "$shard.json" -o "$shard.attn" &
pid=$!
while wait "$pid"; kill -0 "$pid" 2>/dev/null; do :; done
wait "$pid"
code=$?
if [ "$code" != 0 ] && [ -n "$near" ] && [ "$(prompts)" -gt "$before" ]; then
	echo "attnscope: the time limit is near: shard $task goes back into the queue"
	scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && trap - EXIT
fi
exit "$code"
`))

// Script returns the batch script of the job array.
func (j *Job) Script() (string, error) {
	if err := j.check(); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(j.dir())
	if err != nil {
		return "", err
	}
	work, err := filepath.Abs(".")
	if err != nil {
		return "", err
	}
	all := make([]int, j.Shards)
	for i := range all {
		all[i] = i
	}
	r := j.Slurm
	lines := []string{
		"--job-name=" + directive(j.name()),
		"--array=" + taskList(all, r.Running),
		"--chdir=" + directive(work),
		"--output=" + directive(logPattern(dir, 0)),
		"--open-mode=append",
		"--requeue",
	}
	if s := int(r.Grace.Seconds()); s > 0 {
		lines = append(lines, fmt.Sprintf("--signal=B:USR1@%d", s))
	}
	for _, o := range []struct{ name, value string }{
		{"partition", r.Partition},
		{"account", r.Account},
		{"qos", r.QOS},
		{"time", r.Time},
		{"mem", r.Mem},
		{"gres", r.Gres},
	} {
		if o.value != "" {
			lines = append(lines, "--"+o.name+"="+directive(o.value))
		}
	}
	if r.CPUs > 0 {
		lines = append(lines, fmt.Sprintf("--cpus-per-task=%d", r.CPUs))
	}
	for _, o := range r.Options {
		if !strings.HasPrefix(o, "-") {
			o = "--" + o
		}
		lines = append(lines, o)
	}
	data := struct {
		Lines, Setup, Capture []string
		Dir                   string
		Shards                int
		Threads               bool
	}{Lines: lines, Setup: r.Setup, Dir: Quote(dir), Shards: j.Shards, Threads: true}
	for _, a := range j.Capture {
		data.Capture = append(data.Capture, Quote(a))
		data.Threads = data.Threads && !strings.HasPrefix(a, "--threads=")
	}
	var b strings.Builder
	if err := script.Execute(&b, data); err != nil {
		return "", err
	}
	return b.String(), nil
}

// plainWord matches words that need no quotes.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Quote quotes a text as one word of the shell.
func Quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// directive quotes a text without line ends as one word of a #SBATCH line.
func directive(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// taskList formats ascending task numbers for --array of sbatch, such as "0-3,7%2" for
// at most 2 running tasks. If running is 0, there is no limit.
func taskList(tasks []int, running int) string {
	var parts []string
	for lo := 0; lo < len(tasks); {
		hi := lo
		for hi+1 < len(tasks) && tasks[hi+1] == tasks[hi]+1 {
			hi++
		}
		if hi == lo {
			parts = append(parts, fmt.Sprint(tasks[lo]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", tasks[lo], tasks[hi]))
		}
		lo = hi + 1
	}
	list := strings.Join(parts, ",")
	if running > 0 {
		list += fmt.Sprintf("%%%d", running)
	}
	return list
}
