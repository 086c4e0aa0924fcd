#!/usr/bin/env python3
"""Runs launches of Triton's kernels that the emulated driver recorded (ATTNSCOPE_EMU_RECORD) once more, from
kernels.py in Triton's interpreter, and compares all memory afterwards. The emulated driver runs plain loops.
It needs Triton and PyTorch, and no card.

usage: interpret.py LAUNCHES
"""

import os
import re
import sys

os.environ["TRITON_INTERPRET"] = "1"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "kernels"))

import numpy as np  # noqa: E402
import replay  # noqa: E402
import torch  # noqa: E402
import triton.language as tl  # noqa: E402
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle  # noqa: E402

import build  # noqa: E402
import kernels  # noqa: E402

TYPES = {"*bf16": torch.bfloat16, "*f32": torch.float32, "*i64": torch.int64, "*i32": torch.int32, "*u8": torch.uint8}


def bfloat16_products(create_dot):
    """Triton 3.9's interpreter multiplies the bits of bfloat16 as whole numbers: this widens them before."""

    def wide(x):
        if x.dtype.scalar != tl.bfloat16:
            return x
        return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def dot(builder, a, b, *rest):
        return create_dot(builder, wide(a), wide(b), *rest)

    return dot


def argument(kind, value, buffers):
    """A parameter of a launch as the interpreter takes it. A pointer is the rest of the buffer that it points into."""
    if kind[0] == "*":
        for base, data in buffers.items():
            if base <= value < base + len(data):
                rest = data[value - base :]
                whole = len(rest) // TYPES[kind].itemsize * TYPES[kind].itemsize
                return torch.from_numpy(rest[:whole]).view(TYPES[kind])
        if value:
            sys.exit(f"a pointer {value} into no buffer")
        return None
    if kind == "f32":
        return float(np.array([value], np.uint32).view(np.float32)[0])
    return int(np.array([value], np.uint64).astype(np.uint32).view(np.int32)[0]) if kind != "i64" else value


def main(path):
    InterpreterBuilder.create_dot = bfloat16_products(InterpreterBuilder.create_dot)
    failures, seen = 0, set()
    for name, grid, _, _, values, before, after in replay.read(path):
        m = re.fullmatch(r"triton_(\w+?)_bf16(?:_(\d+))?", name)
        if not m:
            continue
        text, constants, _ = build.KERNELS[m[1]]
        constants = dict(constants, D=int(m[2])) if m[2] else constants
        buffers = {base: data.copy() for base, data in before.items()}
        kinds = [p.split()[0] for p in text.split(",")]
        if len(values) != len(kinds) + 2:
            sys.exit(f"{name} was launched with {len(values)} parameters, and has {len(kinds) + 2}")
        getattr(kernels, m[1])[grid](*(argument(k, v, buffers) for k, v in zip(kinds, values)), **constants)
        seen.add(name)
        for base in before:
            problem = replay.compare(name, values, base, buffers[base], after[base])
            if problem:
                print(f"FAIL {name} {grid} {values}: {problem}")
                failures += 1
    missed = sorted({v[0] for v in build.variants()} - seen)
    if missed:
        print("FAIL kernels that nothing launched:", *missed)
    print(f"{len(seen)} kernels in Triton's interpreter, {failures} failures")
    return 1 if failures or missed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    np.seterr(all="ignore")
    sys.exit(main(sys.argv[1]))
