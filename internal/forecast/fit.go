package forecast

import (
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/model"
)

// MostStreamed is the largest batch that FitIn chooses if weights are read from the file
// in each pass.
const MostStreamed = 32

// spared is the share of the memory that a capture leaves free if it reads weights from
// the file, because estimates are not exact and the system keeps parts of files in
// memory.
const spared = 0.1

// Fit says how a capture uses the memory that it may take.
type Fit struct {
	Need      Need
	Batch     int             // replies that are decoded together
	Weights   int64           // bytes of memory that all weights take
	Placement model.Placement // of weights that do not fit
	// Limit is the most memory that weights may take, for capture.Options; 0: all of them
	// fit.
	Limit int64
}

// FitIn returns how a capture on the processor uses the given bytes of memory: how many
// replies are decoded together, at most c.Batch if that is above 0, and which weights are
// read from the file in each pass. If Fit.Memory is larger than memory, not even one
// layer and one prompt fit.
func FitIn(memory int64, c capture.Config, m model.Config, ck *checkpoint.Checkpoint, threads int) (Fit, error) {
	compute := c.Header.Plan.Compute
	f := Fit{Weights: m.WeightBytes(ck, compute)}
	given := c.Batch
	if given < 1 {
		c.Batch = Batch(c, m, f.Weights, threads, memory)
	}
	for ; c.Batch > 0; c.Batch-- {
		f.Batch = c.Batch
		if f.Need = Capture(&c, m, threads); f.Memory() <= memory {
			return f, nil
		}
	}
	least, err := m.Place(ck, compute, 1)
	if err != nil {
		return f, err
	}
	f.Placement = least
	f.Limit = 1
	most := given
	if given < 1 {
		most = MostStreamed
	}
	f.Batch = streamedBatch(c, m, threads, usable(memory)-least.Memory, most)
	c.Batch = f.Batch
	f.Need = Streamed(&c, m, threads)
	return f, f.Stream(memory, 0, m, ck, compute)
}

// StreamedBatch returns how many prompts of a capture are read and decoded together if
// weights are read from the file in each pass: as many as take so many bytes of memory,
// without the weights, at most MostStreamed.
func StreamedBatch(c capture.Config, m model.Config, threads int, memory int64) int {
	return streamedBatch(c, m, threads, memory, MostStreamed)
}

func streamedBatch(c capture.Config, m model.Config, threads int, memory int64, most int) int {
	return Most(most, func(n int) bool {
		c.Batch = n
		need := Streamed(&c, m, threads)
		return need.Batch == n && need.Memory(0) <= memory
	})
}

// usable returns the part of the memory that a run plans to use if it reads weights from
// the file.
func usable(memory int64) int64 { return memory - int64(spared*float64(memory)) }

// Stream limits the weights to the memory that the rest of the run leaves. more is the
// memory that the run takes in addition to f.Need.
func (f *Fit) Stream(memory, more int64, m model.Config, ck *checkpoint.Checkpoint, compute string) error {
	f.Limit = max(1, usable(memory)-f.Need.Memory(more))
	var err error
	f.Placement, err = m.Place(ck, compute, f.Limit)
	return err
}

// Memory returns the memory that the capture takes.
func (f *Fit) Memory() int64 { return f.Need.Memory(f.WeightMemory()) }

// WeightMemory returns the memory of the weights that are there at the same time.
func (f *Fit) WeightMemory() int64 {
	if f.Streams() {
		return f.Placement.Memory
	}
	return f.Weights
}

// Streams reports whether some weights are read from the file in each pass.
func (f *Fit) Streams() bool { return f.Limit > 0 && f.Placement.Streams() }

// Passes returns the number of passes through the layers. A pass that reads only a part
// of the weights that are not in memory counts as that part: a step of a few replies
// needs only some of the experts.
func (f *Fit) Passes(m *model.Config) float64 {
	n := float64(f.Need.Passes)
	if f.Placement.Experts == 0 {
		return n
	}
	steps := float64((f.Need.Generated + f.Need.Batch - 1) / f.Need.Batch)
	needed := min(1, float64(f.Need.Batch*m.TopExperts)/float64(m.Experts))
	return n - steps*(1-needed)*float64(f.Placement.Experts)/float64(f.Placement.Packed)
}
