"""Makes defaults.json: what the configuration classes of transformers 5.24 take for fields that config.json leaves out."""
import json, os
from transformers import CONFIG_MAPPING

KINDS = """llama smollm3 mistral ministral mixtral qwen2 qwen3 qwen2_moe qwen3_moe gemma gemma2 gemma3_text phi3 olmo olmo2 olmo3 granite granitemoe gpt2
starcoder2 phi cohere cohere2 gpt_neox stablelm olmoe glm glm4 exaone4 nemotron arcee seed_oss ministral3 qwen2_5_vl_text qwen3_vl_text cwm
glm4_moe minimax_m2 ernie4_5 ernie4_5_moe hunyuan_v1_dense hunyuan_v1_moe dots1 gptj gpt_neo opt falcon bloom mpt gpt_oss
deepseek_v2 deepseek_v3 glm4_moe_lite mistral4 youtu minicpm3
qwen3_next qwen3_5_text qwen3_5_moe_text lfm2 lfm2_moe
gemma3n_text gemma4_text gemma4_unified_text llama4_text
granitemoehybrid bamba falcon_h1 nemotron_h""".split()


def first(c, *names, otherwise=None):
    return next((v for n in names if (v := getattr(c, n, None)) is not None), otherwise)


def shared(c):
    """Channels of the experts that every token goes through."""
    if c.model_type in ("hunyuan_v1_moe", "llama4_text"):
        return c.intermediate_size
    if c.model_type == "granitemoehybrid":
        return c.shared_intermediate_size
    if c.model_type == "nemotron_h":
        return c.moe_shared_expert_intermediate_size
    n = first(c, "n_shared_experts", "moe_num_shared_experts", otherwise=0)
    return first(c, "shared_expert_intermediate_size", otherwise=n * first(c, "moe_intermediate_size", otherwise=0))


def intermediate(c):
    """Channels of the feed-forward."""
    n = first(c, "intermediate_size_mlp", "intermediate_size", "n_inner", otherwise=4 * c.hidden_size)
    n = n[0] if isinstance(n, list) else n
    if getattr(c, "block_auto_adjust_ff_dim", False):
        of = c.block_multiple_of
        n = (int(c.block_ffn_dim_multiplier * int(2 * n / 3)) + of - 1) // of * of
    return n


def activation(c):
    fixed = {"bloom": "gelu_tanh", "lfm2": "silu", "lfm2_moe": "silu"}
    return first(c, "hidden_act", "hidden_activation", "activation_function", "activation", "mlp_hidden_act", otherwise=fixed.get(c.model_type, "gelu"))


out = {}
for kind in KINDS:
    c = CONFIG_MAPPING[kind]()
    c.allow_global_per_layer_attribute_access = True
    heads = c.num_attention_heads
    rope = getattr(c, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    window = first(c, "sliding_window", "window_size")
    local = ["sliding_attention" if t == "local" else t for t in getattr(c, "attention_layers", [])]
    types = getattr(c, "layer_types", None) or local or ["sliding_attention" if window else "full_attention"] * c.num_hidden_layers
    out[kind] = {
        "layers": c.num_hidden_layers, "hidden": c.hidden_size, "heads": heads, "kv_heads": 1 if kind == "falcon" else first(c, "num_key_value_heads", otherwise=heads),
        "intermediate": intermediate(c), "head_dim": first(c, "head_dim", otherwise=c.hidden_size // heads),
        "vocab": c.vocab_size, "positions": first(c, "max_position_embeddings", "max_seq_len", otherwise=0), "eps": first(c, "rms_norm_eps", "layer_norm_eps", "norm_epsilon", "layer_norm_epsilon", otherwise=1e-5),
        "theta": rope.get("rope_theta", 10000.0 if kind == "gptj" else 0), "rotated": rope.get("partial_rotary_factor", c.rotary_dim * heads / c.hidden_size if kind == "gptj" else 1.0),
        "windows": [window if t == "sliding_attention" and window else 0 for t in types], "activation": activation(c),
        "bos": first(c, "bos_token_id", otherwise=-1), "eos": eos[0] if isinstance(eos := first(c, "eos_token_id", otherwise=-1), list) else eos, "experts": first(c, "num_local_experts", "num_experts", otherwise=0),
        "top_experts": first(c, "num_experts_per_tok", otherwise=0),
        "expert_size": first(c, "moe_intermediate_size", otherwise=c.intermediate_size if kind == "llama4_text" else 0) if first(c, "num_local_experts", "num_experts") else 0,
        "shared_size": shared(c),
    }
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "defaults.json"), "w") as f:
    f.write("{\n" + ",\n".join(f' "{k}": {json.dumps(v)}' for k, v in out.items()) + "\n}\n")
