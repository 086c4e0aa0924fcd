package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestPublishedMambaConfigs reads configurations with the keys and the spelling of
// published models.
func TestPublishedMambaConfigs(t *testing.T) {
	granite := strings.Split(strings.Repeat("mamba ", 40), " ")[:40]
	for _, l := range []int{5, 15, 25, 35} {
		granite[l] = "attention"
	}
	for _, x := range []struct {
		name, text string
		attention  []int
		mamba      MambaShape
		state      int64 // bytes
	}{
		{
			"Granite 4.0 H Tiny",
			`{"architectures":["GraniteMoeHybridForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"attention_multiplier":0.0078125,"bos_token_id":100257,
			"embedding_multiplier":12,"eos_token_id":100257,"hidden_act":"silu","hidden_size":1536,"init_method":"mup","initializer_range":0.1,"intermediate_size":512,
			"layer_types":["` + strings.Join(granite, `","`) + `"],"logits_scaling":6,"mamba_chunk_size":256,"mamba_conv_bias":true,"mamba_d_conv":4,"mamba_d_head":64,
			"mamba_d_state":128,"mamba_expand":2,"mamba_n_groups":1,"mamba_n_heads":48,"mamba_proj_bias":false,"max_position_embeddings":131072,
			"model_type":"granitemoehybrid","normalization_function":"rmsnorm","num_attention_heads":12,"num_experts_per_tok":6,"num_hidden_layers":40,
			"num_key_value_heads":4,"num_local_experts":64,"output_router_logits":false,"pad_token_id":100256,"position_embedding_type":"nope",
			"residual_multiplier":0.22,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000,"router_aux_loss_coef":0.01,"shared_intermediate_size":1024,
			"tie_word_embeddings":true,"torch_dtype":"bfloat16","transformers_version":"4.56.0","use_cache":true,"vocab_size":100352}`,
			[]int{5, 15, 25, 35},
			MambaShape{Heads: 48, HeadDim: 64, Groups: 1, State: 128, Kernel: 4, Activation: "silu", MaxStep: math.Inf(1), Normed: true},
			36 * 4 * (48*64*128 + 3*(3072+256)),
		},
		{
			"Falcon-H1 0.5B",
			`{"architectures":["FalconH1ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"attention_in_multiplier":1.0,"attention_out_multiplier":0.9375,
			"attn_layer_indices":null,"bos_token_id":1,"embedding_multiplier":5.656854249492381,"eos_token_id":11,"head_dim":64,"hidden_act":"silu","hidden_size":1024,
			"initializer_range":0.02,"intermediate_size":2048,"key_multiplier":0.39062499999999994,"lm_head_multiplier":0.0390625,"mamba_chunk_size":128,
			"mamba_conv_bias":true,"mamba_d_conv":4,"mamba_d_head":64,"mamba_d_ssm":1536,"mamba_d_state":128,"mamba_expand":2,"mamba_n_groups":1,"mamba_n_heads":24,
			"mamba_norm_before_gate":false,"mamba_proj_bias":false,"mamba_rms_norm":false,"mamba_use_mlp":true,"max_position_embeddings":16384,"mlp_bias":false,
			"mlp_expansion_factor":8,"mlp_multipliers":[0.8838834764831844,0.5859375],"model_type":"falcon_h1","num_attention_heads":8,"num_hidden_layers":3,
			"num_key_value_heads":2,"num_logits_to_keep":1,"pad_token_id":0,"projectors_bias":false,"rms_norm_eps":1e-05,"rope_scaling":null,
			"rope_theta":100000000000.0,"ssm_in_multiplier":1.25,"ssm_multipliers":[0.3535533905932738,0.25,0.3535533905932738,0.5,0.3535533905932738],
			"ssm_out_multiplier":0.23570226039551587,"tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.52.4","use_cache":true,
			"vocab_size":32784}`,
			[]int{0, 1, 2},
			MambaShape{
				Heads: 24, HeadDim: 64, Groups: 1, State: 128, Kernel: 4, Activation: "silu", MaxStep: math.Inf(1),
				InScale: 1.25, Parts: []float32{0.35355338, 0.25, 0.35355338, 0.5, 0.35355338},
			},
			3 * 4 * (24*64*128 + 3*(1536+256)),
		},
		{
			"Nemotron Nano 9B v2, with a shorter pattern",
			`{"architectures":["NemotronHForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"attention_head_dim":128,"auto_map":{},"bos_token_id":1,
			"chunk_size":128,"conv_kernel":4,"eos_token_id":12,"expand":2,"head_dim":128,"hidden_dropout":0.0,"hidden_size":4480,
			"hybrid_override_pattern":"M-MM*-","initializer_range":0.02,"intermediate_size":15680,"layer_norm_epsilon":1e-05,"mamba_head_dim":80,
			"mamba_hidden_act":"silu","mamba_num_heads":128,"mamba_proj_bias":false,"max_position_embeddings":131072,"mlp_bias":false,"mlp_hidden_act":"relu2",
			"model_type":"nemotron_h","n_groups":8,"num_attention_heads":40,"num_hidden_layers":6,"num_key_value_heads":8,"num_logits_to_keep":1,
			"num_query_groups":8,"pad_token_id":0,"rescale_prenorm_residual":true,"residual_in_fp32":false,"rms_norm_eps":1e-05,"sliding_window":null,
			"ssm_state_size":128,"tie_word_embeddings":false,"time_step_floor":0.0001,"time_step_limit":[0.0,Infinity],"time_step_max":0.1,"time_step_min":0.001,
			"time_step_rank":256,"torch_dtype":"bfloat16","transformers_version":"4.51.3","use_bias":false,"use_cache":true,"use_conv_bias":true,
			"use_mamba_kernels":true,"vocab_size":131072}`,
			[]int{4},
			MambaShape{Heads: 128, HeadDim: 80, Groups: 8, State: 128, Kernel: 4, Activation: "silu", MinStep: 0.001, MaxStep: math.Inf(1), Normed: true},
			3 * 4 * (128*96*128 + 3*(128*80+2*8*128)), // heads of 80 channels take the place of 96
		},
		{
			"Bamba 9B",
			`{"architectures":["BambaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"attn_layer_indices":[9,18,27],"attn_rotary_emb":64,"bos_token_id":128000,
			"eos_token_id":128001,"hidden_act":"silu","hidden_size":4096,"initializer_range":0.02,"intermediate_size":14336,"mamba_chunk_size":256,"mamba_conv_bias":true,
			"mamba_d_conv":4,"mamba_d_head":64,"mamba_d_state":128,"mamba_expand":2,"mamba_n_groups":1,"mamba_n_heads":128,"mamba_proj_bias":false,
			"max_position_embeddings":262144,"mlp_bias":false,"model_type":"bamba","num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,
			"num_logits_to_keep":1,"pad_token_id":0,"rms_norm_eps":1e-05,"rope_theta":10000.0,"tie_word_embeddings":false,"torch_dtype":"bfloat16",
			"transformers_version":"4.47.0","use_cache":true,"vocab_size":128256,"z_loss_coefficient":0.0}`,
			[]int{9, 18, 27},
			MambaShape{Heads: 128, HeadDim: 64, Groups: 1, State: 128, Kernel: 4, Activation: "silu", MaxStep: math.Inf(1), Normed: true},
			29 * 4 * (128*64*128 + 3*(8192+256)),
		},
	} {
		c, err := configOf(t, x.text)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if !slices.Equal(c.AttentionLayers(), x.attention) || fmt.Sprint(*c.Mamba) != fmt.Sprint(x.mamba) || c.StateBytes() != x.state {
			t.Errorf("%s: attention in %v, %+v, states of %d bytes; want %v, %+v, %d", x.name, c.AttentionLayers(), *c.Mamba, c.StateBytes(), x.attention, x.mamba, x.state)
		}
	}
}

