#!/usr/bin/env python3
"""Computes what the kernels of attention and products can reach on a card, from their compiled
form: the instructions of one tile in the steady state, by pipe, the cycles that each pipe takes
for them, and from that rates and times for the shape of a 7B model. Nothing here is measured.

usage: predict.py FOLDER           prints the tables of docs/CUDA.md for the cubins in FOLDER
       predict.py --check FOLDER   compares these tables with docs/CUDA.md
       predict.py --mix FOLDER     prints the instructions of a tile

`go run ./pack -x FOLDER kernels.tar.zst` extracts cubins. nvdisasm is looked up as by ptxas.py.

The steady state is the loop of a kernel over its tiles, without the branches for a tile that is
masked, capped, rescaled, or at the end of a window. Two bounds are computed:

    at best    the busiest pipe: all others work at the same time
    in order   products, with the loads for them, and then everything else: no overlap

The warps of a block wait for each other at every tile, so a card is expected to lie between the
two. Loads from memory are taken to be hidden.
"""

import os
import re
import subprocess
import sys

import ptxas

# Cycles of a multiprocessor's quarter for one instruction of a warp. Tensor: mma.m16n8k16 by
# NVIDIA's white papers on A100, AD102 and H100; for Hopper, mma.sync reaches about 63 % of that
# rate (published microbenchmarks). GeForce cards with sums in float32 need twice as long.
# Others: CUDA C++ Programming Guide 12.9, "Throughput of Native Arithmetic Instructions".
# tb: TB/s of the card's memory, by NVIDIA's data sheets (A100: 80 GB).
CARDS = {
    "A100": {"arch": "sm_80", "multiprocessors": 108, "ghz": 1.41, "tensor": 8, "peak": 8, "float": 2, "tb": 2.04},
    "RTX 4090": {"arch": "sm_89", "multiprocessors": 128, "ghz": 2.52, "tensor": 32, "peak": 32, "float": 1, "tb": 1.01},
    "H200": {"arch": "sm_90a", "multiprocessors": 132, "ghz": 1.755, "tensor": 6.35, "peak": 4, "float": 1, "tb": 4.8},
}
SHARED = {"LDSM": 16, "LDS": 8, "STS": 8, "LDGSTS": 16}  # 128 bytes a cycle, shared by four quarters
XU, SHUFFLE, ALU = 8, 4, 2
LAYERS, HEADS, KV_HEADS, DIM = 32, 32, 8, 128
LENGTHS = [4096, 16384, 65536, 131072]
FLOP = 16 * 8 * 16 * 2  # of an mma

DOCUMENT = os.path.join(ptxas.HERE, "..", "..", "..", "docs", "CUDA.md")

