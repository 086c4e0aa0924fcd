"""Changes every key of many configurations alone, and writes what transformers computes with each.

usage: sweep_keys.py DIR > lines.jsonl   (needs torch and transformers 5.24)

DIR/NAME is the checkpoint of a family or setting, DIR/NAME/I that of its change I: config.json, model.safetensors (shared if no
shape changed) and logits.f32, the logits [tokens, vocab] of TOKENS in float32. A line each: dir, base, key, value, and error (what
transformers says if it does not accept the value) or shape. Weights depend on their name and shape alone.
"""
import copy, json, os, sys, warnings, zlib
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Mistral4Config, Mistral4ForCausalLM, logging

AutoModelForCausalLM.register(Mistral4Config, Mistral4ForCausalLM, exist_ok=True)
logging.set_verbosity_error()
logging.disable_progress_bar()
warnings.simplefilter("ignore")
torch.set_num_threads(1)
TOKENS = [(7 * i * i + 3 * i + 5) % 61 + 3 for i in range(40)]
BASE = dict(hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, vocab_size=64,
            max_position_embeddings=32, bos_token_id=1, eos_token_id=2, pad_token_id=0)
EXPERTS = dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=24)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, rope_theta=10000.0)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16, rope_theta=5000.0)
LONG = dict(rope_type="longrope", short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.0, 1.9, 3.1, 7.0], original_max_position_embeddings=16, rope_theta=10000.0)
DEEP = dict(n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=24)
LATENT = dict(num_key_value_heads=4, kv_lora_rank=24, q_lora_rank=20, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10)
OWN = dict(head_dim=8, sliding_window=8, hidden_size_per_layer_input=6, vocab_size_per_layer_input=64)
S, F, L, C = "sliding_attention", "full_attention", "linear_attention", "conv"
MAMBA = dict(mamba_n_heads=4, mamba_d_state=8, mamba_n_groups=2, layer_types=[F, L])
DELTA = dict(head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12)
SETTINGS = {
    "llama": {}, "llama-llama3": dict(rope_parameters=LLAMA3, attention_bias=True),
    "llama-dynamic": dict(rope_parameters=dict(rope_type="dynamic", factor=4.0, rope_theta=10000.0)),
    "llama-linear": dict(rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=10000.0), tie_word_embeddings=True),
    "smollm3": dict(num_hidden_layers=4), "smollm3-window": dict(num_hidden_layers=4, use_sliding_window=True, sliding_window=8, no_rope_layer_interval=2),
    "mistral": dict(sliding_window=None), "mistral-window": dict(sliding_window=8, head_dim=16),
    "ministral": dict(sliding_window=8, num_hidden_layers=3, layer_types=[S, F, S], head_dim=8),
    "mixtral": dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=None), "mixtral-window": dict(num_local_experts=3, sliding_window=8),
    "qwen2": {}, "qwen2-yarn": dict(rope_parameters=YARN), "qwen2-window": dict(use_sliding_window=True, sliding_window=8, max_window_layers=1),
    "qwen3": dict(head_dim=16), "qwen2_moe": dict(EXPERTS, shared_expert_intermediate_size=40), "qwen3_moe": dict(EXPERTS, head_dim=16),
    "qwen3_moe-mixed": dict(EXPERTS, head_dim=16, num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3], norm_topk_prob=True),
    "gemma": dict(head_dim=16), "gemma2": dict(head_dim=16, sliding_window=8, query_pre_attn_scalar=16, attn_logit_softcapping=20.0, final_logit_softcapping=15.0),
    "gemma3_text": dict(head_dim=16, sliding_window=8, num_hidden_layers=6, query_pre_attn_scalar=16),
    "phi3": {}, "phi3-longrope": dict(rope_parameters=LONG, original_max_position_embeddings=16, sliding_window=8, partial_rotary_factor=1.0),
    "olmo": dict(clip_qkv=1.5), "olmo2": {}, "olmo3": dict(sliding_window=8, num_hidden_layers=4),
    "olmoe": dict(num_experts=5, num_experts_per_tok=2, intermediate_size=24),
    "granite": dict(embedding_multiplier=3.0, attention_multiplier=0.5, residual_multiplier=0.4, logits_scaling=3.0),
    "granitemoe": dict(num_local_experts=5, num_experts_per_tok=2, attention_multiplier=0.5),
    "gpt2": dict(n_embd=32, n_layer=2, n_head=4, n_positions=64), "starcoder2": dict(sliding_window=8),
    "phi": dict(partial_rotary_factor=0.5), "cohere": dict(logit_scale=0.25), "cohere2": dict(logit_scale=0.5, num_hidden_layers=4, sliding_window=8),
    "gpt_neox": dict(rotary_pct=0.5), "gpt_neox-serial": dict(use_parallel_residual=False, rotary_pct=1.0),
    "stablelm": dict(partial_rotary_factor=0.5), "glm": dict(head_dim=8), "glm4": dict(head_dim=16),
    "exaone4": dict(num_hidden_layers=4, sliding_window=8, head_dim=8), "nemotron": dict(head_dim=8), "arcee": dict(head_dim=8, rope_parameters=YARN),
    "seed_oss": dict(head_dim=12),
    "deepseek_v2": dict(DEEP, **LATENT, first_k_dense_replace=1, n_group=3, topk_group=2, topk_method="group_limited_greedy"),
    "deepseek_v2-greedy": dict(DEEP, **{**LATENT, "q_lora_rank": None}, rope_parameters=dict(YARN, mscale=0.7, mscale_all_dim=0.8)),
    "deepseek_v3": dict(DEEP, **LATENT, first_k_dense_replace=1, n_group=2, topk_group=1, num_mtp_layers=0, rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=1.0)),
    "glm4_moe_lite": dict(DEEP, **LATENT),
    "mistral4": dict(DEEP, **LATENT, rope_parameters=dict(YARN, llama_4_scaling_beta=0.1, mscale=1.0, mscale_all_dim=1.0)), "youtu": dict(LATENT), "minicpm3": dict(LATENT, dim_model_base=16),
    "granitemoehybrid": dict(MAMBA, num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=24, attention_multiplier=0.3, position_embedding_type="rope"),
    "granitemoehybrid-dense": dict(MAMBA, num_local_experts=0, shared_intermediate_size=24, attention_multiplier=0.3),
    "bamba": dict(mamba_n_heads=4, mamba_d_state=8, attn_layer_indices=[1]),
    "falcon_h1": dict(mamba_n_heads=4, mamba_d_state=8, mamba_d_ssm=32, mamba_d_head=8, head_dim=8),
    "falcon_h1-normed": dict(mamba_n_heads=4, mamba_d_state=8, mamba_d_ssm=None, mamba_d_head=16, mamba_rms_norm=True, mamba_n_groups=2),
    "nemotron_h": dict(head_dim=8, mamba_num_heads=4, mamba_head_dim=8, n_groups=2, ssm_state_size=8, layers_block_type=[L, "mlp", F, "moe"], n_routed_experts=6,
                       moe_intermediate_size=16, moe_shared_expert_intermediate_size=16),
    "qwen3_next": dict(DELTA, **EXPERTS, num_hidden_layers=4, layer_types=[L, F, L, F], mlp_only_layers=[2], shared_expert_intermediate_size=16),
    "qwen3_5_text": dict(DELTA, num_hidden_layers=3, layer_types=[L, F, L]),
    "qwen3_5_moe_text": dict(DELTA, **EXPERTS, num_hidden_layers=2, layer_types=[L, F], shared_expert_intermediate_size=16),
    "lfm2": dict(num_hidden_layers=3, layer_types=[C, F, C]), "lfm2-adjust": dict(num_hidden_layers=2, layer_types=[C, F], block_auto_adjust_ff_dim=True, block_multiple_of=16),
    "lfm2_moe": dict(EXPERTS, num_hidden_layers=3, layer_types=[C, F, C], num_dense_layers=1),
    "gemma3n_text": dict(OWN, num_hidden_layers=3, layer_types=[S, F, S], num_kv_shared_layers=1, laurel_rank=4, activation_sparsity_pattern=[0.9, 0.0, 0.5]),
    "gemma4_text": dict(OWN, num_hidden_layers=3, layer_types=[S, F, F], num_kv_shared_layers=1, per_layer_config={"1": {"head_dim": 12}, "2": {"head_dim": 12}}),
    "gemma4_text-moe": dict(OWN, hidden_size_per_layer_input=0, layer_types=[S, F], attention_k_eq_v=True, enable_moe_block=True, num_experts=4, top_k_experts=2,
                            moe_intermediate_size=16, per_layer_config={"1": {"head_dim": 12, "num_key_value_heads": 1}}),
    "gemma4_unified_text": dict(head_dim=8, sliding_window=8, layer_types=[S, F], per_layer_config={"1": {"head_dim": 12}}),
    "llama4_text": dict(head_dim=8, num_hidden_layers=3, intermediate_size=24, intermediate_size_mlp=40, num_local_experts=4, attention_chunk_size=8, no_rope_layer_interval=3,
                        interleave_moe_layer_step=2, floor_scale=4),
}
# Legal values of keys that are not a matter of adding something.
VALUES = {
    "hidden_act": ["relu", "gelu"], "hidden_activation": ["relu", "gelu"], "activation_function": ["relu", "gelu"],
    "layer_types": [[F], [S]], "sliding_window": [5, None], "model_type": [], "architectures": [["BertModel"]], "dtype": ["bfloat16"],
    "num_attention_heads": [8, 2], "num_key_value_heads": [1, 4], "n_head": [2], "hidden_size": [16], "n_embd": [16], "head_dim": [4, 24], "vocab_size": [80],
    "num_hidden_layers": [1, 3], "n_layer": [1, 3], "attention_multiplier": [0.1], "bos_token_id": [5, None], "eos_token_id": [7, [7, 8]], "pad_token_id": [5, None],
    "num_experts_per_tok": [1], "mlp_only_layers": [[0], []], "no_rope_layers": [[1], [0]], "partial_rotary_factor": [0.5, 1.0, 0.25], "rotary_pct": [0.25, 1.0],
    "max_position_embeddings": [16, 64], "n_positions": [50, 80], "id2label": [{"0": "x", "1": "y", "2": "z"}], "label2id": [{"x": 0, "y": 1, "z": 2}],
    "transformers_version": ["4.57.1"], "n_inner": [40], "clip_qkv": [None, 0.5], "logit_scale": [1.0], "rope_theta": [500.0], "rotary_emb_base": [500.0],
    "rope_type": ["linear", "dynamic", "yarn", "llama3", "longrope", "default"], "type": ["linear"], "factor": [1.0, 3.0], "truncate": [False],
    "short_factor": [[1.0, 1.0, 2.0, 3.0]], "long_factor": [[1.0, 1.0, 2.0, 3.0]], "attention_factor": [1.7], "mscale": [1.2], "mscale_all_dim": [0.7],
    "original_max_position_embeddings": [8, 24], "beta_fast": [16.0], "beta_slow": [2.0], "query_pre_attn_scalar": [24], "max_window_layers": [0, 1],
    "use_bidirectional_attention": [True], "attn_implementation": [], "initializer_range": [0.5], "problem_type": ["regression"],
    "num_local_experts": [3], "num_experts": [4], "attn_logit_softcapping": [5.0, None], "final_logit_softcapping": [5.0, None], "low_freq_factor": [2.0],
    "mamba_hidden_act": ["relu"], "mlp_hidden_act": ["silu"], "time_step_limit": [[0.1, 0.5]], "attn_layer_indices": [[0], [0, 1]], "mlp_multipliers": [[0.5, 2.0]],
    "ssm_multipliers": [[0.5, 2.0, 0.7, 1.3, 0.9]], "position_embedding_type": ["rope", None, "nope"], "layers_block_type": [["full_attention", "moe", "linear_attention", "mlp"]],
    "high_freq_factor": [3.0], "sliding_window_pattern": [2, 3], "rms_norm_eps": [0.1], "layer_norm_eps": [0.1], "norm_eps": [0.1], "norm_epsilon": [0.1],
    "q_lora_rank": [12, None], "kv_lora_rank": [16], "qk_rope_head_dim": [6], "n_group": [1], "topk_group": [1], "topk_method": ["greedy"],
    "mlp_layer_types": [["dense", "dense"], ["sparse", "sparse"]], "layer_norm_epsilon": [0.1], "no_rope_layer_interval": [2, 3], "decoder_sparse_step": [1, 2, 3],
}
# Keys that are missing in what transformers writes, and what they mean to some family or did to older versions.
MORE = {
    "rope_theta": [500.0], "rope_scaling": [{"type": "linear", "factor": 3.0}, {"rope_type": "yarn", "factor": 2.0}, None], "partial_rotary_factor": [0.5], "head_dim": [4],
    "sliding_window": [5], "use_sliding_window": [True], "layer_types": [[F], [S]], "attn_logit_softcapping": [5.0], "final_logit_softcapping": [5.0],
    "logit_scale": [0.5], "logits_scaling": [3.0], "attention_multiplier": [0.1], "embedding_multiplier": [2.0], "residual_multiplier": [0.3], "clip_qkv": [0.5],
    "is_causal": [False], "use_bidirectional_attention": [True], "use_qk_norm": [True], "qk_layernorm": [True], "rotary_pct": [0.5], "rotary_emb_base": [500.0],
    "attention_bias": [True], "mlp_bias": [True], "use_parallel_residual": [True, False], "num_local_experts": [3], "num_experts": [3], "num_experts_per_tok": [1],
    "norm_topk_prob": [True], "rope_local_base_freq": [50.0], "scale_attn_by_inverse_layer_idx": [True], "attention_chunk_size": [8], "hidden_activation": ["relu"],
    "hidden_act": ["relu"], "query_pre_attn_scalar": [24], "tie_word_embeddings": [True], "no_rope_layers": [[1]], "alibi": [True], "attn_temperature_tuning": [True],
    "something_new": [1], "original_max_position_embeddings": [8], "rope_interleaved": [True], "max_window_layers": [0], "layer_norm_eps": [0.1], "rms_norm_eps": [0.1],
    "sliding_window_pattern": [2], "attention_dropout": [0.2], "scale_attn_weights": [False], "num_nextn_predict_layers": [1], "quantization_config": [],
}


