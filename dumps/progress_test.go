package dumps_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// progressLog checks that reports only grow, and keeps the last.
type progressLog struct {
	t           *testing.T
	done, total int64
	reports     int
}

func (l *progressLog) report(done, total int64) {
	if done < l.done || done > total {
		l.t.Errorf("%d of %d bytes after %d", done, total, l.done)
	}
	l.done = done
	l.total = total
	l.reports++
}

// TestProgress: Verify, Merge and Repair report bytes that grow up to their total.
func TestProgress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Everything(t, path, dumps.StoreRows, dumps.Exact, 1, "a", "b", "c")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(data))

	verify := progressLog{t: t}
	if ok, err := dumps.Verify(t.Context(), path, verify.report, func(p dumps.Problem) { t.Error(p) }); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if verify.total != 2*size || verify.done != verify.total || verify.reports < 20 {
		t.Errorf("verify: %d of %d bytes in %d reports, the file has %d", verify.done, verify.total, verify.reports, size)
	}

	merge := progressLog{t: t}
	err = dumps.Merge(t.Context(), path+".copy", []string{path}, dumps.MergeOptions{Progress: merge.report})
	if err != nil {
		t.Fatal(err)
	}
	if merge.done != merge.total || merge.total > size || merge.total < size/2 {
		t.Errorf("merge: %d of %d bytes, the file has %d", merge.done, merge.total, size)
	}

	data[size/2] ^= 1 // in the second prompt
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	repair := progressLog{t: t}
	done, err := dumps.Repair(t.Context(), path, repair.report)
	if err != nil || done.Prompts != 2 || done.Whole {
		t.Fatalf("%+v, %v", done, err)
	}
	if repair.done != repair.total || repair.total <= merge.total || repair.total >= 2*merge.total {
		t.Errorf("repair: %d of %d bytes, the blocks of three prompts have %d", repair.done, repair.total, merge.total)
	}
}
