package capture

import (
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// Bits a weight and bits a state take in a dump, measured on SmolLM2-135M, by
// precision: see dumps/FORMAT.md.
var (
	rowBits    = map[string]float64{"exact": 28, "fine": 6.3, "coarse": 5}
	factorBits = map[string]float64{"exact": 30, "fine": 21, "coarse": 14}
)

// Store chooses the form of a prompt's attention, "rows" or "factors": the
// plan's, or the smaller of the two where the plan says auto.
func Store(plan *dumps.Plan, cfg model.Config, prompt, reply int) string {
	if plan.Store != "auto" && plan.Store != "" {
		return plan.Store
	}
	rows, factors := StoreBytes(plan, cfg, prompt, reply)
	if factors < rows {
		return "factors"
	}
	return "rows"
}

// StoreBytes estimates the bytes a prompt takes in each of the two forms.
func StoreBytes(plan *dumps.Plan, cfg model.Config, prompt, reply int) (rows, factors int64) {
	layers, heads := float64(len(plan.Layers)), float64(len(plan.Heads))
	recorded := float64(min(plan.WindowRows, prompt) + reply)
	keys := float64(prompt + reply)
	rows = int64(layers * heads * recorded * keys * rowBits[plan.Precision] / 8)
	states := recorded*float64(cfg.Heads*cfg.HeadDim) + keys*float64(cfg.KVHeads*cfg.HeadDim)
	factors = int64(layers * states * factorBits[plan.Precision] / 8)
	if plan.Values {
		v := int64(layers * keys * float64(cfg.KVHeads*cfg.HeadDim) * factorBits[plan.Precision] / 8)
		rows, factors = rows+v, factors+v
	}
	return rows, factors
}