def fitted(key, value, layers):
    """Lists that have an entry for each layer."""
    if key in ("layer_types", "no_rope_layers") and isinstance(value, list):
        return value * layers
    return value


def others(key, old, layers):
    """Legal values of a key other than the old one."""
    if key in VALUES:
        candidates = [fitted(key, v, layers) for v in VALUES[key]]
    elif isinstance(old, bool):
        candidates = [not old]
    elif isinstance(old, int):
        candidates = [old + 1, 2 * old]
    elif isinstance(old, float):
        candidates = [old * 1.5 + 0.1]
    elif old is None:
        candidates = [1, True, 0.5]
    else:
        candidates = []
    return [v for v in candidates if v != old]


def changes(config):
    """Pairs of a path and a value: the keys of a configuration, of its objects, and keys that it lacks; then keys that are left out."""
    layers = config.get("num_hidden_layers", config.get("n_layer")) or len(config["layers_block_type"])
    for key, old in list(config.items()):
        if isinstance(old, dict) and key.startswith("rope"):
            for part, inner in [((key,), old)] if not any(isinstance(v, dict) for v in old.values()) else [((key, k), v) for k, v in old.items()]:
                for k in sorted(set(inner) | {"factor", "attention_factor", "rope_type", "beta_fast", "mscale", "truncate", "partial_rotary_factor", "something_new"}):
                    for v in others(k, inner.get(k), layers) or ([3] if k == "something_new" else []):
                        yield part + (k,), v
        else:
            for v in others(key, old, layers):
                yield (key,), v
    for key, values in MORE.items():
        if key not in config:
            for v in values:
                yield (key,), fitted(key, v, layers)
    for key in config:
        if key not in ("model_type", "vocab_size", "num_hidden_layers", "n_layer"):  # many random layers amplify rounding
            yield (key,), "left out"


