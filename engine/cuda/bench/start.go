//go:build cuda

package main

import (
	"context"
	"os"
	"time"

	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
	"github.com/attnscope/attnscope/engine/model"
)

// start loads a card with a tiny model, and measures large products if there is room for
// them. The process has not used the card before.
func (r *report) start(_ context.Context, o *options) error {
	begin := time.Now()
	log := func(line string) { r.note("%s", line) }
	m, err := model.RandomOnCard(0, tiny.sizes, tiny.theta, model.Options{Compute: compute, Log: log})
	if err != nil {
		return err
	}
	defer m.Close()
	r.Image = cuda.Image(m.Card())
	r.Cublas = cuda.Blas(m.Card())
	measure := judge.Start
	if os.Getenv("ATTNSCOPE_CUDA_IMAGE") == "ptx" {
		measure = judge.StartPTX
	}
	r.add(measure, "", 0, time.Since(begin).Seconds())
	if err := r.measureProduct(m, o); err != nil {
		return err
	}
	measure = judge.ProductOwn
	if r.Product.Blas {
		measure = judge.ProductCublas
	}
	r.add(measure, "", 0, r.Product.TFLOPS)
	for _, p := range []struct {
		operands cuda.Operands
		measure  judge.Measure
	}{{cuda.Mixed, judge.ProductTerms}, {cuda.Float32, judge.ProductFloat32}} {
		rate, _, err := cuda.ProductRate(m.Card(), r.Product.Size, p.operands)
		if err != nil {
			return err
		}
		r.add(p.measure, "", 0, rate/1e12)
	}
	n := 16384 // 151 MB of weights, more than a card's cache
	if o.quick {
		n = 256
	}
	rate, err := cuda.QuantizedRate(m.Card(), n)
	if err != nil {
		return err
	}
	r.add(judge.ProductQuantized, "", 0, rate/1e9)
	return nil
}

// measureProduct measures one large product, unless that has been done.
func (r *report) measureProduct(m *model.Model, o *options) error {
	if r.Product != nil {
		return nil
	}
	n := 8192
	if o.quick {
		n = 128
	}
	rate, blas, err := cuda.ProductRate(m.Card(), n, cuda.Bfloat16)
	if err != nil {
		return err
	}
	r.Product = &product{n, rate / 1e12, blas}
	return nil
}
