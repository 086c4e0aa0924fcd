package python

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runNotebookCells executes cells in a kernel of Jupyter and prints their outputs as JSON,
// a list for each cell.
const runNotebookCells = `
import json, sys
import nbclient, nbformat
cells = [nbformat.v4.new_code_cell(source) for source in json.loads(sys.argv[1])]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
json.dump([cell.outputs for cell in notebook.cells], sys.stdout)
`

// output is what a cell shows.
type output struct {
	Type string            `json:"output_type"`
	Data map[string]string `json:"data"`
	Text string            `json:"text"`
}

// TestJupyter: in a kernel of Jupyter, dumps and tables are shown as HTML, progress is shown
// and disappears, and the page of a viewer is in a frame of its cell.
func TestJupyter(t *testing.T) {
	py := python(t, "nbclient, nbformat, ipykernel, numpy, zstandard, pandas")
	model, err := filepath.Abs("../engine/model/testdata/qwen3")
	if err != nil {
		t.Fatal(err)
	}
	cells, err := json.Marshal([]string{
		"import attnscope\n" +
			"prompts = [{'id': 'a', 'input_ids': list(range(90))}]\n" +
			"run = attnscope.capture(prompts, 'run.attn', '" + model + "', max_new_tokens=4, ignore_eos=True)\n" +
			"run",
		"attnscope.snapkv(run, method='snapkv', capacity=[48, 64], by='none', group='mean')",
		"with attnscope._program.Progress('verb') as bar:\n    bar.show(1, 4, 'text')\n    print(bar.handle is not None)",
		"import urllib.request\n" +
			"viewer = attnscope.view(run)\n" +
			"print(urllib.request.urlopen(viewer.url).status)\n" +
			"viewer",
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(py, "-c", runNotebookCells, string(cells))
	cmd.Dir = t.TempDir()
	cmd.Env = append(cmd.Environ(), "ATTNSCOPE="+program(t))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var shown [][]output
	if err := json.Unmarshal(text, &shown); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{
		{"execute_result", "run.attn"},
		{"execute_result", "<td>64</td>"},
		{"display_data", "", "stream", "True\n"},
		{"stream", "200\n", "execute_result", "<iframe"},
	} {
		var got []output
		for _, o := range shown[i] { // what a capture shows depends on how long it takes
			if i > 0 || o.Type == "execute_result" {
				got = append(got, o)
			}
		}
		if len(got) != len(want)/2 {
			t.Errorf("cell %d shows %+v, want %d outputs", i, got, len(want)/2)
			continue
		}
		for j, o := range got {
			content := o.Text + o.Data["text/html"]
			if o.Type != want[2*j] || !strings.Contains(content, want[2*j+1]) || want[2*j+1] == "" && content != "" {
				t.Errorf("cell %d: output %d is %s %q, want %s %q", i, j, o.Type, content, want[2*j], want[2*j+1])
			}
		}
	}
}
