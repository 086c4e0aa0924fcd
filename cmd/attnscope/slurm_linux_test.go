package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attnscope/attnscope/dumps"
)

// slurmCluster is a Slurm of one controller and two nodes on this machine.
type slurmCluster struct {
	t    *testing.T
	dir  string
	conf string
	tool map[string]string

	watch *exec.Cmd
}

// startCluster starts munged, slurmctld and two slurmd in a folder of their
// own, or skips the test where Slurm is not installed. more are further lines of its
// configuration.
func startCluster(t *testing.T, more ...string) *slurmCluster {
	c := &slurmCluster{t: t, tool: map[string]string{}}
	for _, name := range []string{"munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo"} {
		path, err := exec.LookPath(name)
		if err != nil {
			path = filepath.Join("/usr/sbin", name)
			if _, err := os.Stat(path); err != nil {
				t.Skipf("SKIPPED, no capture was run as a job array: %s is missing (Debian: apt-get install slurm-wlm munge)", name)
			}
		}
		c.tool[name] = path
	}
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, no capture was run as a job array: starting Slurm's daemons takes root")
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ = strings.Cut(host, ".")
	if c.dir, err = os.MkdirTemp("", "slurm"); err != nil { // short: sockets lie in it
		t.Fatal(err)
	}
	if err := os.Chmod(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"munge", "ctl", "n1", "n2"} {
		if err := os.Mkdir(filepath.Join(c.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	key := make([]byte, 1024)
	_, _ = rand.Read(key)
	if err := os.WriteFile(filepath.Join(c.dir, "munge/key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 3)
	text := fmt.Sprintf(`ClusterName=loopback
SlurmctldHost=%[1]s(127.0.0.1)
SlurmctldPort=%[3]d
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=%[2]s/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
StateSaveLocation=%[2]s/ctl
SlurmctldPidFile=%[2]s/ctl/pid
SlurmctldLogFile=%[2]s/ctl/log
SlurmdSpoolDir=%[2]s/%%n
SlurmdPidFile=%[2]s/%%n/pid
SlurmdLogFile=%[2]s/%%n/log
SlurmdTimeout=6
BatchStartTimeout=1
KillWait=5
ReturnToService=2
NodeName=n1 NodeHostname=%[1]s NodeAddr=127.0.0.1 Port=%[4]d CPUs=2
NodeName=n2 NodeHostname=%[1]s NodeAddr=127.0.0.1 Port=%[5]d CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
`, host, c.dir, ports[0], ports[1], ports[2])
	text += strings.Join(append(more, ""), "\n")
	c.conf = filepath.Join(c.dir, "slurm.conf")
	if err := os.WriteFile(c.conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SLURM_CONF", c.conf)
	t.Cleanup(c.stop)
	// A test that is killed cannot stop its cluster.
	c.watch = exec.Command("sh", "-c", `while kill -0 "$1" 2>/dev/null; do sleep 1; done
		kill -9 $(cat "$2"/*/pid); rm -rf "$2"
		for p in $(grep -lz "SLURM_CONF=$2/" /proc/[0-9]*/environ 2>/dev/null); do p=${p#/proc/}; p=${p%/environ}; [ $p = $$ ] || kill -9 $p; done`, "sh", strconv.Itoa(os.Getpid()), c.dir)
	c.watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	if err := c.watch.Start(); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(c.dir, "munge", name) }
	c.run("munged", "--force", "--socket="+in("socket"), "--key-file="+in("key"), "--pid-file="+in("pid"), "--log-file="+in("log"), "--seed-file="+in("seed"))
	c.run("slurmctld")
	c.run("slurmd", "-N", "n1")
	c.run("slurmd", "-N", "n2")
	c.wait("two idle nodes", 3*time.Minute, func() bool {
		out, _ := exec.Command(c.tool["sinfo"], "--noheader", "--Node", "--format=%T").Output()
		return strings.Count(string(out), "idle\n") == 2
	})
	return c
}

func freePorts(t *testing.T, n int) (ports []int) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func (c *slurmCluster) run(name string, args ...string) string {
	c.t.Helper()
	out, err := exec.Command(c.tool[name], args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %s: %v: %s%s", name, strings.Join(args, " "), err, out, c.logs())
	}
	return string(out)
}

func (c *slurmCluster) wait(what string, most time.Duration, ready func() bool) {
	c.t.Helper()
	for end := time.Now().Add(most); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("no %s within %v%s", what, most, c.logs())
		}
	}
}

func (c *slurmCluster) logs() string {
	text, _ := os.ReadFile(filepath.Join(c.dir, "ctl/log"))
	lines := strings.Split(string(text), "\n")
	return "\nslurmctld: " + strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// processes lists those with an entry in their environment.
func processes(entries ...string) (pids []int) {
	list, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		env := bytes.Split(text, []byte{0})
		if !slices.ContainsFunc(entries, func(e string) bool {
			return !slices.ContainsFunc(env, func(b []byte) bool { return string(b) == e })
		}) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func parent(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

func isStep(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.HasPrefix(string(text), "slurmstepd")
}

func pidOf(path string) int {
	text, _ := os.ReadFile(path)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// killNode takes a node away as a loss of power would: its daemon, those that
// watch its tasks, the tasks themselves, before any can report.
func (c *slurmCluster) killNode(name string) {
	tasks := processes("SLURM_CONF="+c.conf, "SLURMD_NODENAME="+name)
	if pid := pidOf(filepath.Join(c.dir, name, "pid")); pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range tasks {
		if p := parent(pid); p > 1 && isStep(p) {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
	}
	for _, pid := range tasks {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// signal reaches the program of a task, not the shell around it.
func (c *slurmCluster) signal(shard int, sig syscall.Signal) {
	for _, pid := range processes("SLURM_CONF="+c.conf, fmt.Sprintf("SLURM_ARRAY_TASK_ID=%d", shard)) {
		if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(text) == "attnscope\n" {
			_ = syscall.Kill(pid, sig)
		}
	}
}

func (c *slurmCluster) stop() {
	if c.watch != nil {
		_ = c.watch.Process.Kill()
		_ = c.watch.Wait()
	}
	c.killNode("n1")
	c.killNode("n2")
	for _, name := range []string{"ctl/pid", "munge/pid"} {
		if pid := pidOf(filepath.Join(c.dir, name)); pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	os.RemoveAll(c.dir)
}

// buildProgram builds the program as users have it: the test binary does not
// stop on signals as it does.
func buildProgram(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "attnscope")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestSubmitOnSlurm runs a prompt set in eight shards on a real Slurm while all
// goes wrong that does on a cluster: a shard fails once, the submitter is
// killed, a task is requeued as by preemption, another is warned of its time
// limit, a node dies. The merged dump has the tables of one run.
func TestSubmitOnSlurm(t *testing.T) {
	c := startCluster(t)
	program, dir := buildProgram(t), t.TempDir()
	model := randomLlama(t, 192, 6)
	prompts := promptsFile(t, 32, 400)
	// With one reply at a time, a shard that is stopped has finished only some prompts.
	common := []string{"-m", model, "-p", prompts, "--max-new-tokens", "256", "--ignore-eos", "--window-rows", "32", "--batch", "1"}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		return cmd
	}
	submit := append([]string{
		"submit", "--engine", "slurm", "--shards", "8", "-o", "run.attn", "--poll", "1s", "--keep-shards",
		"--setup", `[ "$task" != 3 ] || ! mkdir once || { echo "attnscope: the disk is gone"; exit 7; }`,
		"--setup", fmt.Sprintf(`[ "$task" -gt 2 ] || while [ ! -e "open-$task" ] && kill -0 %d; do sleep 0.05; done`, os.Getpid()),
	}, common...)

	first := command(submit...)
	var said bytes.Buffer
	first.Stderr = &said
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	shard := func(i int) string {
		return filepath.Join(dir, fmt.Sprintf("run.attn.submit/shards/shard-%04d.attn", i))
	}
	finished := func(i int) int {
		r, err := dumps.Open(shard(i))
		if err != nil {
			return 0
		}
		defer r.Close()
		return len(r.Prompts())
	}
	// find lets a task begin, and stops it when it has finished some of its
	// prompts, so that what is done to it next hits it there.
	type running struct {
		shard     int
		job, node string
	}
	find := func(i int) (found running) {
		t.Helper()
		touch(t, dir, fmt.Sprintf("open-%d", i))
		c.wait(fmt.Sprintf("finished prompt of shard %d", i), 3*time.Minute, func() bool { return finished(i) > 0 })
		c.signal(i, syscall.SIGSTOP)
		if n := finished(i); n > 3 {
			t.Fatalf("shard %d was not stopped in the middle: it has %d of 4 prompts", i, n)
		}
		out := c.run("squeue", "--array", "--noheader", "--states=running", "--format=%i %K %N")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 && f[1] == fmt.Sprint(i) {
				return running{i, f[0], f[2]}
			}
		}
		t.Fatalf("shard %d is not running: %s", i, out)
		return
	}

	c.wait("second try of shard 3", 3*time.Minute, func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "run.attn.submit/job.json"))
		return strings.Contains(string(text), `"tasks": "3"`)
	})
	requeued, lost := find(0), find(2)
	_ = first.Process.Kill() // the submitter dies; the array job goes on
	_ = first.Wait()
	c.run("scontrol", "requeue", requeued.job)
	c.signal(requeued.shard, syscall.SIGCONT)
	var errs bytes.Buffer
	second := command(submit...)
	second.Stderr = &errs
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- second.Wait() }()
	warned := find(1)
	c.run("scancel", "--batch", "--signal=USR1", warned.job)
	c.signal(warned.shard, syscall.SIGCONT)
	c.killNode(lost.node)
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%v: %s%s%s", err, said.String(), errs.String(), c.logs())
		}
	case <-time.After(4 * time.Minute):
		_ = second.Process.Kill()
		t.Fatalf("the job did not end: %s%s", errs.String(), c.logs())
	}
	t.Logf("submitter killed while shard %d ran; it was requeued; shard %d was warned of its time limit; %s died under shard %d\n%s%s",
		requeued.shard, warned.shard, lost.node, lost.shard, said.String(), errs.String())

	for _, want := range []string{"shard 3 failed", "exit 7: the disk is gone", "attempt 2 of 3", "8 of 8 shards done"} {
		if !strings.Contains(said.String()+errs.String(), want) {
			t.Errorf("the submitter did not say %q", want)
		}
	}
	var state struct{ Rounds []struct{ Tasks string } }
	text, _ := os.ReadFile(filepath.Join(dir, "run.attn.submit/job.json"))
	if err := json.Unmarshal(text, &state); err != nil || len(state.Rounds) != 2 || state.Rounds[0].Tasks != "0-7" || state.Rounds[1].Tasks != "3" {
		t.Errorf("%d array jobs (%+v), want all shards once and shard 3 again: requeued tasks are Slurm's", len(state.Rounds), state.Rounds)
	}
	starts := func(i int) int {
		logs, _ := filepath.Glob(filepath.Join(dir, fmt.Sprintf("run.attn.submit/logs/shard-%04d-job-*.log", i)))
		n := 0
		for _, path := range logs {
			text, _ := os.ReadFile(path)
			n += strings.Count(string(text), "attnscope: shard ")
		}
		return n
	}
	for _, i := range []int{requeued.shard, warned.shard, lost.shard, 3} {
		if n := starts(i); n < 2 {
			t.Errorf("shard %d started %d times, want 2: it was not disturbed", i, n)
		}
	}

	if out, err := command(append([]string{"capture", "-o", "whole.attn"}, common...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	whole, merged := filepath.Join(dir, "whole.attn"), filepath.Join(dir, "run.attn")
	must(t, "verify", merged)
	sameTables(t, whole, merged)
	again := command(submit...)
	if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "already complete") {
		t.Errorf("the same command once more: %v: %s", err, out)
	}
}

// TestSubmitSeveralArraysOnSlurm runs eleven shards on a Slurm that allows four tasks in
// an array, at most two at a time: three arrays, one after the other. A shard of the second
// array fails once, one of the third is cancelled, and the same command goes on.
func TestSubmitSeveralArraysOnSlurm(t *testing.T) {
	c := startCluster(t, "MaxArraySize=4")
	program, dir := buildProgram(t), t.TempDir()
	common := []string{"-m", randomLlama(t, 32, 2), "-p", promptsFile(t, 12, 60), "--max-new-tokens", "4", "--ignore-eos", "--window-rows", "32"}
	submit := append([]string{
		"submit", "--engine", "slurm", "--shards", "11", "-o", "run.attn", "--poll", "1s", "--running", "2", "--keep-shards",
		"--setup", `[ "$task" != 5 ] || ! mkdir once || { echo "attnscope: the disk is gone"; exit 7; }`,
		"--setup", fmt.Sprintf(`[ "$task" != 9 ] || while [ ! -e open-9 ] && kill -0 %d; do sleep 0.05; done`, os.Getpid()),
	}, common...)
	start := func() (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command(program, submit...)
		cmd.Dir = dir
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &said
	}
	first, said := start()
	most := 0
	var third string
	c.wait("running task 1 of the third array", 3*time.Minute, func() bool {
		out := c.run("squeue", "--array", "--noheader", "--states=running", "--format=%F %K")
		most = max(most, strings.Count(out, "\n"))
		text, _ := os.ReadFile(filepath.Join(dir, "run.attn.submit/job.json"))
		var state struct {
			Rounds []struct {
				Job, Tasks string
				First      int
			}
		}
		if json.Unmarshal(text, &state) != nil || len(state.Rounds) < 3 {
			return false
		}
		r := state.Rounds
		if r[0].Tasks != "0-3" || r[1].Tasks != "4-7" || r[2].Tasks != "8-10" || r[1].First != 4 || r[2].First != 8 {
			t.Fatalf("array jobs: %+v", r)
		}
		third = r[2].Job
		return third != "" && strings.Contains(out, third+" 1\n")
	})
	if most > 2 {
		t.Errorf("%d tasks ran at the same time, want at most 2", most)
	}
	c.run("scancel", third+"_1")
	if err := first.Wait(); err == nil {
		t.Error("a shard was cancelled, but the submitter exits with 0")
	}
	for _, want := range []string{"11 shards are 3 arrays", "exit 7: the disk is gone (logs/shard-4+0001-job-", "shard 9 was cancelled", "shards are missing: 9 of 11"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("the submitter did not say %q:\n%s", want, said)
		}
	}
	touch(t, dir, "open-9")
	second, said := start()
	if err := second.Wait(); err != nil {
		t.Fatalf("%v: %s%s", err, said, c.logs())
	}
	if out, err := exec.Command(program, append([]string{"capture", "-o", filepath.Join(dir, "whole.attn")}, common...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sameTables(t, filepath.Join(dir, "whole.attn"), filepath.Join(dir, "run.attn"))
}
