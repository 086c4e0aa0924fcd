package view

import (
	"context"
	"runtime"

	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/snapkv"
)

// desk holds what methods look at in a layer while they are judged.
type desk struct {
	s     *Server
	at    place
	c     snapkv.Config
	src   *digest.LayerRows
	stats []digest.HeadStats
	all   *snapkv.Layer // of all heads; nil: there is no room, heads are read one by one
	close func()
}

// deskBytes bounds the window rows that are read once for all methods.
const deskBytes = 64 << 20

// desk reads what methods need; until it is closed nothing else is read.
func (s *Server) desk(ctx context.Context, at place, methods []snapkv.Method, c snapkv.Config, stats []digest.HeadStats) (*desk, error) {
	free := s.reserve(workBytes)
	src, release, err := s.layerOnce(at)
	if err != nil {
		free()
		return nil, err
	}
	d := &desk{s: s, at: at, c: c, src: src, stats: stats, close: func() { release(); free() }}
	var needs snapkv.Needs
	for _, m := range methods {
		needs = needs.Union(m.Needs)
	}
	needs.Generated = false // the digests have the reply's sums
	if 4*len(src.Heads)*c.Window*src.Prompt.PromptTokens <= deskBytes {
		// Where some method's needs cannot be met, each is told by itself.
		if d.all, err = s.lay(ctx, src, at, span{0, len(src.Heads)}, needs, c); err == nil {
			release()
			d.close = free
		} else {
			d.all = nil
		}
	}
	return d, nil
}

// workers is how many methods or heads may be judged at once: where each reads its
// own rows, one.
func (d *desk) workers() int {
	if d.all == nil {
		return 1
	}
	return runtime.GOMAXPROCS(0)
}

// layer is what a method needs of some heads; the reply's sums are those of the
// digests, over the number of its rows.
func (d *desk) layer(ctx context.Context, heads span, needs snapkv.Needs) (*snapkv.Layer, error) {
	generated := needs.Generated
	needs.Generated = false
	var l *snapkv.Layer
	if d.all == nil {
		var err error
		if l, err = d.s.lay(ctx, d.src, d.at, heads, needs, d.c); err != nil {
			return nil, err
		}
	} else {
		l = bare(d.s.captures[d.at.capture].Header(), d.src.Prompt, d.at.layer, heads)
		if needs.Rows {
			row := d.c.Window * l.Len
			l.N, l.Rows = d.c.Window, d.all.Rows[heads.from*row:(heads.from+heads.n)*row]
		}
		if needs.Sums && d.all.Sums != nil {
			l.Sums = d.all.Sums[heads.from*l.Len : (heads.from+heads.n)*l.Len]
		}
		if needs.Keys || needs.Queries {
			l.Queries, l.Keys = d.all.Queries, d.all.Keys
		}
		if needs.Keys || needs.Queries || needs.Values {
			l.Values = d.all.Values
		}
	}
	if generated {
		for h := range heads.n {
			l.Generated = append(l.Generated, d.stats[heads.from+h].Digest.Mean()...)
		}
	}
	return l, nil
}
