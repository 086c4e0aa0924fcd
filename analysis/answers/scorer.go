// Package answers scores replies against reference answers exactly as the published code of
// LongBench and RULER does:
//
//	score := answers.QAF1.Score("Paris, of course", []string{"Paris"}, nil)
//
// A score is in [0, 1]; the benchmarks print means over prompts, times 100.
package answers

import "github.com/attnscope/attnscope/internal/words"

// Scorer is one of the scores of the benchmarks.
type Scorer string

const (
	QAF1           Scorer = "qa_f1"          // LongBench: F1 of the bags of words
	Rouge          Scorer = "rouge_l"        // LongBench: ROUGE-L of the package rouge
	Classification Scorer = "classification" // LongBench: the name of the class
	Retrieval      Scorer = "retrieval"      // LongBench: the number after "Paragraph"
	RetrievalZH    Scorer = "retrieval_zh"   // LongBench: the number after "段落"
	Count          Scorer = "count"          // LongBench: a number
	CodeSim        Scorer = "code_sim"       // LongBench: similarity of the first line of code
	MatchAll       Scorer = "match_all"      // RULER: share of the references that the reply contains
	MatchPart      Scorer = "match_part"     // RULER: whether the reply contains a reference
)

// Scorers lists all scorers.
var Scorers = []Scorer{QAF1, Rouge, Classification, Retrieval, RetrievalZH, Count, CodeSim, MatchAll, MatchPart}

// Check returns an error if there is no such scorer.
func (s Scorer) Check() error { return words.Check("scorer", s, Scorers) }

// Score returns the score of a reply, in [0, 1]. The scores of LongBench are those of the
// best reference. classes are the names of all classes, for Classification. Without
// references the score is 0.
func (s Scorer) Score(reply string, references, classes []string) float64 {
	switch s {
	case MatchAll:
		return matchAll(reply, references)
	case MatchPart:
		return matchPart(reply, references)
	}
	best := 0.0
	for _, reference := range references {
		best = max(best, s.one(reply, reference, classes))
	}
	return best
}

// one scores a reply against one reference.
func (s Scorer) one(reply, reference string, classes []string) float64 {
	switch s {
	case QAF1:
		return qaF1(reply, reference)
	case Rouge:
		return rougeL(reply, reference)
	case Classification:
		return classification(reply, reference, classes)
	case Retrieval:
		return retrieval(reply, reference, "Paragraph ")
	case RetrievalZH:
		return retrieval(reply, reference, "段落")
	case Count:
		return count(reply, reference)
	case CodeSim:
		return codeSimilarity(reply, reference)
	}
	panic("answers: unknown scorer " + string(s))
}
