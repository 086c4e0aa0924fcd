"""Writes quantized_cache.bin: the keys and values of one head, and what is read from its
quantized cache after a prompt and after each of some later steps, as float32.

The recipe is KIVI's (arXiv:2402.02750), written with numpy: keys are quantized by channel,
in groups of GROUP positions, as soon as RESIDUAL positions are not quantized; values are
quantized by position, in groups of GROUP channels, except for the last RESIDUAL positions.
Scales and minima have half precision.
"""

import numpy as np

PROMPT, STEPS, DIM = 37, 14, 20
GROUP, RESIDUAL = 4, 8
BITS = (2, 3, 4, 8)


def half(x):
    return np.clip(x, -65504, 65504).astype(np.float16).astype(np.float32)


def quantize(x, bits, axis):
    """Rounds x, whose groups lie along axis."""
    most = np.float32(2**bits - 1)
    low = x.min(axis=axis, keepdims=True)
    high = x.max(axis=axis, keepdims=True)
    minimum = half(low)
    scale = half((high - low) / most)
    with np.errstate(divide="ignore", invalid="ignore"):
        code = np.rint(np.clip((x - minimum) / scale, np.float32(0), most))
    code = np.where(scale > 0, code, np.float32(0)).astype(np.float32)
    return (code * scale).astype(np.float32) + minimum


def keys_after(keys, n, bits):
    full = n - n % RESIDUAL
    out = keys[:n].copy()
    groups = out[:full].reshape(full // GROUP, GROUP, DIM)
    out[:full] = quantize(groups, bits, 1).reshape(full, DIM)
    return out


def values_after(values, n, bits):
    full = max(0, n - RESIDUAL)
    out = values[:n].copy()
    groups = out[:full].reshape(full, DIM // GROUP, GROUP)
    out[:full] = quantize(groups, bits, 2).reshape(full, DIM)
    return out


def main():
    rng = np.random.default_rng(7)
    keys = rng.normal(size=(PROMPT + STEPS, DIM)).astype(np.float32)
    keys *= np.exp(2 * rng.normal(size=DIM)).astype(np.float32)  # channels of different size
    keys[:, 3] = np.float32(1.25)  # a channel without spread
    keys[5, 6] = np.float32(1e6)  # too large for half precision
    values = rng.normal(size=(PROMPT + STEPS, DIM)).astype(np.float32)
    parts = [keys, values]
    for bits in BITS:
        for n in (PROMPT, PROMPT + 3, PROMPT + STEPS):
            parts += [keys_after(keys, n, bits), values_after(values, n, bits)]
    with open("quantized_cache.bin", "wb") as f:
        for part in parts:
            f.write(part.astype("<f4").tobytes())


main()
