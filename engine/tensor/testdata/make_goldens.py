"""Makes quants.json: what the PyPI package gguf dequantises blocks of every GGUF type to. Needs numpy and gguf.

The blocks are bytes of a generator that the test runs too: x = x * 1664525 + 1013904223 mod 2^32 from the seed, the highest byte
of each x. The scales lose a bit, so that they are finite. Stored are four blocks' values, and the SHA-256 of 512 blocks'.
"""
import base64, hashlib, json
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Where the scales stand: halves by the place of their high byte, whose 0x40 goes; the exponent of MXFP4 loses its 0x80.
SCALES = {"Q4_0": [1], "Q4_1": [1, 3], "Q5_0": [1], "Q5_1": [1, 3], "Q8_0": [1], "Q2_K": [81, 83], "Q3_K": [109], "Q4_K": [1, 3], "Q5_K": [1, 3],
          "Q6_K": [209], "IQ4_NL": [1], "IQ4_XS": [1], "MXFP4": [0], "TQ2_0": [65],
          "TQ1_0": [53], "IQ1_S": [1], "IQ1_M": [55], "IQ2_XXS": [1], "IQ2_XS": [1], "IQ2_S": [1], "IQ3_XXS": [1], "IQ3_S": [1]}
BLOCKS = 512


def generated(seed, n):
    x, out = seed, bytearray()
    for _ in range(n):
        x = (x * 1664525 + 1013904223) % 2**32
        out.append(x >> 24)
    return np.frombuffer(bytes(out), np.uint8)


out = {}
for seed, (name, at) in enumerate(SCALES.items()):
    t = getattr(T, name)
    block, size = GGML_QUANT_SIZES[t]
    raw = generated(seed, BLOCKS * size).reshape(BLOCKS, size).copy()
    raw[:, at] &= 0x7F if name == "MXFP4" else 0xBF
    values = dequantize(raw, t).astype("<f4").ravel()
    assert len(values) == BLOCKS * block and np.isfinite(values).all()
    out[name] = {"seed": seed, "scales": at, "values": base64.b64encode(values[:4 * block].tobytes()).decode(), "sha256": hashlib.sha256(values.tobytes()).hexdigest()}
json.dump(out, open("quants.json", "w"), indent=0)
