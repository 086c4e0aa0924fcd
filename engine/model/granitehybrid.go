package model

import "maps"

// mambaLayers has the kinds of layers of families with Mamba-2 layers, under their newer
// and their older names.
var mambaLayers = map[string]LayerKind{linearLayer: Linear, "mamba": Linear, "attention": Attention}

// mambaIgnored lists keys of Mamba-2 layers that say how other programs compute the same.
var mambaIgnored = anyValue("mamba_chunk_size", "num_logits_to_keep", "mamba_use_mlp", "mlp_expansion_factor").and(keyTable{
	"normalization_function": {"rmsnorm"},
})

// mambaDefaults has the sizes of Mamba-2 layers that configurations leave out.
var mambaDefaults = map[string]any{
	"mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_d_head": "auto",
}

// graniteHybrid is granitemoe with Mamba-2 layers in place of most attention layers, and
// with a shared expert, which is the whole feed-forward in models without a mixture. Most
// models have no rotation.
var graniteHybrid = Architecture{
	Name: "granitemoehybrid", OffCard: "layers without attention", GGUF: "granitehybrid", GGUFPairing: llama.GGUFPairing, About: "Granite 4 (dense and mixture of experts)",
	LayerTypes: mambaLayers, Mixer: (*loader).mamba,
	Defaults: joinDefaults(graniteDefaults, mambaDefaults, map[string]any{"shared_expert_intermediate_size": 1024}),
	Keys:     map[string]string{"shared_expert_intermediate_size": "shared_intermediate_size"},
	Ignored:  mambaIgnored.and(keyTable{"position_embedding_type": nil, "num_experts_per_tok": nil}),
	Names: joinNames(mambaNames, granitemoe.Names, map[string]string{
		"gate_up": "model.layers.%d.shared_mlp.input_linear", "down": "model.layers.%d.shared_mlp.output_linear",
		"shared_gate_up": "model.layers.%d.shared_mlp.input_linear", "shared_down": "model.layers.%d.shared_mlp.output_linear",
	}),
	GGUFTensors: mambaGGUF,
	Adjust: func(c *Config, f *fields) error {
		c.readGraniteFeedForward(f)
		inner := f.count("mamba_expand", 2, 1) * c.Hidden
		rotated := f.text("position_embedding_type", "") == "rope"
		if f.gguf() {
			inner = f.count("mamba_inner", 0, 1)
			rotated = f.flag("rope.scaling.finetuned", true)
		}
		if !rotated {
			c.Rope = Rope{Kind: noRotation}
		}
		c.Mamba = c.readMamba(f, inner)
		if !f.gguf() {
			c.Mamba.limitSteps(f)
		}
		return c.graniteScales(f)
	},
	Vary: (*Config).varyMamba,
}

// readGraniteFeedForward reads the sizes of the mixture, if the model has one, and of the
// shared expert.
func (c *Config) readGraniteFeedForward(f *fields) {
	count := "num_local_experts"
	if f.gguf() {
		count = "num_experts"
	}
	shared := f.count("shared_expert_intermediate_size", c.Intermediate, 1)
	if f.count(count, 0, 0) == 0 {
		c.Intermediate = shared
		c.arch.FusedGate = !f.gguf()
		return
	}
	c.readExperts(f, count)
	c.NormExperts = true // the softmax is taken over the chosen experts
	c.SharedSize = shared
}

// varyMamba gives layers the recurrence of Mamba-2 instead of attention: those that
// layer_types names, or all layers if it is missing. In GGUF files, these layers have no
// kv heads.
func (c *Config) varyMamba(f *fields) error {
	heads := f.perLayer("num_key_value_heads")
	c.linearLayers(f, func(l int) bool { return !f.gguf() || l < len(heads) && heads[l] == 0 }, c.Mamba.size(c.Hidden))
	return nil
}

// bamba has Mamba-2 layers and a few attention layers, in which half of each head is
// rotated.
var bamba = Architecture{
	Name: "bamba", OffCard: "layers without attention", About: "Bamba", PartialRope: true, LayerTypes: mambaLayers, Mixer: (*loader).mamba,
	Defaults: joinDefaults(mambaDefaults, map[string]any{
		"vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 8, "max_position_embeddings": 262144, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
		"partial_rotary_factor": 0.5,
	}),
	Ignored: mambaIgnored.and(anyValue("attn_rotary_emb")),
	Names:   joinNames(mambaNames, feedForwardNames),
	Adjust: func(c *Config, f *fields) error {
		c.Mamba = c.readMamba(f, f.count("mamba_expand", 2, 1)*c.Hidden)
		c.Mamba.limitSteps(f)
		return nil
	},
	Vary: func(c *Config, f *fields) error {
		attention := map[int]bool{}
		for _, l := range f.ids("attn_layer_indices") {
			attention[int(l)] = true
		}
		c.linearLayers(f, func(l int) bool { return !attention[l] }, c.Mamba.size(c.Hidden))
		return nil
	},
}

// feedForwardNames has the names of norms and of the feed-forward in Bamba and Falcon-H1.
var feedForwardNames = map[string]string{
	"norm": "model.final_layernorm", "ffn_norm": "model.layers.%d.pre_ff_layernorm",
	"gate": "model.layers.%d.feed_forward.gate_proj", "up": "model.layers.%d.feed_forward.up_proj", "down": "model.layers.%d.feed_forward.down_proj",
}

// joinDefaults returns a table with the defaults of all tables.
func joinDefaults(tables ...map[string]any) map[string]any {
	all := map[string]any{}
	for _, t := range tables {
		maps.Copy(all, t)
	}
	return all
}
