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
	return strings.Join(append([]string{text}, a.fewPrompts()...), " ")
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
	return list
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
