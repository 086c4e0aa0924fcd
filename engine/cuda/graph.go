//go:build cuda

package cuda

/*
#include "launch.h"
*/
import "C"

import (
	"context"
	"os"
	"unsafe"
)

// graphSetting is off to launch the kernels of a reply token one by one.
const graphSetting = "ATTNSCOPE_CUDA_GRAPH"

// graph launches the kernels of a reply token together. A token takes about 13 kernels in
// each layer, and the host needs longer to launch a kernel of a small model than the card
// to run it. The kernels are the same for each token, and only a few of their
// parameters change, such as the number of keys. So launches are collected; the first
// time they become a CUDA graph, and from then on only nodes that differ are changed.
//
// A driver without these functions (before CUDA 12.0), or one that refuses the graph,
// launches the collected kernels one by one.
type graph struct {
	stream  C.CUstream
	refused bool
	names   []string // of the collected launches
	next    []C.kernel_launch
	ready   []C.kernel_launch // those that exec holds
	nodes   []C.CUgraphNode
	source  C.CUgraph
	exec    C.CUgraphExec

	built, launched int // for tests: graphs and launches of graphs
}

// graphKey says which of a card's graphs a token, or one of each of several sequences, uses.
type graphKey struct {
	rows     int // of the chunk
	recorded bool
	part     int // of the layers, if what they leave does not fit in one slot
}

// graph returns a graph, or nil if the setting turns graphs off.
func (c *card) graph(key graphKey) *graph {
	if os.Getenv(graphSetting) == "off" {
		return nil
	}
	g := c.graphs[key]
	if g == nil {
		s := c.l.stream
		g = &graph{stream: *(*C.CUstream)(unsafe.Pointer(&s))}
		if c.graphs == nil {
			c.graphs = map[graphKey]*graph{}
		}
		c.graphs[key] = g
	}
	return g
}

// add collects a launch.
func (g *graph) add(name string, k C.kernel_launch) {
	g.names = append(g.names, name)
	g.next = append(g.next, k)
}

// dropGraphs releases all graphs.
func (c *card) dropGraphs() {
	for _, g := range c.graphs {
		g.drop()
	}
	c.graphs = nil
}

// onlyKernels reports whether the host does nothing for the chunk but launch kernels, which
// are the same for each token, and what is recorded of as many layers as it returns fits in a
// slot.
func (ch chunk) onlyKernels(c *card) (layers int, ok bool) {
	if ch[0].n != 1 || ch[0].p.Hidden != nil || c.d.Experts > 0 { // the host chooses the experts
		return 0, false
	}
	var bytes, room int64
	for i := range ch {
		n, ok := ch[i].rec.tokenBytes()
		if !ok {
			return 0, false
		}
		if bytes += n; n > 0 {
			room = ch[i].rec.ring.bytes
		}
	}
	if bytes == 0 {
		return c.d.Layers, true
	}
	return int(room / bytes), bytes <= room
}

// inGraphs runs rows through the layers, with a graph for each per layers, whose recorded data
// is then sent in one slot.
func (c *card) inGraphs(ctx context.Context, ch chunk, per int) error {
	key := graphKey{rows: len(ch)}
	var r *ring
	for i := range ch {
		if rec := ch[i].rec; rec != nil {
			key.recorded, r = true, rec.ring
		}
	}
	for from := 0; from < c.d.Layers; from += per {
		layers := func() error { return c.throughLayers(ctx, ch, from, min(from+per, c.d.Layers)) }
		err := r.share(func() error { return c.together(c.graph(key), layers) })
		if err != nil {
			return err
		}
		key.part++
	}
	return nil
}

// together runs f, which only launches kernels, and then launches them as a graph. g may be
// nil.
func (c *card) together(g *graph, f func() error) error {
	if g == nil || c.l.times != nil {
		return f()
	}
	times := c.times // events between launches would come before them
	c.times, c.l.graph = nil, g
	err := f()
	c.times, c.l.graph = times, nil
	if err == nil {
		err = g.launch()
	}
	g.names = g.names[:0]
	g.next = g.next[:0]
	return err
}

// launch launches what was collected.
func (g *graph) launch() error {
	if !g.refused && g.update() != nil {
		g.refused = true
		g.drop()
	}
	if g.refused {
		for i := range g.next {
			if err := launchNow(g.names[i], &g.next[i], g.stream); err != nil {
				return err
			}
		}
		return nil
	}
	g.launched++
	return code("cuGraphLaunch", C.cuGraphLaunch(g.exec, g.stream))
}

// update makes the graph that of the collected launches.
func (g *graph) update() error {
	if !g.sameKernels() {
		return g.build()
	}
	for i := range g.next {
		if g.next[i] == g.ready[i] {
			continue
		}
		if err := code("cuGraphExecKernelNodeSetParams", C.graph_set(g.exec, g.nodes[i], &g.next[i])); err != nil {
			return err
		}
		g.ready[i] = g.next[i]
	}
	return nil
}

// sameKernels reports whether the graph has the kernels of the collected launches.
func (g *graph) sameKernels() bool {
	if len(g.next) != len(g.ready) {
		return false
	}
	for i := range g.next {
		if g.next[i].f != g.ready[i].f {
			return false
		}
	}
	return true
}

// build replaces the graph.
func (g *graph) build() error {
	g.drop()
	if err := code("cuGraphCreate", C.cuGraphCreate(&g.source, 0)); err != nil {
		return err
	}
	var before C.CUgraphNode
	for i := range g.next {
		var node C.CUgraphNode
		if err := code("cuGraphAddKernelNode", C.graph_add(g.source, &node, before, &g.next[i])); err != nil {
			return err
		}
		g.nodes = append(g.nodes, node)
		before = node
	}
	if err := code("cuGraphInstantiate", C.cuGraphInstantiateWithFlags(&g.exec, g.source, 0)); err != nil {
		return err
	}
	g.ready = append(g.ready, g.next...)
	g.built++
	return nil
}

// drop releases the graph. A launch of it that still runs is not disturbed.
func (g *graph) drop() {
	if g.exec != nil {
		C.cuGraphExecDestroy(g.exec)
	}
	if g.source != nil {
		C.cuGraphDestroy(g.source)
	}
	g.exec = nil
	g.source = nil
	g.nodes = g.nodes[:0]
	g.ready = g.ready[:0]
}
