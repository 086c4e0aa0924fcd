"""Makes tiny random checkpoints with peaked attention, and what transformers computes with them in float32.

usage: make_models.py [-o DIR] [NAME...]   (needs torch and transformers 5.24; without names all of them)

A folder each: config.json, model.safetensors, expected.safetensors with
  input_ids [n], logits_last, logits_mean [vocab], argmax_all [n]: of the prompt
  gen_ids [g], gen_logits [g, vocab]: greedy reply, decoded with a cache; row r picked token r
  attn_tri.L [heads, n(n+1)/2] float16, gen_attn.L [heads, g, n+g]: weights of the first and the last layer; row r of
  gen_attn is that of reply token r as the query

A name before a dash is the architecture; what follows says what is set apart from it. KEPT are in the repository; TestOwnModels
runs others too when ATTNSCOPE_TINY_MODELS names the folder that this script was given.
"""
import argparse, json, os, shutil, zlib
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, Mistral4Config, Mistral4ForCausalLM

BASE = dict(hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2,
            vocab_size=128, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0)
EXPERTS = dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=24)
MOE = dict(EXPERTS, head_dim=16)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)
LONG = dict(type="longrope", short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.0, 1.9, 3.1, 7.0])
DEEP = dict(n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=3, moe_intermediate_size=24)
OSS = dict(head_dim=16, intermediate_size=24, num_local_experts=4, num_experts_per_tok=2, sliding_window=16)
LATENT = dict(num_key_value_heads=4, kv_lora_rank=24, q_lora_rank=20, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10)
S, F = "sliding_attention", "full_attention"
L, C = "linear_attention", "conv"
MAMBA = dict(mamba_n_heads=4, mamba_d_state=8, mamba_d_head="auto")
NEMOTRON = dict(head_dim=16, mamba_num_heads=8, mamba_head_dim=8, n_groups=2, ssm_state_size=6)
DELTA = dict(head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8)
OWN = dict(head_dim=8, sliding_window=16, hidden_size_per_layer_input=6, vocab_size_per_layer_input=128)
LLAMA4 = dict(head_dim=8, intermediate_size=24, intermediate_size_mlp=40, num_local_experts=4)
K = "chunked_attention"
MODELS = {
    # Rotary forms, in every spelling.
    "llama-linear": dict(rope_scaling={"type": "linear", "factor": 2.5}, spelling="old"),
    "llama-dynamic": dict(rope_scaling={"rope_type": "dynamic", "factor": 4.0}, max_position_embeddings=48, spelling="new"),
    "llama-dynamic-short": dict(rope_scaling={"rope_type": "dynamic", "factor": 4.0}),
    "llama-yarn": dict(dtype="float32", rope_scaling=dict(YARN, beta_fast=16, beta_slow=2), head_dim=16, spelling="new"),
    "llama-yarn-plain": dict(rope_scaling=dict(rope_type="yarn", factor=4.0), max_position_embeddings=64),
    "llama-yarn-mscale": dict(rope_scaling=dict(YARN, mscale=1.2, mscale_all_dim=0.7, truncate=False), head_dim=24),
    "llama-yarn-factor": dict(rope_scaling=dict(YARN, attention_factor=1.3), rope_theta=500.0),
    "llama-llama3": dict(rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
                         rope_theta=5000.0, spelling="new"),
    "phi3-longrope": dict(rope_scaling=LONG, original_max_position_embeddings=48, max_position_embeddings=192),
    "phi3-crossing": dict(rope_scaling=LONG, original_max_position_embeddings=75, max_position_embeddings=192, spelling="new"),
    "phi3-longrope-short": dict(rope_scaling=LONG, original_max_position_embeddings=128, max_position_embeddings=512, spelling="new"),
    "phi3-partial": dict(partial_rotary_factor=0.75, head_dim=8, sliding_window=24, tie_word_embeddings=True),
    # Llama's kin and their settings.
    "llama-biases": dict(attention_bias=True, mlp_bias=True, head_dim=12, num_key_value_heads=1, tie_word_embeddings=True),
    "llama-wide": dict(head_dim=32, num_key_value_heads=4, rms_norm_eps=1e-3, hidden_act="gelu"),
    "mistral-window": dict(dtype="float32", sliding_window=16, head_dim=16, spelling="new"),
    "mistral-full": dict(sliding_window=None, num_key_value_heads=1, hidden_act="gelu_pytorch_tanh"),
    "mixtral": dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    "mixtral-window": dict(num_local_experts=3, num_experts_per_tok=1, sliding_window=20, head_dim=16, num_key_value_heads=1),
    "qwen2-window": dict(use_sliding_window=True, sliding_window=16, max_window_layers=1, num_hidden_layers=3, tie_word_embeddings=True),
    "qwen2-types": dict(use_sliding_window=True, sliding_window=16, layer_types=[F, S, F, S], num_hidden_layers=4, spelling="new"),
    "qwen2-yarn": dict(rope_scaling=dict(YARN, type="yarn"), use_sliding_window=False, sliding_window=16),
    "qwen3": dict(dtype="float32", head_dim=16),
    "qwen3-biases": dict(head_dim=16, attention_bias=True, num_key_value_heads=1, use_sliding_window=True, sliding_window=12, max_window_layers=0, spelling="new"),
    "qwen3_moe": dict(MOE, norm_topk_prob=True),
    "qwen3_moe-mixed": dict(MOE, num_hidden_layers=5, decoder_sparse_step=2, mlp_only_layers=[3], norm_topk_prob=False, attention_bias=True),
    "qwen2_moe": dict(EXPERTS, shared_expert_intermediate_size=40),
    "qwen2_moe-mixed": dict(EXPERTS, num_hidden_layers=4, decoder_sparse_step=2, shared_expert_intermediate_size=24, norm_topk_prob=True, qkv_bias=False),
    "qwen3_moe-window": dict(MOE, use_sliding_window=True, sliding_window=16, norm_topk_prob=True, rope_scaling=YARN),
    "smollm3": dict(num_hidden_layers=4),
    "smollm3-marks": dict(num_hidden_layers=4, no_rope_layers=[1, 0, 1, 1]),
    "smollm3-window": dict(num_hidden_layers=4, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=16, attention_bias=True, mlp_bias=True,
                           rope_scaling=YARN, spelling="new", tie_word_embeddings=False),
    "gemma": dict(head_dim=16),
    "gemma-one": dict(head_dim=16, num_key_value_heads=1, hidden_activation="gelu", hidden_act="gelu"),
    "gemma2": dict(head_dim=16, sliding_window=16, query_pre_attn_scalar=16, attn_logit_softcapping=20.0, final_logit_softcapping=15.0, num_key_value_heads=1),
    "gemma2-nocaps": dict(head_dim=24, sliding_window=16, attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True, spelling="new",
                          layer_types=[F, S, S], num_hidden_layers=3),
    "gemma3_text": dict(peak=0.5, num_hidden_layers=7, head_dim=16, sliding_window=24, query_pre_attn_scalar=16, rope_local_base_freq=100.0, rope_theta=5000.0,
                        rope_scaling={"rope_type": "linear", "factor": 2.0}, num_key_value_heads=1),
    "gemma3_text-types": dict(num_hidden_layers=4, head_dim=16, sliding_window=24, query_pre_attn_scalar=20, rope_local_base_freq=100.0, rope_theta=5000.0,
                        rope_scaling={"rope_type": "linear", "factor": 2.0}, layer_types=[S, S, F, S]),
    "gemma3_text-nested": dict(num_hidden_layers=3, head_dim=16, sliding_window=24, rope_local_base_freq=100.0, rope_theta=5000.0,
                               rope_scaling={"rope_type": "linear", "factor": 8.0}, layer_types=[S, F, S], spelling="nested", attention_bias=True,
                               final_logit_softcapping=12.0, attn_logit_softcapping=25.0),
    "gemma3_text-pattern": dict(num_hidden_layers=4, head_dim=8, sliding_window=12, sliding_window_pattern=2, drop=["layer_types"]),
    "olmo2": dict(num_hidden_layers=4),
    "olmo2-biases": dict(attention_bias=True, num_key_value_heads=1, tie_word_embeddings=True),
    "olmo3": dict(num_hidden_layers=4, sliding_window=16, rope_parameters={F: dict(YARN, rope_theta=10000.0), S: dict(rope_type="default", rope_theta=10000.0)}),
    "olmo3-scaling": dict(num_hidden_layers=4, sliding_window=16, rope_scaling=YARN, rope_theta=1000.0, drop=["rope_parameters"], extra=dict(rope_scaling=YARN, rope_theta=1000.0)),
    "granite": dict(embedding_multiplier=6.0, attention_multiplier=0.3, residual_multiplier=0.4, logits_scaling=3.0),
    "granite-biases": dict(embedding_multiplier=3.0, attention_multiplier=0.5, residual_multiplier=0.22, logits_scaling=8.0, attention_bias=True, mlp_bias=True,
                           tie_word_embeddings=True, num_key_value_heads=1, spelling="new"),
    "granitemoe": dict(embedding_multiplier=3.0, attention_multiplier=0.5, residual_multiplier=0.5, logits_scaling=2.0, num_local_experts=5, num_experts_per_tok=2),
    # Odd sizes.
    "llama-odd": dict(hidden_size=36, num_attention_heads=3, num_key_value_heads=1, head_dim=10, intermediate_size=50, vocab_size=131, num_hidden_layers=1,
                      rope_theta=1e6, rope_scaling=dict(YARN, rope_type="yarn"), hidden_act="relu", spelling="new"),
    "qwen2-odd": dict(hidden_size=40, num_attention_heads=5, num_key_value_heads=5, intermediate_size=33, vocab_size=129, tie_word_embeddings=False,
                      rope_scaling=dict(type="dynamic", factor=2.0), max_position_embeddings=64, spelling="old"),
    "qwen3-odd": dict(hidden_size=24, num_attention_heads=6, num_key_value_heads=3, head_dim=14, intermediate_size=70, vocab_size=200, tie_word_embeddings=True,
                      rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)),
    "gemma2-odd": dict(hidden_size=30, num_attention_heads=3, num_key_value_heads=3, head_dim=18, intermediate_size=37, vocab_size=150, sliding_window=5,
                       query_pre_attn_scalar=7.5, num_hidden_layers=5, tie_word_embeddings=False),
    "gemma3_text-odd": dict(hidden_size=30, num_attention_heads=5, num_key_value_heads=1, head_dim=6, intermediate_size=37, vocab_size=150, sliding_window=2,
                            num_hidden_layers=7, tie_word_embeddings=False, spelling="nested", rope_local_base_freq=77.0),
    "phi3-odd": dict(hidden_size=48, num_attention_heads=6, num_key_value_heads=2, intermediate_size=31, partial_rotary_factor=0.5, vocab_size=140,
                     rope_scaling=dict(type="longrope", short_factor=[1.0, 2.0], long_factor=[1.5, 4.0]), original_max_position_embeddings=64, max_position_embeddings=256,
                     spelling="new"),
    "mistral-odd": dict(hidden_size=40, num_attention_heads=5, num_key_value_heads=1, head_dim=4, sliding_window=2, vocab_size=257, intermediate_size=20),
    "mixtral-odd": dict(hidden_size=40, num_attention_heads=5, num_key_value_heads=5, intermediate_size=20, num_local_experts=3, num_experts_per_tok=3, tie_word_embeddings=True),
    "smollm3-odd": dict(num_hidden_layers=3, no_rope_layers=[0, 0, 1], num_key_value_heads=1, hidden_size=24, vocab_size=133, use_sliding_window=True, sliding_window=9,
                        layer_types=[S, F, S], spelling="new"),
    "olmo2-odd": dict(hidden_size=24, num_attention_heads=2, num_key_value_heads=2, intermediate_size=50, rope_scaling=dict(type="linear", factor=3.0), spelling="new"),
    "granite-odd": dict(embedding_multiplier=12, attention_multiplier=1, residual_multiplier=1.0, logits_scaling=1, hidden_size=24, num_attention_heads=3, num_key_value_heads=3),
    # Others, each a short file.
    "gpt2": dict(dtype="float32", n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "gpt2-inner": dict(n_embd=32, n_layer=3, n_head=2, n_positions=96, n_inner=40, activation_function="relu", scale_attn_weights=False,
                       tie_word_embeddings=False),
    "starcoder2": dict(sliding_window=None),
    "starcoder2-window": dict(sliding_window=20, use_bias=False, num_key_value_heads=1),
    "starcoder2-plain": dict(use_bias=False, sliding_window=None, tie_word_embeddings=False, num_key_value_heads=1, rope_scaling=dict(rope_type="linear", factor=2.0)),
    "phi": dict(num_key_value_heads=4, intermediate_size=128),
    "phi-groups": dict(num_key_value_heads=2, partial_rotary_factor=0.25, hidden_size=64),
    "cohere": dict(logit_scale=0.25),
    "cohere2": dict(logit_scale=0.5, num_hidden_layers=4, sliding_window=16),
    "cohere2-types": dict(logit_scale=0.5, num_hidden_layers=4, sliding_window=16, layer_types=[S, F, S, F], spelling="new"),
    "gpt_neox": dict(rotary_pct=0.5, num_key_value_heads=None),
    "gpt_neox-serial": dict(rotary_pct=1.0, use_parallel_residual=False, attention_bias=False, num_key_value_heads=None, tie_word_embeddings=True),
    "stablelm": dict(partial_rotary_factor=0.5, use_qkv_bias=True),
    "stablelm-parallel": dict(partial_rotary_factor=0.25, use_parallel_residual=True, num_key_value_heads=4),
    "olmo": dict(clip_qkv=1.5),
    "olmoe": dict(num_experts=5, num_experts_per_tok=2, intermediate_size=24),
    "olmoe-norm": dict(num_experts=4, num_experts_per_tok=2, intermediate_size=24, norm_topk_prob=True, num_key_value_heads=1),
    "glm": dict(head_dim=8, partial_rotary_factor=0.5),
    "glm4": dict(head_dim=16, partial_rotary_factor=0.5, attention_bias=False),
    "exaone4": dict(num_hidden_layers=4, sliding_window=16, head_dim=8),
    "exaone4-full": dict(sliding_window=None, head_dim=8, rope_scaling=YARN, layer_types=[F, F]),
    "nemotron": dict(head_dim=8, partial_rotary_factor=0.5),
    "nemotron-biases": dict(head_dim=16, partial_rotary_factor=1.0, attention_bias=True, mlp_bias=True),
    "arcee": dict(head_dim=8, mlp_bias=True, rope_scaling=YARN),
    "ministral3": dict(head_dim=8, rope_parameters=dict(YARN, rope_theta=10000.0, llama_4_scaling_beta=0.1, mscale=1.0, mscale_all_dim=1.0, original_max_position_embeddings=16)),
    "ministral3-window": dict(head_dim=16, sliding_window=20, num_key_value_heads=1, tie_word_embeddings=True,
                              rope_parameters=dict(YARN, rope_theta=1000.0, llama_4_scaling_beta=0.3, mscale=1.0, mscale_all_dim=0.5, original_max_position_embeddings=10)),
    "ministral3-defaults": dict(head_dim=8, max_position_embeddings=262144),
    "qwen2_5_vl": dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, mrope_section=[1, 1, 2])),
    "qwen3_vl": dict(head_dim=16, attention_bias=True, rope_parameters=dict(rope_type="default", rope_theta=10000.0, mrope_section=[3, 3, 2], mrope_interleaved=True)),
    "cwm": dict(num_hidden_layers=5, head_dim=16, sliding_window=16),
    "cwm-types": dict(num_hidden_layers=3, head_dim=8, sliding_window=12, layer_types=[S, F, S], rope_parameters=dict(rope_type="default", rope_theta=10000.0)),
    "glm4_moe": dict(DEEP, num_hidden_layers=3, head_dim=16, first_k_dense_replace=1, use_qk_norm=True, attention_bias=True, routed_scaling_factor=2.5, num_mtp_layers=0),
    "glm4_moe-groups": dict(DEEP, num_hidden_layers=2, head_dim=16, first_k_dense_replace=0, n_group=3, topk_group=2, norm_topk_prob=False, n_shared_experts=2,
                            rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25), num_mtp_layers=0),
    "minimax_m2": dict(head_dim=16, num_local_experts=6, num_experts_per_tok=2, rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5),
                       extra=dict(rotary_dim=8)),
    "minimax_m2-rotary": dict(head_dim=16, num_local_experts=4, num_experts_per_tok=3, num_key_value_heads=1, rotary_dim=12, spelling="old", tie_word_embeddings=True),
    "ernie4_5": dict(head_dim=16, tie_word_embeddings=False),
    "ernie4_5-biases": dict(head_dim=8, use_bias=True, num_key_value_heads=1, rope_parameters=dict(YARN, rope_theta=10000.0)),
    "ernie4_5_moe": dict(num_hidden_layers=4, moe_num_experts=6, moe_k=3, moe_intermediate_size=24, moe_num_shared_experts=2, moe_layer_start_index=1),
    "ernie4_5_moe-some": dict(num_hidden_layers=5, moe_num_experts=4, moe_k=1, moe_intermediate_size=16, moe_num_shared_experts=0, moe_layer_start_index=0,
                              moe_layer_end_index=3, moe_layer_interval=2, tie_word_embeddings=False),
    "hunyuan_v1_dense": dict(head_dim=16, max_position_embeddings=32768, rope_parameters=dict(rope_type="dynamic", alpha=1000.0, rope_theta=10000.0, factor=1.0)),
    "hunyuan_v1_dense-biases": dict(head_dim=8, attention_bias=True, tie_word_embeddings=True, num_key_value_heads=1, rope_parameters=dict(YARN, rope_theta=10000.0)),
    "hunyuan_v1_moe": dict(head_dim=16, num_experts=4, moe_topk=2, extra=dict(moe_intermediate_size=[48, 48], moe_topk=[2, 2], num_shared_expert=[1, 1])),
    "hunyuan_v1_moe-alpha": dict(head_dim=16, num_experts=3, moe_topk=1, num_key_value_heads=1, tie_word_embeddings=True,
                                 rope_parameters=dict(rope_type="dynamic", alpha=1000.0, rope_theta=10000.0, factor=1.0)),
    "dots1": dict(DEEP, num_hidden_layers=3, head_dim=16, first_k_dense_replace=1, routed_scaling_factor=2.5, norm_topk_prob=True, sliding_window=None),
    "dots1-window": dict(DEEP, num_hidden_layers=3, head_dim=8, first_k_dense_replace=2, n_group=2, topk_group=1, num_experts_per_tok=2, sliding_window=16, max_window_layers=1,
                         attention_bias=True),
    "gptj": dict(n_embd=32, n_layer=2, n_head=4, n_positions=128, rotary_dim=4, tie_word_embeddings=False),
    "gptj-inner": dict(n_embd=32, n_layer=3, n_head=2, n_positions=96, n_inner=40, rotary_dim=16, activation_function="relu", tie_word_embeddings=True),
    "gpt_neo": dict(num_hidden_layers=4, attention_types=[[["global", "local"], 2]], window_size=16, max_position_embeddings=128),
    "gpt_neo-local": dict(num_hidden_layers=3, num_attention_heads=2, attention_types=[[["local"], 2], [["global"], 1]], window_size=5, max_position_embeddings=96, intermediate_size=None),
    "opt": dict(ffn_dim=48, max_position_embeddings=128),
    "opt-plain": dict(ffn_dim=48, max_position_embeddings=96, enable_bias=False, layer_norm_elementwise_affine=False, activation_function="gelu", tie_word_embeddings=False),
    "falcon": dict(ffn_hidden_size=128, num_kv_heads=1),
    "falcon-groups": dict(num_kv_heads=2, new_decoder_architecture=True, ffn_hidden_size=128, tie_word_embeddings=False),
    "falcon-one": dict(num_kv_heads=2, new_decoder_architecture=True, num_ln_in_parallel_attn=1, rope_parameters=dict(rope_type="default", rope_theta=500.0)),
    "falcon-serial": dict(parallel_attn=False, multi_query=False, bias=True),
    "falcon-alibi": dict(alibi=True, parallel_attn=False, multi_query=False, bias=True, num_attention_heads=6, hidden_size=36, tie_word_embeddings=False),
    "falcon-alibi-one": dict(alibi=True, num_attention_heads=2),
    "bloom": dict(hidden_size=36, num_attention_heads=6),
    "bloom-four": dict(hidden_size=32, num_attention_heads=4, num_hidden_layers=3, tie_word_embeddings=False),
    "mpt": dict(hidden_size=36, num_attention_heads=6, max_seq_len=128, attn_config=dict(clip_qkv=2.0)),
    "mpt-scale": dict(hidden_size=32, num_attention_heads=4, max_seq_len=96, attn_config=dict(softmax_scale=0.6), tie_word_embeddings=False),
    "gpt_oss": dict(OSS, rope_parameters=dict(YARN, rope_theta=10000.0, truncate=False)),
    "gpt_oss-limits": dict(OSS, num_hidden_layers=3, layer_types=[F, S, F], swiglu_alpha=1.2, swiglu_limit=0.3, attention_bias=False, num_key_value_heads=1,
                           rope_parameters=dict(rope_type="default", rope_theta=500.0), tie_word_embeddings=True),
    "gpt_oss-mxfp4": dict(OSS, intermediate_size=64, num_hidden_layers=1, mxfp4=True, spelling="old",
                          rope_parameters=dict(YARN, rope_theta=10000.0, truncate=False)),
    # A latent in the cache: sizes that are no multiples of 32, and with yarn.
    "deepseek_v2": dict(DEEP, **LATENT, num_hidden_layers=3, first_k_dense_replace=1, n_group=3, topk_group=2, topk_method="group_limited_greedy", routed_scaling_factor=1.7,
                        head_dim=8),
    "deepseek_v2-lite": dict({**DEEP, **LATENT, "q_lora_rank": None, "n_shared_experts": 2}, topk_method="greedy", n_group=1, topk_group=1, attention_bias=True,
                             mlp_bias=True, rope_parameters=dict(YARN, rope_theta=10000.0, mscale=0.707, mscale_all_dim=0.707), head_dim=8),
    "deepseek_v3": dict(DEEP, **LATENT, num_hidden_layers=3, first_k_dense_replace=1, n_group=2, topk_group=1, num_mtp_layers=0, attention_bias=True,
                        rope_parameters=dict(YARN, rope_theta=10000.0, mscale=1.0, mscale_all_dim=1.0)),
    "deepseek_v3-plain": dict(DEEP, **{**LATENT, **dict(kv_lora_rank=40, v_head_dim=33, qk_nope_head_dim=5, q_lora_rank=None)}, first_k_dense_replace=0, n_group=1, topk_group=1,
                              num_mtp_layers=0, rope_interleave=False, tie_word_embeddings=True, spelling="old"),
    "glm4_moe_lite": dict(DEEP, **LATENT, num_hidden_layers=3, mlp_layer_types=["dense", "sparse", "sparse"], rms_norm_eps=1e-5, extra=dict(first_k_dense_replace=1)),
    "glm4_moe_lite-types": dict(DEEP, **LATENT, num_hidden_layers=3, mlp_layer_types=["sparse", "dense", "sparse"], norm_topk_prob=False, attention_bias=True),
    "mistral4": dict(DEEP, **LATENT, num_hidden_layers=3, first_k_dense_replace=1, attention_bias=True, routed_scaling_factor=1.5,
                     rope_parameters=dict(YARN, rope_theta=10000.0, llama_4_scaling_beta=0.1, mscale=1.0, mscale_all_dim=1.0, original_max_position_embeddings=16)),
    "mistral4-groups": dict(DEEP, **{**LATENT, "q_lora_rank": None}, first_k_dense_replace=0, n_group=2, topk_group=1, norm_topk_prob=False, rope_interleave=False,
                            rope_parameters=dict(YARN, rope_theta=500.0, llama_4_scaling_beta=0.3, mscale=1.0, mscale_all_dim=0.5, original_max_position_embeddings=10)),
    "youtu": dict(LATENT, rope_parameters=dict(rope_type="default", rope_theta=500.0)),
    "minicpm3": dict({**LATENT, "v_head_dim": 8}, num_hidden_layers=3),
    "minicpm3-biases": dict(LATENT, q_lora_rank=None, v_head_dim=None, attention_bias=True, mlp_bias=True, tie_word_embeddings=False, scale_emb=3, scale_depth=1.1, dim_model_base=16),
    # Layers without attention.
    "qwen3_next": dict(DELTA, **EXPERTS, num_hidden_layers=4, layer_types=[L, F, L, F], shared_expert_intermediate_size=16, norm_topk_prob=True),
    "qwen3_next-interval": dict(DELTA, **EXPERTS, num_hidden_layers=3, extra=dict(full_attention_interval=3), shared_expert_intermediate_size=24, norm_topk_prob=False,
                                linear_num_key_heads=4, linear_num_value_heads=4, linear_conv_kernel_dim=2, decoder_sparse_step=2, attention_bias=True, drop=["layer_types"],
                                full_attention_interval=3),
    "qwen3_next-dense": dict(DELTA, **EXPERTS, num_hidden_layers=5, layer_types=[L, L, F, F, L], mlp_only_layers=[0, 3], shared_expert_intermediate_size=16, norm_topk_prob=True),
    "qwen3_5_text": dict(dict(DELTA, linear_value_head_dim=12), peak=0.3, num_hidden_layers=4, layer_types=[F, L, L, F], tie_word_embeddings=True),
    "qwen3_5_text-one": dict(dict(DELTA, linear_num_key_heads=1), num_hidden_layers=2, layer_types=[L, F], num_key_value_heads=4),
    "qwen3_5_moe_text": dict(DELTA, **EXPERTS, num_hidden_layers=4, shared_expert_intermediate_size=24, linear_conv_kernel_dim=3),
    "qwen3_next-act": dict(DELTA, num_hidden_layers=3, layer_types=[L, F, L], num_experts=0, hidden_act="gelu", linear_conv_kernel_dim=5, tie_word_embeddings=True,
                           rope_parameters=dict(YARN, rope_theta=10000.0, partial_rotary_factor=1.0), rms_norm_eps=1e-3),
    "lfm2-idxs": dict(num_hidden_layers=3, full_attn_idxs=[2], drop=["layer_types"], rope_parameters=dict(YARN, rope_theta=10000.0), num_key_value_heads=4,
                      extra=dict(full_attn_idxs=[2])),
    "qwen3_5": dict(DELTA, num_hidden_layers=3, layer_types=[L, F, L], rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)),
    "qwen3_5_moe": dict(DELTA, **EXPERTS, num_hidden_layers=2, layer_types=[F, L], shared_expert_intermediate_size=16),
    "lfm2": dict(num_hidden_layers=4, layer_types=[C, F, C, F]),
    "lfm2-biases": dict(num_hidden_layers=4, layer_types=[F, C, C, F], conv_bias=True, conv_L_cache=4, num_key_value_heads=1, block_auto_adjust_ff_dim=False),
    "lfm2_moe": dict(EXPERTS, num_hidden_layers=4, layer_types=[C, F, C, F], num_dense_layers=1),
    "lfm2_moe-plain": dict(EXPERTS, num_hidden_layers=3, layer_types=[F, C, F], num_dense_layers=0, use_expert_bias=False, routed_scaling_factor=1.5, norm_topk_prob=False, tie_word_embeddings=False),
    "gemma3n_text": dict(OWN, peak=0.5, num_hidden_layers=5, layer_types=[S, F, S, F, S], num_kv_shared_layers=2, laurel_rank=5, intermediate_size=[48, 40, 48, 56, 48],
                         activation_sparsity_pattern=[0.95, 0.5, 0.3, 0.0, 0.8], rope_parameters={F: dict(rope_type="default", rope_theta=5000.0), S: dict(rope_type="default", rope_theta=100.0)}),
    "gemma3n_text-states": dict(OWN, peak=0.5, num_hidden_layers=3, layer_types=[S, F, F], num_kv_shared_layers=0, laurel_rank=3, altup_num_inputs=3, altup_active_idx=1,
                                altup_correct_scale=False, vocab_size_per_layer_input=100, final_logit_softcapping=5.0, num_key_value_heads=1, attention_bias=True),
    "gemma4_text": dict(OWN, peak=0.2, num_hidden_layers=6, layer_types=[S, F, S, F, S, F], num_kv_shared_layers=2, use_double_wide_mlp=True, global_head_dim=12,
                        final_logit_softcapping=15.0),
    "gemma4_text-moe": dict(OWN, peak=0.5, num_hidden_layers=3, layer_types=[S, F, S], hidden_size_per_layer_input=0, attention_k_eq_v=True, num_global_key_value_heads=1,
                            global_head_dim=16, enable_moe_block=True, num_experts=5, top_k_experts=2, moe_intermediate_size=24, attention_bias=True),
    "gemma4_unified_text": dict(peak=0.2, head_dim=8, sliding_window=16, num_hidden_layers=4, layer_types=[S, S, F, F], num_kv_shared_layers=1, global_head_dim=12,
                                attention_k_eq_v=True, num_global_key_value_heads=1),
    "llama4_text": dict(LLAMA4, num_hidden_layers=4, interleave_moe_layer_step=2, attention_chunk_size=16, attn_scale=0.3, floor_scale=12),
    "llama4_text-plain": dict(LLAMA4, num_hidden_layers=3, moe_layers=[0, 2], num_experts_per_tok=2, no_rope_layers=[1, 0, 1], layer_types=[K, F, F], attention_chunk_size=20,
                              use_qk_norm=False, attn_temperature_tuning=False, attention_bias=True, tie_word_embeddings=True,
                              rope_parameters=dict(rope_type="llama3", rope_theta=5000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)),
    "llama4_text-large": dict(LLAMA4, num_hidden_layers=4, num_key_value_heads=1),
    "granitemoehybrid": dict(MAMBA, num_hidden_layers=4, layer_types=[L, F, L, F], num_local_experts=5, num_experts_per_tok=2, intermediate_size=20, shared_intermediate_size=24,
                             embedding_multiplier=3.0, attention_multiplier=0.5, residual_multiplier=0.5, logits_scaling=2.0, position_embedding_type="nope", tie_word_embeddings=True,
                             extra=dict(layer_types=["mamba", "attention", "mamba", "attention"])),
    "granitemoehybrid-dense": dict(MAMBA, num_hidden_layers=3, layer_types=[F, L, F], num_local_experts=0, shared_intermediate_size=40, mamba_n_groups=2, attention_multiplier=0.4,
                                   position_embedding_type="nope", num_experts_per_tok=0, extra=dict(layer_types=["attention", "mamba", "attention"])),
    "granitemoehybrid-steps": dict(MAMBA, num_hidden_layers=3, layer_types=[L, F, L], num_local_experts=0, shared_intermediate_size=40, mamba_proj_bias=True, mamba_conv_bias=False,
                                   attention_bias=True, attention_multiplier=0.4, position_embedding_type="rope", time_step_limit=[0.2, 1.5]),
    "granitemoehybrid-attention": dict(num_hidden_layers=2, layer_types=[F, F], num_local_experts=0, shared_intermediate_size=40, attention_multiplier=0.4, num_experts_per_tok=0,
                                       position_embedding_type="rope", mamba_n_heads=8, mamba_d_state=16, extra=dict(layer_types=["attention", "attention"])),
    "bamba": dict(MAMBA, num_hidden_layers=4, attn_layer_indices=[1, 3], mamba_n_groups=4),
    # Powers of 2, by which GGUF files multiply weights without rounding.
    "falcon_h1": dict(MAMBA, num_hidden_layers=3, mamba_d_ssm=48, mamba_n_heads=4, mamba_d_head=12, head_dim=16, embedding_multiplier=2.0, lm_head_multiplier=0.25,
                      mlp_multipliers=[0.5, 2.0], key_multiplier=0.5, attention_in_multiplier=2.0, attention_out_multiplier=0.5, ssm_multipliers=[0.5, 2.0, 0.25, 4.0, 0.5],
                      ssm_in_multiplier=0.5, ssm_out_multiplier=2.0),
    "falcon_h1-normed": dict(MAMBA, mamba_d_ssm=None, mamba_rms_norm=True, mamba_norm_before_gate=False, mamba_n_groups=2, attention_bias=True, mlp_bias=True,
                             mamba_proj_bias=True, projectors_bias=True, mamba_conv_bias=False, ssm_multipliers=[0.8, 1.1, 0.9, 1.2, 0.7], ssm_in_multiplier=1.2, key_multiplier=0.5),
    "falcon_h1-last": dict(MAMBA, mamba_d_ssm=32, mamba_n_heads=2, mamba_rms_norm=True, mamba_norm_before_gate=True, num_key_value_heads=1, tie_word_embeddings=True),
    "nemotron_h": dict(NEMOTRON, layers_block_type=["mamba", "moe", "attention", "moe"], **DEEP, moe_shared_expert_intermediate_size=20, routed_scaling_factor=2.5,
                       drop=["layers_block_type", "layer_types"], extra=dict(hybrid_override_pattern="ME*E", num_hidden_layers=4)),
    "nemotron_h-latent": dict(NEMOTRON, layers_block_type=["mamba", "attention", "moe"], **DEEP, moe_shared_expert_intermediate_size=16, moe_latent_size=20, n_group=2, topk_group=1,
                              num_key_value_heads=1, use_bias=True, use_conv_bias=False, norm_topk_prob=False, time_step_min=0.3, drop=["layers_block_type", "layer_types"],
                              extra=dict(hybrid_override_pattern="M*E", num_hidden_layers=3)),
    "nemotron_h-dense": dict(NEMOTRON, layers_block_type=[L, "mlp", F, "mlp"], mlp_bias=True, drop=["layers_block_type", "layer_types", "num_experts_per_tok", "n_routed_experts", "n_shared_experts", "n_group", "topk_group"],
                             extra=dict(hybrid_override_pattern="M-*-", num_hidden_layers=4)),
    "nemotron_h-list": dict(NEMOTRON, layers_block_type=[L, "mlp", F, "moe", F, L], **DEEP, moe_shared_expert_intermediate_size=20),
    "seed_oss": dict(head_dim=12, attention_out_bias=True, mlp_bias=True),
}
KEPT = ["llama-dynamic", "llama-yarn", "llama-llama3", "phi3-longrope", "phi3-crossing", "phi3-partial", "llama-biases", "mistral-window", "mixtral", "qwen2-types", "qwen3",
        "qwen2-yarn", "qwen3_moe", "qwen3_moe-mixed", "qwen2_moe", "smollm3", "smollm3-window", "gemma", "gemma2", "gemma2-nocaps", "gemma3_text", "gemma3_text-nested", "olmo2-biases", "olmo3", "granite-biases", "granitemoe", "gpt2", "starcoder2", "starcoder2-window", "phi", "cohere2",
        "gpt_neox", "stablelm", "olmo", "olmoe", "glm4", "exaone4", "nemotron", "ministral3", "qwen2_5_vl", "qwen3_vl", "cwm", "glm4_moe", "glm4_moe-groups",
        "minimax_m2", "ernie4_5", "ernie4_5_moe", "hunyuan_v1_dense", "hunyuan_v1_moe", "dots1", "gptj", "gpt_neo",
        "opt", "falcon", "falcon-groups", "falcon-alibi", "bloom", "mpt", "gpt_oss", "gpt_oss-limits", "gpt_oss-mxfp4", "deepseek_v2", "deepseek_v2-lite", "deepseek_v3", "glm4_moe_lite", "mistral4", "minicpm3",
        "qwen3_next", "qwen3_5_text", "qwen3_5_moe", "lfm2", "lfm2_moe",
        "gemma3n_text", "gemma3n_text-states", "gemma4_text", "gemma4_text-moe", "gemma4_unified_text", "llama4_text", "llama4_text-plain", "llama4_text-large",
        "granitemoehybrid", "granitemoehybrid-dense", "bamba", "falcon_h1", "nemotron_h", "nemotron_h-dense"]
