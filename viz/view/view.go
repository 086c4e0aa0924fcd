// Package view is the local viewer of dumps: an HTTP server on the loopback
// interface, and a page that loads nothing from outside.
//
//	s, err := view.Open([]string{"run.attn"}, view.Options{})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	l, err := view.Listen("127.0.0.1:0")
//	if err != nil {
//		return err
//	}
//	fmt.Println(s.URL(l)) // the address of the page, with the token that guards it
//	return s.Serve(ctx, l)
//
// The package knows HTTP, memory and drawing. What it shows is computed by
// [github.com/attnscope/attnscope/analysis/digest]. The server reads one layer of a
// prompt at a time, when it is looked at, and keeps the results in caches of bounded
// size. Maps of attention are served as tiles of a pyramid of maxima and means, so
// that captures of any length can be zoomed.
//
// The token in the address is a secret: whoever knows it can read the dumps. Requests
// from other machines, and requests that other web sites make the browser send, are
// refused.
//
// Where to look: api.go lists the requests, and each has a file with its parameters and
// its answer. The page is in web: main.js lists the views, and each has a file; the
// measures of heads are in measures.js, the settings in controls.js and state.js, and what
// the pointer shows in tip.js.
package view

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"

	"golang.org/x/sync/semaphore"

	"github.com/attnscope/attnscope/dumps"
)

// Options configure a viewer.
type Options struct {
	// Pieces returns, for the header of a dump, the function that gives the text of a
	// token by its id. It is used for tokens whose text the dump does not hold. Where
	// Pieces is nil, or returns nil, ids are shown.
	Pieces func(h *dumps.Header) func(id int32) string
	// Token guards the server; it is part of every path. If it is empty, the server
	// makes a random one.
	Token string
	// CacheBytes bounds the memory for results; 0 means 256 MiB.
	CacheBytes int
	// Frames lists the origins of the pages that may show the viewer in a frame, as the
	// directive frame-ancestors does: http://localhost:8888, http://127.0.0.1:*.
	Frames []string
}

// origin matches an origin of Options.Frames.
var origin = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:(//[A-Za-z0-9.*-]+(:([0-9]+|\*))?)?$`)

// Server answers the viewer's requests from open dumps.
type Server struct {
	captures []*capture
	token    string
	frames   []string            // origins that may show the page in a frame
	cache    *cache              // layers, digests, scores, pyramids
	results  *cache              // small results that took long to compute
	work     *semaphore.Weighted // bytes that computations hold together

	draftWeights int // number of weights from which a draft pays off
	levelBytes   int // bound of each level of a pyramid
}

const (
	defaultCacheBytes = 256 << 20
	resultBytes       = 8 << 20
	// workBytes bounds the memory of computations, next to the caches. Computations on
	// long prompts run one after the other. Those on shorter ones overlap, so that one
	// reads while another computes.
	workBytes = 96 << 20
	// draftWeights is what two cores read in about a second.
	draftWeights = 300_000_000
	levelBytes   = 48 << 20
)

// reserve waits until a computation may hold a number of bytes, and returns the
// function that frees them. A number above workBytes reserves all of them.
func (s *Server) reserve(bytes int) (free func()) {
	n := int64(max(1, min(bytes, workBytes)))
	s.work.Acquire(context.Background(), n) // cannot fail: the context does not end
	return func() { s.work.Release(n) }
}

// capture is an open dump.
type capture struct {
	*dumps.Reader
	name   string // base name of the file
	pieces func(id int32) string
}

// Open opens the dumps to show. Each must hold at least one complete prompt.
func Open(paths []string, o Options) (*Server, error) {
	if len(paths) == 0 {
		return nil, errors.New("no dump to show")
	}
	if o.Token == "" {
		var b [16]byte
		rand.Read(b[:])
		o.Token = hex.EncodeToString(b[:])
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCacheBytes
	}
	for _, f := range o.Frames {
		if !origin.MatchString(f) {
			return nil, fmt.Errorf("frame %q: want an origin, such as http://localhost:8888", f)
		}
	}
	s := &Server{
		token:        o.Token,
		frames:       o.Frames,
		cache:        newCache(o.CacheBytes),
		results:      newCache(min(resultBytes, o.CacheBytes)),
		work:         semaphore.NewWeighted(workBytes),
		draftWeights: draftWeights,
		levelBytes:   levelBytes,
	}
	for _, path := range paths {
		if err := s.open(path, o.Pieces); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) open(path string, pieces func(h *dumps.Header) func(id int32) string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	c := &capture{Reader: r, name: filepath.Base(path)}
	s.captures = append(s.captures, c)
	if len(r.Prompts()) == 0 {
		return fmt.Errorf("%s: no complete prompt in it", path)
	}
	if pieces != nil {
		c.pieces = pieces(r.Header())
	}
	return nil
}

// Warnings returns the warnings of all dumps.
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
