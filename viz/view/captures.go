package view

import (
	"context"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// capturesAnswer describes the captures and methods that the page can show.
type capturesAnswer struct {
	Captures []captureInfo `json:"captures"`
	Methods  []methodInfo  `json:"methods"`
	Viridis  [256][3]uint8 `json:"viridis"` // red, green, blue of the color map
	// MinSignificant is the number of significant positions below which the page does
	// not rank a hit rate, unless the address names another.
	MinSignificant int `json:"min_significant"`
}

type captureInfo struct {
	Name     string          `json:"name"`
	Complete bool            `json:"complete"`
	Bytes    int64           `json:"bytes"`
	Manifest string          `json:"manifest"` // sha256 of the header
	Model    dumps.ModelInfo `json:"model"`
	Sizes    []string        `json:"sizes"` // of the layers, in words
	Plan     dumps.Plan      `json:"plan"`
	Bound    string          `json:"bound"` // the error that the precision allows
	Warnings []string        `json:"warnings"`
	Prompts  []promptInfo    `json:"prompts"`
	// Windows are promptInfo.Windows for all prompts that have a reply, together.
	Windows []int `json:"windows"`
}

type promptInfo struct {
	ID           string      `json:"id"`
	Dataset      string      `json:"dataset,omitempty"`
	SHA256       string      `json:"sha256"` // of the tokens: maps of equal prompts can be subtracted
	PromptTokens int         `json:"prompt_tokens"`
	ReplyTokens  int         `json:"reply_tokens"`
	WindowRows   int         `json:"window_rows"`
	Store        dumps.Store `json:"store"`
	Followed     bool        `json:"followed"`
	// Windows lists the windows whose hit rates need no further reading once a layer
	// has been read; null means all.
	Windows []int `json:"windows"`
}

type methodInfo struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	Keys   bool   `json:"keys"` // needs keys or queries: a capture with factors
	Values bool   `json:"values"`
	Common bool   `json:"common"` // compared in the tab of methods
	Layers bool   `json:"layers"` // budgets depend on all layers, so the first answer takes long
}

func (s *Server) listCaptures(context.Context, struct{}) (capturesAnswer, error) {
	out := capturesAnswer{Viridis: viz.Viridis(), MinSignificant: analysis.MinSignificant}
	for i := range s.captures {
		out.Captures = append(out.Captures, s.captureInfo(i))
	}
	for _, m := range snapkv.Methods {
		out.Methods = append(out.Methods, methodInfo{
			Name:   m.Name,
			Source: m.Source,
			Keys:   m.Needs.Keys || m.Needs.Queries,
			Values: m.Needs.Values,
			Common: m.Common,
			Layers: m.LayerStat != nil,
		})
	}
	return out, nil
}

func (s *Server) captureInfo(index int) captureInfo {
	c := s.captures[index]
	h := c.Header()
	info := captureInfo{
		Name:     c.name,
		Complete: c.Complete(),
		Bytes:    c.Size(),
		Manifest: h.SHA256(),
		Model:    h.Model,
		Sizes:    h.Model.Sizes(),
		Plan:     h.Plan,
		Bound:    h.Plan.Precision.Bound(),
		Warnings: append([]string{}, c.Warnings()...),
	}
	var withReply []int
	for i, p := range c.Prompts() {
		if p.ReplyTokens > 0 {
			withReply = append(withReply, i)
		}
		info.Prompts = append(info.Prompts, promptInfo{
			ID:           p.ID,
			Dataset:      p.Dataset,
			SHA256:       p.SHA256,
			PromptTokens: p.PromptTokens,
			ReplyTokens:  p.ReplyTokens,
			WindowRows:   p.WindowRows,
			Store:        p.Store,
			Followed:     p.Followed,
			Windows:      s.readyWindows(index, []int{i}),
		})
	}
	info.Windows = s.readyWindows(index, withReply)
	return info
}
