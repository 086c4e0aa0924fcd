package experiments

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// contextsReport holds the data for contexts.md.tmpl.
type contextsReport struct {
	Overall   *table.Table
	Documents int
}

// contexts compares, for each pair of instructions on one document, the positions
// of the document that instruction and reply attend to most: 5 % of it in each
// head. The observation window is the instruction with its reply.
func contexts(ctx context.Context, l *Lab) (any, error) {
	reply := 128
	if l.Quick {
		reply = 16
	}
	list, documents, err := l.contextPrompts(reply)
	if err != nil {
		return nil, err
	}
	path, err := l.capture(ctx, "contexts", list, dumps.Plan{WindowRows: 128, MaxNewTokens: reply})
	if err != nil {
		return nil, err
	}
	rows, err := pairOverlaps(path, l.Seed)
	if err != nil {
		return nil, err
	}
	if err := l.table(overlapTable(rows), "overlap"); err != nil {
		return nil, err
	}
	k := overlapCurves(rows)
	k.Caption = l.caption("instruction and reply as the window; top 5 %% of the document in each head; n: documents;" +
		" bands: 95 %% bootstrap over documents. Chance is 0.05.")
	if err := l.curves(k, "overlap"); err != nil {
		return nil, err
	}
	overall := slices.DeleteFunc(rows, func(r overlapRow) bool { return r.layer != allLayers })
	return &contextsReport{Overall: overlapTable(overall), Documents: documents}, nil
}

// contextPrompts makes a prompt for each of the first instructions on every
// document that has at least two, and returns the number of documents.
func (l *Lab) contextPrompts(reply int) ([]prompts.Prompt, int, error) {
	most := 3 // instructions per document
	if l.Quick {
		most = 2
	}
	docs, err := l.documents(reply)
	if err != nil {
		return nil, 0, err
	}
	var list []prompts.Prompt
	documents := 0
	taken := map[string]bool{} // sets with a document
	for _, d := range docs {
		if len(d.Instructions) < 2 || l.Quick && taken[d.set] {
			continue
		}
		taken[d.set] = true
		documents++
		for i, ask := range d.Instructions[:min(most, len(d.Instructions))] {
			id := fmt.Sprintf("%s/%d", d.ID, i)
			p, err := l.chat(id, d.set, d.ID, nil, tokenizer.Message{Role: "user", Content: d.Text + "\n\n" + ask})
			if err != nil {
				return nil, 0, err
			}
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return nil, 0, errors.New("no document has two instructions")
	}
	return list, documents, nil
}
