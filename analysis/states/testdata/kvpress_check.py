"""Writes random states, and the positions that NVIDIA's kvpress keeps of them.

usage: kvpress_check.py STATES.safetensors WINDOW KERNEL CAPACITY SEED

Prints the kept positions, one JSON list a kv head, window included.
"""
import json, sys, types
import torch
from safetensors.torch import save_file
from kvpress import SnapKVPress

path, window, kernel, capacity, seed = sys.argv[1], *map(int, sys.argv[2:6])
torch.manual_seed(seed)
heads, kv_heads, length, dim = 8, 2, 400, 32
q = torch.randn(heads, length, dim)
k = 2 * torch.randn(kv_heads, length, dim)
v = torch.randn(kv_heads, length, dim)
save_file({"query_states": q, "key_states": k, "value_states": v}, path)
scores = q @ k.repeat_interleave(heads // kv_heads, 0).transpose(1, 2) / dim**0.5
scores += torch.full((length, length), float("-inf")).triu(1)
attention = scores.softmax(-1)[None]
module = types.SimpleNamespace(config=types.SimpleNamespace(num_attention_heads=heads), head_dim=dim)
press = SnapKVPress(compression_ratio=1 - capacity / length, window_size=window, kernel_size=kernel)
score = press.score(module, torch.zeros(1, length, 1), k[None], v[None], attention, {})
for head in score.topk(capacity, dim=-1).indices[0]:
    print(json.dumps(sorted(head.tolist())))
