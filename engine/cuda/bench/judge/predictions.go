package judge

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// predictions.tsv was written before any card had been measured. A rate is stated as a
// part of what the card could do, so that it can be judged on any card.
//
//go:embed predictions.tsv
var predictionsTSV string

// Prediction is an interval in which a measure was expected.
type Prediction struct {
	Measure Measure  `json:"measure"`
	Shape   string   `json:"shape,omitempty"`
	Tokens  int      `json:"tokens,omitempty"`
	Cards   []string `json:"-"` // compute capabilities, such as 9.0; empty: all
	Low     float64  `json:"low"`
	High    float64  `json:"high"`
	Of      Of       `json:"of,omitempty"`
	Basis   string   `json:"basis"` // from what it was computed
}

// Of says in which unit an interval is stated.
type Of string

// Units of an interval.
const (
	OfNothing   Of = "" // the unit of the measure
	OfPeak      Of = "peak"
	OfBandwidth Of = "bandwidth"
)

// unit returns the value of 1 in the unit of the measure, on a card.
func (o Of) unit(c *Card) float64 {
	switch o {
	case OfPeak:
		return c.Peak()
	case OfBandwidth:
		return c.Bandwidth()
	}
	return 1
}

// predictionColumns are the columns of predictions.tsv.
const predictionColumns = "measure\tshape\ttokens\tcards\tlow\thigh\tof\tbasis"

// Predictions reads predictions.tsv.
func Predictions() ([]Prediction, error) { return parsePredictions(predictionsTSV) }

func parsePredictions(text string) ([]Prediction, error) {
	var list []Prediction
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != predictionColumns {
		return nil, fmt.Errorf("predictions.tsv, line 1: the columns are %q, want %q", lines[0], predictionColumns)
	}
	for i, line := range lines[1:] {
		p, err := parsePrediction(strings.Split(line, "\t"))
		if err != nil {
			return nil, fmt.Errorf("predictions.tsv, line %d: %w", i+2, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func parsePrediction(cells []string) (p Prediction, err error) {
	if len(cells) != 8 {
		return p, fmt.Errorf("%d cells, want 8", len(cells))
	}
	p.Measure = Measure(cells[0])
	p.Shape = cells[1]
	p.Cards = strings.Fields(cells[3])
	p.Of = Of(cells[6])
	p.Basis = cells[7]
	if p.Measure.Unit() == "" {
		return p, fmt.Errorf("there is no measure %q", p.Measure)
	}
	if cells[2] != "" {
		if p.Tokens, err = strconv.Atoi(cells[2]); err != nil {
			return p, fmt.Errorf("tokens: %w", err)
		}
	}
	for _, x := range []struct {
		to   *float64
		cell string
	}{{&p.Low, cells[4]}, {&p.High, cells[5]}} {
		if *x.to, err = strconv.ParseFloat(x.cell, 64); err != nil {
			return p, err
		}
	}
	switch {
	case p.Low >= p.High:
		return p, fmt.Errorf("the interval from %g to %g is empty", p.Low, p.High)
	case !slices.Contains([]Of{OfNothing, OfPeak, OfBandwidth}, p.Of):
		return p, fmt.Errorf("of %q, want peak, bandwidth or nothing", p.Of)
	case p.Basis == "":
		return p, fmt.Errorf("the basis is missing")
	}
	return p, nil
}

// covers reports whether a prediction is about a card.
func (p *Prediction) covers(c *Card) bool {
	return len(p.Cards) == 0 || slices.Contains(p.Cards, fmt.Sprintf("%d.%d", c.Capability[0], c.Capability[1]))
}

// Comparison is a prediction in the unit of its measure beside what was measured.
type Comparison struct {
	Prediction
	Unit     string   `json:"unit"`
	Measured *float64 `json:"measured,omitempty"`
	Word     string   `json:"word"` // as predicted, better, worse, not measured
}

// Compare lists the predictions about the card, in the order of the file, beside what was
// measured.
func (f *Findings) Compare(list []Prediction) []Comparison {
	var out []Comparison
	for _, p := range list {
		if !p.covers(&f.Card) {
			continue
		}
		one := p.Of.unit(&f.Card)
		p.Low *= one
		p.High *= one
		c := Comparison{Prediction: p, Unit: p.Measure.Unit(), Word: "not measured"}
		if v, ok := f.value(p.Measure, p.Shape, p.Tokens); ok && one > 0 && !f.Card.Emulated() {
			c.Measured = &v
			switch {
			case v >= p.Low && v <= p.High:
				c.Word = "as predicted"
			case (v < p.Low) == p.Measure.lessIsBetter():
				c.Word = "better"
			default:
				c.Word = "worse"
			}
		}
		out = append(out, c)
	}
	return out
}