// TestMambaRefusals: impossible sizes are named.
func TestMambaRefusals(t *testing.T) {
	for text, want := range map[string]string{
		`{"model_type":"bamba","attn_layer_indices":[0],"mamba_n_heads":100}`:       "mamba_n_heads is 100, want heads of 81 channels with 8192 channels in all",
		`{"model_type":"bamba","attn_layer_indices":[0],"mamba_n_groups":3}`:        "mamba_n_groups is 3, want a divisor of 128, the number of heads",
		`{"model_type":"bamba","attn_layer_indices":[0],"time_step_limit":[1,0.5]}`: "time_step_limit is 1 to 0.5, want two numbers in ascending order",
		`{"model_type":"bamba","attn_layer_indices":[0],"time_step_limit":[1]}`:     "time_step_limit is [1], want a list of 2 numbers",
		`{"model_type":"bamba"}`: "no layer has attention",
		`{"model_type":"granitemoehybrid","layer_types":["attention","conv"]}`:                                       `layer_types[1] is conv`,
		`{"model_type":"nemotron_h","hybrid_override_pattern":"M*X"}`:                                                `hybrid_override_pattern is 'X' at 2, want M, E, * or -`,
		`{"model_type":"nemotron_h","hybrid_override_pattern":"M*","mamba_hidden_act":"tanh"}`:                       "mamba_hidden_act is tanh",
		`{"model_type":"nemotron_h","layers_block_type":["full_attention","attention","mamba","window"]}`:            `layer_types[3] is window`,
		`{"model_type":"falcon_h1","ssm_multipliers":[1,1,1,1]}`:                                                     "ssm_multipliers is [1,1,1,1], want a list of 5 numbers",
		`{"model_type":"falcon_h1","mamba_d_head":[1]}`:                                                              "mamba_d_head is [1], want a number",
		`{"model_type":"granitemoehybrid","layer_types":["attention"],"mamba_d_state":1000000000,"mamba_n_heads":1}`: "want heads and states of at most",
	} {
		_, err := configOf(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", text, err, want)
		}
	}
}
