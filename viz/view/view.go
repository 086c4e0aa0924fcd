// Package view is the local viewer: an HTTP server on the loopback interface
// and a page without outside resources. The server decodes what is looked at,
// one layer and head at a time, and keeps a bounded amount of it; the page draws
// tiles of max/mean pyramids, so captures of any length can be zoomed.
//
//	s, err := view.Open([]string{"run.attn"}, view.Options{})
//	err = s.Serve(ctx, listener)
package view

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/semaphore"

	"github.com/attnscope/attnscope/dumps"
)

// Options of a viewer.
type Options struct {
	// Pieces gives, for a dump, the text of tokens that it has none for; nil, or
	// a nil function: their ids are shown.
	Pieces func(h *dumps.Header) func(id int32) string
	// Token guards the server, part of every path; empty: a random one.
	Token string
	// CacheBytes bounds what is kept decoded; 0: 256 MiB.
	CacheBytes int
}

// Server answers the viewer's requests from open dumps.
type Server struct {
	captures     []*capture
	token        string
	cache        *cache
	draftWeights int
	results      *cache              // results of a few bytes that took long
	work         *semaphore.Weighted // bytes that builds hold together
}

// draftWeights is the number of weights from which on a draft is worth it: what two
// cores read in about a second.
const draftWeights = 300_000_000

// workBytes bounds what builds hold at once beside the cache: of long prompts there
// is one at a time, shorter ones overlap, so that one reads while another computes.
const workBytes = 96 << 20

// build waits until some bytes are free for a build, and returns what gives them
// back. A build that needs more than there are has them all.
func (s *Server) reserve(bytes int) (done func()) {
	n := int64(max(1, min(bytes, workBytes)))
	s.work.Acquire(context.Background(), n) // cannot fail: the context has no end
	return func() { s.work.Release(n) }
}

// capture is one open dump.
type capture struct {
	*dumps.Reader
	name   string // base name of the file
	pieces func(id int32) string
}

// Open opens the dumps to be shown.
func Open(paths []string, o Options) (*Server, error) {
	s := &Server{token: o.Token, draftWeights: draftWeights, work: semaphore.NewWeighted(workBytes)}
	if s.token == "" {
		var b [16]byte
		rand.Read(b[:])
		s.token = hex.EncodeToString(b[:])
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 256 << 20
	}
	s.cache, s.results = newCache(o.CacheBytes), newCache(min(8<<20, o.CacheBytes))
	if len(paths) == 0 {
		return nil, errors.New("no dump to show")
	}
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			s.Close()
			return nil, err
		}
		c := &capture{Reader: r, name: filepath.Base(path)}
		s.captures = append(s.captures, c)
		if len(r.Prompts()) == 0 {
			s.Close()
			return nil, fmt.Errorf("%s: no complete prompt in it", path)
		}
		if o.Pieces != nil {
			c.pieces = o.Pieces(r.Header())
		}
	}
	return s, nil
}

// Warnings are those of the dumps.
func (s *Server) Warnings() []string {
	var list []string
	for _, c := range s.captures {
		list = append(list, c.Warnings()...)
	}
	return list
}

// Close closes the dumps.
func (s *Server) Close() error {
	var err error
	for _, c := range s.captures {
		err = errors.Join(err, c.Close())
	}
	return err
}