PROMPT, REPLY = 72, 8
# Families whose configurations lack some of BASE.
FOREIGN = ["gpt_neo", "opt", "falcon", "bloom", "mpt"]
# With limits of the steps of Mamba-2 layers, which transformers heeds only if several tokens are computed together.
WHOLE = ["granitemoehybrid-steps", "nemotron_h-latent"]
# The parts for images of models whose decoders are tested: as small as possible, and not used.
VISION = {
    "qwen2_5_vl": dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=32, patch_size=2, window_size=8, fullatt_block_indexes=[0]),
    "qwen3_5": dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=32, patch_size=2, num_position_embeddings=4),
    "qwen3_5_moe": dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=32, patch_size=2, num_position_embeddings=4),
    "qwen3_vl": dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=32, patch_size=2, num_position_embeddings=4, deepstack_visual_indexes=[]),
}


def respell(c, spelling, layer_types):
    """Writes a configuration as older versions of transformers do; new and nested are as version 5 writes it."""
    if spelling == "old":
        p = c.pop("rope_parameters")
        c["torch_dtype"] = c.pop("dtype")
        c["rope_theta"] = p.pop("rope_theta")
        if "partial_rotary_factor" in p:
            c["partial_rotary_factor"] = p.pop("partial_rotary_factor")
        c["rope_scaling"] = None if p["rope_type"] == "default" else {"type": p.pop("rope_type"), **p}


