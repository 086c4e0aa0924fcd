package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/words"
)

// minSignificantFlag is the --min-significant of verbs that show hit rates.
var minSignificantFlag = &cli.IntFlag{
	Name: "min-significant", Value: analysis.MinSignificant,
	Usage: "mark rates that rest on fewer than `N` significant positions",
}

// hitRateScreen shows hit rates at a terminal: with the rates without the first
// positions, which attract attention in any prompt, with a total, and with marks on the
// rates that rest on too few positions.
type hitRateScreen struct {
	min   int                     // significant positions that a rate needs
	cfg   analysis.HitRateConfig  // that was asked for
	lists [][]analysis.HitRateRow // of each of screenConfigs
	order rowOrder                // of the rows

	// By layer, without the first positions unless others are left out; nil if the
	// table is not pooled over layers.
	byLayer []analysis.HitRateRow
}

// The configs that screenConfigs returns, in their order. The last two are missing if
// the first positions are left out anyway.
const (
	askedRates = iota
	totalRates
	askedWithoutFirst
	totalWithoutFirst
)

// screenConfigs returns the config, the one of its total, and both without the first
// positions.
func screenConfigs(cfg analysis.HitRateConfig) []analysis.HitRateConfig {
	total := cfg
	total.By = nil
	list := []analysis.HitRateConfig{cfg, total}
	if cfg.SkipFirst > 0 {
		return list
	}
	for _, c := range []analysis.HitRateConfig{cfg, total} {
		c.SkipFirst = hitrate.Sinks
		list = append(list, c)
	}
	return list
}

// withoutFirst is the column of the rates without the first positions.
var withoutFirst = fmt.Sprintf("without_first_%d", hitrate.Sinks)

// sortNote says to which rate the other columns belong if the rows are sorted by
// withoutFirst.
var sortNote = fmt.Sprintf("%s sorts the rows, but significant, hits, ci_low and ci_high are those of hit_rate: "+
	"for those of the other rate, use --skip-first %d --sort hit_rate.", withoutFirst, hitrate.Sinks)

// sinkNote explains the shares of learned sinks.
const sinkNote = analysis.SinkColumn + ": share of the reply's attention that the heads' learned sinks take. They are not positions, " +
	"and no rate and no mass contains this share."

// rateValues are the columns that are shown even if all rows have the same value.
var rateValues = slices.Concat([]string{"significant", "hits", "hit_rate", withoutFirst, analysis.SinkColumn}, analysis.PairedColumns)

// rateColumns are the columns that rest on the significant positions of a row.
var rateColumns = slices.Concat([]string{"hit_rate", "ci_low", "ci_high", "recent", "sinks_recent", "oracle"}, analysis.PairedColumns)

// fewColumn says in files and piped output of which things a rate rests on too few. At a
// terminal, such rates are in parentheses.
const fewColumn = "few"

// table returns the table of all rows and how to show it.
func (s *hitRateScreen) table() (*table.Table, table.Screen) {
	rows := slices.Clone(s.lists[askedRates])
	t := s.join(rows, askedWithoutFirst)
	screen := table.Screen{Values: rateValues}
	var others []analysis.HitRateRow
	if s.hasSkipped() {
		others = slices.Clone(s.lists[askedWithoutFirst])
	}
	if len(rows) > len(s.lists[totalRates]) {
		screen.Totals = s.join(s.lists[totalRates], totalWithoutFirst).Rows
		rows = append(rows, s.lists[totalRates]...)
		if s.hasSkipped() {
			others = append(others, s.lists[totalWithoutFirst]...)
		}
	}
	screen.Doubtful = func(r int, column string) bool {
		if column == withoutFirst {
			return others[r].Significant < s.min
		}
		return slices.Contains(rateColumns, column) && rows[r].Significant < s.min
	}
	screen.Notes = s.notes(rows)
	return t, screen
}

func (s *hitRateScreen) hasSkipped() bool { return len(s.lists) > askedWithoutFirst }

// join makes a table of rows, with the rates of another list in a column after the hit
// rate.
func (s *hitRateScreen) join(rows []analysis.HitRateRow, other int) *table.Table {
	t := analysis.HitRateTable(rows)
	if !s.hasSkipped() {
		return t
	}
	at := t.Column("hit_rate") + 1
	t.Columns = slices.Insert(slices.Clone(t.Columns), at, withoutFirst)
	for i := range t.Rows {
		t.Rows[i] = slices.Insert(t.Rows[i], at, any(s.lists[other][i].HitRate))
	}
	return t
}

// exact returns the table of all rows for files and programs: with all digits, and with a
// column instead of parentheses.
func (s *hitRateScreen) exact() *table.Table {
	t := s.join(s.lists[askedRates], askedWithoutFirst)
	t.Columns = append(slices.Clone(t.Columns), fewColumn)
	for i := range t.Rows {
		t.Rows[i] = append(t.Rows[i], strings.Join(s.few(i), " "))
	}
	return t
}

