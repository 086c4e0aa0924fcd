#!/usr/bin/env python3
"""Compiles the PTX of the kernels for cards with ptxas, and checks what each kernel takes:
registers, spilled bytes, shared memory, blocks per multiprocessor, tensor instructions and
accesses to local memory. limits.tsv has the numbers that are expected. A change of the
kernels changes that file, so that a reviewer sees it.

usage: ptxas.py --cubins FOLDER kernels.ptx   writes FOLDER/sm_80.cubin and so on
       ptxas.py --check FOLDER                checks kernels.ptx and the cubins in FOLDER against limits.tsv
       ptxas.py --update FOLDER               writes limits.tsv from them
       ptxas.py --where                       prints the ptxas that is used; exit 1 without one

ptxas is that of the Python package nvidia-cuda-nvcc-cu12, version 12.9, and nvdisasm that of
nvidia-cuda-nvdisasm; others are looked up in the path. Other versions of ptxas
choose registers in other ways: with them, only spills and failures are reported.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor

ARCHS = ["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100", "sm_120"]
VERSION = "12.9"

# Per multiprocessor: bytes of shared memory that blocks can share, of which the system
# reserves 1 KiB per block, and threads. CUDA C++ Programming Guide 12.9, table "Technical
# Specifications per Compute Capability".
SHARED = {"sm_80": 164, "sm_86": 100, "sm_89": 100, "sm_90a": 228, "sm_100": 228, "sm_120": 100}
THREADS = {"sm_80": 2048, "sm_86": 1536, "sm_89": 1536, "sm_90a": 2048, "sm_100": 2048, "sm_120": 1536}
BLOCKS = {"sm_80": 32, "sm_86": 16, "sm_89": 24, "sm_90a": 32, "sm_100": 32, "sm_120": 24}
REGISTERS = 65536

MOST_SPILLED = 64  # bytes; a kernel that spills more is refused

HERE = os.path.dirname(os.path.abspath(__file__))
LIMITS = os.path.join(HERE, "limits.tsv")
COLUMNS = ["kernel", "arch", "threads", "registers", "spilled", "static_shared", "blocks", "tensor", "local"]


def find(tool):
    folders = [*os.environ.get("PYTHONPATH", "").split(":"), sysconfig.get_path("purelib")]
    places = [p for d in folders if d for p in sorted(glob.glob(f"{d}/nvidia/*/bin/{tool}"))]
    if places:
        os.chmod(places[0], 0o755)
        return places[0]
    return shutil.which(tool)


def version(ptxas):
    text = subprocess.run([ptxas, "--version"], capture_output=True, text=True).stdout
    return re.search(r"release (\d+\.\d+)", text)[1]


def assemble(ptxas, ptx, arch, out):
    """{kernel: (registers, static shared bytes, spilled bytes)}"""
    p = subprocess.run([ptxas, "-v", "-arch=" + arch, ptx, "-o", out], capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"{arch}: {p.stderr[-2000:]}")
    used = {}
    for name, spilled, registers, rest in re.findall(
        r"entry function '(\w+)' for '\w+'\n.*\n\s*\d+ bytes stack frame, (\d+) bytes spill stores, .*\n.*Used (\d+) registers(.*)", p.stderr
    ):
        shared = re.search(r"(\d+) bytes smem", rest)
        used[name] = int(registers), int(shared[1]) if shared else 0, int(spilled)
    return used


def assemble_all(ptxas, ptx, folder):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {a: pool.submit(assemble, ptxas, ptx, a, f"{folder}/{a}.cubin") for a in ARCHS}
        return {a: job.result() for a, job in jobs.items()}


def instructions(nvdisasm, cubin):
    """{kernel: (tensor instructions, accesses to local memory)}"""
    text = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True, check=True).stdout
    out, name = {}, None
    for line in text.splitlines():
        if line.startswith(".text."):
            name = line[6:].rstrip(":")
            out[name] = [0, 0]
        elif name and re.search(r"\b(HMMA|HGMMA|UTCHMMA)\b", line):
            out[name][0] += 1
        elif name and re.search(r"\b(LDL|STL)\b", line):
            out[name][1] += 1
    return out


def blocks(arch, threads, registers, shared):
    """Blocks of a kernel that fit on a multiprocessor. shared is static and dynamic."""
    warps = (threads + 31) // 32
    per_warp = (registers * 32 + 255) // 256 * 256
    by_registers = REGISTERS // per_warp // warps
    by_shared = SHARED[arch] * 1024 // (shared + 1024)
    return min(BLOCKS[arch], THREADS[arch] // (32 * warps), by_registers, by_shared)


def dynamic():
    """{kernel: dynamic shared bytes}, which shared.tsv has from the launch code."""
    rows = [line.split("\t") for line in open(os.path.join(HERE, "shared.tsv")).read().splitlines()[1:]]
    return {name: int(size) for name, size in rows}


def table(ptx, used, counts):
    text = open(ptx).read()
    threads = {n: int(t) for n, t in re.findall(r"(?s)\.visible \.entry (\w+)\(.*?\.maxntid (\d+), 1, 1", text)}
    extra = dynamic()
    rows = []
    for name in sorted(re.findall(r"(?m)^\.visible \.entry (\w+)", text)):
        for arch in ARCHS:
            registers, shared, spilled = used[arch][name]
            fit = blocks(arch, threads[name], registers, shared + extra.get(name, 0))
            tensor, local = counts[arch].get(name, ("", "")) if counts else ("", "")
            rows.append([name, arch, threads[name], registers, spilled, shared, fit, tensor, local])
    return [[str(x) for x in row] for row in rows]


def compare(rows, counted):
    """The number of differences between the expected numbers and rows, which it prints."""
    expected = {}
    for line in open(LIMITS).read().splitlines()[1:]:
        row = line.split("\t")
        expected[row[0], row[1]] = row
    bad = 0
    for row in rows:
        want = expected.pop((row[0], row[1]), None)
        if want is None:
            print(f"{row[0]} on {row[1]}: limits.tsv does not have it")
            bad += 1
            continue
        for column, have, should in zip(COLUMNS, row, want):
            if have != should and (counted or column not in ("tensor", "local")):
                print(f"{row[0]} on {row[1]}: {column} {have}, limits.tsv says {should}")
                bad += 1
    for name, arch in expected:
        print(f"{name} on {arch}: limits.tsv has it, the PTX does not")
        bad += 1
    return bad


def check(folder, update):
    ptxas = find("ptxas")
    if not ptxas:
        print("SKIPPED: no ptxas; the kernels have not been assembled. python3 -m pip install nvidia-cuda-nvcc-cu12==12.9.86")
        return 0
    ptx = folder + "/kernels.ptx"
    ours = version(ptxas) == VERSION
    nvdisasm = find("nvdisasm")
    with tempfile.TemporaryDirectory() as fresh:
        used = assemble_all(ptxas, ptx, fresh)
        print(f"ptxas {version(ptxas)}: {len(used['sm_80'])} kernels assembled for {', '.join(ARCHS)}")
        spills = [(a, n) for a in ARCHS for n in used[a] if used[a][n][2] > MOST_SPILLED]
        for arch, name in spills:
            print(f"{name} on {arch}: {used[arch][name][2]} bytes are spilled")
        if not ours:
            print(f"SKIPPED: ptxas is not version {VERSION}; limits.tsv and the cubins have not been compared")
            return 1 if spills else 0
        stale = [a for a in ARCHS if open(f"{fresh}/{a}.cubin", "rb").read() != open(f"{folder}/{a}.cubin", "rb").read()]
        for arch in stale:
            print(f"{arch}.cubin is not what the PTX gives: run go generate -tags cuda ./engine/cuda")
        counts = None
        if nvdisasm:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                counts = dict(zip(ARCHS, pool.map(lambda a: instructions(nvdisasm, f"{fresh}/{a}.cubin"), ARCHS)))
        else:
            print("SKIPPED: no nvdisasm; instructions have not been counted. python3 -m pip install nvidia-cuda-nvdisasm")
        rows = table(ptx, used, counts)
    if update:
        with open(LIMITS, "w") as f:
            f.write("\n".join("\t".join(row) for row in [COLUMNS, *rows]) + "\n")
        return 0
    bad = compare(rows, counts is not None)
    print(f"limits.tsv: {len(rows)} rows, {bad} differences")
    return 1 if bad or stale or spills else 0


def main(args):
    if args == ["--where"]:
        path = find("ptxas")
        print(path)
        return 0 if path else 1
    if len(args) == 3 and args[0] == "--cubins":
        ptxas = find("ptxas")
        if not ptxas or version(ptxas) != VERSION:
            sys.exit(f"cubins are made by ptxas {VERSION}: python3 -m pip install nvidia-cuda-nvcc-cu12==12.9.86")
        assemble_all(ptxas, args[2], args[1])
        return 0
    if len(args) == 2 and args[0] in ("--check", "--update"):
        return check(args[1], args[0] == "--update")
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
