package view

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strconv"

	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// routes lists the API. All answers are JSON, but for tiles: little-endian
// float32 cells, row by row. Parameters: c capture, p prompt (indices), layer and
// head (true ids; head -1 is the mean over heads), row (first the recorded prompt
// rows, then those of the reply), key (position).
func (s *Server) routes(mux *http.ServeMux) {
	for path, f := range map[string]func(*http.Request) (any, error){
		"/api/captures": s.apiCaptures,
		"/api/tokens":   s.apiTokens,
		"/api/map":      s.apiMap,
		"/api/row":      s.apiRow,
		"/api/column":   s.apiColumn,
		"/api/vote":     s.apiVote,
		"/api/kept":     s.apiKept,
		"/api/methods":  s.apiMethods,
		"/api/overview": s.apiOverview,
		"/api/stats":    s.apiStats,
		"/api/sweep":    s.apiSweep,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			if err != nil {
				writeError(w, err)
				return
			}
			writeJSON(w, http.StatusOK, v)
		})
	}
	mux.HandleFunc("/api/tile", s.tile)
}

func writeError(w http.ResponseWriter, err error) {
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error":"an answer that is no JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(text)
}

// number is a float64 that is null in JSON where it is undefined.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

type captureInfo struct {
	Name     string          `json:"name"`
	Complete bool            `json:"complete"`
	Bytes    int64           `json:"bytes"`
	Manifest string          `json:"manifest"` // sha256 of the header
	Model    dumps.ModelInfo `json:"model"`
	Plan     dumps.Plan      `json:"plan"`
	Bound    string          `json:"bound"` // what the precision promises
	Warnings []string        `json:"warnings"`
	Prompts  []promptInfo    `json:"prompts"`
	// Windows is what a prompt's are, for all prompts that have a reply together.
	Windows []int `json:"windows"`
}

type promptInfo struct {
	ID           string      `json:"id"`
	Dataset      string      `json:"dataset,omitempty"`
	SHA256       string      `json:"sha256"` // of the tokens: equal prompts can be subtracted
	PromptTokens int         `json:"prompt_tokens"`
	ReplyTokens  int         `json:"reply_tokens"`
	WindowRows   int         `json:"window_rows"`
	Store        dumps.Store `json:"store"`
	Followed     bool        `json:"followed"`
	// Windows are those whose hit rates are at hand once a layer was read; null: all.
	Windows []int `json:"windows"`
}

type methodInfo struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	Keys   bool   `json:"keys"` // needs keys or queries: a capture with factors
	Values bool   `json:"values"`
	Layers bool   `json:"layers"` // a layer's budget depends on all layers: the first answer takes long
}

func (s *Server) apiCaptures(*http.Request) (any, error) {
	var out struct {
		Captures []captureInfo `json:"captures"`
		Methods  []methodInfo  `json:"methods"`
		Viridis  [256][3]uint8 `json:"viridis"`
	}
	out.Viridis = viz.Viridis()
	for i, c := range s.captures {
		h := c.Header()
		info := captureInfo{
			Name: c.name, Complete: c.Complete(), Bytes: c.Size(), Manifest: h.SHA256(), Model: h.Model, Plan: h.Plan,
			Bound: h.Plan.Precision.Bound(), Warnings: append([]string{}, c.Warnings()...),
		}
		var replied []int
		for j, p := range c.Prompts() {
			if p.ReplyTokens > 0 {
				replied = append(replied, j)
			}
			windows := s.readyWindows(i, []int{j})
			info.Prompts = append(info.Prompts, promptInfo{p.ID, p.Dataset, p.SHA256, p.PromptTokens, p.ReplyTokens, p.WindowRows, p.Store, p.Followed, windows})
		}
		info.Windows = s.readyWindows(i, replied)
		out.Captures = append(out.Captures, info)
	}
	for _, m := range snapkv.Methods {
		out.Methods = append(out.Methods, methodInfo{m.Name, m.Source, m.Needs.Keys || m.Needs.Queries, m.Needs.Values, m.LayerStat != nil})
	}
	return out, nil
}

// layerHead reads place and head, and gives the layer and the index of the head.
func (s *Server) layerHead(p *params) (at place, src *digest.LayerRows, head int, err error) {
	at, _ = s.place(p)
	id := p.int("head", digest.AllHeads, digest.AllHeads, math.MaxInt32)
	if p.err != nil {
		return at, nil, 0, p.err
	}
	if src, err = s.layer(at); err != nil {
		return at, nil, 0, err
	}
	head, err = src.HeadIndex(id)
	return at, src, head, err
}

// head reads place and head and gives the pyramid.
func (s *Server) head(r *http.Request, p *params) (*pyramid, error) {
	at, _, head, err := s.layerHead(p)
	if err != nil {
		return nil, err
	}
	return s.pyramid(r.Context(), at, head)
}

