package capture

import (
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// Store chooses the form of a prompt's attention, dumps.StoreRows or
// dumps.StoreFactors: the form of the plan, or the smaller of the two where the plan
// says auto.
func Store(plan *dumps.Plan, cfg model.Config, prompt, reply int) dumps.Store {
	if plan.Store != dumps.StoreAuto && plan.Store != "" {
		return plan.Store
	}
	rows, factors := StoreBytes(plan, cfg, prompt, reply)
	if factors < rows {
		return dumps.StoreFactors
	}
	return dumps.StoreRows
}

// StoreBytes estimates the bytes a prompt takes in each of the two forms.
func StoreBytes(plan *dumps.Plan, cfg model.Config, prompt, reply int) (rows, factors int64) {
	layers, heads := float64(len(plan.Layers)), float64(len(plan.Heads))
	recorded := float64(min(plan.WindowRows, prompt) + reply)
	keys := float64(prompt + reply)
	rows = int64(layers * heads * recorded * keys * plan.Precision.BitsPerWeight() / 8)
	states := recorded*float64(cfg.Heads*cfg.HeadDim) + keys*float64(cfg.KVHeads*cfg.HeadDim)
	factors = int64(layers * states * plan.Precision.BitsPerState() / 8)
	if plan.Values {
		v := int64(layers * keys * float64(cfg.KVHeads*cfg.HeadDim) * plan.Precision.BitsPerState() / 8)
		rows, factors = rows+v, factors+v
	}
	return rows, factors
}
