"""What transformers computes in float32 from a GGUF file's dequantized weights: rows of attention and greedy tokens.

usage: rows.py FILE.gguf PROMPTS.json DIR > lines.jsonl   (needs torch, transformers 5.24, gguf)

PROMPTS.json is a list of objects: ids, layers (whose rows are wanted), rows (the last so many positions) and reply (greedy tokens).
A line a prompt: ids, gaps (by how much the best logit of each step exceeds the next), and file, which holds the weights [layer, head, row,
key] in float32. The whole map of attention is never in memory: the layers compute their rows from the states that they are given.
"""
import json, os, sys
import gguf
import numpy as np
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, logging
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

logging.set_verbosity_error()
logging.disable_progress_bar()
path, prompts, out = sys.argv[1], json.load(open(sys.argv[2])), sys.argv[3]
wanted = {}


def attend(module, query, key, value, mask, scaling, dropout=0.0, **more):
    """The arithmetic of eager_attention_forward in blocks of queries, over the keys that they see. It keeps the rows that are wanted."""
    n = module.num_key_value_groups
    k, v = key.repeat_interleave(n, 1), value.repeat_interleave(n, 1)
    queries, keys = query.shape[2], key.shape[2]
    before = keys - queries
    window = module.sliding_window or keys
    out = torch.empty_like(query)
    for at in range(0, queries, 256):
        q = query[:, :, at:at + 256]
        lo, hi = max(0, before + at - window + 1), before + at + q.shape[2]
        far = (before + at + torch.arange(q.shape[2]))[:, None] - torch.arange(lo, hi)[None]
        scores = torch.matmul(q, k[:, :, lo:hi].transpose(2, 3)) * scaling
        scores = scores.masked_fill((far < 0) | (far >= window), float("-inf"))
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32)
        out[:, :, at:at + 256] = torch.matmul(weights, v[:, :, lo:hi])
        first = queries - wanted["rows"]
        if queries > 1 and module.layer_idx in wanted["layers"] and at + 256 > first:
            rows = weights[0, :, max(0, first - at):]
            wanted["got"].setdefault(module.layer_idx, []).append(torch.nn.functional.pad(rows, (lo, keys - hi)))
    return out.transpose(1, 2).contiguous(), None


def load(path):
    """A Gemma 3 model in float32. The file has the configuration and the weights under other names, and 1 is added to its norms."""
    r = gguf.GGUFReader(path)
    get = lambda key: r.fields["gemma3." + key].contents()
    layers = get("block_count")
    config = Gemma3TextConfig(
        vocab_size=int(next(t for t in r.tensors if t.name == "token_embd.weight").shape[1]), hidden_size=get("embedding_length"), num_hidden_layers=layers,
        intermediate_size=get("feed_forward_length"), num_attention_heads=get("attention.head_count"), num_key_value_heads=get("attention.head_count_kv"),
        head_dim=get("attention.key_length"), query_pre_attn_scalar=get("attention.key_length"), sliding_window=get("attention.sliding_window"),
        max_position_embeddings=get("context_length"), rms_norm_eps=get("attention.layer_norm_rms_epsilon"), attn_implementation="rows",
        rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": get("rope.freq_base")}, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}},
        layer_types=["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(layers)])
    names = {"token_embd": "embed_tokens", "output_norm": "norm", "attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm",
             "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    state = {}
    for t in r.tensors:
        block, _, role = t.name.removesuffix(".weight").rpartition(".")
        x = torch.from_numpy(np.array(gguf.dequantize(t.data, t.tensor_type), dtype=np.float32).reshape([int(n) for n in t.shape[::-1]]))
        state["model." + block.replace("blk", "layers") + ("." if block else "") + names[role] + ".weight"] = x - 1 if "norm" in role else x
    model = Gemma3ForCausalLM(config)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    model.tie_weights()
    return model.float().eval()


ALL_ATTENTION_FUNCTIONS.register("rows", attend)
ALL_MASK_ATTENTION_FUNCTIONS.register("rows", lambda *a, **more: None)  # attend masks by itself
model = load(path)
for i, p in enumerate(prompts):
    wanted = dict(layers=p["layers"], rows=p["rows"], got={})
    line = {"ids": [], "gaps": [], "file": f"rows{i}.f32"}
    step, cache = torch.tensor([p["ids"]]), None
    with torch.no_grad():
        for _ in range(p["reply"]):
            got = model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            two, cache = got.logits[0, -1].topk(2), got.past_key_values
            line["ids"].append(int(two.indices[0]))
            line["gaps"].append(float(two.values[0] - two.values[1]))
            step = two.indices[:1][None]
    rows = torch.stack([torch.cat(wanted["got"][layer], dim=1) for layer in p["layers"]])
    rows.numpy().tofile(os.path.join(out, line["file"]))
    line["shape"] = list(rows.shape)
    print(json.dumps(line), flush=True)
