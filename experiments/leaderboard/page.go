package leaderboard

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is the content of the HTML page.
type page struct {
	Title   string
	Runs    []pageRun
	Against string
	Notes   []string
	Rows    []pageRow
}

// pageRun describes a run on the page.
type pageRun struct {
	Model, SHA256, Settings, Machine, Program, Command string
	Planned, Missing                                   int
}

// pageRow is a row for the page's script, with short names.
type pageRow struct {
	Model     string       `json:"model"`
	Task      string       `json:"task"`
	Length    int          `json:"length"`
	Budget    string       `json:"budget"`
	Order     int          `json:"order"` // of the row among those of the board
	Method    string       `json:"method"`
	Prompts   int          `json:"prompts"`
	Score     decode.Float `json:"score"`
	Low       decode.Float `json:"low"`
	High      decode.Float `json:"high"`
	Loss      decode.Float `json:"loss"`
	LossLow   decode.Float `json:"losslow"`
	LossHigh  decode.Float `json:"losshigh"`
	PHolm     decode.Float `json:"p"`
	KL        decode.Float `json:"kl"`
	Bytes     decode.Float `json:"bytes"`
	Ratio     decode.Float `json:"ratio"`
	PerSecond decode.Float `json:"speed"`
}

// WritePage writes an HTML page without outside resources, whose table is sorted and
// filtered in the browser.
func WritePage(w io.Writer, b *Board, rows []Row, o RowOptions) error {
	p := page{Title: "leaderboard", Against: o.Against}
	if p.Against == "" || p.Against == snapkv.Full {
		p.Against = "the full cache"
	}
	fewest := 0
	for i, r := range rows {
		if fewest == 0 || r.Prompts < fewest {
			fewest = r.Prompts
		}
		p.Rows = append(p.Rows, pageRow{
			Model: b.Label(r.Run), Task: r.Task, Length: r.Length, Budget: r.Budget.String(), Order: i,
			Method: r.Method, Prompts: r.Prompts,
			Score: decode.Float(r.Score), Low: decode.Float(r.ScoreLow), High: decode.Float(r.ScoreHigh),
			Loss: decode.Float(r.Loss), LossLow: decode.Float(r.LossLow), LossHigh: decode.Float(r.LossHigh),
			PHolm: decode.Float(r.PHolm), KL: decode.Float(r.KL), Bytes: decode.Float(r.CacheBytes),
			Ratio: decode.Float(r.CacheRatio), PerSecond: decode.Float(r.DecodeTokens),
		})
	}
	for i, r := range b.Runs {
		one := pageRun{
			Model: b.Label(i + 1), SHA256: r.ModelSHA256, Settings: r.SettingsText(), Program: r.Program,
			Machine: r.Device + ", " + r.Compute, Command: strings.Join(r.Command, " "),
		}
		one.Missing, one.Planned = r.Missing()
		p.Runs = append(p.Runs, one)
		if !strings.Contains(p.Title, r.Model) {
			p.Title += " " + r.Model
		}
	}
	p.Notes = append(analysis.FewPromptsNote(fewest), LeastPNote(rows)...)
	return pageTemplate.Execute(w, p)
}

// Label returns the name of a run's model, with the number of the run, from 1, if several runs
// have that model.
func (b *Board) Label(run int) string {
	name := b.Runs[run-1].Model
	for i, r := range b.Runs {
		if i != run-1 && r.Model == name {
			return fmt.Sprintf("%s (run %d)", name, run)
		}
	}
	return name
}

// SettingsText lists the settings of a run.
func (r *Run) SettingsText() string {
	s := &r.Settings
	text := fmt.Sprintf("window %d, kernel %d, %s, group %s, sinks %d, chunk %d, seed %d, "+
		"compressed at the end of the %s",
		s.Window, s.Kernel, s.Pooling, s.Group, s.Sinks, s.Chunk, s.Seed, s.CompressAt)
	if s.DecodeEvery > 0 {
		text += fmt.Sprintf(", selected again after %s of the reply", words.Count(s.DecodeEvery, "token"))
	}
	inBits := func(b decode.Budget) bool { return b.Bits > 0 }
	switch f := (model.CacheFormat{Bits: s.KVBits, Group: s.KVGroup, Residual: s.KVResidual}); {
	case s.KVBits > 0 && s.EqualBytes:
		text += ", " + decode.FormatText(f) + ", in the bytes of the budget at 16 bits"
	case s.KVBits > 0:
		text += ", " + decode.FormatText(f)
	case slices.ContainsFunc(r.Budgets, inBits):
		text += fmt.Sprintf(", quantized full caches in groups of %d, the last %d positions not quantized", f.Group, f.Residual)
	}
	return text
}
