package view

import (
	"context"
	"math"

	"github.com/attnscope/attnscope/analysis/digest"
)

// mapAnswer describes the map of a head: its recorded rows by all keys.
type mapAnswer struct {
	Rows       int   `json:"rows"`
	Keys       int   `json:"keys"`
	PromptRows int   `json:"prompt_rows"`
	First      int   `json:"first"`  // position of row 0
	Prompt     int   `json:"prompt"` // tokens of the prompt
	Factor     int   `json:"factor"` // at level l a cell covers factor^l keys
	TileKeys   int   `json:"tile_keys"`
	TileRows   int   `json:"tile_rows"`
	Levels     []int `json:"levels"` // cells per row at each level
	// Top is the largest weight behind the first positions, which draw weight in most
	// heads, and SinkTop the largest on them. Sinks is their number.
	Top     float32 `json:"top"`
	SinkTop float32 `json:"sink_top"`
	Sinks   int     `json:"sinks"`
	// Learned has the share of the learned sink in each row; it is missing if there is
	// none.
	Learned []float32 `json:"learned,omitempty"`
}

func (s *Server) headMap(ctx context.Context, q headQuery) (mapAnswer, error) {
	m, err := s.pyramid(ctx, q)
	if err != nil {
		return mapAnswer{}, err
	}
	out := mapAnswer{
		Rows:       m.layer.Rows,
		Keys:       m.layer.Keys,
		PromptRows: m.layer.Prompt.WindowRows,
		First:      m.layer.First,
		Prompt:     m.layer.Prompt.PromptTokens,
		Factor:     factor,
		TileKeys:   tileKeys,
		TileRows:   tileRows,
		Top:        m.top,
		Sinks:      min(digest.SinkKeys, m.layer.Keys),
	}
	for _, v := range m.keyTop[:out.Sinks] {
		out.SinkTop = max(out.SinkTop, v)
	}
	for _, l := range m.levels {
		out.Levels = append(out.Levels, l.cells)
	}
	out.Learned, err = m.layer.Sinks(m.head)
	return out, err
}

// tileQuery names a tile of the map of a head.
type tileQuery struct {
	headQuery
	tileID
}

// readTile reads level, down, x, y, and pool: max or mean.
func (s *Server) readTile(p *params) tileQuery {
	return tileQuery{
		tileID: tileID{
			level: p.int("level", 0, 0, 20),
			down:  p.int("down", 0, 0, 20),
			x:     p.int("x", 0, 0, math.MaxInt32),
			y:     p.int("y", 0, 0, math.MaxInt32),
			mean:  p.choice("pool", "max", "mean") == "mean",
		},
		headQuery: s.readHead(p),
	}
}

// tile returns the cells of a tile, row by row.
func (s *Server) tile(ctx context.Context, q tileQuery) ([]float32, error) {
	m, err := s.pyramid(ctx, q.headQuery)
	if err != nil {
		return nil, err
	}
	t, err := m.tile(ctx, q.tileID)
	return t.cells, err
}

// rowQuery names a row of the map of a head.
type rowQuery struct {
	headQuery
	row int
}

func (s *Server) readRow(p *params) rowQuery {
	q := s.readHead(p)
	prompt := s.prompt(q.at)
	return rowQuery{q, p.int("row", 0, 0, prompt.WindowRows+prompt.ReplyTokens-1)}
}

// rowAnswer is a row at full resolution: what the token at a position attends to.
type rowAnswer struct {
	Position int       `json:"position"`
	Row      int       `json:"row"`
	Weights  []float32 `json:"weights"` // of the keys up to Position
}

func (s *Server) row(ctx context.Context, q rowQuery) (rowAnswer, error) {
	m, err := s.pyramid(ctx, q.headQuery)
	if err != nil {
		return rowAnswer{}, err
	}
	weights, err := m.weights(ctx, q.row, 1)
	if err != nil {
		return rowAnswer{}, err
	}
	position := m.layer.First + q.row
	return rowAnswer{position, q.row, weights[:position+1]}, nil
}

// columnQuery names a key of the map of a head.
type columnQuery struct {
	headQuery
	key int
}

func (s *Server) readColumn(p *params) columnQuery {
	q := s.readHead(p)
	prompt := s.prompt(q.at)
	return columnQuery{q, p.int("key", 0, 0, prompt.PromptTokens+prompt.ReplyTokens-1)}
}

// columnAnswer is a column at full resolution: which tokens attend to a key.
type columnAnswer struct {
	Key     int       `json:"key"`
	Weights []float32 `json:"weights"` // of every row
}

func (s *Server) column(ctx context.Context, q columnQuery) (columnAnswer, error) {
	m, err := s.pyramid(ctx, q.headQuery)
	if err != nil {
		return columnAnswer{}, err
	}
	out := columnAnswer{q.key, make([]float32, m.layer.Rows)}
	for row := 0; row < m.layer.Rows; row += tileRows {
		n := min(tileRows, m.layer.Rows-row)
		weights, err := m.weights(ctx, row, n)
		if err != nil {
			return columnAnswer{}, err
		}
		for i := range n {
			out.Weights[row+i] = weights[i*m.layer.Keys+q.key]
		}
	}
	return out, nil
}

// overviewAnswer is the pooled map of a head over the whole prompt, which a capture
// has if it was recorded with --overview: [side, side] of query by key, the largest
// weight in each cell. The mean over heads has the largest weight over heads.
type overviewAnswer struct {
	Cells  []float32 `json:"cells"`
	Side   int       `json:"side"`
	Tokens int       `json:"tokens"` // of the prompt
}

func (s *Server) overview(_ context.Context, q headQuery) (overviewAnswer, error) {
	c := s.captures[q.at.capture]
	cells, side, err := c.Overview(q.at.prompt, q.at.layer)
	if err != nil {
		return overviewAnswer{}, err
	}
	size := side * side
	out := overviewAnswer{cells[max(0, q.head)*size:][:size], side, s.prompt(q.at).PromptTokens}
	if q.head != digest.AllHeads {
		return out, nil
	}
	for h := 1; h < len(c.Header().HeadsOf(q.at.layer)); h++ {
		for i, v := range cells[h*size : (h+1)*size] {
			out.Cells[i] = max(out.Cells[i], v)
		}
	}
	return out, nil
}
