package view

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/snapkv"
)

const testToken = "0123456789abcdef"

// site is a viewer of a dump of two prompts behind a test server.
type site struct {
	*testing.T
	s    *Server
	url  string // with the token
	dump *dumps.Reader
	path string
}

func open(t *testing.T, store dumps.Store, cacheBytes int) *site {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WithValues(t, path, store, "fine", 2, rand.New(rand.NewPCG(5, 6)))
	return serve(t, path, Options{Token: testToken, CacheBytes: cacheBytes})
}

func serve(t *testing.T, path string, o Options) *site {
	t.Helper()
	s, err := Open([]string{path}, o)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { web.Close(); s.Close(); r.Close() })
	return &site{t, s, web.URL + "/" + testToken + "/", r, path}
}

func (v *site) get(path string) (int, []byte) {
	v.Helper()
	r, err := http.Get(v.url + path)
	if err != nil {
		v.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		v.Fatal(err)
	}
	return r.StatusCode, body
}

func (v *site) json(path string, to any) {
	v.Helper()
	code, body := v.get(path)
	if code != 200 {
		v.Fatalf("%s: %d: %s", path, code, body)
	}
	if err := json.Unmarshal(body, to); err != nil {
		v.Fatalf("%s: %v: %s", path, err, body)
	}
}

// weights are the rows of a head (index; -1: mean) in one list, [R+G, P+G].
func (v *site) weights(prompt, layer, head int) [][]float32 {
	v.Helper()
	var out [][]float32
	keys := v.dump.Prompts()[prompt].PromptTokens + v.dump.Prompts()[prompt].ReplyTokens
	for _, ph := range dumps.Phases {
		a, err := v.dump.Weights(prompt, layer, ph)
		if err != nil {
			v.Fatal(err)
		}
		for r := range a.Rows {
			row := make([]float32, keys)
			for j := range a.Keys {
				if head >= 0 {
					row[j] = a.Head(head)[r*a.Keys+j]
					continue
				}
				sum := 0.0
				for h := range a.Heads {
					sum += float64(a.Head(h)[r*a.Keys+j])
				}
				row[j] = float32(sum / float64(a.Heads))
			}
			out = append(out, row)
		}
	}
	return out
}

// TestMapsAgainstReader compares rows, columns and tiles of every level with
// weights read directly. A cache of one byte makes every request decode anew.
func TestMapsAgainstReader(t *testing.T) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		for _, cacheBytes := range []int{0, 1} {
			v := open(t, store, cacheBytes)
			for _, head := range []int{-1, 0, 3} {
				want := v.weights(1, 1, head)
				q := fmt.Sprintf("?p=1&layer=1&head=%d", head)
				var info mapAnswer
				v.json("api/map"+q, &info)
				if info.Rows != 21 || info.Keys != 42 || info.PromptRows != 16 || info.First != 21 || info.Prompt != 37 || info.Levels[0] != 42 {
					t.Fatalf("map: %+v", info)
				}
				top, sink := float32(0), float32(0)
				for _, row := range want {
					top, sink = max(top, slices.Max(row[4:])), max(sink, slices.Max(row[:4]))
				}
				if info.Top != top || info.SinkTop != sink {
					t.Errorf("top %g and %g, want %g and %g", info.Top, info.SinkTop, top, sink)
				}
				for r, row := range want {
					var got struct {
						Position int       `json:"position"`
						Weights  []float32 `json:"weights"`
					}
					v.json(fmt.Sprintf("api/row%s&row=%d", q, r), &got)
					if got.Position != 21+r || !slices.Equal(got.Weights, row[:22+r]) {
						t.Fatalf("%s, head %d, row %d: %v", store, head, r, got)
					}
				}
				for _, key := range []int{0, 20, 41} {
					var got struct {
						Weights []float32 `json:"weights"`
					}
					v.json(fmt.Sprintf("api/column%s&key=%d", q, key), &got)
					for r, row := range want {
						if got.Weights[r] != row[key] {
							t.Fatalf("column %d: row %d is %g, want %g", key, r, got.Weights[r], row[key])
						}
					}
				}
				v.tiles(q, want, info)
			}
		}
	}
}

