// Package model runs transformer decoders. It reads a checkpoint's config.json or
// GGUF metadata, packs the weights for the processor or brings them to a card, and
// computes logits; a Recorder sees the attention weights while they are computed.
//
//	m, err := model.Load(ck, model.Options{})
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	s := m.NewSession()
//	defer s.Close()
//	logits := make([]float32, m.Config().Vocab)
//	err = s.Forward(ctx, tokens, model.Pass{
//		LogitsFrom: len(tokens) - 1, // only the last token's logits
//		Logits:     func(_ int, l []float32) { copy(logits, l) },
//	})
//
// Each architecture is a value of type Architecture in its own file and an element of
// Architectures. It describes how a family of checkpoints differs from Llama;
// everything else is shared.
//
// Activations and logits are float32. Results do not depend on the number of
// threads, and they do not depend on how a sequence is split into passes except
// for the rounding of float32 sums.
package model

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/words"
)

// Options configure how a model is run.
type Options struct {
	Threads int // 0: one per core
	// Compute is the arithmetic of the products with the layers' weights: f32 or bf16 on
	// the processor, f32, bf16 or f16 on a card. Empty is f32. The output head always
	// computes in f32 on the processor.
	Compute string
	// IgnoreConfig names keys that are ignored, as in ReadConfig.
	IgnoreConfig []string
	Chunk        int // most tokens that pass through a layer together; 0: cpu.PieceRows, on a card 2048
	// WeightMemory is the most memory in bytes that weights may take on the processor, as
	// in Config.Place; 0: no limit. Weights that do not fit are read from the file in
	// each pass. Results do not depend on it.
	WeightMemory int64
	Device       string            // cpu, cuda or cuda:i; empty: cpu
	Log          func(line string) // receives messages of a card for the user; may be nil
}

// Model is a loaded decoder. Only one of its sessions may run at a time.
type Model struct {
	config  Config
	weights *weights
	backend backend
	source  *checkpoint.Checkpoint // nil if the weights are random
}

// Load reads the weights of a checkpoint into the memory of the device. The checkpoint
// must stay open as long as the model is used: embeddings are read from it. Load fails
// if no part of the model reads some tensor, or if a file changes while it is read.
func Load(ck *checkpoint.Checkpoint, o Options) (*Model, error) {
	if ck.HeadersOnly() {
		return nil, fmt.Errorf("%s: only the headers of the files were read: fetch the weights first", ck.Path())
	}
	c, err := ReadConfig(ck, o.IgnoreConfig...)
	if err != nil {
		return nil, err
	}
	index, onCard, err := parseDevice(o.Device)
	if err != nil {
		return nil, err
	}
	m := &Model{config: c, source: ck}
	if onCard {
		err = m.loadOnCard(ck, index, o)
	} else {
		err = m.loadOnProcessor(ck, o)
	}
	loaded := err == nil
	if err = m.orChanged(err); err == nil {
		return m, nil
	}
	if loaded {
		m.Close()
	}
	return nil, err
}

// orChanged returns the error of a file of the model that has changed, which explains
// every other error, or else err.
func (m *Model) orChanged(err error) error {
	if m.source == nil {
		return err
	}
	return cmp.Or(m.source.Unchanged(), err)
}

// CheckTensors returns the error that Load would return because of the names and the
// shapes of the tensors. It reads no matrix but the embeddings, and keeps nothing. Of a
// checkpoint with headers only, it checks these.
func CheckTensors(ck *checkpoint.Checkpoint, c Config) error {
	_, err := loadWeights(ck, &c, false, "")
	return err
}

// loadOnProcessor packs the weights for the processor.
func (m *Model) loadOnProcessor(ck *checkpoint.Checkpoint, o Options) error {
	compute := cpu.Compute(o.Compute)
	if compute != "" && !slices.Contains(cpu.Computes, compute) {
		return words.Check("compute", compute, cpu.Computes)
	}
	p := &processor{config: &m.config, source: ck, pool: cpu.NewPool(o.Threads), chunk: o.Chunk}
	if p.chunk < 1 {
		p.chunk = cpu.PieceRows()
	}
	var err error
	if p.weights, err = loadWeights(ck, &m.config, true, compute); err == nil {
		p.placement = p.place(ck, o.WeightMemory)
		err = p.loadKept()
	}
	if err != nil {
		p.close()
		return err
	}
	m.weights = p.weights
	m.backend = p
	return nil
}

// Config returns the model's configuration.
func (m *Model) Config() Config { return m.config }

// Close stops the model's threads or releases the memory on its card.
func (m *Model) Close() { m.backend.close() }

// Piece returns the number of tokens that callers should pass to Forward at once if
// they want to check the time in between. It is larger on a card, which sums over a
// whole pass before it hands over the result.
func (m *Model) Piece() int { return m.backend.piece() }

// OutputProjection returns W_O of a layer, [hidden, heads*valueDim]. With a latent as
// value, it is W_O W_UV.
func (m *Model) OutputProjection(layer int) ([]float32, error) {
	if !m.config.Shapes[layer].HasAttention() {
		return nil, errNoAttention(layer)
	}
	if m.config.Latent != nil {
		return m.config.latentOutput(&m.weights.layers[layer])
	}
	return m.weights.layers[layer].output.Float32()
}

// Sinks returns the scores of the learned sinks of a layer, by query head, or nil if it
// has none.
func (m *Model) Sinks(layer int) []float32 { return m.weights.layers[layer].sinks }

// WeightBytes returns the memory of the weights on the device.
func (m *Model) WeightBytes() int64 { return m.backend.weightBytes() }
