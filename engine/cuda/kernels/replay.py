#!/usr/bin/env python3
"""Runs launches that the emulated driver recorded (ATTNSCOPE_EMU_RECORD) once more,
from the embedded PTX in the interpreter, and compares all memory afterwards. The
emulated driver runs the source and is itself judged by the Go tests; so this says
that the PTX does what the source says.

usage: replay.py LAUNCHES kernels.ptx ...
"""

import re
import sys
import time

import numpy as np

from ptxvm import Fault, Memory, Module

# What a kernel writes: the parameter that points there, and the type. T is that of
# the kernel's name; rows are halves where the parameter drop is set.
WRITES = {
    "embed": {0: "f32"}, "dequant_": {0: "T"}, "fill_random_": {0: "T"}, "rms_norm_": {0: "T"}, "layer_norm_": {0: "T"},
    "bias_add": {0: "f32"}, "add_scaled": {0: "f32"}, "scale_cap": {0: "f32"}, "heads_": {0: "T"}, "advance": {0: "i32", 1: "i32"},
    "gate_": {0: "T"}, "gemm_": {0: "sum"}, "gemv_": {0: "sum"}, "gemv_quant_": {0: "sum"}, "route": {0: "i32", 1: "f32"}, "gather_rows": {},
    "scatter_add": {0: "f32"}, "attention_": {0: "out", 1: "f32", 2: "f32"}, "attention_rows_": {0: "rows"},
    "attention_sums_": {0: "fixed", 2: "fixed", 7: "f32"}, "decode_scores_": {0: "f32", 1: "f32"},
    "decode_values_": {0: "f32", 1: "rows", 4: "f32"}, "decode_combine_": {0: "T"}, "fixed_to_float": {0: "f32"},
    "triton_attention_": {0: "out", 1: "f32", 2: "f32"}, "triton_attention_sums_": {0: "fixed"}, "triton_attention_rows_": {0: "rows"}, "triton_gemm_": {0: "sum"},
    "snap_vote": {0: "f64"}, "snap_pool": {0: "f64"}, "snap_merge": {0: "f64"}, "snap_topk": {0: "i32"}, "gather_slots": {}, "gather_pos": {},
}
EXACT = {"dequant_", "embed", "advance", "gather_rows", "gather_slots", "gather_pos", "snap_vote", "snap_pool", "snap_merge", "snap_topk", "fixed_to_float"}


def family(name):
    return max((f for f in WRITES if name.startswith(f)), key=len)


def read(path):
    with open(path, "rb") as f:
        head = f.readline().split()
        while head:
            name, numbers = head[1].decode(), [int(x) for x in head[2:]]
            before, after = {}, {}
            line = f.readline().split()
            while line and line[0] == b"memory":
                base, size = int(line[1]), int(line[2])
                before[base] = np.frombuffer(f.read(size), np.uint8)
                after[base] = np.frombuffer(f.read(size), np.uint8)
                line = f.readline().split()
            yield name, tuple(numbers[:3]), numbers[3], numbers[4], numbers[5:], before, after
            head = line


def decode(kind, data):
    if kind == "bf16":
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return data.view({"f16": np.float16, "f32": np.float32, "sum": np.float32, "f64": np.float64, "i32": np.int32, "fixed": np.int64}[kind]).astype(
        np.float64
    )


# absolute and relative difference between two orders of float32 sums and two
# accuracies of exp; outputs of attention, whose weights are rounded to T; one step of a half, a bfloat16, a half with six bits or four
TOLERANCE = {
    "f32": (3e-6, 2e-5), "sum": (1e-4, 1e-5), "f16": (3e-6, 1 / 900), "bf16": (3e-6, 1 / 120), "fixed": (2.0**40 * 1e-5, 2e-5),
    "out f16": (1e-3, 1 / 250), "out bf16": (8e-3, 1 / 30), "out f32": (3e-6, 2e-5), "i32": (0, 0), "f64": (0, 0), "rows": (2e-4, 0.07),
}


def compare(name, params, base, got, want):
    """None, or what differs."""
    if (got == want).all():
        return None
    f = family(name)
    if f in EXACT:
        return "differs"
    for at, kind in WRITES[f].items():
        if not base <= params[at] < base + len(want):
            continue
        tolerance = kind
        if kind == "rows":
            kind, tolerance = ("f16", "rows") if params[3] else ("f32", "f32")
        elif kind in ("T", "out"):
            tolerance = kind = re.search("_(f32|f16|bf16)", name)[1]
            if WRITES[f][at] == "out":
                tolerance = "out " + kind
        skip = params[at] - base
        x, y = decode(kind, got[skip:]), decode(kind, want[skip:])
        absolute, relative = TOLERANCE[tolerance]
        if kind == "sum":  # large addends that cancel
            absolute = max(absolute, 1e-5 * np.abs(y[np.isfinite(y)]).max(initial=0))
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(x - y) <= absolute + relative * np.abs(y)) & ~((x == y) | (np.isnan(x) & np.isnan(y)))
        if off.any():
            i = int(np.argmax(off))
            return f"{kind} element {i} is {x[i]!r}, want {y[i]!r} ({int(off.sum())} of {len(x)} off)"
        return None
    return "something was written that should not be"


def main(path, *ptx):
    modules, begin, failures, launches, slow = [Module(open(p).read()) for p in ptx], time.process_time(), 0, 0, []
    seen = set()
    for name, grid, threads, dynamic, params, before, after in read(path):
        module = next((m for m in modules if name in m.kernels), None)
        if not module:
            sys.exit(f"kernel {name} was launched, and is not in the PTX")
        memory = Memory(before)
        pointers = [memory.translate(p) if t in ("u64", "b64") else p for t, p in zip(module.kernel(name).params, params)]
        t0 = time.process_time()
        try:
            module.launch(name, grid, threads, dynamic, pointers, memory)
            problems = [p for b in before if (p := compare(name, params, b, memory.buffer(b), after[b]))]
        except Fault as e:
            problems = [str(e)]
        slow.append((time.process_time() - t0, name))
        launches += 1
        seen.add(name)
        for p in problems:
            print(f"FAIL {name} {grid} x {threads} {params}: {p}")
            failures += 1
    missed = sorted({name for m in modules for name in m.kernels} - seen)
    if missed:
        print("FAIL kernels of the PTX that nothing launched:", *missed)
    print(f"{launches} launches of {len(seen)} kernels, {sum(m.count for m in modules)} instructions, {time.process_time() - begin:.1f} s, {failures} failures")
    print("slowest:", ", ".join(f"{n} {t:.1f} s" for t, n in sorted(slow, reverse=True)[:5]))
    return 1 if failures or missed or not launches else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    np.seterr(all="ignore")
    sys.exit(main(*sys.argv[1:]))