func (v *site) tiles(q string, want [][]float32, info mapAnswer) {
	v.Helper()
	for level := range info.Levels {
		for down := range 3 {
			for _, pool := range []string{"max", "mean"} {
				code, body := v.get(fmt.Sprintf("api/tile%s&level=%d&down=%d&pool=%s", q, level, down, pool))
				if code != 200 {
					v.Fatalf("tile: %d %s", code, body)
				}
				width := int(math.Pow(float64(info.Factor), float64(level)))
				cells := (len(want[0]) + width - 1) / width
				for i := range len(body) / 4 {
					got := math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))
					if w := slowCell(want, i/cells, i%cells, 1<<down, width, pool, info.First); math.Abs(float64(got)-w) > 1e-7 {
						v.Fatalf("level %d, down %d, %s, cell %d: %g, want %g", level, down, pool, i, got, w)
					}
				}
				if rows := (len(want) + 1<<down - 1) >> down; len(body) != 4*rows*cells {
					v.Fatalf("tile of %d bytes, want %d x %d cells", len(body), rows, cells)
				}
			}
		}
	}
}

// slowCell pools cell (r, c) from all its weights: the largest, or the mean over rows of
// the mean over the keys that a row sees.
func slowCell(w [][]float32, r, c, high, wide int, pool string, first int) float64 {
	top, total := 0.0, 0.0
	rows := 0
	for i := r * high; i < min((r+1)*high, len(w)); i++ {
		sum, n := 0.0, 0
		for j := c * wide; j < min((c+1)*wide, len(w[i])) && j <= first+i; j++ {
			sum += float64(w[i][j])
			top = math.Max(top, float64(w[i][j]))
			n++
		}
		if n > 0 {
			total += sum / float64(n)
		}
		rows++
	}
	if pool == "max" {
		return top
	}
	return total / float64(rows)
}

// TestVotesAndSelections compares votes with sums of the window's rows, and the selection
// of every method with that of the command line.
func TestVotesAndSelections(t *testing.T) {
	v := open(t, "factors", 0)
	rows := v.weights(0, 1, 2)
	var vote struct{ Vote []float64 }
	v.json("api/vote?layer=1&head=2&window=4&capacity=9&kernel=1", &vote)
	for j := range 33 {
		want := 0.0
		for r := 12; r < 16; r++ {
			want += float64(rows[r][j])
		}
		if vote.Vote[j] != want {
			t.Fatalf("vote of %d is %g, want %g", j, vote.Vote[j], want)
		}
	}
	if len(vote.Vote) != 33 {
		t.Errorf("%d votes", len(vote.Vote))
	}
	c := snapkv.Config{Window: 4, Capacity: 12, Kernel: 3, Pooling: "maxpool", Group: "mean"}
	for _, m := range snapkv.Methods {
		want, err := analysis.Indices(t.Context(), v.dump, 1, m, c)
		path := fmt.Sprintf("api/kept?p=1&method=%s&window=4&capacity=12&kernel=3&pooling=maxpool&group=mean&layer=1", m.Name)
		if err != nil {
			if code, _ := v.get(path); code != 400 {
				t.Errorf("%s: %d, but the command says %v", m.Name, code, err)
			}
			continue
		}
		byHead := snapkv.ByQueryHead(want[1], 4)
		count := make([]int, 33)
		for head := range 4 {
			var got struct{ Kept []int32 }
			v.json(fmt.Sprintf("%s&head=%d", path, head), &got)
			if !slices.Equal(got.Kept, byHead[head]) {
				t.Errorf("%s, head %d: %v, want %v", m.Name, head, got.Kept, byHead[head])
			}
			for _, j := range byHead[head] {
				count[j]++
			}
		}
		var all struct{ Count []int }
		v.json(path+"&head=-1", &all)
		if !slices.Equal(all.Count, count) {
			t.Errorf("%s: counts %v, want %v", m.Name, all.Count, count)
		}
	}
}

// rateNamed returns the rate that has a name in the viewer's answers.
func rateNamed(r analysis.HitRateRow, name string) float64 {
	switch name {
	case "window":
		return float64(r.Window)
	case "budget":
		return float64(r.Budget)
	case "top":
		return r.Top
	case "theta":
		return r.Theta
	case "rows":
		return float64(r.Rows)
	case "skipped":
		return float64(r.Skipped)
	case "prompts":
		return float64(r.Prompts)
	case "significant":
		return float64(r.Significant)
	case "hits":
		return float64(r.Hits)
	case "hit_rate":
		return r.HitRate
	case "ci_low":
		return r.Low
	case "ci_high":
		return r.High
	case "chance":
		return r.Chance
	case "recent":
		return r.Recent
	case "sinks_recent":
		return r.SinksRecent
	case "oracle":
		return r.Oracle
	case "overlap":
		return r.Overlap
	case "mass":
		return r.Mass
	}
	panic("no rate is named " + name)
}

