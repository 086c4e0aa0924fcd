package analysis

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Loss names a way to state how much a compressed cache damages a reply, compared
// with the full cache.
type Loss string

const (
	// LossKL is the mean KL divergence from the full cache, in nats per reply token.
	LossKL Loss = "kl"
	// LossPerplexity is the relative increase of the perplexity of the reply: 0.05 is
	// an increase of 5 %.
	LossPerplexity Loss = "perplexity"
	// LossAgreement is the share of reply tokens for which the most probable token is
	// another one than with the full cache: 1 - agreement.
	LossAgreement Loss = "agreement"
)

// losses lists the ways to state a loss.
var losses = []Loss{LossKL, LossPerplexity, LossAgreement}

// known reports whether l is one of the constants.
func (l Loss) known() bool { return slices.Contains(losses, l) }

// Text writes a loss for readers.
func (l Loss) Text(v float64) string {
	switch l {
	case LossPerplexity:
		return fmt.Sprintf("perplexity %+.2g %%", 100*v)
	case LossAgreement:
		return fmt.Sprintf("agreement %.3g", 1-v)
	}
	return fmt.Sprintf("%.2g nats per token", v)
}

// flag returns the flag that allows a loss, rounded up to two digits, or an empty string if
// none does.
func (l Loss) flag(v float64) string {
	switch {
	case l == LossPerplexity:
		return "--loss " + roundUp(100*v) + "%"
	case l == LossAgreement:
		share := math.Floor(100*(1-v)) / 100
		if !(share > 0) {
			return ""
		}
		return fmt.Sprintf("--agreement %g", share)
	case v > largestKL:
		return ""
	}
	return "--loss " + roundUp(v)
}

// roundUp writes a number above 0 that is at least v and has two significant digits.
func roundUp(v float64) string {
	place := int(math.Floor(math.Log10(v))) - 1
	unit := math.Pow10(place)
	return strconv.FormatFloat(math.Ceil(v/unit*(1-1e-12))*unit, 'f', max(0, -place), 64)
}

// words names a loss with its unit.
func (l Loss) words() string {
	switch l {
	case LossPerplexity:
		return "relative increase of the reply's perplexity (0.05 is 5 %)"
	case LossAgreement:
		return "share of reply tokens that differ (1 - agreement)"
	}
	return "KL divergence from the full cache, in nats per reply token"
}

// of returns the loss of one result of decoding, given the perplexity of the full
// cache on the same reply. It is NaN if it is not defined.
func (l Loss) of(r *Real, full float64) float64 {
	switch l {
	case LossPerplexity:
		return float64(r.PPL)/full - 1
	case LossAgreement:
		return 1 - float64(r.Agreement)
	}
	return float64(r.KL)
}

// least is the smallest loss that is distinguished from none: smaller ones are raised to it
// before logarithms are taken.
func (l Loss) least() float64 {
	switch l {
	case LossPerplexity, LossAgreement:
		return 1e-3
	}
	return 1e-5
}

// Bound is the largest acceptable loss.
type Bound struct {
	Loss  Loss
	Value float64 // above 0
}

// String writes the bound for readers.
func (b Bound) String() string { return b.Loss.Text(b.Value) }

// largestKL is the largest bound in nats per reply token that is not taken for a
// forgotten percent sign.
const largestKL = 2

// ParseLoss reads a bound as --loss takes it: "0.05" is in nats per reply token, "5%"
// an increase of the perplexity.
func ParseLoss(text string) (Bound, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	number = strings.TrimSpace(number)
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0) || math.IsInf(v, 0) {
		return Bound{}, fmt.Errorf(
			"loss %q: want a number above 0, such as 0.05 (nats per token) or 5%% (increase of the perplexity)", text)
	}
	if percent {
		return Bound{LossPerplexity, v / 100}, nil
	}
	if v > largestKL {
		return Bound{}, fmt.Errorf("loss %q: %s nats per token, want at most %d, which makes the perplexity about 7 times as high: "+
			"did you mean %s%% (increase of the perplexity)?", text, number, largestKL, number)
	}
	return Bound{LossKL, v}, nil
}

// ParseAgreement reads a bound as --agreement takes it, the smallest acceptable share
// of reply tokens that stay the same.
func ParseAgreement(share float64) (Bound, error) {
	if !(share > 0 && share < 1) {
		return Bound{}, fmt.Errorf("agreement %g: want a share of the reply's tokens above 0 and below 1, such as 0.95", share)
	}
	return Bound{LossAgreement, 1 - share}, nil
}
