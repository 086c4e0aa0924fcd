"""Makes quants.json: random blocks of every GGUF type and what the PyPI package
gguf dequantises them to. Needs numpy and gguf."""
import base64
import json

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

rng = np.random.default_rng(7)
out = {}
for name in ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]:
    t = getattr(T, name)
    block, size = GGML_QUANT_SIZES[t]
    n = 4
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    half = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}[name]
    for at in half:  # scales that are ordinary numbers
        raw[:, at : at + 2] = rng.normal(0, 0.1, (n, 1)).astype(np.float16).view(np.uint8).reshape(n, 2)
    values = dequantize(raw, t).astype("<f4").ravel()
    assert len(values) == n * block and np.isfinite(values).all()
    out[name] = {"raw": base64.b64encode(raw.tobytes()).decode(), "values": base64.b64encode(values.tobytes()).decode()}
json.dump(out, open("quants.json", "w"), indent=0)