# Rows and columns of a block's tile, by kernel: queries and keys, or keys and queries. The rows
# are those of so many heads.
TILES = {"attention": (128, 32, HEADS // KV_HEADS), "attention_sums": (128, 64, 1)}

# Terms and columns of a step of a product's tile of 128 x 128, whose warps have 64 x 32.
PRODUCTS = {"gemm_bf16": (1, 32), "gemm_f32_bf16": (3, 16)}

# How gemv_quant's loop over weights of a type differs from those of types with blocks of the
# same size: it adds up activations for a minimum, looks codes up in a table, or loads byte by
# byte. A step of a warp's loop takes 512 weights.
QUANTS = {
    "Q4_0": "", "Q4_1": "minimum", "Q5_0": "", "Q5_1": "minimum", "Q8_0": "", "Q2_K": "minimum", "Q3_K": "", "Q4_K": "minimum",
    "Q5_K": "minimum", "Q6_K": "", "IQ4_NL": "table", "IQ4_XS": "table", "MXFP4": "table bytes", "TQ2_0": "",
}
STEP = 512


def block_sizes():
    """{type: bytes per weight}, from the layouts of quant.cuh"""
    text = open(os.path.join(ptxas.HERE, "quant.cuh")).read()
    return {name: int(size) / int(n) for name, n, size in re.findall(r"LAYOUT\((\w+), (\d+), (\d+)\)", text)}


def functions(cubin):
    text = subprocess.run([ptxas.find("nvdisasm"), "-c", cubin], capture_output=True, text=True, check=True).stdout
    out, name = {}, None
    for line in text.splitlines():
        if line.startswith(".text."):
            name = line[6:].rstrip(":")
            out[name] = []
        elif name:
            out[name].append(line.strip())
    return out


class Block:
    def __init__(self):
        self.count, self.then, self.size, self.constants = {}, [], 0, set()

    def n(self, *names):
        return sum(self.count.get(x, 0) for x in names)


def blocks(lines):
    """The basic blocks of a function: in order, each with its instructions and successors."""
    out, labels, jumps = [Block()], {}, []
    for line in lines:
        if m := re.match(r"(\.L_x_\d+):", line):
            if out[-1].size:
                out.append(Block())
            labels[m[1]] = len(out) - 1
            continue
        m = re.match(r"/\*[0-9a-f]+\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?);", line)
        if not m:
            continue
        name = m[2] if not line.split("*/")[1].lstrip().startswith("@!PT") else "NOP"  # never executed, but issued
        b = out[-1]
        b.size += 1
        b.constants.update(int(x, 16) for x in re.findall(r"\b0x[0-9a-f]+", m[3]))
        key = name if name == "MUFU.EX2" else name.split(".")[0]
        b.count[key] = b.count.get(key, 0) + 1
        if key in ("BRA", "EXIT"):
            if target := re.search(r"\((\.L_x_\d+)\)", line):
                jumps.append((len(out) - 1, target[1], name))
            if not m[1] and name == "BRA" and "P" not in m[3].split("`")[0]:
                b.then = None  # no way to the next one
            out.append(Block())
    for i, b in enumerate(out[:-1]):
        b.then = [] if b.then is None else [i + 1]
    for i, label, name in jumps:
        if label in labels and name == "BRA":
            out[i].then.append(labels[label])
    return out


def best_way(code, head, tail, worth):
    """The blocks of the way from one to another that are worth most together."""
    best = {head: (worth(code[head]), None)}
    for i in range(head, tail + 1):
        for t in code[i].then if i in best else []:
            if i < t <= tail and best[i][0] + worth(code[t]) > best.get(t, (-1e9,))[0]:
                best[t] = best[i][0] + worth(code[t]), i
    path, at = [], tail
    while at is not None:
        path.append(at)
        at = best[at][1]
    return path


def steady(lines, mmas, copies):
    """{instruction: count} of one tile: the way through the loop that has all products, loads and
    exponentials, and is otherwise the shortest. Inner loops run as often as gives mmas and copies."""
    code = blocks(lines)
    backs = [(t, i) for i, b in enumerate(code) for t in b.then if t <= i]
    loops = [(t, i) for t, i in backs if any(b.n("HMMA") for b in code[t : i + 1]) and any(b.n("BAR") for b in code[t : i + 1])]
    head, tail = min(loops, key=lambda x: x[1])  # others jump back from code behind the function's end
    inner = [(t, i) for t, i in backs if head <= t and i <= tail and (t, i) != (head, tail)]

    def worth(b):
        return 1000 * b.n("HMMA", "LDSM", "MUFU.EX2", "LDGSTS", "BAR") - 3000 * b.n("MUFU") - b.size

    path = best_way(code, head, tail, worth)

    def loop_of(i, name):
        return any(t <= i <= e and any(b.n(name) for b in code[t : e + 1]) for t, e in inner)

    def trips(name, want):
        straight = sum(code[i].n(name) for i in path if not loop_of(i, name))
        looped = sum(code[i].n(name) for i in path if loop_of(i, name))
        return (want - straight) / looped if looped else 1

    times = {"HMMA": trips("HMMA", mmas), "LDGSTS": trips("LDGSTS", copies)}
    total = {}
    for i in path:
        factor = next((times[name] for name in times if loop_of(i, name)), 1)
        for name, n in code[i].count.items():
            total[name] = total.get(name, 0) + n * factor
    return total


def cycles(count, card):
    """(at best, in order, {pipe: cycles}) of a tile for one warp of each quarter."""
    get = lambda *names: sum(count.get(n, 0) for n in names)
    tensor = get("HMMA") * card["tensor"]
    shared = sum(get(n) * c for n, c in SHARED.items())
    special = get("MUFU.EX2", "MUFU", "F2I", "I2F") * XU
    shuffle = get("SHFL") * SHUFFLE
    floats = get("FADD", "FMUL", "FFMA") * card["float"]
    known = ("HMMA", "LDSM", "LDS", "STS", "LDGSTS", "MUFU.EX2", "MUFU", "F2I", "I2F", "SHFL", "FADD", "FMUL", "FFMA", "BAR", "BRA", "LDG")
    alu = sum(n for name, n in count.items() if name not in known) * ALU
    issue = sum(count.values())
    pipes = {"tensor": tensor, "shared": shared, "special": special, "shuffle": shuffle, "float": floats, "alu": alu, "issue": issue}
    products = get("HMMA") + get("LDSM")
    rest = max(special, floats + alu, shuffle, issue - products)
    return max(pipes.values()), max(tensor, shared) + rest, pipes


def quant_loops(lines):
    """{type: {instruction: count}} of one step of gemv_quant, for one row of activations."""
    code, sizes = blocks(lines), block_sizes()
    out = {}
    for head, tail in [(t, i) for i, b in enumerate(code) for t in b.then if t <= i]:
        count = {}
        for i in best_way(code, head, tail, lambda b: -b.size):
            for name, n in code[i].count.items():
                count[name] = count.get(name, 0) + n
        if count.get("FFMA", 0) < 16 or count.get("PRMT", 0) < 16:
            continue
        constants = set().union(*(b.constants for b in code[head : tail + 1]))
        kind = "table" if count["PRMT"] >= 32 else "minimum" if count["FADD"] >= 32 else ""
        kind += " bytes" if kind == "table" and count["LDG"] > 16 else ""
        fits = [name for name, how in QUANTS.items() if sizes[name] * STEP in constants and how == kind]
        if len(fits) != 1 or fits[0] in out:
            sys.exit(f"gemv_quant: a loop of {sum(count.values())} instructions may be that of {fits}")
        out[fits[0]] = count
    if len(out) != len(QUANTS):
        sys.exit(f"gemv_quant: no loop found for {sorted(set(QUANTS) - set(out))}")
    return out


def quant_table(folder):
    """The lines of the table of products with quantised weights of docs/CUDA.md."""
    yield "| type | bits per weight |" + "".join(f" {name}: instructions per weight | of memory's rate |" for name in CARDS)
    yield "|---" * (2 + 2 * len(CARDS)) + "|"
    loops = {name: quant_loops(functions(f"{folder}/{card['arch']}.cubin")["gemv_quant_bf16"]) for name, card in CARDS.items()}
    for quant, size in block_sizes().items():
        if quant not in QUANTS:
            continue
        line = f"| {quant} | {8 * size:.4g} |"
        for name, card in CARDS.items():
            best, _, pipes = cycles(loops[name][quant], card)
            compute = 4 * card["multiprocessors"] * card["ghz"] * 1e9 * STEP / best  # weights per second
            memory = card["tb"] * 1e12 / size
            line += f" {pipes['issue'] * 32 / STEP:.1f} | {100 * min(1, compute / memory):.0f} % |"
        yield line


def tile_counts(kernel, n, shape):
    """Tiles that a head's blocks go through for n tokens, and the bytes that they load."""
    rows, columns, heads = shape
    own = rows // heads
    tiles = sum((own * (i + 1) + columns - 1) // columns for i in range((n + own - 1) // own)) / heads
    return tiles, tiles * columns * DIM * 2 * (2 if kernel == "attention" else 1)


def resident():
    """{(kernel, arch): blocks that fit on a multiprocessor}"""
    lines = open(ptxas.LIMITS).read().splitlines()[1:]
    place = ptxas.COLUMNS.index("blocks")
    return {tuple(line.split("\t")[:2]): int(line.split("\t")[place]) for line in lines}


def predict_products(folder):
    """A row for each product and card: what a step of a warp takes."""
    rows, fit = [], resident()
    for name, card in CARDS.items():
        lines = functions(f"{folder}/{card['arch']}.cubin")
        for kernel, (terms, step) in PRODUCTS.items():
            mmas = terms * (64 // 16) * (32 // 8) * step // 16
            copies = (terms + 1) * 128 * step * 2 // 16 // 256
            best, worst, pipes = cycles(steady(lines[kernel], mmas, copies), card)
            rate = lambda c: mmas * FLOP * 4 * card["multiprocessors"] * card["ghz"] / c / 1000 / terms  # TFLOP/s
            plain = 32 / card["float"] * 2 * 4 * card["multiprocessors"] * card["ghz"] / 1000
            rows.append({
                "kernel": kernel, "card": name, "step": step, "pipes": pipes, "best": best, "worst": worst,
                "low": rate(worst), "high": rate(best), "plain": plain, "blocks": fit[kernel, card["arch"]],
            })
    return rows


def product_table(rows):
    """The lines of the table of products of docs/CUDA.md."""
    yield "| kernel | card | columns | blocks | instructions | products | shared | float | integer | at best | in order | TFLOP/s | float32 instructions, TFLOP/s |"
    yield "|---" * 13 + "|"
    for r in rows:
        p = r["pipes"]
        yield (
            f"| {r['kernel']} | {r['card']} | {r['step']} | {r['blocks']} | {p['issue']:.0f} | {p['tensor']:.0f} | {p['shared']:.0f} | {p['float']:.0f} | {p['alu']:.0f} "
            f"| {r['best']:.0f} | {r['worst']:.0f} | {r['low']:.0f} to {r['high']:.0f} | {r['plain']:.0f} |"
        )


def predict(folder):
    rows, cubins, fit = [], {}, resident()
    for name, card in CARDS.items():
        arch = card["arch"]
        if arch not in cubins:
            cubins[arch] = functions(f"{folder}/{arch}.cubin")
        for kernel, shape in TILES.items():
            products = 2 if kernel == "attention" else 1
            mmas = products * shape[0] // 4 // 16 * shape[1] // 8 * DIM // 16
            copies = products * shape[1] * DIM * 2 // 16 // 128
            count = steady(cubins[arch][f"{kernel}_bf16_128"], mmas, copies)
            best, worst, pipes = cycles(count, card)
            rate = lambda c: mmas * FLOP * 4 * card["multiprocessors"] * card["ghz"] / c / 1000  # TFLOP/s
            for n in LENGTHS:
                tiles, loaded = tile_counts(kernel, n, shape)
                flop = n * n / 2 * DIM * 2 * products  # of a head
                used = flop / (tiles * 4 * mmas * FLOP)
                total = flop * HEADS * LAYERS / 1e12
                rows.append({
                    "kernel": kernel, "card": name, "tokens": n, "count": count, "pipes": pipes, "best": best, "worst": worst,
                    "low": rate(worst) * used, "high": rate(best) * used, "peak": rate(mmas * card["peak"]), "tflop": total,
                    "loaded": loaded * HEADS * LAYERS / 1e12, "shape": shape, "blocks": fit[f"{kernel}_bf16_128", arch],
                })
    return rows


def mix(rows):
    """The instructions of a tile, by kernel and card."""
    for r in rows:
        if r["tokens"] == LENGTHS[0]:
            count = sorted(r["count"].items(), key=lambda x: -x[1])
            yield f"{r['kernel']} on {r['card']}: {sum(r['count'].values()):.0f} instructions: " + ", ".join(f"{k} {v:.0f}" for k, v in count if v >= 4)


def tables(rows):
    """The lines of the tables of docs/CUDA.md."""
    yield "| kernel | card | warp's tile | blocks | instructions | products | shared | special | float | integer | at best | in order | TFLOP/s at 64k | of the peak |"
    yield "|---" * 14 + "|"
    for r in rows:
        if r["tokens"] != 65536:
            continue
        p = r["pipes"]
        yield (
            f"| {r['kernel']} | {r['card']} | {r['shape'][0] // 4} x {r['shape'][1]} | {r['blocks']} | {p['issue']:.0f} | {p['tensor']:.0f} | {p['shared']:.0f} "
            f"| {p['special']:.0f} | {p['float']:.0f} | {p['alu']:.0f} | {r['best']:.0f} | {r['worst']:.0f} "
            f"| {r['low']:.0f} to {r['high']:.0f} | {r['low'] / r['peak']:.2f} to {r['high'] / r['peak']:.2f} |"
        )
    yield ""
    yield "| kernel | card | tokens | TFLOP | seconds | TB from L2 | TB/s from L2 |"
    yield "|---" * 7 + "|"
    for r in rows:
        low, high = r["tflop"] / r["high"], r["tflop"] / r["low"]
        yield (
            f"| {r['kernel']} | {r['card']} | {r['tokens']:,} | {r['tflop']:,.{1 if r['tflop'] < 100 else 0}f} | {low:.2g} to {high:.2g} | {r['loaded']:.2g} "
            f"| {r['loaded'] / high:.1f} to {r['loaded'] / low:.1f} |"
        )


def main(args):
    how = args.pop(0) if args and args[0].startswith("--") else ""
    if len(args) != 1 or how not in ("", "--mix", "--check"):
        sys.exit(__doc__)
    if not ptxas.find("nvdisasm"):
        print("SKIPPED: no nvdisasm; the predictions of docs/CUDA.md have not been compared. python3 -m pip install nvidia-cuda-nvdisasm")
        return 0
    rows = predict(args[0])
    lines = list(mix(rows)) if how == "--mix" else [*tables(rows), "", *product_table(predict_products(args[0])), "", *quant_table(args[0])]
    if how != "--check":
        print("\n".join(lines))
        return 0
    text = open(DOCUMENT).read().splitlines()
    stale = [line for line in lines if line not in text]
    for line in stale:
        print(f"docs/CUDA.md does not have this line of predict.py: {line}")
    print(f"predictions of docs/CUDA.md: {len(lines)} lines, {len(stale)} differences")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