def randomise(model, peak):
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "norm" in key or "ln_" in key or key.endswith("scale"):
                p.add_(0.2 * torch.randn_like(p))
                if any(s in key for s in ("q_norm", "k_norm", "q_layernorm", "k_layernorm")):
                    p.add_(peak)
            elif any(s in key for s in ("q_proj", "k_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj")) and p.dim() == 2:
                p.copy_(0.35 * torch.randn_like(p))
            elif "sinks" in key:
                p.copy_(1.0 + 1.5 * torch.randn_like(p))
            elif key.endswith("A_log"):  # of states that last
                p.copy_(torch.randn_like(p) - 2)
            elif "wpe" in key or "embed_positions" in key:
                p.copy_(0.1 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (0.25 if p.dim() >= 2 else 0.1))
            p.copy_(p.bfloat16().float())  # every stored type holds the same numbers
        for key, b in model.named_buffers():
            if key.endswith(("e_score_correction_bias", "expert_bias")):
                b.copy_((0.2 * torch.randn_like(b)).bfloat16().float())
            elif key.endswith("layer_scalar"):
                b.fill_((0.6 + 0.4 * torch.rand(1)).bfloat16().item())


def to_mxfp4(w):
    """Codes weights [experts, in, out] as blocks and scales [experts, out, in/32, ...], and returns what they decode to."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
    x = w.transpose(1, 2)
    x = x.reshape(*x.shape[:2], -1, 32)
    power = (x.abs().amax(-1) / 6).log2().ceil()
    levels = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6])
    scaled = x / power.exp2()[..., None]
    codes = (scaled.abs()[..., None] - levels).abs().argmin(-1) + 8 * (scaled < 0)
    blocks = (codes[..., 0::2] + 16 * codes[..., 1::2]).to(torch.uint8)
    scales = (power + 127).to(torch.uint8)
    return blocks, scales, convert_moe_packed_tensors(blocks, scales).float()


def code_experts(model):
    """Gives the experts weights that MXFP4 has, and returns the tensors that code them."""
    coded = {}
    for key, p in model.named_parameters():
        if key.endswith(("gate_up_proj", "down_proj")):
            with torch.no_grad():
                coded[key + "_blocks"], coded[key + "_scales"], plain = to_mxfp4(p)
                p.copy_(plain)
    return coded


def save_coded(out, coded):
    """Replaces the weights of experts in a saved checkpoint."""
    path = os.path.join(out, "model.safetensors")
    rest = {k: v for k, v in load_file(path).items() if k + "_blocks" not in coded}
    save_file({**rest, **{k: v.contiguous() for k, v in coded.items()}}, path, metadata={"format": "pt"})


def make(name, folder):
    out = os.path.join(folder, name)
    shutil.rmtree(out, ignore_errors=True)
    torch.manual_seed(zlib.crc32(name.encode()) % 10000)
    kind, values = name.split("-")[0], dict(MODELS[name])
    peak = values.pop("peak", 1.2)  # of norms of queries and keys: less where many layers make small errors large
    extra = values.pop("extra", {})  # fields of config.json as older versions wrote them
    mxfp4 = values.pop("mxfp4", False)
    spelling, drop, dtype = values.pop("spelling", None), values.pop("drop", []), values.pop("dtype", "bfloat16")
    base = {k: v for k, v in BASE.items() if kind not in FOREIGN or hasattr(CONFIG_MAPPING[kind](), k)}
    base = {k: v for k, v in base.items() if kind not in ("gpt2", "gptj") or k in ("vocab_size", "bos_token_id", "eos_token_id")}
    if kind in VISION:
        config = AutoConfig.for_model(kind, text_config={**base, **values}, vision_config=VISION[kind], image_token_id=127, video_token_id=126,
                                      vision_start_token_id=125, vision_end_token_id=124)
    else:
        config = AutoConfig.for_model(kind, **{**base, **values})
    config._attn_implementation = "eager"
    if kind == "mistral4":  # which AutoModelForCausalLM does not know
        AutoModelForCausalLM.register(Mistral4Config, Mistral4ForCausalLM, exist_ok=True)
    model = (AutoModelForImageTextToText if kind in VISION else AutoModelForCausalLM).from_config(config, dtype=torch.float32).eval()
    config = config.get_text_config()
    randomise(model, peak)
    coded = code_experts(model) if mxfp4 else {}
    ids = torch.randint(3, BASE["vocab_size"] - 4, (1, PROMPT)) if kind in VISION else torch.randint(3, BASE["vocab_size"], (1, PROMPT))
    with torch.no_grad():
        run = model(ids, output_attentions=True, use_cache=True)
        logits, cache, picked, reply, rows = run.logits[0, -1], run.past_key_values, [], [], []
        for r in range(REPLY):
            picked.append(logits)
            reply.append(int(logits.argmax()))
            fed = torch.tensor([[reply[-1]]])
            if kind == "phi3" and PROMPT + len(reply) == config.original_max_position_embeddings + 1:
                cache, fed = None, torch.cat([ids, torch.tensor([reply])], 1)  # as its prepare_inputs_for_generation does
            if name in WHOLE:
                cache, fed = None, torch.cat([ids, torch.tensor([reply])], 1)
            places = dict(position_ids=torch.tensor([[PROMPT + r]])) if kind == "bamba" else {}  # which it would count from 0
            step = model(fed, past_key_values=cache, output_attentions=True, use_cache=True, **places)
            logits, cache = step.logits[0, -1], step.past_key_values
            rows.append(step.attentions)
    i, j = torch.tril_indices(PROMPT, PROMPT)
    expected = {
        "input_ids": ids[0].int(), "logits_last": run.logits[0, -1], "logits_mean": run.logits[0].mean(0),
        "argmax_all": run.logits[0].argmax(-1).int(), "gen_ids": torch.tensor(reply).int(), "gen_logits": torch.stack(picked),
    }
    types = getattr(config, "layer_types", None) or [F] * config.num_hidden_layers
    attends = [i for i, kind in enumerate(types) if kind in (S, F, K, "hybrid")]  # attentions has these layers
    for layer in (attends[0], attends[-1]):
        at = attends.index(layer)
        whole = torch.zeros(config.num_attention_heads, REPLY, PROMPT + REPLY)
        for r, attentions in enumerate(rows):
            row = attentions[at][0, :, -1]  # a layer's cache may hold its window alone
            whole[:, r, PROMPT + r + 1 - row.shape[-1]:PROMPT + r + 1] = row
        expected[f"attn_tri.{layer}"] = run.attentions[at][0][:, i, j].half()
        expected[f"gen_attn.{layer}"] = whole
    model.to(getattr(torch, dtype)).save_pretrained(out)
    if os.path.exists(os.path.join(out, "generation_config.json")):
        os.remove(os.path.join(out, "generation_config.json"))
    if mxfp4:
        save_coded(out, coded)
        extra = dict(quantization_config=dict(quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn"]), initial_context_length=32)
    path = os.path.join(out, "config.json")
    c = json.load(open(path))
    if spelling:
        respell(c, spelling, values.get("layer_types"))
    for key in drop:
        c.pop(key, None)
    c.update(extra)
    json.dump(c, open(path, "w"), indent=1)
    save_file({k: v.contiguous() for k, v in expected.items()}, os.path.join(out, "expected.safetensors"))
    top = run.attentions[-1][0].max(-1).values.mean()
    two = torch.stack(picked).topk(2).values
    print(f"{name}: largest weight of the last layer {top:.2f}, smallest gap of greedy logits {(two[:, 0] - two[:, 1]).min():.3f}, "
          f"{sum(os.path.getsize(os.path.join(out, f)) for f in os.listdir(out)) // 1024} KB")


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser()
    p.add_argument("-o", default=here)
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    for name in a.names or (KEPT if a.o == here else MODELS):
        make(name, a.o)