// few lists what row i has too few of. A row of --by prompt is about one prompt and has no
// interval, so it does not lack prompts.
func (s *hitRateScreen) few(i int) []string {
	var list []string
	byPrompt := slices.Contains(s.cfg.By, analysis.ByPrompt)
	if !byPrompt && s.lists[askedRates][i].Prompts < analysis.SoundPrompts {
		list = append(list, "prompts")
	}
	add := func(r *analysis.HitRateRow, suffix string) {
		switch {
		case r.Significant < s.min:
			list = append(list, "positions"+suffix)
		case r.HasSparsePrompt(s.min):
			list = append(list, "positions_of_a_prompt"+suffix)
		}
	}
	add(&s.lists[askedRates][i], "")
	if s.hasSkipped() {
		add(&s.lists[askedWithoutFirst][i], "_"+withoutFirst)
	}
	return list
}

// doubts returns the notes that limit what may be concluded from the rows.
func (s *hitRateScreen) doubts() []string {
	var notes []string
	if hasOtherPrefixes(s.cfg) {
		notes = append(notes, otherPrefixesNote)
	}
	rows := s.lists[askedRates]
	notes = append(notes, analysis.FewPromptsNote(mostPrompts(rows))...)
	few := 0
	for i := range rows {
		if rows[i].Significant < s.min {
			few++
		}
	}
	if few > 0 {
		notes = append(notes, fmt.Sprintf("%d of %s rest on fewer than %d significant positions (--min-significant), too few for a conclusion",
			few, words.Count(len(rows), "rate"), s.min))
	}
	return append(notes, s.sparseNote(rows)...)
}

// mostPrompts returns the largest number of prompts of a row.
func mostPrompts(rows []analysis.HitRateRow) int {
	return slices.MaxFunc(rows, func(x, y analysis.HitRateRow) int { return x.Prompts - y.Prompts }).Prompts
}

// pairedNote explains the columns of differences.
func (s *hitRateScreen) pairedNote(prompts int) string {
	text := fmt.Sprintf("difference: the rate minus that of window %d, prompt by prompt; p: of a two-sided sign-flip test", s.cfg.Against)
	if least := analysis.LeastP(prompts); least > 0.05 {
		text += fmt.Sprintf(", which cannot be below %.3g with %s", least, words.Count(prompts, "prompt"))
	}
	return text + ". It is not corrected for the number of rows."
}

// hasOtherPrefixes says whether the config rates windows on different positions.
func hasOtherPrefixes(cfg analysis.HitRateConfig) bool {
	return !cfg.SamePrefix && slices.Max(cfg.Windows) > slices.Min(cfg.Windows)
}

// otherPrefixesNote says what that means.
const otherPrefixesNote = "each window is rated on the positions before it, so the rates of different windows rest on " +
	"different positions; to compare windows, add --same-prefix"

// notes explains the marks.
func (s *hitRateScreen) notes(rows []analysis.HitRateRow) []string {
	notes := s.settings()
	if slices.ContainsFunc(rows, func(r analysis.HitRateRow) bool { return r.Prompts > 1 }) {
		notes = append(notes, "Rates are means over prompts; significant and hits are sums over them.")
	}
	most := mostPrompts(rows)
	notes = append(notes, analysis.FewPromptsNote(most)...)
	if s.cfg.Against != 0 {
		notes = append(notes, s.pairedNote(most))
	}
	if skip := s.cfg.SkipFirst; skip > 0 {
		notes = append(notes, fmt.Sprintf("sinks_recent: with --skip-first %d, its first %d positions are positions %d to %d, which are not sinks.",
			skip, hitrate.Sinks, skip, skip+hitrate.Sinks-1))
	}
	if s.hasSkipped() {
		notes = append(notes, fmt.Sprintf("%s: the hit rate if the first %d positions, which attract attention in any prompt, "+
			"are left out (--skip-first %d).", withoutFirst, hitrate.Sinks, hitrate.Sinks))
	}
	if slices.ContainsFunc(rows, func(r analysis.HitRateRow) bool { return r.Sink > 0 }) {
		notes = append(notes, sinkNote)
	}
	if s.order.column == withoutFirst {
		notes = append(notes, sortNote)
	}
	if slices.ContainsFunc(rows, func(r analysis.HitRateRow) bool { return r.Significant < s.min }) {
		notes = append(notes, s.fewNote())
	}
	notes = append(notes, s.sparseNote(rows)...)
	return append(notes, s.spreadNotes()...)
}

// placeName says of which layers and heads a row is, and of which window if there are
// several.
func (s *hitRateScreen) placeName(r *analysis.HitRateRow) string {
	name := "all layers"
	if r.Layer >= 0 {
		name = fmt.Sprintf("layer %d", r.Layer)
	}
	if r.Head >= 0 {
		name += fmt.Sprintf(" head %d", r.Head)
	}
	if len(s.cfg.Windows) > 1 {
		name += fmt.Sprintf(" window %d", r.Window)
	}
	return name
}

