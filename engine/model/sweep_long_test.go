package model

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// changedKey is a line of testdata/sweep_keys.py: a configuration with one key changed.
type changedKey struct {
	Dir, Base, Key string
	Value          json.RawMessage
	Error          string // why transformers does not accept the value
	Shape          []int  // of the logits
	Matters        bool   // whether the logits differ from those of the unchanged configuration
}

func (k *changedKey) String() string { return fmt.Sprintf("%s: %s = %s", k.Base, k.Key, k.Value) }

// TestEveryKeyOfConfigurations changes every key of the configurations of all families
// alone to other legal values, leaves it out, and adds keys of other families and
// times. Each time, the logits must be those of transformers, or the model must be
// refused. The script needs transformers 5.24.
func TestEveryKeyOfConfigurations(t *testing.T) {
	python := os.Getenv("ATTNSCOPE_PYTHON")
	if os.Getenv("ATTNSCOPE_LONG") == "" || python == "" {
		t.Skip("SKIPPED, takes minutes, needs Python with transformers: set ATTNSCOPE_LONG=1 and ATTNSCOPE_PYTHON (make test-long)")
	}
	dir := t.TempDir()
	lines := runSweep(t, python, dir)
	settings := map[string]bool{}
	keys := map[string]bool{}
	matter, followed, refused, refusedIdle, illegal := 0, 0, 0, 0, 0
	var worst float64
	idle := map[string]int{}
	for i := range lines {
		k := &lines[i]
		settings[k.Base] = true
		if k.Key == "" {
			if d, err := k.far(dir); err != nil || d > 1e-4 {
				t.Errorf("%s: difference %.3g, %v", k.Base, d, err)
			}
			continue
		}
		keys[k.Base+" "+k.Key] = true
		if k.Error != "" {
			illegal++
			continue
		}
		if k.Matters {
			matter++
		}
		d, err := k.far(dir)
		switch {
		case errors.Is(err, errNotFinite):
		case err != nil && k.Matters:
			refused++
		case err != nil:
			refusedIdle++
			idle[k.Key+" ("+err.Error()[max(0, strings.Index(err.Error(), ": ")+2):]+")"]++
		case d > 1e-4:
			t.Errorf("%v: the logits differ from those of transformers by %.3g", k, d)
		default:
			worst = max(worst, d)
			if k.Matters {
				followed++
			}
		}
	}
	if os.Getenv("ATTNSCOPE_SWEEP") == "" && (len(settings) < 40 || matter < 500) {
		t.Errorf("%d settings, %d changes that matter: the script did not do its work", len(settings), matter)
	}
	for _, why := range slices.Sorted(maps.Keys(idle)) {
		t.Logf("refused though it does not matter, %d times: %s", idle[why], why)
	}
	t.Logf("%d settings, %d keys, %d changes of which transformers accepts %d; %d matter: %d are followed (largest difference %.2g), %d are refused; "+
		"%d more are refused that do not matter", len(settings), len(keys), len(lines)-len(settings), len(lines)-len(settings)-illegal, matter, followed, worst, refused, refusedIdle)
}

// runSweep runs the script and returns its lines. ATTNSCOPE_SWEEP names the settings; by
// default all are run.
func runSweep(t *testing.T, python, dir string) []changedKey {
	t.Helper()
	args := append([]string{"testdata/sweep_keys.py", dir}, strings.Fields(os.Getenv("ATTNSCOPE_SWEEP"))...)
	cmd := exec.CommandContext(t.Context(), python, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines []changedKey
	scan := bufio.NewScanner(bytes.NewReader(out))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var k changedKey
		if err := json.Unmarshal(scan.Bytes(), &k); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, k)
	}
	return lines
}

// errNotFinite says that what transformers computes has no meaning.
var errNotFinite = errors.New("transformers' logits are not finite")

// far returns the largest difference of a logit from transformers', relative to the
// largest logit if that is above 1. The error is that of a refusal.
func (k *changedKey) far(root string) (float64, error) {
	dir := filepath.Join(root, k.Dir)
	raw, err := os.ReadFile(filepath.Join(dir, "logits.f32"))
	if err != nil {
		return 0, err
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		return 0, err
	}
	defer ck.Close()
	m, err := Load(ck, Options{Threads: 1})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	s := m.NewSession()
	defer s.Close()
	tokens := make([]int32, k.Shape[0])
	for i := range tokens {
		tokens[i] = int32((7*i*i+3*i+5)%61 + 3) // TOKENS of the script
	}
	vocab := k.Shape[1]
	if m.Config().Vocab != vocab {
		return math.Inf(1), nil
	}
	worst, largest := 0.0, 1.0
	finite := true
	err = s.Forward(context.Background(), tokens, Pass{Logits: func(row int, l []float32) {
		for i, v := range l {
			want := float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*(row*vocab+i):])))
			finite = finite && want-want == 0
			if d := math.Abs(float64(v) - want); !(d <= worst) {
				worst = d
			}
			largest = max(largest, math.Abs(want))
		}
	}})
	if err == nil && !finite {
		err = errNotFinite
	}
	return worst / largest, err
}
