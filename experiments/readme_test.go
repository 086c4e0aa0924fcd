package experiments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/viz"
)

// TestReadmeShowsTheFigures checks that an experiment's README shows each figure that the
// experiment wrote, above the tables.
func TestReadmeShowsTheFigures(t *testing.T) {
	dir := t.TempDir()
	l := &Lab{Dir: dir, name: "speed"}
	if err := os.MkdirAll(l.dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	k := viz.Curves{Series: []viz.Series{{Name: "full", X: []float64{1, 2}, Y: []float64{1, 2}}}}
	for _, name := range []string{"speed", "batch"} {
		if err := l.curves(k, name); err != nil {
			t.Fatal(err)
		}
	}
	e, err := Find("speed")
	if err != nil {
		t.Fatal(err)
	}
	text, err := l.readme(e, &speedReport{Speed: table.New("cache"), Batch: table.New("cache")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "\n\n![speed](speed.svg)\n\n![batch](batch.svg)\n\n"; !strings.Contains(string(text), want) {
		t.Errorf("the README lacks %q:\n%s", want, text)
	}
	if _, err := os.Stat(filepath.Join(l.dir(), "batch.svg")); err != nil {
		t.Error(err)
	}
}
