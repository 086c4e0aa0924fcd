#!/usr/bin/env python3
"""Compiles kernels.py ahead of time, without a card: with Triton 3.9 to PTX, and with ptxas 12.9 to cubins.

usage: build.py FOLDER   writes FOLDER/sm_90a.cubin, FOLDER/sm_100a.cubin, FOLDER/sm_80.ptx and FOLDER/facts.tsv

The PTX for sm_80 is not for cards: ../kernels/ptxvm.py executes it, which shows that the launches fit the compiled
kernels. A cubin of sm_90a runs on cards of compute capability 9.0 alone, and one of sm_100a on 10.0.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "kernels"))
os.environ["TRITON_DEFAULT_FP_FUSION"] = "1"  # as the default was; scores times factor minus the largest is one operation
os.environ["TRITON_DISABLE_LINE_INFO"] = "1"

import ptxas  # noqa: E402

TRITON = "3.9"
ARCHS = {"sm_80": 80, "sm_90a": 90, "sm_100a": 100}
PTX_VERSION = {"sm_80": 80, "sm_90a": 87, "sm_100a": 88}
COLUMNS = ["kernel", "arch", "threads", "shared", "registers", "spilled", "blocks", "tensor", "local"]

# Types of parameters, in the order of the Python functions. Pointers to bf16 are multiples of 16 bytes, and
# i16 is a number that is a multiple of 16.
KERNELS = {
    "attention": (
        "*bf16 out, *f32 stat, *f32 lse, *bf16 q, *bf16 k, *bf16 v, i32 n, i32 pos0, i32 room, i32 heads, i32 group, f32 factor",
        {"ROWS": 128, "KEYS": 64},
        {"num_warps": 8, "num_stages": 2},
    ),
    "attention_sums": (
        "*i64 total, i64 ld_total, *i32 listed, i32 first, i32 rows, *bf16 q, *bf16 k, *f32 stat, i32 n, i32 pos0, i32 room, i32 heads, i32 group, f32 factor",
        {"KEYS": 128, "QUERIES": 64},
        {"num_warps": 8, "num_stages": 2},
    ),
    "attention_rows": (
        "*f32 w, i64 ld_head, i32 ld, *u8 drop, *i32 listed, i32 first, i32 rows, i32 width, *bf16 q, *bf16 k, *f32 stat, i32 n, i32 pos0, i32 room, "
        "i32 heads, i32 group, f32 factor",
        {"ROWS": 64, "KEYS": 64},
        {"num_warps": 4, "num_stages": 1},
    ),
    "gemm": (
        "*f32 c, i32 ldc, *bf16 a, i16 lda, *bf16 w, i16 ldw, i32 m, i32 n, i32 k, i32 add",
        {"ROWS": 128, "COLUMNS": 128, "DEPTH": 64, "GROUP": 8},
        {"num_warps": 8, "num_stages": 3},
    ),
}


def variants():
    """(name, kernel, head size) of all compiled kernels."""
    out = []
    for kernel in KERNELS:
        for d in (None,) if kernel == "gemm" else (64, 128):
            out.append((f"triton_{kernel}_bf16" + (f"_{d}" if d else ""), kernel, d))
    return out


def compile_one(job):
    """(name, arch, PTX of the kernel alone, threads, dynamic shared bytes)"""
    (name, kernel, d), arch = job
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    import kernels

    if not triton.__version__.startswith(TRITON + "."):
        sys.exit(f"the kernels are made by Triton {TRITON}, this is {triton.__version__}")
    function = getattr(kernels, kernel)
    text, constants, options = KERNELS[kernel]
    constants = dict(constants, D=d) if d else constants
    names = list(function.arg_names)
    signature, attributes = {}, {}
    for i, (kind, parameter) in enumerate(p.split() for p in text.split(",")):
        if kind in ("*bf16", "i16"):
            attributes[(i,)] = [["tt.divisibility", 16]]
        if names[i] != parameter:
            sys.exit(f"{kernel}: parameter {i} is {names[i]}, not {parameter}")
        signature[parameter] = {"i16": "i32", "f32": "fp32", "*f32": "*fp32"}.get(kind, kind)
    signature.update(dict.fromkeys(constants, "constexpr"))
    source = ASTSource(function, signature, {(names.index(c),): v for c, v in constants.items()}, attributes)
    out = triton.compile(source, target=GPUTarget("cuda", ARCHS[arch], 32), options=dict(options, ptx_version=PTX_VERSION[arch]))
    meta = out.metadata
    if meta.num_ctas != 1 or meta.global_scratch_size or meta.profile_scratch_size or meta.launch_pdl or meta.launch_cooperative_grid:
        sys.exit(f"{name} on {arch} needs more of its launch than a grid and shared memory: {meta}")
    ptx = re.sub(r"[ \t]*//.*", "", out.asm["ptx"])
    ptx = re.sub(r"(?m)^\s*(\.loc|\.file|\.section)\b.*\n|^\.global .*_\$_str.*\n|^\s*\n", "", ptx)
    ptx = re.sub(rf"\b{kernel}(?=\(|_param_)", name, ptx)
    return name, arch, ptx, 32 * meta.num_warps, meta.shared


def merge(parts):
    """One module of the kernels' PTX."""
    head = parts[0][: parts[0].index(".visible .entry")]
    bodies = []
    for i, ptx in enumerate(parts):
        body = ptx[ptx.index(".visible .entry") :]
        bodies.append(body.replace("$L__BB0_", f"$L__BB{i}_"))
    return head + "".join(bodies)


def build(folder):
    jobs = [(v, arch) for arch in ARCHS for v in variants()]
    with ProcessPoolExecutor(int(os.environ.get("JOBS", os.cpu_count()))) as pool:
        compiled = list(pool.map(compile_one, jobs))
    tool, disassembler = ptxas.find("ptxas"), ptxas.find("nvdisasm")
    if not tool or ptxas.version(tool) != ptxas.VERSION or not disassembler:
        sys.exit(f"cubins are made by ptxas {ptxas.VERSION}: python3 -m pip install nvidia-cuda-nvcc-cu12==12.9.86 nvidia-cuda-nvdisasm==13.5.37")
    rows = []
    for arch in ARCHS:
        mine = [c for c in compiled if c[1] == arch]
        path = f"{folder}/{arch}.ptx"
        with open(path, "w") as f:
            f.write(merge([c[2] for c in mine]))
        used = ptxas.assemble(tool, path, arch, f"{folder}/{arch}.cubin")
        counts = ptxas.instructions(disassembler, f"{folder}/{arch}.cubin")
        for name, _, _, threads, shared in mine:
            registers, static, spilled = used[name]
            if static:
                sys.exit(f"{name} on {arch} has {static} bytes of shared memory of its own")
            fit = ptxas.blocks(arch.rstrip("a") + "a" * (arch == "sm_90a"), threads, registers, shared)
            rows.append([name, arch, threads, shared, registers, spilled, fit, *counts[name]])
        os.remove(path if arch != "sm_80" else f"{folder}/{arch}.cubin")
    with open(f"{folder}/facts.tsv", "w") as f:
        f.writelines("\t".join(map(str, row)) + "\n" for row in [COLUMNS, *sorted(rows)])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    build(sys.argv[1])
