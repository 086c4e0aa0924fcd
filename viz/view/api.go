package view

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
)

// routes registers the API. Each kind of request has a file, with a function that
// reads the parameters, one that computes the answer, and the type of the answer.
// Answers are JSON, except tiles. Common parameters:
//
//	c      index of the capture
//	p      index of the prompt; where several prompts make sense also "all"
//	layer  id of the layer
//	head   id of the head; -1 for the mean over heads
//	row    recorded row: first those of the prompt, then those of the reply
//	key    position of the key
func (s *Server) routes(mux *http.ServeMux) {
	handle(mux, "/api/captures", noParameters, s.listCaptures, writeJSON)
	handle(mux, "/api/tokens", s.readPrompt, s.tokens, writeJSON)
	handle(mux, "/api/map", s.readHead, s.headMap, writeJSON)
	handle(mux, "/api/tile", s.readTile, s.tile, writeCells)
	handle(mux, "/api/row", s.readRow, s.row, writeJSON)
	handle(mux, "/api/column", s.readColumn, s.column, writeJSON)
	handle(mux, "/api/vote", s.readVote, s.vote, writeJSON)
	handle(mux, "/api/kept", s.readKept, s.kept, writeJSON)
	handle(mux, "/api/overview", s.readHead, s.overview, writeJSON)
	handle(mux, "/api/stats", s.readStats, s.layersStats, writeJSON)
	handle(mux, "/api/sweep", s.readSweep, s.layersSweep, writeJSON)
	handle(mux, "/api/methods", s.readMethods, s.methods, writeJSON)
}

// handle registers a kind of request: parse reads its parameters, answer computes
// the answer, and write sends it. An error of one of them is sent as JSON.
func handle[Q, A any](
	mux *http.ServeMux, path string,
	parse func(p *params) Q,
	answer func(ctx context.Context, q Q) (A, error),
	write func(w http.ResponseWriter, a A),
) {
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		p := &params{values: r.URL.Query()}
		q := parse(p)
		if p.err != nil {
			writeError(w, p.err)
			return
		}
		a, err := answer(r.Context(), q)
		if err != nil {
			writeError(w, err)
			return
		}
		write(w, a)
	})
}

func noParameters(*params) struct{} { return struct{}{} }

func writeError(w http.ResponseWriter, err error) {
	send(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
}

func writeJSON[A any](w http.ResponseWriter, a A) { send(w, http.StatusOK, a) }

func send(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		code = http.StatusInternalServerError
		text = []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(text)
}

// writeCells sends little-endian float32 values.
func writeCells(w http.ResponseWriter, cells []float32) {
	out := make([]byte, 4*len(cells))
	for i, v := range cells {
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(out)
}

// number is a float64 that is null in JSON if it is not finite.
type number float64

// MarshalJSON implements [json.Marshaler].
func (n number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}