// sparseNote names rates that have enough positions, but not in each of their prompts.
func (s *hitRateScreen) sparseNote(rows []analysis.HitRateRow) []string {
	lists := [][]analysis.HitRateRow{rows}
	if s.hasSkipped() {
		lists = append(lists, s.lists[askedWithoutFirst])
	}
	var names []string
	for i, list := range lists {
		for j := range list {
			r := &list[j]
			if r.Significant < s.min || !r.HasSparsePrompt(s.min) {
				continue
			}
			name := s.placeName(r)
			if i > 0 {
				name += " " + withoutFirst
			}
			names = append(names, fmt.Sprintf("%s (%d)", name, r.Sparsest))
		}
	}
	if names == nil {
		return nil
	}
	const named = 6
	text := strings.Join(names[:min(named, len(names))], ", ")
	if more := len(names) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return []string{fmt.Sprintf("A prompt with few significant positions counts as much as any other in the mean of %s; in parentheses "+
		"are its positions. Add prompt to --by to see each prompt.", text)}
}

// layersConfig returns the config of byLayer.
func layersConfig(cfg analysis.HitRateConfig) analysis.HitRateConfig {
	cfg.By = []analysis.By{analysis.ByLayer}
	if cfg.SkipFirst == 0 {
		cfg.SkipFirst = hitrate.Sinks
	}
	return cfg
}

// spreadNotes says for each window in which layers the significant positions are. There
// is no note for several models, budgets or thresholds.
func (s *hitRateScreen) spreadNotes() []string {
	if len(s.cfg.Settings()) > len(s.cfg.Windows) {
		return nil
	}
	byWindow := map[int][]analysis.HitRateRow{}
	for _, r := range s.byLayer {
		if r.Model != s.byLayer[0].Model {
			return nil
		}
		byWindow[r.Window] = append(byWindow[r.Window], r)
	}
	var notes []string
	for _, window := range s.cfg.Windows {
		text := analysis.SpreadOf(byWindow[window], s.min).Text("significant positions")
		if text == "" {
			continue
		}
		notes = append(notes, fmt.Sprintf("Window %d, --skip-first %d: %s", window, layersConfig(s.cfg).SkipFirst, text))
	}
	return notes
}

// settings names the settings that are not columns, and says whether windows can be
// compared.
func (s *hitRateScreen) settings() []string {
	text := fmt.Sprintf("Settings: kernel %d", s.cfg.Kernel)
	if s.cfg.Kernel > 1 {
		text += " (" + s.cfg.Pooling.String() + ")"
	}
	text += fmt.Sprintf(", skip-first %d, average %s, generation %s", s.cfg.SkipFirst, s.cfg.Average, s.cfg.Generation)
	if s.cfg.TopOfPrompt {
		text += "; top is a share of the whole prompt"
	}
	if s.cfg.SamePrefix && len(s.cfg.Windows) > 1 {
		text += fmt.Sprintf("; every window is rated on the prefix of the largest, %d (--same-prefix)", slices.Max(s.cfg.Windows))
	}
	notes := []string{text + "."}
	if hasOtherPrefixes(s.cfg) {
		notes = append(notes, "Note: "+otherPrefixesNote+".")
	}
	return notes
}

// fewNote explains the parentheses.
func (s *hitRateScreen) fewNote() string {
	return fmt.Sprintf("In parentheses: rates that rest on fewer than %d significant positions (--min-significant), "+
		"too few for a conclusion.", s.min)
}

// keys lists the columns that identify a row. The number of kept positions follows from
// the share, unless it was given itself.
func (s *hitRateScreen) keys() []string {
	keys := slices.Clone(analysis.KeyColumns)
	if !slices.ContainsFunc(s.lists[askedRates], func(r analysis.HitRateRow) bool { return math.IsNaN(r.Top) }) {
		keys = slices.DeleteFunc(keys, func(name string) bool { return name == "budget" })
	}
	return keys
}

// pivot says how to show the pivoted table. A second pivot, of the counts, tells which
// cells rest on too few positions.
func (s *hitRateScreen) pivot(c *cli.Context) (table.Screen, error) {
	measure := c.String("measure")
	note := pivotNote("ci_low and ci_high")
	if s.hasSkipped() && measure != withoutFirst {
		note += fmt.Sprintf(" The first %d positions raise the rates: compare with --measure %s.", hitrate.Sinks, withoutFirst)
	}
	screen := table.Screen{Notes: append(s.settings(), note)}
	rows := s.lists[askedRates]
	switch {
	case measure == withoutFirst:
		rows = s.lists[askedWithoutFirst]
	case !slices.Contains(rateColumns, measure):
		return screen, nil
	}
	counts, err := analysis.HitRateTable(rows).Pivot(c.String("pivot"), "significant", s.keys())
	if err != nil {
		return screen, err
	}
	few := func(r int, column string) bool {
		n, counted := counts.Rows[r][counts.Column(column)].(int)
		return !slices.Contains(analysis.KeyColumns, column) && counted && n < s.min
	}
	screen.Doubtful = few
	doubt := func(r int) bool {
		return slices.ContainsFunc(counts.Columns, func(name string) bool { return few(r, name) })
	}
	for r := range counts.Rows {
		if doubt(r) {
			screen.Notes = append(screen.Notes, s.fewNote())
			break
		}
	}
	return screen, nil
}
