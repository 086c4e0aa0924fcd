"""Shapes with random numbers in PyTorch, bfloat16. First causal attention of one layer, by
FlashAttention (flash) and by cuDNN (cudnn); then a prefill with sdpa, which records
nothing, and one with eager attention that keeps the last 128 rows of every head,
until memory runs out. One JSON object on stdout."""
import json
import sys
import time

import torch
import torch.nn.functional as F

if not torch.cuda.is_available():
    sys.exit(3)
asked = json.loads(sys.argv[1])
stop = time.time() + asked["seconds"]
dev, dt, results = "cuda", torch.bfloat16, []


def rms(x):
    return (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def rope(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


@torch.inference_mode()
def prefill(w, s, theta, ids, eager):
    n, heads, kv, dim = ids.numel(), s["Heads"], s["KVHeads"], s["HeadDim"]
    angle = torch.outer(torch.arange(n, device=dev).float(), theta ** (-torch.arange(0, dim, 2, device=dev).float() / dim))
    cos, sin = angle.cos().to(dt), angle.sin().to(dt)
    x, kept = w["embed"][ids], []
    for l in w["layers"]:
        q, k, v = (rms(x) @ l["qkv"].T).split((heads * dim, kv * dim, kv * dim), -1)
        q, k, v = (t.view(n, -1, dim).transpose(0, 1) for t in (q, k, v))
        q, k = rope(q, cos, sin), rope(k, cos, sin)
        k, v = (t.repeat_interleave(heads // kv, 0) for t in (k, v))
        if eager:
            score = q @ k.transpose(1, 2) * dim**-0.5
            score.masked_fill_(torch.ones(n, n, dtype=torch.bool, device=dev).triu(1), float("-inf"))
            weight = score.float().softmax(-1)
            kept.append(weight[:, -128:].cpu())
            a = weight.to(dt) @ v
        else:
            a = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        x = x + a.transpose(0, 1).reshape(n, -1) @ l["out"].T
        gate, up = (rms(x) @ l["gate_up"].T).chunk(2, -1)
        x = x + (F.silu(gate) * up) @ l["down"].T
    return rms(x[-1:]) @ w["embed"].T


def attention(shape, n, what):
    """The median time of one layer's attention, of five after one that warms up."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    s = shape["sizes"]
    r = {"shape": shape["name"], "tokens": n, "what": what}
    try:
        q, k, v = (torch.randn(1, s["Heads"], n, s["HeadDim"], device=dev, dtype=dt) for _ in range(3))
        times = []
        with sdpa_kernel({"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}[what]):
            for _ in range(6):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                F.scaled_dot_product_attention(q, k, v, is_causal=True)
                end.record()
                torch.cuda.synchronize()
                times.append(start.elapsed_time(end) / 1e3)
        r["seconds"] = sorted(times[1:])[2]
    except (RuntimeError, AttributeError) as e:
        r["failed"] = str(e).split("\n")[0]
    return r


for shape in asked["shapes"]:
    for n in asked["lengths"]:
        for what in ("flash", "cudnn"):
            if time.time() < stop:
                results.append(attention(shape, n, what))

for shape in asked["shapes"]:
    s, out_of_memory = shape["sizes"], False
    h, ff, qkv = s["Hidden"], s["Intermediate"], (s["Heads"] + 2 * s["KVHeads"]) * s["HeadDim"]
    make = lambda o, i: torch.randn(o, i, device=dev, dtype=dt) * i**-0.5
    w = {"embed": make(s["Vocab"], h), "layers": [
        {"qkv": make(qkv, h), "out": make(h, s["Heads"] * s["HeadDim"]), "gate_up": make(2 * ff, h), "down": make(h, ff)} for _ in range(s["Layers"])]}
    for n in asked["lengths"]:
        for eager in (False, True):
            if time.time() > stop or eager and out_of_memory:
                continue
            r = {"shape": shape["name"], "tokens": n, "what": "eager" if eager else "sdpa"}
            try:
                ids = torch.randint(s["Vocab"], (n,), device=dev)
                for _ in range(2):  # the first warms up
                    torch.cuda.synchronize()
                    start = time.time()
                    prefill(w, s, shape["theta"], ids, eager)
                    torch.cuda.synchronize()
                    r["seconds"] = time.time() - start
            except torch.OutOfMemoryError as e:
                r["failed"], out_of_memory = "out of memory: " + str(e).split(".")[0], eager
                torch.cuda.empty_cache()
            results.append(r)
    del w
    torch.cuda.empty_cache()
print(json.dumps({"version": torch.__version__, "device": torch.cuda.get_device_name(), "results": results}))
