package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestTaskLists(t *testing.T) {
	for _, c := range []struct {
		tasks   []int
		running int
		want    string
	}{
		{[]int{0, 1, 2, 3}, 0, "0-3"},
		{[]int{7}, 0, "7"},
		{[]int{0, 2, 3, 9, 10, 11}, 2, "0,2-3,9-11%2"},
	} {
		got := taskList(c.tasks, c.running)
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.tasks, got, c.want)
		}
		for _, text := range []string{got, "[" + got + "]"} {
			if back := parseTasks(text); !reflect.DeepEqual(back, c.tasks) {
				t.Errorf("%q: %v, want %v", text, back, c.tasks)
			}
		}
	}
	if got := parseTasks("N/A"); len(got) != 0 {
		t.Errorf("N/A, as of a job without tasks: %v", got)
	}
}

func TestSplitArrays(t *testing.T) {
	upTo := func(n int) (list []int) {
		for i := range n {
			list = append(list, i)
		}
		return list
	}
	for _, c := range []struct {
		shards []int
		limit  arrayLimit
		want   string // first shard and tasks of each array
	}{
		{upTo(1200), arrayLimit{}, "0:0-1199"},
		{upTo(1200), arrayLimit{numbers: 1001}, "0:0-1000 1001:0-198"},
		{upTo(1001), arrayLimit{numbers: 1001}, "0:0-1000"},
		{upTo(2500), arrayLimit{numbers: 1001}, "0:0-1000 1001:0-1000 2002:0-497"},
		{upTo(2500), arrayLimit{numbers: 4000001, count: 1000}, "0:0-999 0:1000-1999 0:2000-2499"},
		{upTo(12), arrayLimit{numbers: 5, count: 3}, "0:0-2 0:3-4 5:0-2 5:3-4 10:0-1"},
		{[]int{5, 1000, 1001, 2002}, arrayLimit{numbers: 1001}, "0:5,1000 1001:0 2002:0"},
		{nil, arrayLimit{numbers: 1001}, ""},
	} {
		var got []string
		for _, a := range splitArrays(c.shards, c.limit) {
			got = append(got, fmt.Sprintf("%d:%s", a.first, taskList(a.tasks(), 0)))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%d shards, %+v: %v, want %s", len(c.shards), c.limit, got, c.want)
		}
	}
}

func TestArrayLimits(t *testing.T) {
	for config, want := range map[string]arrayLimit{
		"MaxArraySize            = 1001\nMaxJobCount = 10000\n":                              {numbers: 1001},
		"SchedulerParameters     = bf_interval=1,max_array_tasks=500\nMaxArraySize = 4001\n": {4001, 500},
		"nothing known\n": {},
	} {
		if got, err := parseArrayLimit(config); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", config, got, err, want)
		}
	}
	if _, err := parseArrayLimit("MaxArraySize = 0\n"); err == nil || !strings.Contains(err.Error(), "forbids") {
		t.Errorf("MaxArraySize 0: %v", err)
	}
}

func TestFurtherOptions(t *testing.T) {
	for _, c := range []struct {
		options []string
		want    string
	}{
		{nil, "afterany:7:8"},
		{[]string{"--constraint=avx512"}, "afterany:7:8"},
		{[]string{"--dependency=afterok:5"}, "afterok:5,afterany:7:8"},
		{[]string{"dependency=afterok:5"}, "afterok:5,afterany:7:8"},
		{[]string{"-d afterok:5"}, "afterok:5,afterany:7:8"},
	} {
		r := Resources{Options: c.options}
		if got := r.after([]string{"7", "8"}); got != c.want {
			t.Errorf("%q: %s, want %s", c.options, got, c.want)
		}
	}
}

