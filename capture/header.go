package capture

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"runtime"
	"time"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
)

// NewHeader returns the header of a dump: the model, the plan, and the facts needed to
// check and repeat the run. In the manifest, the caller sets Program, Command,
// PromptsFile and Seed; NewHeader sets the rest. It hashes the checkpoint's files,
// which can take seconds.
func NewHeader(s *Source, plan dumps.Plan, list []prompts.Prompt, run dumps.Manifest) (dumps.Header, error) {
	sum, err := s.Checkpoint.SHA256()
	if err != nil {
		return dumps.Header{}, err
	}
	info := ModelInfo(s.Name, &s.Config)
	info.SHA256 = sum
	run.Go = runtime.Version()
	run.Host = s.Device.Host()
	run.Threads = s.options.Threads
	run.Created = time.Now().UTC().Format(time.RFC3339)
	run.PromptsSHA256 = PromptsSHA256(list)
	run.PromptFieldsSHA256 = promptFieldsSHA256(list)
	run.Prompts = len(list)
	run.Ignored.Config = s.Ignored()
	run.ModelRevision = s.place.Commit()
	if s.Tokenizer != nil {
		run.TokenizerSHA256 = s.Tokenizer.SHA256()
	}
	return dumps.Header{Model: info, Plan: plan, Manifest: run, Identity: identity(s)}, nil
}

// ModelInfo describes a model as a dump's header does, without the hash of its
// weights.
func ModelInfo(id string, c *model.Config) dumps.ModelInfo {
	info := dumps.ModelInfo{
		ID:           id,
		Architecture: c.Architecture,
		Vocab:        c.Vocab,
		MaxPositions: c.MaxPositions,
	}
	shapes := make([]dumps.LayerShape, len(c.Shapes))
	for l := range shapes {
		shapes[l] = layerShape(&c.Shapes[l])
	}
	info.SetLayers(shapes)
	return info
}

// layerShape describes a layer as a dump's header does.
func layerShape(s *model.LayerShape) dumps.LayerShape {
	out := dumps.LayerShape{
		Kind:     dumps.LayerKind(s.Kind),
		Heads:    s.Heads,
		KVHeads:  s.KVHeads,
		KeyDim:   s.KeyDim,
		ValueDim: s.ValueDim,
		Scale:    float64(s.Scale),
		SoftCap:  float64(s.SoftCap),
		Window:   s.Window,
		Chunk:    s.Chunk,
		Sink:     s.Sink,
		CacheOf:  s.CacheOf,
		Latent:   s.Latent,
	}
	if s.Rope != nil {
		out.Rope = dumps.RopeShape{At: s.RopeAt, Dim: s.Rope.Dim, Pairing: "halves"}
		if s.Rope.Pairing == cpu.Adjacent {
			out.Rope.Pairing = "adjacent"
		}
	}
	return out
}

// PromptsSHA256 returns a hash that identifies a prompt set: the hash of the ids,
// tokens and replies of all prompts, in order.
func PromptsSHA256(list []prompts.Prompt) string {
	set := sha256.New()
	for i := range list {
		one := fnv.New64a()
		fmt.Fprintf(one, "%s %v %v", list[i].ID, list[i].Tokens, list[i].Reply)
		set.Write(one.Sum(nil))
	}
	return hex.EncodeToString(set.Sum(nil))
}