// TestRatesAreThoseOfTheTables compares sweeps by layer and rates by head with
// analysis.HitRates.
func TestRatesAreThoseOfTheTables(t *testing.T) {
	v := open(t, "rows", 0)
	cfg := analysis.Paper
	cfg.Windows, cfg.Tops, cfg.Thetas, cfg.Kernel, cfg.Pooling, cfg.SkipFirst = []int{2, 8}, []float64{0.2}, []float64{0.04}, 3, "maxpool", 1
	want, _, err := analysis.HitRates(t.Context(), []string{v.path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	const q = "&top=0.2&theta=0.04&kernel=3&pooling=maxpool&skip=1"
	n := 0
	for layer := range 2 {
		var got struct{ Rows []map[string]float64 }
		v.json(fmt.Sprintf("api/sweep?p=all&layer=%d&window=2,8%s", layer, q), &got)
		for _, rates := range got.Rows {
			row := want[n]
			n++
			for name, g := range rates {
				if w := rateNamed(row, name); math.Abs(g-w) > 1e-12 {
					t.Errorf("layer %d, window %g: %s is %g, want %g", layer, rates["window"], name, g, w)
				}
			}
		}
	}
	if n != len(want) {
		t.Errorf("%d rows, want %d", n, len(want))
	}
	cfg.By, cfg.Windows = []analysis.By{analysis.ByLayer, analysis.ByHead, analysis.ByPrompt}, []int{8}
	if want, _, err = analysis.HitRates(t.Context(), []string{v.path}, cfg); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, row := range want {
		if row.Prompt != "p1" {
			continue
		}
		var got headsAnswerIn
		v.json(fmt.Sprintf("api/stats?p=1&layer=%v&window=8%s", row.Layer, q), &got)
		head := row.Head
		for _, name := range []string{"hit_rate", "mass", "overlap", "recent", "sinks_recent", "oracle"} {
			g, w := math.NaN(), rateNamed(row, name)
			if p := got.Measures[name][head]; p != nil {
				g = *p
			}
			if math.Abs(g-w) > 1e-12 || math.IsNaN(g) != math.IsNaN(w) {
				t.Errorf("head %d: %s is %g, want %g", head, name, g, w)
			}
			checked++
		}
	}
	if checked != 2*4*6 {
		t.Errorf("%d values compared", checked)
	}
}

// TestWindowsAtHand: once a layer has been read, the file is not needed for other windows
// that the viewer keeps, nor for other budgets, thetas or kernels. The number of windows
// depends on the memory, and the rates equal those of the tables.
func TestWindowsAtHand(t *testing.T) {
	cfg := analysis.Paper
	cfg.By, cfg.Tops, cfg.Thetas = []analysis.By{analysis.ByHead}, []float64{0.2}, []float64{0.04}
	for _, c := range []struct {
		bytes int // of memory for a number of each head, layer and position
		want  []int
		off   float64
	}{
		{5200, nil, 1e-12},
		{150, []int{1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 140}, 1e-12},
		{70, []int{8, 16, 32, 64, 128, 140}, 1e-12},
		{40, []int{8, 16, 32, 64, 128, 140}, 1e-7},
	} {
		path := filepath.Join(t.TempDir(), "long.attn")
		writeLong(t, path, 2300, 140, 9, dumps.Prompt{})
		v := serve(t, path, Options{Token: testToken, CacheBytes: 2300 * 2 * c.bytes})
		var about struct{ Captures []captureInfo }
		v.json("api/captures", &about)
		if got := about.Captures[0].Prompts[0]; fmt.Sprint(got.Windows) != fmt.Sprint(c.want) {
			t.Errorf("room for %d bytes: windows %v, want %v", c.bytes, got.Windows, c.want)
		}
		list := c.want
		if list == nil {
			list = []int{3, 7, 139}
		}
		v.json("api/stats?window=32", &headsAnswerIn{})
		cfg.Windows = list
		tables := map[string][]analysis.HitRateRow{}
		for _, pool := range []string{"1&pooling=avgpool", "5&pooling=avgpool", "31&pooling=maxpool"} {
			kernel, pooling, _ := strings.Cut(pool, "&pooling=")
			cfg.Kernel, _ = strconv.Atoi(kernel)
			cfg.Pooling = snapkv.Pooling(pooling)
			want, _, err := analysis.HitRates(t.Context(), []string{v.path}, cfg)
			if err != nil {
				t.Fatal(err)
			}
			tables[pool] = want
		}
		v.s.captures[0].Close() // from here on nothing can be read
		checked := 0
		for pool, want := range tables {
			for _, row := range want {
				var got headsAnswerIn
				v.json(fmt.Sprintf("api/stats?window=%v&top=0.2&theta=0.04&kernel=%s", row.Window, pool), &got)
				for _, name := range []string{"hit_rate", "mass", "overlap", "recent", "sinks_recent", "oracle"} {
					g, w := math.NaN(), rateNamed(row, name)
					if p := got.Measures[name][row.Head]; p != nil {
						g = *p
					}
					if math.Abs(g-w) > c.off || math.IsNaN(g) != math.IsNaN(w) {
						t.Errorf("room for %d bytes, kernel %s: %s is %g, want %g in %v", c.bytes, pool, name, g, w, row)
					}
				}
				checked++
			}
		}
		if checked != 3*2*len(list) {
			t.Errorf("%d heads compared", checked)
		}
		v.json("api/stats?window=128&top=0.4&theta=0.2&kernel=3&skip=2", &headsAnswerIn{})
		if c.want != nil {
			if code, _ := v.get("api/stats?window=9"); code == http.StatusOK {
				t.Errorf("room for %d bytes: window 9 came from nowhere", c.bytes)
			}
		}
	}
}

type headsAnswerIn struct {
	Heads    []int
	Measures map[string][]*float64
}

// TestMeasuresOfHeads compares entropy, sink mass and distance with their definitions.
func TestMeasuresOfHeads(t *testing.T) {
	v := open(t, "rows", 0)
	var got headsAnswerIn
	v.json("api/stats?layer=0&window=8", &got)
	for head := range 4 {
		var entropy, sink, distance float64
		for r, row := range v.weights(0, 0, head)[16:] {
			for j, w := range row {
				x := float64(w)
				if x > 0 {
					entropy -= x * math.Log2(x) / 5
				}
				if j < 4 {
					sink += x / 5
				}
				distance += x * float64(37+r-j) / 5
			}
		}
		for name, want := range map[string]float64{"entropy": entropy, "sink": sink, "distance": distance} {
			most := map[bool]float64{true: 1e-6, false: 1e-9 * math.Max(1, want)}[name == "entropy"]
			if g := *got.Measures[name][head]; math.Abs(g-want) > most {
				t.Errorf("head %d: %s is %g, want %g", head, name, g, want)
			}
		}
	}
}

// TestRetrievalAndMeansOverPrompts compares the retrieval score with its definition. All
// tokens are equal, so a row counts if it attends most to the prompt. Means over prompts
// must be those of the single prompts, and intervals those of analysis.
func TestRetrievalAndMeansOverPrompts(t *testing.T) {
	v := open(t, "factors", 0)
	type answer struct {
		Prompts             int
		Measures, Low, High map[string][]*float64
	}
	var all answer
	v.json("api/stats?p=all&layer=1&window=8&theta=0.04&top=0.2", &all)
	var each [2]answer
	for p := range each {
		v.json(fmt.Sprintf("api/stats?p=%d&layer=1&window=8&theta=0.04&top=0.2", p), &each[p])
		for head := range 4 {
			copied := 0
			for _, row := range v.weights(p, 1, head)[15:20] { // the last prompt row, and all of the reply but its last
				if slices.Index(row, slices.Max(row)) < 37 {
					copied++
				}
			}
			if g := *each[p].Measures["retrieval"][head]; g != float64(copied)/5 {
				t.Errorf("prompt %d, head %d: retrieval %g, want %d of 5", p, head, g, copied)
			}
		}
	}
	if all.Prompts != 2 || each[0].Prompts != 1 || each[0].Low != nil || len(all.Measures) != 10 {
		t.Fatalf("%d and %d prompts, %d measures", all.Prompts, each[0].Prompts, len(all.Measures))
	}
	for name, list := range all.Measures {
		for head, g := range list {
			var x []float64
			for p := range each {
				if f := each[p].Measures[name][head]; f != nil {
					x = append(x, *f)
				}
			}
			lo, hi := analysis.Interval(x, analysis.Paper.Seed)
			for what, pair := range map[string][2]any{"mean": {g, analysis.Mean(x)}, "low": {all.Low[name][head], lo}, "high": {all.High[name][head], hi}} {
				got, want := math.NaN(), pair[1].(float64)
				if f := pair[0].(*float64); f != nil {
					got = *f
				}
				if math.Abs(got-want) > 1e-12 || math.IsNaN(got) != math.IsNaN(want) {
					t.Errorf("head %d, %s of %s: %g, want %g", head, what, name, got, want)
				}
			}
		}
	}
}

// TestMethodsLeftOut: a method that cannot be measured is listed once with the reason,
// and the others are measured.
func TestMethodsLeftOut(t *testing.T) {
	v := open(t, "rows", 0)
	var got struct {
		Rows    []map[string]any
		LeftOut map[string]string `json:"left_out"`
	}
	for range 2 { // the second time from what is kept
		v.json("api/methods?layer=all&window=4&capacity=8&methods=snapkv,headkv,knorm", &got)
		if len(got.Rows) != 1 || len(got.LeftOut) != 2 || got.LeftOut["headkv"] != "headkv needs a score for each head of each layer (--head-scores)" ||
			got.LeftOut["knorm"] != "knorm needs keys: capture with --store factors" {
			t.Fatalf("%v, left out %q", got.Rows, got.LeftOut)
		}
	}
}

// TestMethodsAreThoseOfTheTables compares what methods keep by capacity with
// analysis.Methods, by layer and over all layers.
func TestMethodsAreThoseOfTheTables(t *testing.T) {
	v := open(t, "factors", 0)
	var cfg analysis.MethodConfig
	cfg.Thetas, cfg.Span, cfg.Seed = []float64{0.04}, 128, analysis.Paper.Seed
	names := "snapkv,h2o,streamingllm,tova,pyramidkv,adakv,cake,chunkkv,criticalkv,expectedattention,knorm,keydiff,recent,random,oracle,full"
	for _, name := range strings.Split(names, ",") {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Methods = append(cfg.Methods, m)
	}
	for _, capacity := range []int{8, 16, 40} {
		cfg.Configs = append(cfg.Configs, snapkv.Config{Window: 4, Capacity: capacity, Kernel: 3, Pooling: "avgpool", Group: "head"})
	}
	lists, _, err := analysis.MethodsBy(t.Context(), []string{v.path}, cfg, nil, []analysis.By{analysis.ByLayer})
	if err != nil {
		t.Fatal(err)
	}
	for i, layer := range []string{"all", "0", "1"} {
		var got struct {
			Rows    []map[string]any
			LeftOut map[string]string `json:"left_out"`
		}
		v.json("api/methods?p=all&window=4&capacity=8,16,40&kernel=3&theta=0.04&layer="+layer+"&methods="+names, &got)
		if len(got.Rows) != 3*len(cfg.Methods) || len(got.LeftOut) != 0 {
			t.Fatalf("%d rows, left out %v", len(got.Rows), got.LeftOut)
		}
		seen := 0
		for _, row := range lists[min(i, 1)] {
			for _, g := range got.Rows {
				if i > 0 && fmt.Sprint(row.Layer) != layer || g["method"] != row.Method || fmt.Sprint(g["capacity"]) != fmt.Sprint(row.Capacity) {
					continue
				}
				seen++
				for name, w := range map[string]float64{"mass": row.Mass, "mass_low": row.Low, "mass_high": row.High, "hit_rate": row.HitRate} {
					if math.Abs(g[name].(float64)-w) > 1e-9 {
						t.Errorf("layer %s, %v at %v: %s is %v, want %v", layer, g["method"], g["capacity"], name, g[name], w)
					}
				}
			}
		}
		if seen != len(got.Rows) {
			t.Errorf("layer %s: %d of %d rows compared", layer, seen, len(got.Rows))
		}
	}
}
