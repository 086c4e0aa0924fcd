package experiments

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/hitrate"
)

// placements of an instruction relative to its document.
var placements = []string{"after", "before", "middle", "absent"}

// truncatedGroup ends the names of groups and sets of documents that lost their
// middle; whole documents have no such ending.
const truncatedGroup = " (truncated)"

// documentGroups are the name endings of whole and of truncated documents.
var documentGroups = []string{"", truncatedGroup}

// group returns the name ending of the document's group.
func (d *document) group() string {
	if d.truncated {
		return truncatedGroup
	}
	return ""
}

// positionReport holds the data for position.md.tmpl.
type positionReport struct {
	Paired   *table.Table
	Contents []int // numbers of matched contents, of each group that has any
	Warnings []analysis.Warning
}

// position rates replies with the instruction in four places, on matched
// contents: the same document with the same instruction.
func position(ctx context.Context, l *Lab) (any, error) {
	reply := 128
	if l.Quick {
		reply = 16
	}
	list, contents, err := l.positionPrompts(reply)
	if err != nil {
		return nil, err
	}
	plan := dumps.Plan{WindowRows: 32, MaxNewTokens: reply, IgnoreEOS: l.Quick}
	path, err := l.capture(ctx, "position", list, plan)
	if err != nil {
		return nil, err
	}
	return l.ratePosition(ctx, path, list, contents)
}

// positionPrompts makes four prompts of each content and returns the number of
// contents by group of documents. Whole documents come first; truncated ones are used
// if there are fewer than ten whole ones.
func (l *Lab) positionPrompts(reply int) ([]prompts.Prompt, map[string]int, error) {
	most := 12 // contents of a group
	if l.Quick {
		most = 2
	}
	docs, err := l.documents(reply)
	if err != nil {
		return nil, nil, err
	}
	var list []prompts.Prompt
	contents := map[string]int{}
	for ask := range 4 {
		for i := range docs {
			d := &docs[i]
			group := d.group()
			if contents[group] == most || ask >= len(d.Instructions) || d.truncated && contents[""] >= 10 {
				continue
			}
			contents[group]++
			for _, place := range placements {
				id := fmt.Sprintf("%s/%d/%s", d.ID, ask, place)
				text := placed(d.Text, d.Instructions[ask], place)
				p, err := l.chat(id, place+group, "", nil, tokenizer.Message{Role: "user", Content: text})
				if err != nil {
					return nil, nil, err
				}
				list = append(list, p)
			}
		}
	}
	return list, contents, nil
}

// ratePosition rates the capture of the prompts.
func (l *Lab) ratePosition(ctx context.Context, path string, list []prompts.Prompt, contents map[string]int) (*positionReport, error) {
	cfg := analysis.Paper
	cfg.By = []analysis.By{analysis.ByLayer, analysis.ByDataset}
	cfg.Seed = l.Seed
	byLayer, warnings, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return nil, err
	}
	if err := l.table(analysis.HitRateTable(byLayer), "hit-rate"); err != nil {
		return nil, err
	}
	report := &positionReport{Warnings: warnings}
	for _, group := range documentGroups {
		n := contents[group]
		if n == 0 {
			continue
		}
		report.Contents = append(report.Contents, n)
		k := layerCurves(byLayer, func(row *analysis.HitRateRow) string {
			place, ok := strings.CutSuffix(row.Dataset, group)
			if !ok || group == "" && strings.HasSuffix(place, truncatedGroup) {
				return ""
			}
			return place
		})
		k.Title = "hit rate by place of the instruction" + group
		k.Caption = l.caption("window 32, top 5 %%, weight > 0.05; %d documents with instructions%s, matched;"+
			" bands: 95 %% bootstrap. Gray: other choices of the same size, instruction after the document.", n, group)
		name := "hit-rate"
		if group == truncatedGroup {
			name += "-truncated"
		}
		if err := l.curves(k, name); err != nil {
			return nil, err
		}
	}
	paired, err := pairedPlaces(ctx, path, list, cfg)
	if err != nil {
		return nil, err
	}
	report.Paired = placeTable(paired)
	return report, l.table(report.Paired, "paired")
}

// placeRow compares one placement with the instruction after the document.
type placeRow struct {
	documents  string // "whole" or "truncated"
	skip       int    // first positions that were left out
	placement  string
	prompts    int
	rate       float64
	difference difference // rate minus the rate with the instruction after the document, paired by content
	sinks      float64    // hit rate of the first four and the last positions
}

func (r placeRow) cells() []any {
	return slices.Concat(
		[]any{r.documents, r.skip, r.placement, r.prompts, r.rate}, r.difference.cells(),
		[]any{r.sinks, hitrate.PaperTop},
	)
}

func placeTable(rows []placeRow) *table.Table {
	return tableOf([]string{
		"documents", "skip_first", "placement", "prompts", "hit_rate", "difference", "low", "high", "p", "sinks_recent", "chance",
	}, rows)
}

// pairedPlaces compares the hit rates of every placement with those of the
// instruction after the document, by group of documents, with and without the
// first four positions.
func pairedPlaces(ctx context.Context, path string, list []prompts.Prompt, cfg analysis.HitRateConfig) ([]placeRow, error) {
	cfg.By = []analysis.By{analysis.ByPrompt, analysis.ByDataset}
	var rows []placeRow
	for _, skip := range sinkSkips {
		cfg.SkipFirst = skip
		rated, _, err := analysis.HitRates(ctx, []string{path}, cfg)
		if err != nil {
			return nil, err
		}
		rates := map[string]float64{}   // by prompt
		sinks := map[string][]float64{} // by placement and group
		for _, row := range rated {
			rates[row.Prompt] = row.HitRate
			sinks[row.Dataset] = append(sinks[row.Dataset], row.SinksRecent)
		}
		for _, group := range documentGroups {
			for _, place := range placements {
				var all, differences []float64
				for _, p := range list {
					id, ok := strings.CutSuffix(p.ID, "/"+place)
					if ok && p.Dataset == place+group {
						all = append(all, rates[p.ID])
						differences = append(differences, rates[p.ID]-rates[id+"/after"])
					}
				}
				if len(all) == 0 {
					continue
				}
				row := placeRow{
					documents:  "whole",
					skip:       skip,
					placement:  place,
					prompts:    len(all),
					rate:       analysis.Mean(all),
					difference: differenceOf(differences, cfg.Seed),
					sinks:      analysis.Mean(sinks[place+group]),
				}
				if group == truncatedGroup {
					row.documents = "truncated"
				}
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

// placed puts an instruction into a place relative to a text. The middle is the
// beginning of a sentence in the second half, or of a character if no sentence begins
// there.
func placed(text, ask, place string) string {
	switch place {
	case "before":
		return ask + "\n\n" + text
	case "middle":
		at := len(text) / 2
		if dot := strings.Index(text[at:], ". "); dot >= 0 {
			at += dot + 2
		} else {
			for at < len(text) && text[at]&0xC0 == 0x80 { // not inside a character
				at++
			}
		}
		return text[:at] + "\n\n" + ask + "\n\n" + text[at:]
	case "absent":
		return text
	}
	return text + "\n\n" + ask
}
