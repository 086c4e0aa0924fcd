package dumps

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckCreate: CheckCreate has the error of Create, and changes nothing.
func TestCheckCreate(t *testing.T) {
	other := faultHeader()
	other.Plan.WindowRows = 2
	for name, c := range map[string]struct {
		prepare func(dir string) // makes x.attn or x.attn.partial
		header  *Header
		options CreateOptions
		want    string // in the error; empty: none
	}{
		"nothing":                     {},
		"finished":                    {prepare: finished, want: "x.attn exists"},
		"finished, force":             {prepare: finished, options: CreateOptions{Force: true}},
		"finished, resume":            {prepare: finished, options: CreateOptions{Resume: true}, want: ErrComplete.Error()},
		"finished, resume of another": {prepare: finished, header: other, options: CreateOptions{Resume: true}, want: "cannot resume"},
		"partial":                     {prepare: partial, want: "x.attn.partial exists: it holds an unfinished capture"},
		"partial, force":              {prepare: partial, options: CreateOptions{Force: true}},
		"partial, resume":             {prepare: partial, options: CreateOptions{Resume: true}},
		"partial, resume of another":  {prepare: partial, header: other, options: CreateOptions{Resume: true}, want: "cannot resume"},
		"noise, resume": {prepare: func(dir string) {
			_ = os.WriteFile(filepath.Join(dir, "x.attn.partial"), []byte("noise"), 0o644)
		}, options: CreateOptions{Resume: true}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.prepare != nil {
				c.prepare(dir)
			}
			header := c.header
			if header == nil {
				header = faultHeader()
			}
			before := contents(t, dir)
			path := filepath.Join(dir, "x.attn")
			checked := CheckCreate(path, header, c.options)
			if after := contents(t, dir); after != before {
				t.Errorf("the folder has changed: %.200q, before %.200q", after, before)
			}
			w, created := Create(path, header, c.options)
			if created == nil {
				if err := w.Abort(); err != nil {
					t.Fatal(err)
				}
			}
			if text(checked) != text(created) || c.want == "" && checked != nil || !strings.Contains(text(checked), c.want) {
				t.Errorf("%v, Create: %v, want %q", checked, created, c.want)
			}
		})
	}
	if err := CheckCreate(filepath.Join(t.TempDir(), "none", "x.attn"), faultHeader(), CreateOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// finished writes x.attn with one prompt, partial x.attn.partial.
func finished(dir string) { writeOne(dir, true) }
func partial(dir string)  { writeOne(dir, false) }

func writeOne(dir string, whole bool) {
	w, err := Create(filepath.Join(dir, "x.attn"), faultHeader(), CreateOptions{})
	if err == nil {
		err = faultPrompt(w, 0)
	}
	if err == nil && whole {
		err = w.Close()
	} else if err == nil {
		err = w.Abort()
	}
	if err != nil {
		panic(err)
	}
}

// contents returns the names and the content of the files of a folder.
func contents(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range list {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Name() + "=" + string(data) + ";")
	}
	return b.String()
}
