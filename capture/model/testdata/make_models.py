"""Makes tiny random checkpoints with peaked attention, and what transformers computes with them in float32.

usage: make_models.py [NAME...]   (needs torch and transformers 4.57)

A folder each: config.json, model.safetensors, expected.safetensors with
  input_ids [n], logits_last, logits_mean [vocab], argmax_all [n]: of the prompt
  gen_ids [g], gen_logits [g, vocab]: greedy reply, row r picked token r
  attn_tri.L [heads, n(n+1)/2] float16, gen_attn.L [heads, g, n+g]: weights of the first and the last layer; row r of
  gen_attn is that of reply token r as the query
"""
import os, shutil, sys
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

BASE = dict(hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=4,
            vocab_size=128, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0)
MODELS = {
    "smollm3": dict(BASE, model_type="smollm3", no_rope_layers=[1, 0, 1, 1]),
    "mixtral": dict(BASE, model_type="mixtral", num_local_experts=4, num_experts_per_tok=2, sliding_window=None, num_hidden_layers=2),
    "qwen3": dict(BASE, model_type="qwen3", head_dim=16),
    "qwen3_moe": dict(BASE, model_type="qwen3_moe", head_dim=16, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=24,
                      norm_topk_prob=True, num_hidden_layers=2),
    "gemma3_text": dict(BASE, model_type="gemma3_text", head_dim=16, sliding_window=24, query_pre_attn_scalar=20,
                        rope_local_base_freq=100.0, rope_theta=5000.0, rope_scaling={"rope_type": "linear", "factor": 2.0},
                        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]),
    "olmo2": dict(BASE, model_type="olmo2"),
    "granite": dict(BASE, model_type="granite", embedding_multiplier=6.0, attention_multiplier=0.3, residual_multiplier=0.4,
                    logits_scaling=3.0),
}
PROMPT, REPLY = 72, 8


def make(name):
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    shutil.rmtree(out, ignore_errors=True)
    torch.manual_seed(sum(map(ord, name)))
    values = dict(MODELS[name])
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "norm" in key:
                p.add_(0.2 * torch.randn_like(p))
            elif "q_proj" in key or "k_proj" in key:
                p.copy_(0.35 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (0.25 if p.dim() == 2 else 0.1))
    model.save_pretrained(out)
    os.remove(os.path.join(out, "generation_config.json"))
    ids = torch.randint(3, BASE["vocab_size"], (1, PROMPT))
    with torch.no_grad():
        run = model(ids, output_attentions=True)
        tokens, picked = ids, []
        for _ in range(REPLY):
            logits = model(tokens).logits[0, -1]
            picked.append(logits)
            tokens = torch.cat([tokens, logits.argmax()[None, None]], 1)
        whole = model(tokens, output_attentions=True)
    i, j = torch.tril_indices(PROMPT, PROMPT)
    expected = {
        "input_ids": ids[0].int(), "logits_last": run.logits[0, -1], "logits_mean": run.logits[0].mean(0),
        "argmax_all": run.logits[0].argmax(-1).int(), "gen_ids": tokens[0, PROMPT:].int(), "gen_logits": torch.stack(picked),
    }
    for layer in (0, config.num_hidden_layers - 1):
        expected[f"attn_tri.{layer}"] = run.attentions[layer][0][:, i, j].half()
        expected[f"gen_attn.{layer}"] = whole.attentions[layer][0][:, PROMPT:, :].contiguous()
    save_file({k: v.contiguous() for k, v in expected.items()}, os.path.join(out, "expected.safetensors"))
    top = run.attentions[-1][0].max(-1).values.mean()
    print(f"{name}: mean largest weight of the last layer {top:.2f}, size {sum(os.path.getsize(os.path.join(out, f)) for f in os.listdir(out))}")


for name in sys.argv[1:] or MODELS:
    make(name)
