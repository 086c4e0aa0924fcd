package analysis

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// Recommendation says in a few sentences which method and capacity to use, what it
// saves, and on what evidence. By layer or head it is empty.
func (a *Advice) Recommendation() string {
	if a.Config.By != "" || len(a.Rows) == 0 {
		return ""
	}
	bound := fmt.Sprintf("%s for at least %.3g %% of prompts", a.atMost(), 100*(1-a.Config.Risk))
	i := slices.IndexFunc(a.Rows, dropsSomething)
	if i < 0 {
		text := fmt.Sprintf("Keep everything: at the capacities that were tried, no method that drops anything is predicted "+
			"to achieve %s.", bound)
		return strings.Join(slices.Concat([]string{text}, a.NearMiss(), a.waysOut(), a.fewPrompts()), " ")
	}
	row := &a.Rows[i]
	ratio := row.Bytes / row.FullBytes
	if ratio >= 1 {
		text := fmt.Sprintf("No method achieves %s with a cache smaller than the full cache. The smallest, %s, takes %s, "+
			"%.2f times the full cache.", bound, a.describe(row), sizes.Text(int64(row.Bytes)), ratio)
		if row.Group == snapkv.GroupHead {
			text += " Selecting by kv head may save memory: --group mean."
		}
		return text
	}
	allowed := ""
	if row.Share < row.allowed-0.01 { // cake, for example, leaves a part of some budgets unused
		allowed = fmt.Sprintf(" (the capacity allows %.3g %%)", 100*row.allowed)
	}
	text := fmt.Sprintf("Recommended: %s. It keeps %.3g %% of the prompts' positions%s and takes %s, "+
		"%.3g %% of the full cache (%s). Expected loss: %s; %.3g %% of prompts lose more than %s. Evidence: %s.",
		a.describe(row), 100*row.Share, allowed, sizes.Text(int64(row.Bytes)), 100*ratio, sizes.Text(int64(row.FullBytes)),
		strings.Join(a.expected(row), ", "), 100*a.Config.Risk, a.Config.Bound.Loss.Text(row.High), a.evidence(row))
	return strings.Join(slices.Concat([]string{text}, a.ties(i), a.longPrompts(row), a.fewPrompts()), " ")
}

// ties names, in a list of at most one sentence, the methods whose caches have the size of
// the cache in row i, and the same predicted loss.
func (a *Advice) ties(i int) []string {
	row := &a.Rows[i]
	text := func(r *AdviceRow) string { return fmt.Sprintf("%.3g of %.3g", r.Predicted, r.Bytes/r.FullBytes) }
	var names []string
	for j := range a.Rows {
		if r := &a.Rows[j]; j != i && dropsSomething(*r) && text(r) == text(row) {
			names = append(names, fmt.Sprintf("%s with capacity %d", r.Method, r.Capacity))
		}
	}
	if names == nil {
		return nil
	}
	return []string{fmt.Sprintf("%s %s the same size and, to three digits, the same expected loss.",
		strings.Join(names, ", "), words.Plural(len(names), "has", "have"))}
}

// longPrompts says, in a list of at most two sentences, what the prompts lose that are
// longer than the capacity, if some are not.
func (a *Advice) longPrompts(row *AdviceRow) []string {
	long := len(row.measures)
	if long == 0 || row.spared() == 0 {
		return nil
	}
	p := a.Calibration.predict(row.measures, long, a.Config.Risk)
	list := []string{fmt.Sprintf("%s: prompts that short lose nothing, and count as such. Expected loss of the longer %s alone: %s; "+
		"%.3g %% of such prompts lose more than %s.",
		sparedText(row.spared(), row.prompts, "this capacity"), words.Plural(long, "prompt", "prompts"),
		a.Config.Bound.Loss.Text(p.mean), 100*a.Config.Risk, a.Config.Bound.Loss.Text(p.high))}
	if max(p.mean, p.high) > a.Config.Bound.Value {
		list = append(list, "To keep the bound for long prompts, record a dump of long prompts only.")
	}
	return list
}

