package analysis

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/internal/sizes"
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
		text := fmt.Sprintf("At the capacities that were tried, no method that drops anything achieves %s: "+
			"keep everything, accept a larger loss or --risk, or calibrate with larger capacities (docs/ADVICE.md).", bound)
		return strings.Join(slices.Concat([]string{text}, a.NearMiss(), a.fewPrompts()), " ")
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

// NearMiss describes what comes closest to a bound that nothing keeps, in a sentence, if
// there is any.
func (a *Advice) NearMiss() []string {
	row := a.Closest
	if row == nil {
		return nil
	}
	return []string{fmt.Sprintf("The closest is %s, with %.3g %% of the full cache. Expected loss: %s; %.3g %% of prompts lose more than %s.",
		a.describe(row), 100*row.Bytes/row.FullBytes, strings.Join(a.expected(row), ", "), 100*a.Config.Risk,
		a.Config.Bound.Loss.Text(row.High))}
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
