"""Makes coded.json: the values of all small floats in torch, and what transformers makes of MXFP4 as OpenAI publishes it. Needs torch and transformers 5.24.

The blocks are the bytes of the generator of make_goldens.py, [2, 3, 4, 16] for the codes, then [2, 3, 4] for the exponents.
"""
import base64, hashlib, json
import numpy as np
import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors


def generated(seed, n):
    x, out = seed, bytearray()
    for _ in range(n):
        x = (x * 1664525 + 1013904223) % 2**32
        out.append(x >> 24)
    return torch.frombuffer(out, dtype=torch.uint8)


values = lambda t: base64.b64encode(t.contiguous().view(torch.uint8).numpy().tobytes()).decode()
every = torch.arange(256, dtype=torch.uint8)
out = {name: values(every.view(kind).float()) for name, kind in (("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2))}
raw = generated(99, 2 * 3 * 4 * 17)
blocks, exponents = raw[: 2 * 3 * 4 * 16].reshape(2, 3, 4, 16), raw[2 * 3 * 4 * 16 :].reshape(2, 3, 4)
out["MXFP4"] = values(convert_moe_packed_tensors(blocks, exponents).transpose(1, 2))
json.dump(out, open("coded.json", "w"), indent=0)
