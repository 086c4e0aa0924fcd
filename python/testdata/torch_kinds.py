"""Records tiny random models of many kinds with attnscope.Recorder, and compares the rows
with what the models return for output_attentions with eager attention.

    torch_kinds.py FOLDER [KIND ...]

prints a line of JSON for each kind: its name; "absent" if this version of transformers
does not have the model, "refused" and the reason, "unmapped" if the model was recorded
but does not return its maps in this version, or "recorded", the largest difference and
the layers that were left out. A recorded dump is FOLDER/KIND.attn.
"""
import json
import os
import sys
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import numpy as np
import torch
import transformers as T

import attnscope

warnings.filterwarnings("ignore")
T.logging.set_verbosity_error()

BASE = dict(
    hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
    vocab_size=300, max_position_embeddings=256, initializer_range=0.2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
GPT2 = dict(n_embd=64, n_layer=4, n_head=4, n_positions=256, vocab_size=300, initializer_range=0.2)
MAMBA = dict(mamba_n_heads=8, mamba_d_head=16, mamba_d_state=16, mamba_n_groups=1, mamba_chunk_size=16)
MLA = dict(num_key_value_heads=4, q_lora_rank=32, kv_lora_rank=32, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=16)

# name: (family, settings, what to do with the model, arguments of the recorder)
KINDS = {}


def kind(name, family, change=None, recorder=None, **settings):
    KINDS[name] = (family, settings, change, recorder or {})


kind("llama", "Llama")
kind("llama-bfloat16", "Llama", change=lambda m: m.to(torch.bfloat16))
kind("llama-float16", "Llama", change=lambda m: m.to(torch.float16))
kind("llama-float64", "Llama", change=lambda m: m.to(torch.float64))
kind("llama-factors", "Llama", recorder=dict(store="factors", values=True))
kind("llama-values", "Llama", recorder=dict(values=True))
kind("llama-training", "Llama", change=lambda m: m.train())
kind("llama4-chunks-64", "Llama4Text", attention_chunk_size=64, head_dim=16, intermediate_size_mlp=96, num_local_experts=2, moe_layers=[])
kind("llama4-chunks-16", "Llama4Text", attention_chunk_size=16, head_dim=16, intermediate_size_mlp=96, num_local_experts=2, moe_layers=[])
kind("llama4-scaled-queries", "Llama4Text", attention_chunk_size=16, head_dim=16, intermediate_size_mlp=96, num_local_experts=2, moe_layers=[], floor_scale=8, attn_scale=0.5)
kind("llama4-chunks-factors", "Llama4Text", recorder=dict(store="factors"), attention_chunk_size=16, head_dim=16, intermediate_size_mlp=96, num_local_experts=2, moe_layers=[])
kind("gpt2", "GPT2", **GPT2)
kind("gpt2-inverse-layer-scale", "GPT2", **GPT2, scale_attn_by_inverse_layer_idx=True)
kind("gpt2-inverse-layer-scale-factors", "GPT2", recorder=dict(store="factors"), **GPT2, scale_attn_by_inverse_layer_idx=True)
kind("gpt2-unscaled", "GPT2", **GPT2, scale_attn_weights=False)
kind("gpt2-upcast", "GPT2", **GPT2, reorder_and_upcast_attn=True)
kind("mistral-window", "Mistral", sliding_window=12)
kind("mistral-window-factors", "Mistral", recorder=dict(store="factors", values=True), sliding_window=12)
kind("qwen2-window", "Qwen2", use_sliding_window=True, sliding_window=12, max_window_layers=2)
kind("gemma2", "Gemma2", sliding_window=12, head_dim=16, attn_logit_softcapping=2.0, query_pre_attn_scalar=7)
kind("gemma2-factors", "Gemma2", recorder=dict(store="factors"), sliding_window=12, head_dim=16, attn_logit_softcapping=2.0, query_pre_attn_scalar=7)
kind("gemma3", "Gemma3Text", sliding_window=12, head_dim=16, query_pre_attn_scalar=7)
kind("gemma3-bidirectional", "Gemma3Text", sliding_window=12, head_dim=16, use_bidirectional_attention=True)
kind("cohere2", "Cohere2", sliding_window=12)
kind("granite", "Granite", attention_multiplier=0.3, residual_multiplier=0.5)
kind("phi3-window", "Phi3", sliding_window=12)
kind("qwen3", "Qwen3", head_dim=24)
kind("smollm3", "SmolLM3")
kind("olmo3", "Olmo3", sliding_window=12)
kind("exaone4", "Exaone4", sliding_window=12, sliding_window_pattern=2)
kind("starcoder2", "Starcoder2", sliding_window=12)
kind("stablelm", "StableLm")
kind("opt", "OPT", ffn_dim=96, word_embed_proj_dim=64)
kind("gpt-neox", "GPTNeoX")
kind("qwen2-moe", "Qwen2Moe", num_experts=2, num_experts_per_tok=1, moe_intermediate_size=32, shared_expert_intermediate_size=32)
kind("mixtral", "Mixtral", num_local_experts=2, sliding_window=12)
kind("ministral-scaled-queries", "Ministral3", head_dim=16, rope_parameters=dict(rope_type="yarn", rope_theta=1e4, factor=2.0, original_max_position_embeddings=16, max_position_embeddings=256, llama_4_scaling_beta=0.5, beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0))
kind("deepseek-v3", "DeepseekV3", **MLA, n_routed_experts=2, n_group=1, topk_group=1, num_experts_per_tok=1, first_k_dense_replace=4)
kind("deepseek-v3-values", "DeepseekV3", recorder=dict(values=True), **MLA, n_routed_experts=2, n_group=1, topk_group=1, num_experts_per_tok=1, first_k_dense_replace=4)
kind("lfm2", "Lfm2", layer_types=["conv", "full_attention", "conv", "full_attention"])
kind("qwen3-next", "Qwen3Next", head_dim=16, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=32, shared_expert_intermediate_size=32, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=16, linear_value_head_dim=16)
kind("granite-hybrid", "GraniteMoeHybrid", layer_types=["mamba", "attention", "mamba", "attention"], shared_intermediate_size=64, num_local_experts=0, **MAMBA)
kind("falcon-h1", "FalconH1", mamba_d_ssm=128, head_dim=16, **MAMBA)
kind("jamba", "Jamba", attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, num_experts=2, num_experts_per_tok=1, use_mamba_kernels=False, mamba_d_state=8, mamba_dt_rank=8)
kind("bamba", "Bamba", attn_layer_indices=[1, 3], **MAMBA)
kind("minimax", "MiniMax", layer_types=["linear_attention", "full_attention"] * 2, num_local_experts=2, head_dim=16, block_size=16)
kind("gpt-oss-factors", "GptOss", recorder=dict(store="factors"), num_experts_per_tok=1, sliding_window=12, head_dim=16, num_local_experts=2)
kind("gpt-oss", "GptOss", num_experts_per_tok=1, sliding_window=12, head_dim=16, num_local_experts=2, layer_types=["sliding_attention", "full_attention"] * 2)
kind("diffllama", "DiffLlama")
kind("falcon", "Falcon", num_kv_heads=2)
kind("bloom", "Bloom", n_layer=4, n_head=4)
kind("mamba2", "Mamba2", num_heads=8, head_dim=16, state_size=16, n_groups=1, chunk_size=16)
kind("gemma4-two-head-dims", "Gemma4Text", head_dim=16, global_head_dim=32, sliding_window=12, hidden_size_per_layer_input=0, vocab_size_per_layer_input=300, layer_types=["sliding_attention", "full_attention"] * 2, num_kv_shared_layers=0)
kind("gemma3n", "Gemma3nText", head_dim=16, sliding_window=12, vocab_size_per_layer_input=300, hidden_size_per_layer_input=8, altup_num_inputs=2, laurel_rank=8, num_kv_shared_layers=2, intermediate_size=[96] * 4, activation_sparsity_pattern=[0.0] * 4, layer_types=["sliding_attention", "full_attention"] * 2)
kind("t5", "T5", d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4)


def build(family, settings):
    """Returns a random model, or None if this version does not have it."""
    name = family.removesuffix("Text") if family == "Llama4Text" else family
    config = getattr(T, family + "Config", None)
    suffixes = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    model = next((getattr(T, name + s) for s in suffixes if hasattr(T, name + s)), None)
    if family == "Gemma3Text":
        model = T.Gemma3ForCausalLM
    if family in ("Gemma4Text", "Gemma3nText"):
        model = getattr(T, family.removesuffix("Text") + "ForCausalLM", None)
    if config is None or model is None:
        return None
    base = {} if family in ("GPT2", "T5") else BASE
    torch.manual_seed(0)
    return model(config(**{**base, **settings})).eval()


def largest_difference(model, path, tokens, prompt, rows):
    """Compares a dump with the model's own maps of tokens. Returns None if the model does
    not return them."""
    d = attnscope.open(path)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(torch.tensor([tokens]), output_attentions=True, use_cache=False).attentions
    square = [m for m in maps if m is not None and m.shape[-2:] == (len(tokens), len(tokens))]
    if len(square) != len(d.plan["layers"]):  # hybrids list states of other layers too
        return None
    maps = dict(zip(d.plan["layers"], square))
    worst = 0.0
    for layer in d.plan["layers"]:
        own = maps[layer][0].double().numpy()
        worst = max(
            worst, np.abs(d.prompt_rows(0, layer) - own[:, prompt - rows : prompt, :prompt]).max(),
            np.abs(d.generation_rows(0, layer) - own[:, prompt:]).max(),
            np.abs(d.sums(0, layer) - own[:, :prompt, :prompt].sum(1)).max() / prompt,
            *(np.abs(s - own[:, prompt - 8 * (2 - i) : prompt - 8 * (1 - i), : s.shape[1]].sum(1)).max() / 8
              for i, s in enumerate(d.window_sums(0, layer))))
    return float(worst)


def try_kind(folder, name):
    family, settings, change, recorder = KINDS[name]
    model = build(family, settings)
    if model is None:
        return dict(outcome="absent")
    if change is not None:
        model = change(model)
    path = os.path.join(folder, name + ".attn")
    torch.manual_seed(1)
    tokens = torch.randint(3, 300, (56,)).tolist()
    try:
        with attnscope.Recorder(model, path, window_rows=16, prompt_windows=2, prompt_window_size=8, chunk=13, **recorder) as r:
            r.record(tokens[:50], id="a", reply=tokens[50:])
    except (NotImplementedError, ValueError) as e:
        left = [f for f in os.listdir(folder) if f.startswith(name + ".attn")]
        return dict(outcome="refused", reason=str(e), files=left)
    difference = largest_difference(model, path, tokens, 50, 16)
    return dict(outcome="recorded" if difference is not None else "unmapped", difference=difference, left_out=r.left_out)


if __name__ == "__main__":
    torch.set_num_threads(2)
    for name in sys.argv[2:] or KINDS:
        print(json.dumps(dict(kind=name, **try_kind(sys.argv[1], name))), flush=True)