type mapInfo struct {
	Rows       int   `json:"rows"`
	Keys       int   `json:"keys"`
	PromptRows int   `json:"prompt_rows"`
	First      int   `json:"first"`  // position of row 0
	Prompt     int   `json:"prompt"` // tokens of the prompt
	Factor     int   `json:"factor"` // keys a cell covers: factor^level
	TileKeys   int   `json:"tile_keys"`
	TileRows   int   `json:"tile_rows"`
	Levels     []int `json:"levels"` // cells of a row at each level
	// Top is the largest weight behind the first positions, which soak up
	// attention in most heads; SinkTop the largest among them.
	Top     float32 `json:"top"`
	SinkTop float32 `json:"sink_top"`
	Sinks   int     `json:"sinks"`
}

func (s *Server) apiMap(r *http.Request) (any, error) {
	m, err := s.head(r, query(r))
	if err != nil {
		return nil, err
	}
	src := m.src
	info := mapInfo{
		Rows: src.Rows, Keys: src.Keys, PromptRows: src.Prompt.WindowRows, First: src.First, Prompt: src.Prompt.PromptTokens,
		Factor: factor, TileKeys: tileKeys, TileRows: tileRows, Top: m.top, Sinks: min(digest.SinkKeys, src.Keys),
	}
	for _, v := range m.keyTop[:info.Sinks] {
		info.SinkTop = max(info.SinkTop, v)
	}
	for _, l := range m.levels {
		info.Levels = append(info.Levels, l.cells)
	}
	return info, nil
}

// tile serves cells: level, down (rows pooled by 1<<down), x, y, pool=max|mean.
func (s *Server) tile(w http.ResponseWriter, r *http.Request) {
	p := query(r)
	level, down := p.int("level", 0, 0, 20), p.int("down", 0, 0, 20)
	x, y := p.int("x", 0, 0, math.MaxInt32), p.int("y", 0, 0, math.MaxInt32)
	mean := p.choice("pool", "max", "mean") == "mean"
	m, err := s.head(r, p)
	var cells []float32
	if err == nil {
		cells, _, _, err = m.tile(r.Context(), level, down, x, y, mean)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	out := make([]byte, 4*len(cells))
	for i, v := range cells {
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(out)
}

// apiRow gives one row at full resolution: what a token attends to.
func (s *Server) apiRow(r *http.Request) (any, error) {
	p := query(r)
	m, err := s.head(r, p)
	if err != nil {
		return nil, err
	}
	row := p.int("row", 0, 0, m.src.Rows-1)
	if p.err != nil {
		return nil, p.err
	}
	w, err := m.weights(r.Context(), row, 1)
	if err != nil {
		return nil, err
	}
	pos := m.src.First + row
	return map[string]any{"row": row, "position": pos, "weights": w[:pos+1]}, nil
}

// apiColumn gives what every row pays to one key: who reads a token.
func (s *Server) apiColumn(r *http.Request) (any, error) {
	p := query(r)
	m, err := s.head(r, p)
	if err != nil {
		return nil, err
	}
	key := p.int("key", 0, 0, m.src.Keys-1)
	if p.err != nil {
		return nil, p.err
	}
	out := make([]float32, m.src.Rows)
	for row := 0; row < m.src.Rows; row += tileRows {
		n := min(tileRows, m.src.Rows-row)
		w, err := m.weights(r.Context(), row, n)
		if err != nil {
			return nil, err
		}
		for i := range n {
			out[row+i] = w[i*m.src.Keys+key]
		}
	}
	return map[string]any{"key": key, "weights": out}, nil
}

// apiVote gives the window's vote on every prefix position, pooled by kernel.
func (s *Server) apiVote(r *http.Request) (any, error) {
	p := query(r)
	m, err := s.head(r, p)
	if err != nil {
		return nil, err
	}
	_, cfg := p.selection(m.src.Prompt)
	if p.err != nil {
		return nil, p.err
	}
	w, err := m.weights(r.Context(), m.src.Prompt.WindowRows-cfg.Window, cfg.Window)
	if err != nil {
		return nil, err
	}
	vote := snapkv.Vote(w, cfg.Window, m.src.Keys, cfg.Window, m.src.Prompt.PromptTokens-cfg.Window)
	if vote, err = snapkv.Pool(vote, cfg.Kernel, cfg.Pooling); err != nil {
		return nil, err
	}
	return map[string]any{"window": cfg.Window, "vote": vote}, nil
}

// apiOverview gives the pooled picture of a layer's whole map over the prompt,
// where one was recorded: [side, side] of query by key, the largest weight of each
// cell; head -1: the largest over heads.
func (s *Server) apiOverview(r *http.Request) (any, error) {
	at, src, head, err := s.layerHead(query(r))
	if err != nil {
		return nil, err
	}
	cells, side, err := s.captures[at.capture].Overview(at.prompt, at.layer)
	if err != nil {
		return nil, err
	}
	size := side * side
	one := cells[max(0, head)*size:][:size]
	for h := 1; h < len(src.Heads) && head == digest.AllHeads; h++ {
		for i, v := range cells[h*size : (h+1)*size] {
			one[i] = max(one[i], v)
		}
	}
	return map[string]any{"side": side, "tokens": src.Prompt.PromptTokens, "cells": one}, nil
}