func TestQueueAnswers(t *testing.T) {
	got := parseQueue("12|0|RUNNING|n1|None\n12|[3-4%2]|PENDING||Resources\n13|3|NODE_FAIL|n2|NodeDown\n14|N/A|RUNNING|n1|None\nnoise\n")
	want := map[task]status{
		{"12", 0}: {"RUNNING", "", "n1"},
		{"12", 3}: {"PENDING", "Resources", ""},
		{"12", 4}: {"PENDING", "Resources", ""},
		{"13", 3}: {"NODE_FAIL", "NodeDown", "n2"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("squeue: %v, want %v", got, want)
	}
	got = parseAccounting("12_0|COMPLETED|n1\n12_1|CANCELLED by 1000|n2\n12_2|OUT_OF_MEMORY|n2\n12_[3-4]|PENDING|None assigned\n15|FAILED|n1\n")
	want = map[task]status{
		{"12", 0}: {state: "COMPLETED", node: "n1"},
		{"12", 1}: {state: "CANCELLED", node: "n2"},
		{"12", 2}: {state: "OUT_OF_MEMORY", node: "n2"},
		{"12", 3}: {state: "PENDING", node: "None assigned"},
		{"12", 4}: {state: "PENDING", node: "None assigned"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("sacct: %v, want %v", got, want)
	}
}

// TestQuotedWordsAreOneWord checks with bash that a quoted text is one word.
func TestQuotedWordsAreOneWord(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED, quoting was not tried: no bash")
	}
	for _, word := range []string{"plain", "", "a b", "it's", `"$HOME" \ ` + "`x`", "--prompts=/a b/p*.jsonl", "line\nline", "--heads=0,3,7-9", "ünï", "#x", "~"} {
		out, err := exec.Command("bash", "-c", "printf '%s|' "+Quote(word)+" end").Output()
		if err != nil || string(out) != word+"|end|" {
			t.Errorf("%q became %s: bash read %q (%v)", word, Quote(word), out, err)
		}
	}
}

// TestLastLine checks that the cause of a failure is found in a log, in the output of the
// last start of the task.
func TestLastLine(t *testing.T) {
	for _, c := range []struct{ log, want string }{
		{"attnscope: shard 1 of 8, job 5 on n1, start 1\nattnscope: x.attn: no space left on device\nattnscope: hint: free some\n", "x.attn: no space left on device"},
		{"attnscope: shard 1 of 8, job 5\nattnscope: old\nattnscope: shard 1 of 8, job 5\nattnscope: capture: prompt 3 of 9 (x), 5 of 7 tokens, 1s left\nslurmstepd: error: Detected 1 oom_kill event\n", "slurmstepd: error: Detected 1 oom_kill event"},
		{"bash: line 3: module: command not found\n", "bash: line 3: module: command not found"},
		{"attnscope: shard 1 of 8, job 5\n", ""},
		{strings.Repeat("noise ", 4000) + "\nattnscope: the end\n", "the end"},
		{"", ""},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(c.log), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := lastLine(path); got != c.want {
			t.Errorf("%.80q: %q, want %q", c.log, got, c.want)
		}
	}
}

func TestStateNamesWhatDiffers(t *testing.T) {
	s := &saved{Capture: []string{"--model=m", "--window-rows=32", "--values=true"}, Shards: 4, PromptsSHA256: "aaaa"}
	base := Job{Capture: []string{"--values=true", "--model=m", "--window-rows=32"}, Shards: 4, PromptsSHA256: "aaaa"}
	if err := s.checkSame("d", &base); err != nil {
		t.Errorf("the same arguments in another order: %v", err)
	}
	for want, change := range map[string]func(*Job){
		"--shards is 4 there and 8 here":            func(j *Job) { j.Shards = 8 },
		"prompts_sha256 aaaa there, bbbb here":      func(j *Job) { j.PromptsSHA256 = "bbbb" },
		"--window-rows is 32 there and 64 here":     func(j *Job) { j.Capture = []string{"--values=true", "--model=m", "--window-rows=64"} },
		"--values is true there and not given here": func(j *Job) { j.Capture = []string{"--model=m", "--window-rows=32"} },
		"--logits is not given there and true here": func(j *Job) { j.Capture = append([]string{"--logits=true"}, j.Capture...) },
	} {
		j := base
		change(&j)
		if err := s.checkSame("d", &j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestEndNeedsTwoObservations checks that a task which is requeued, or whose dump appears
// late, does not count as failed.
func TestEndNeedsTwoObservations(t *testing.T) {
	dir := t.TempDir()
	s := &shard{job: "5"}
	at := func(state string) map[task]status { return map[task]status{{"5", 0}: {state: state, node: "n1"}} }
	var got []string
	for _, look := range []struct {
		q     map[task]status
		asked bool
	}{{at("RUNNING"), true}, {at("FAILED"), true}, {at("PENDING"), true}, {nil, false}, {at("NODE_FAIL"), true}, {nil, true}} {
		ended := s.observe(dir, look.q, look.asked)
		got = append(got, fmt.Sprint(s.state, " ", ended))
	}
	want := "[running false failed false pending false pending false node_fail false lost true]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}
