package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
)

// randomLlama writes a checkpoint of random weights, to be run on input_ids.
func randomLlama(t *testing.T, hidden, layers int) string {
	t.Helper()
	const vocab, heads, dim = 256, 4, 16
	rng := rand.New(rand.NewPCG(1, 2))
	var list []tensor.Tensor
	add := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		x := make([]float32, n)
		for i := range x {
			if x[i] = float32(rng.NormFloat64()) * 0.15; len(shape) == 1 {
				x[i] += 1
			}
		}
		list = append(list, tensor.FromFloat32(name, x, shape...))
	}
	add("model.embed_tokens.weight", vocab, hidden)
	for i := range layers {
		at := fmt.Sprintf("model.layers.%d.", i)
		add(at+"input_layernorm.weight", hidden)
		add(at+"post_attention_layernorm.weight", hidden)
		add(at+"self_attn.q_proj.weight", heads*dim, hidden)
		add(at+"self_attn.k_proj.weight", heads/2*dim, hidden)
		add(at+"self_attn.v_proj.weight", heads/2*dim, hidden)
		add(at+"self_attn.o_proj.weight", hidden, heads*dim)
		add(at+"mlp.gate_proj.weight", 2*hidden, hidden)
		add(at+"mlp.up_proj.weight", 2*hidden, hidden)
		add(at+"mlp.down_proj.weight", hidden, 2*hidden)
	}
	add("model.norm.weight", hidden)
	dir := t.TempDir()
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":%d,"intermediate_size":%d,"num_hidden_layers":%d,
"num_attention_heads":%d,"num_key_value_heads":%d,"head_dim":%d,"vocab_size":%d,"max_position_embeddings":4096,"rms_norm_eps":1e-5,"rope_theta":10000,
"hidden_act":"silu","tie_word_embeddings":true,"torch_dtype":"float32"}`, hidden, 2*hidden, layers, heads, heads/2, dim, vocab)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// promptsFile writes n prompts of about the given number of tokens, every third
// pair of them over one document.
func promptsFile(t *testing.T, n, tokens int) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 4))
	var lines []string
	var last []int
	for i := range n {
		ids := make([]int, tokens+10*(i%7))
		for j := range ids {
			ids[j] = rng.IntN(256)
		}
		record := map[string]any{"id": fmt.Sprint("p", i), "dataset": []string{"a", "b"}[i%2], "input_ids": ids}
		if i%3 == 1 {
			copy(ids, last[:tokens/2])
		}
		if i%3 < 2 {
			record["document_id"] = fmt.Sprint("d", i/3)
		}
		last = ids
		lines = append(lines, jsonOf(record))
	}
	return write(t, "prompts.jsonl", strings.Join(lines, "\n")+"\n")
}

// fakeSlurm stands for Slurm's commands: sbatch runs the tasks at once, two at
// a time, and keeps what squeue answers in files. Files in $FAKE change what
// they do: "lose-N" makes task N vanish as with its node, "cancel-N" cancel it,
// "kill-submitter" kill whoever called sbatch after the job is accepted,
// "no-squeue" make squeue fail, "forget" make it forget ended tasks, "config" is what
// scontrol shows of the cluster, whose MaxArraySize sbatch enforces. "options" lists
// the options of every job. What waits ends with the test, whose process is $FAKE_OWNER.
const fakeSlurm = `#!/bin/bash
here() { kill -0 "$FAKE_OWNER" 2>/dev/null; }
case $(basename "$0") in
sbatch)
	script= first= log= after=
	for a; do
		case $a in
		--array=*) array=${a#*=} ;;
		--job-name=*) name=${a#*=} ;;
		--output=*) log=${a#*=} ;;
		--dependency=afterany:*) after=${a#*:} ;;
		-*) ;;
		*) if [ -z "$script" ]; then script=$a; else first=$a; fi ;;
		esac
	done
	most=$(sed -n 's/^MaxArraySize *= *//p' "$FAKE/config" 2>/dev/null)
	for n in $(echo "${array%%%*}" | tr ',-' '  '); do
		[ -z "$most" ] || [ "$n" -lt "$most" ] || { echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2; exit 1; }
	done
	echo "$*" >>"$FAKE/options"
	[ ! -e "$FAKE/refuse" ] || { echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1; }
	id=$(($(cat "$FAKE/last" 2>/dev/null || echo 100) + 1))
	echo "$id" >"$FAKE/last"
	echo "$id" >"$FAKE/name-$name"
	log=${log:-$(sed -n 's/^#SBATCH --output=//p' "$script")}
	tasks=
	for part in ${array//,/ }; do
		part=${part%%%*}
		tasks+=" $(seq "${part%-*}" "${part#*-}")"
	done
	for i in $tasks; do echo "PENDING" >"$FAKE/$id.$i"; done
	(
		trap "" HUP
		for job in ${after//:/ }; do
			while grep -qE 'PENDING|RUNNING' "$FAKE/$job".*; do here || exit; sleep 0.05; done
		done
		for i in $tasks; do
			(
				export SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_JOB_ID=$id SLURM_CPUS_ON_NODE=1 SLURMD_NODENAME=fake
				echo RUNNING >"$FAKE/$id.$i"
				out=${log//%A/$id}
				out=${out//%4a/$(printf %04d "$i")}
				if [ -e "$FAKE/cancel-$i" ]; then rm "$FAKE/cancel-$i"; echo CANCELLED >"$FAKE/$id.$i"; exit; fi
				if [ -e "$FAKE/lose-$i" ]; then rm "$FAKE/lose-$i"; echo "attnscope: shard $i, job $id" >"$out"; echo NODE_FAIL >"$FAKE/$id.$i"; exit; fi
				if bash "$script" $first >"$out" 2>&1; then echo COMPLETED >"$FAKE/$id.$i"; else echo FAILED >"$FAKE/$id.$i"; fi
			) &
			while [ "$(jobs -rp | wc -l)" -ge 2 ]; do here || exit; sleep 0.05; done
		done
		wait
	) >/dev/null 2>&1 </dev/null &
	if [ -e "$FAKE/kill-submitter" ]; then rm "$FAKE/kill-submitter"; kill -9 "$PPID"; exit; fi
	echo "$id;somewhere"
	;;
squeue)
	[ ! -e "$FAKE/no-squeue" ] || { echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1; }
	for a; do
		case $a in
		--jobs=*) jobs=${a#*=} ;;
		--name=*) cat "$FAKE/name-${a#*=}" 2>/dev/null; exit 0 ;;
		esac
	done
	echo "$*" >>"$FAKE/asked"
	for id in ${jobs//,/ }; do
		for f in "$FAKE/$id".*; do
			state=$(cat "$f")
			if [ -e "$FAKE/forget" ] && [ "$state" != RUNNING ] && [ "$state" != PENDING ]; then continue; fi
			echo "$id|${f##*.}|$state|fake|None"
		done
	done
	;;
scontrol) [ "$*" = "show config" ] && cat "$FAKE/config" ;;
*) exit 1 ;;
esac
`

// withFakeSlurm puts the commands of fakeSlurm first in PATH and returns the
// folder that they work in.
func withFakeSlurm(t *testing.T) (fake string) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED, submit was not run: no bash")
	}
	bin, fake := t.TempDir(), t.TempDir()
	for _, name := range []string{"sbatch", "squeue", "sacct", "scontrol"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(fakeSlurm), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("FAKE", fake)
	t.Setenv("FAKE_OWNER", strconv.Itoa(os.Getpid()))
	t.Setenv("ATTNSCOPE_TEST_MAIN", "1") // in tasks and submitters the test binary is the program
	return fake
}

// runIn runs attnscope in a folder, as a process of its own.
func runIn(t *testing.T, dir string, args ...string) (code int, said string) {
	t.Helper()
	cmd := program(t, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), errs.String()
}

func touch(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// submitted is a job for tests, with the undisturbed capture beside it.
type submitted struct {
	t         *testing.T
	fake, dir string
	args      []string
}

func newSubmitted(t *testing.T, more ...string) *submitted {
	s := &submitted{t: t, fake: withFakeSlurm(t), dir: t.TempDir()}
	s.args = append([]string{"-m", randomLlama(t, 32, 2), "-p", promptsFile(t, 10, 80), "--max-new-tokens", "4", "--ignore-eos", "--window-rows", "32"}, more...)
	return s
}

func (s *submitted) submit(more ...string) (code int, said string) {
	s.t.Helper()
	return runIn(s.t, s.dir, append(append([]string{"submit", "--engine", "slurm", "--shards", "4", "-o", "run.attn", "--poll", "200ms"}, s.args...), more...)...)
}

// compare holds the merged dump against the capture of one process.
func (s *submitted) compare() {
	s.t.Helper()
	whole := filepath.Join(s.dir, "whole.attn")
	if _, err := os.Stat(whole); err != nil {
		must(s.t, append([]string{"capture", "-o", whole}, s.args...)...)
	}
	must(s.t, "verify", filepath.Join(s.dir, "run.attn"))
	sameTables(s.t, whole, filepath.Join(s.dir, "run.attn"))
}

// rounds are the tasks of each array job so far.
func (s *submitted) rounds() (list []string) {
	var state struct{ Rounds []struct{ Tasks string } }
	text, _ := os.ReadFile(filepath.Join(s.dir, "run.attn.submit/job.json"))
	if err := json.Unmarshal(text, &state); err != nil {
		s.t.Fatal(err)
	}
	for _, r := range state.Rounds {
		list = append(list, r.Tasks)
	}
	return list
}

func (s *submitted) expect(code, want int, said string, words ...string) {
	s.t.Helper()
	if code != want {
		s.t.Fatalf("exit %d, want %d: %s", code, want, said)
	}
	for _, w := range words {
		if !regexp.MustCompile(w).MatchString(said) {
			s.t.Errorf("%q does not say %q", said, w)
		}
	}
}

// TestSubmitRetriesWhatFailed: one shard's task fails once, another vanishes
// with its node; only these two run again.
func TestSubmitRetriesWhatFailed(t *testing.T) {
	s := newSubmitted(t)
	touch(t, s.fake, "lose-2")
	setup := `[ "$task" != 1 ] || ! mkdir "$FAKE/once" 2>/dev/null || { echo "attnscope: no, not now"; echo "attnscope: hint: later"; exit 9; }`
	code, said := s.submit("--setup", setup)
	s.expect(code, 0, said, `shard 1 failed on fake: exit 9: no, not now \(logs/shard-0001-job-101.log\); it is submitted again, attempt 2 of 3`,
		`shard 2 failed on fake: node fail`, `4 of 4 shards done`, `run.attn: 10 prompts from 4 shards`)
	if r := fmt.Sprint(s.rounds()); r != "[0-3 1-2]" && r != "[0-3 1 2]" && r != "[0-3 2 1]" {
		t.Errorf("array jobs of %s, want all shards and 1 and 2 again", r)
	}
	s.compare()
	if asked, _ := os.ReadFile(filepath.Join(s.fake, "asked")); strings.Count(string(asked), "\n") != strings.Count(string(asked), " --clusters=somewhere\n") {
		t.Errorf("squeue was not asked about the cluster that sbatch named: %s", asked)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "run.attn.submit/shards/*.attn")); len(left) > 0 {
		t.Errorf("%s is left after merging", left)
	}
	code, said = s.submit()
	s.expect(code, 0, said, "run.attn is already complete")
	code, said = s.submit("--window-rows", "16")
	s.expect(code, 1, said, "--window-rows is 32 there and 16 here", "--force")
	os.Remove(filepath.Join(s.dir, "run.attn"))
	code, said = s.submit("--keep-shards")
	s.expect(code, 0, said, "10 prompts from 4 shards")
	s.compare()
}

// TestSubmitSurvivesItsDeath kills the submitter after sbatch took the job and
// before its id was written down, and again while tasks run.
func TestSubmitSurvivesItsDeath(t *testing.T) {
	s := newSubmitted(t)
	touch(t, s.fake, "kill-submitter")
	hold := `while [ ! -e "$FAKE/go" ] && kill -0 "$FAKE_OWNER"; do sleep 0.05; done`
	code, said := s.submit("--setup", hold)
	s.expect(code, -1, said)
	self, _ := os.Executable()
	cmd := exec.Command(self, append([]string{"submit", "--shards", "4", "-o", "run.attn"}, s.args...)...)
	cmd.Dir = s.dir
	var second bytes.Buffer
	cmd.Stderr = &second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(s.dir, "run.attn.submit/shards.tsv")
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(25 * time.Millisecond) {
		text, _ := os.ReadFile(table)
		if strings.Contains(string(text), "0\trunning\t101\tfake\t") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("shard 0 does not run: %s%s", text, second.String())
		}
	}
	code, said = s.submit()
	s.expect(code, 1, said+second.String(), "another submitter follows this job")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	code, said = s.submit("--no-wait")
	s.expect(code, 0, said, "not merged yet; the same command continues")
	code, said = s.submit("--force")
	s.expect(code, 1, said, "job 101 is still in the queue: scancel 101 first")
	touch(t, s.fake, "go")
	code, said = s.submit("--setup", hold)
	s.expect(code, 0, said, "10 prompts from 4 shards")
	if r := fmt.Sprint(s.rounds()); r != "[0-3]" {
		t.Errorf("array jobs of %s, want one: the job that was accepted is found again", r)
	}
	s.compare()
}

// TestSubmitGivesUpAndGoesOn: what fails always is named with its log, what was
// cancelled is left alone, the rest is kept; the same command tries them again.
func TestSubmitGivesUpAndGoesOn(t *testing.T) {
	s := newSubmitted(t)
	touch(t, s.fake, "cancel-2")
	code, said := s.submit("--retries", "1", "--setup", `[ "$task" != 3 ] || { echo "attnscope: no such disk"; exit 5; }`)
	s.expect(code, 1, said, `shard 2 was cancelled`, `shard 3 failed on fake 2 times in a row without finishing a prompt: exit 5: no such disk`,
		`attnscope: run.attn: shards are missing: 2, 3 of 4`, `hint: see shards.tsv and logs/`)
	text, _ := os.ReadFile(filepath.Join(s.dir, "run.attn.submit/shards.tsv"))
	for _, want := range []string{"0\tdone\t", "2\tcancelled\t101\t", "3\tgiven up\t102\tfake\t0\t2\tlogs/shard-0003-job-102.log\texit 5: no such disk\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("shards.tsv does not say %q:\n%s", want, text)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "run.attn")); err == nil {
		t.Error("shards are missing, but they were merged")
	}
	code, said = s.submit()
	s.expect(code, 0, said, "job 103: shards 2-3 of 4", "10 prompts from 4 shards")
	s.compare()
}

// TestSubmitFollowsFiles: without an answer of squeue, and with one that has
// forgotten the tasks, their files tell how they ended.
func TestSubmitFollowsFiles(t *testing.T) {
	for _, how := range []string{"no-squeue", "forget"} {
		s := newSubmitted(t)
		touch(t, s.fake, how)
		code, said := s.submit("--setup", `[ "$task" != 0 ] || ! mkdir "$FAKE/once" 2>/dev/null || exit 4`)
		s.expect(code, 0, said, `shard 0 failed on fake: exit 4`, `10 prompts from 4 shards`)
		if how == "no-squeue" {
			s.expect(code, 0, said, `the queue cannot be queried \(squeue: .*connect failure`)
		}
		s.compare()
	}
}

func TestSubmitMistakes(t *testing.T) {
	s := newSubmitted(t)
	touch(t, s.fake, "refuse")
	code, said := s.submit()
	s.expect(code, 1, said, "sbatch: error: invalid partition specified: nowhere")
	os.Remove(filepath.Join(s.fake, "refuse"))
	code, said = s.submit("--shards", "11")
	s.expect(code, 2, said, "there are only 10 prompts")
	if left, _ := filepath.Glob(filepath.Join(s.fake, "*.*")); len(left) > 0 {
		t.Errorf("a mistake reached the queue: %s", left)
	}
	os.WriteFile(filepath.Join(s.dir, "run.attn"), []byte("x"), 0o644)
	code, said = s.submit()
	s.expect(code, 1, said, "run.attn exists")
	t.Setenv("PATH", t.TempDir())
	code, said = s.submit("-o", "other.attn")
	s.expect(code, 1, said, "sbatch is not in PATH", "hint: .*--dry-run")
}

// TestSubmitSplitsLargeArrays: on a cluster that allows three tasks in an array, four
// shards are two arrays. A shard of the second one fails once, another is cancelled, and
// the same command goes on. With a limit of running tasks, each array waits for those
// before it.
func TestSubmitSplitsLargeArrays(t *testing.T) {
	s := newSubmitted(t, "--running", "2")
	config := "Configuration data as of today\nMaxArraySize            = 3\nMaxJobCount             = 10000\n"
	if err := os.WriteFile(filepath.Join(s.fake, "config"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	touch(t, s.fake, "cancel-2")
	code, said := s.submit("--shards", "8", "--setup",
		`[ "$task" != 4 ] || ! mkdir "$FAKE/once" 2>/dev/null || { echo "attnscope: no, not now"; exit 9; }`)
	s.expect(code, 1, said, `task numbers up to 2 in a job array: 8 shards are 3 arrays`,
		`job 101: shards 0-2 of 8`, `job 102: shards 3-5 of 8`, `job 103: shards 6-7 of 8`,
		`shard 4 failed on fake: exit 9: no, not now \(logs/shard-3\+0001-job-102.log\); it is submitted again`,
		`job 104: shard 4 of 8`, `shard 2 was cancelled`, `shards are missing: 2 of 8`)
	code, said = s.submit("--shards", "8")
	s.expect(code, 0, said, `shard 2 of 8`, `run.attn: 10 prompts from 8 shards`)
	if r := fmt.Sprint(s.rounds()); r != "[0-2 3-5 6-7 4 2]" {
		t.Errorf("array jobs of %s", r)
	}
	text, _ := os.ReadFile(filepath.Join(s.fake, "options"))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, want := range []string{
		`--array=0-2%2 \S*/job.sh$`,
		`--array=0-2%2 --output=\S*/logs/shard-3\+%4a-job-%A.log --dependency=afterany:101 \S*/job.sh 3$`,
		`--array=0-1%2 --output=\S*/logs/shard-6\+%4a-job-%A.log --dependency=afterany:101:102 \S*/job.sh 6$`,
		`--array=1%2 --output=\S*/logs/shard-3\+%4a-job-%A.log (--dependency=\S+ )?\S*/job.sh 3$`,
		`--array=2%2 \S*/job.sh$`,
	} {
		if i >= len(lines) || !regexp.MustCompile(want).MatchString(lines[i]) {
			t.Errorf("sbatch %d: %q, want %q", i, lines[min(i, len(lines)-1)], want)
		}
	}
	s.args = s.args[:len(s.args)-2]
	s.compare()
}

// TestSubmitWhereArraysAreForbidden: MaxArraySize 0 forbids arrays, and a limit that
// scontrol does not tell is named when sbatch refuses.
func TestSubmitWhereArraysAreForbidden(t *testing.T) {
	s := newSubmitted(t)
	if err := os.WriteFile(filepath.Join(s.fake, "config"), []byte("MaxArraySize = 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, said := s.submit()
	s.expect(code, 1, said, "MaxArraySize=0, which forbids job arrays", "capture --shard")
}

// TestSubmitScript holds the script that --dry-run prints: what the user asked
// of Slurm, words of the shell that survive it, and nothing done.
func TestSubmitScript(t *testing.T) {
	s := newSubmitted(t, "--system", "it's \"me\"", "--values")
	args := append([]string{"submit", "--dry-run", "--shards", "4", "-o", filepath.Join(s.dir, "my run.attn")}, s.args...)
	text := must(t, append(args, "--partition", "gpu", "--account", "lab", "--qos", "long", "--time", "1-00:00:00", "--cpus", "8", "--mem", "16G", "--gres", "gpu:1,tmp:2",
		"--running", "2", "--grace", "90s", "--sbatch", "--constraint=avx512", "--sbatch", "mail-type=END,FAIL", "--setup", "module load x, y")...)
	for _, want := range []string{
		"#!/bin/bash\n#SBATCH ", "\n#SBATCH --job-name=my_run\n", "\n#SBATCH --array=0-3%2\n", "\n#SBATCH --partition=gpu\n", "\n#SBATCH --account=lab\n", "\n#SBATCH --qos=long\n",
		"\n#SBATCH --time=1-00:00:00\n", "\n#SBATCH --cpus-per-task=8\n", "\n#SBATCH --mem=16G\n", "\n#SBATCH --gres=gpu:1,tmp:2\n", "\n#SBATCH --requeue\n", "\n#SBATCH --signal=B:USR1@90\n",
		"\n#SBATCH --constraint=avx512\n", "\n#SBATCH --mail-type=END,FAIL\n", "\nmodule load x, y\n", "'--system=it'\\''s \"me\"'", "--values=true", "--shard=\"$task/4\" --resume --status \"$shard.json\" -o \"$shard.attn\"",
		`#SBATCH --output="` + s.dir + `/my run.attn.submit/logs/shard-%4a-job-%A.log"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the script has no %q:\n%s", want, text)
		}
	}
	if out, err := exec.Command("bash", "-n", write(t, "job.sh", text)).CombinedOutput(); err != nil {
		t.Errorf("bash: %s", out)
	}
	if list, _ := os.ReadDir(s.dir); len(list) > 0 {
		t.Errorf("--dry-run left %s", list[0].Name())
	}
	if text := must(t, append(args, "--mem", "auto", "--threads", "3")...); !regexp.MustCompile(`\n#SBATCH --mem=\d+M\n`).MatchString(text) || strings.Count(text, "--threads") != 1 {
		t.Errorf("want --mem in MiB and the threads that were given:\n%s", text)
	}
}