def changed(config, path, value):
    c = copy.deepcopy(config)
    at = c
    for k in path[:-1]:
        at = at[k]
    if value == "left out":
        del at[path[-1]]
        return c
    at[path[-1]] = value
    if path[-1] == "rope_type":  # what the kinds need
        n = config.get("head_dim") or config.get("hidden_size", 32) // config.get("num_attention_heads", 4)
        half = int(n * (at.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1)) // 2
        needs = {"linear": ["factor"], "dynamic": ["factor"], "yarn": ["factor", "original_max_position_embeddings"], "default": [],
                 "llama3": ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
                 "longrope": ["short_factor", "long_factor", "original_max_position_embeddings"]}[value]
        given = {"factor": 3.0, "original_max_position_embeddings": 16, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                 "short_factor": [1.0 + i for i in range(half)], "long_factor": [1.0 + 2 * i for i in range(half)]}
        for k in needs:
            at.setdefault(k, given[k])
    return c


def fill(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            r = torch.randn(p.shape, generator=g)
            if name.endswith("A_log"):  # states that last: outputs near zero are normalized to noise
                p.copy_(0.3 * r - 2)
            elif p.dim() < 2:
                p.copy_(r * 0.3 if "bias" in name else 1 + 0.2 * r)
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.copy_(r * 0.5)
            else:
                p.copy_(r * (2.0 if "q_proj" in name or "k_proj" in name else 1.0) / p.shape[-1] ** 0.5)


def too_large(c):
    c.allow_global_per_layer_attribute_access = True
    names = "hidden_size intermediate_size num_attention_heads vocab_size num_hidden_layers n_embd n_layer n_inner head_dim num_experts moe_intermediate_size num_local_experts"
    values = [getattr(c, n, None) or 0 for n in names.split()]
    return max(v for v in values if isinstance(v, int)) > 400


def build(folder):
    config = AutoConfig.from_pretrained(folder)
    if too_large(config):
        raise ValueError("TOO LARGE")
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    fill(model)
    return model


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([TOKENS]), use_cache=False).logits[0].float()