// waysOut says what else can be done about a bound that nothing keeps.
func (a *Advice) waysOut() []string {
	calibrate := "a calibration on your own model and prompts, with larger capacities, can allow a smaller cache (docs/ADVICE.md)."
	if a.Closest == nil {
		return []string{"Try smaller capacities with --capacity; " + calibrate}
	}
	return []string{"Decoding from it shows what is really lost, and " + calibrate}
}

// Tried returns the row that is worth decoding: the smallest cache that keeps the bound and
// drops something or, if there is none, the one that comes closest; nil: there is neither.
func (a *Advice) Tried() *AdviceRow {
	if i := slices.IndexFunc(a.Rows, dropsSomething); i >= 0 {
		return &a.Rows[i]
	}
	return a.Closest
}

// NearMiss describes what comes closest to a bound that nothing keeps, and which bounds
// would accept it, if there is any.
func (a *Advice) NearMiss() []string {
	row := a.Closest
	if row == nil {
		return nil
	}
	list := []string{fmt.Sprintf("The closest is %s, with %.3g %% of the full cache. "+
		"Expected loss: %s; %.3g %% of prompts lose more than %s.",
		a.describe(row), 100*row.Bytes/row.FullBytes, strings.Join(a.expected(row), ", "), 100*a.Config.Risk,
		a.Config.Bound.Loss.Text(row.High))}
	if flags := a.accepting(row); len(flags) > 0 {
		list = append(list, "It is accepted with "+words.Or(flags)+".")
	}
	return append(list, a.longPrompts(row)...)
}

// accepting returns the flags with which a row that misses the bound keeps it: a larger
// loss and, if the mean is within the bound, a larger share of prompts that lose more.
func (a *Advice) accepting(row *AdviceRow) []string {
	var flags []string
	if flag := a.Config.Bound.Loss.flag(max(row.High, row.Predicted)); flag != "" {
		flags = append(flags, flag)
	}
	for percent := math.Floor(100*a.Config.Risk) + 1; percent < 50; percent++ {
		p := a.Calibration.predict(row.measures, row.prompts, percent/100)
		if max(p.high, p.mean) <= a.Config.Bound.Value {
			return append(flags, fmt.Sprintf("--risk %g", percent/100))
		}
	}
	return flags
}

// atMost writes the bound as a condition.
func (a *Advice) atMost() string {
	b := a.Config.Bound
	switch b.Loss {
	case LossAgreement:
		return fmt.Sprintf("agreement of at least %.3g", 1-b.Value)
	case LossPerplexity:
		return fmt.Sprintf("an increase of the perplexity of at most %.2g %%", 100*b.Value)
	}
	return fmt.Sprintf("a loss of at most %s", b)
}

// describe names a method with its settings.
func (a *Advice) describe(row *AdviceRow) string {
	by := "by query head"
	switch {
	case a.latent:
		by = "for all heads of a layer together"
	case row.Group.Merges():
		by = fmt.Sprintf("by kv head (--group %s)", row.Group)
	}
	return fmt.Sprintf("%s with capacity %d, selecting %s, window %d, kernel %d, %s",
		row.Method, row.Capacity, by, a.settings.Window, a.settings.Kernel, a.settings.Pooling)
}

// expected writes the mean loss in every way that a calibration with the same measure
// knows, the way of the bound first.
func (a *Advice) expected(row *AdviceRow) []string {
	list := []string{a.Config.Bound.Loss.Text(row.Predicted)}
	for i := range a.Config.Calibrations {
		c := &a.Config.Calibrations[i]
		if c.Measure == a.Calibration.Measure && c.Loss != a.Calibration.Loss && c.Model == a.Calibration.Model {
			p := c.predict(row.measures, row.prompts, a.Config.Risk)
			list = append(list, c.Loss.Text(p.mean))
		}
	}
	return list
}
