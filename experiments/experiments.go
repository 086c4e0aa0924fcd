// Package experiments repeats the experiments of the SnapKV paper
// (arXiv:2404.14469) on any model.
//
// An [Experiment] is a recipe. It builds prompts, records them in a capture or
// decodes them from compressed caches, computes typed rows from what was
// recorded, and writes the rows as tables, figures and a README.md:
//
//	lab := &experiments.Lab{Model: m, Tokenizer: tok, Dir: "results", ...}
//	err := lab.Run(ctx, experiments.Experiments[0])
//
// The files of the package follow this order. generation.go, windows.go,
// contexts.go and so on are the recipes; files named after what they compute
// (control_rates.go, overlaps.go) read dumps and return rows; figures.go draws
// rows; templates/ has the text of each README.md.
package experiments

import (
	"context"

	"github.com/attnscope/attnscope/internal/words"
)

// Experiment is one recipe.
type Experiment struct {
	Name     string
	Figure   string // of the paper
	Question string
	Sets     string // prompt sets that it takes with -p SET=FILE
	// run makes the tables and figures and returns what the template NAME.md.tmpl
	// shows.
	run func(ctx context.Context, l *Lab) (report any, err error)
}

// Experiments lists every recipe, in the order in which `reproduce all` runs
// them.
var Experiments = []Experiment{
	{
		Name:     "generation",
		Figure:   "Fig. 3 (v1: section 3.1)",
		Question: "Do the positions that the prompt's end votes for stay the ones that a long reply attends to?",
		Sets:     "dialogues, or any set of documents",
		run:      generation,
	},
	{
		Name:     "windows",
		Figure:   "Fig. 2",
		Question: "Which part of the prompt votes like its end: can the pattern be seen before generation?",
		Sets:     "dialogues, or any set of documents",
		run:      windows,
	},
	{
		Name:     "sweep",
		Figure:   "asked for by readers",
		Question: "How large must the observation window be: is the last token enough?",
		Sets:     "dialogues, or any set of documents",
		run:      sweep,
	},
	{
		Name:     "contexts",
		Figure:   "Fig. 4",
		Question: "Do different instructions on one document attend to the same positions?",
		Sets:     "any sets of documents with several instructions",
		run:      contexts,
	},
	{
		Name:     "position",
		Figure:   "Fig. 5",
		Question: "Does it matter whether the instruction comes before, after or inside the document?",
		Sets:     "any sets of documents",
		run:      position,
	},
	{
		Name:     "methods",
		Figure:   "LongBench tables, in small",
		Question: "What do SnapKV and its rivals keep at a budget, and what does the reply lose?",
		Sets:     "any set of documents",
		run:      methods,
	},
	{
		Name:     "pooling",
		Figure:   "Fig. 8 (v1), LongEval-Lines",
		Question: "Does pooling the votes help retrieval?",
		Sets:     "lines (made by recipe)",
		run:      pooling,
	},
	{
		Name:     "needle",
		Figure:   "needle in a haystack",
		Question: "Is a sentence in a long text still found after compression?",
		Sets:     "haystack=FILE.txt",
		run:      needle,
	},
	{
		Name:     "ruler",
		Figure:   "in addition to the needle",
		Question: "Is a number in a long text still found after compression, among others that mislead?",
		Sets:     "haystack=FILE.txt",
		run:      ruler,
	},
	{
		Name:     "speed",
		Figure:   "Fig. 7 (decode latency)",
		Question: "How do decode speed and cache size grow with the prompt, with the full cache and with compressed ones?",
		Sets:     "none",
		run:      speed,
	},
}

// Find returns the experiment of that name. The error lists the names.
func Find(name string) (Experiment, error) {
	var names []string
	for _, e := range Experiments {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Experiment{}, words.Check("experiment", name, append(names, "all"))
}