def write(folder, out):
    out.contiguous().numpy().tofile(os.path.join(folder, "logits.f32"))


def main(root, only):
    for name, own in SETTINGS.items():
        if only and name not in only:
            continue
        kind = name.split("-")[0]
        base = os.path.join(root, name)
        os.makedirs(base)
        common = {k: v for k, v in BASE.items() if not (kind in ("gpt2",) and k not in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"))}
        if kind in ("gpt_neox", "phi", "olmo") or kind == "gpt2":
            common.pop("num_key_value_heads", None)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**common, **own}), attn_implementation="eager", dtype=torch.float32).eval()
        fill(model)
        model.save_pretrained(base)
        config = json.load(open(os.path.join(base, "config.json")))
        model = build(base)
        shapes = {k: v.shape for k, v in model.state_dict().items()}
        was_tied = model.config.tie_word_embeddings
        out = logits(model)
        write(base, out)
        print(json.dumps(dict(dir=name, base=name, key="", value=None, shape=list(out.shape))), flush=True)
        for i, (path, value) in enumerate(changes(config)):
            folder = os.path.join(base, str(i))
            os.makedirs(folder)
            c = changed(config, path, value)
            line = dict(dir=f"{name}/{i}", base=name, key=".".join(path), value=value)
            if c == config:
                continue
            file = os.path.join(folder, "config.json")
            json.dump(c, open(file, "w"))
            try:
                model = build(folder)
                got = logits(model)
                tied = model.config.tie_word_embeddings
                if {k: v.shape for k, v in model.state_dict().items()} == shapes and tied >= was_tied:
                    os.symlink("../model.safetensors", os.path.join(folder, "model.safetensors"))
                    if tied > was_tied:  # a head in the file decides
                        got = logits(AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval())
                else:
                    model.save_pretrained(folder)
                    line["rebuilt"] = True
                    json.dump(c, open(file, "w"))
                    g = os.path.join(folder, "generation_config.json")
                    if os.path.exists(g):
                        os.remove(g)
                write(folder, got)
                line["shape"] = list(got.shape)
                line["matters"] = got.shape != out.shape or not bool((got - out).abs().max() <= 1e-6)
            except Exception as e:
                line["error"] = f"{type(e).__name__}: {e}".split("\n")[0][:200]
                if "TOO LARGE" in line["error"]:
                    continue
            print(json.dumps(line), flush=True)


main(sys.argv[1], sys.argv[2:])
