#!/usr/bin/env python3
"""Assembles the PTX for cards and prints what each kernel takes. PTX that ptxas
refuses is a failure, and so is a kernel that spills more than 64 bytes a thread.

usage: ptxas.py kernels.ptx [sm_80 sm_90 sm_100 sm_120]
       ptxas.py --where   the ptxas that is used; exit 1 without one

ptxas is the one in the path or that of the Python package nvidia-cuda-nvcc-cu12
(12.8 or later knows sm_120).
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


def find():
    places = [p for d in [*os.environ.get("PYTHONPATH", "").split(":"), sysconfig.get_path("purelib")] if d for p in glob.glob(d + "/nvidia/*/bin/ptxas")]
    if places:
        os.chmod(places[0], 0o755)
        return places[0]
    return shutil.which("ptxas")


def assemble(ptxas, ptx, arch):
    """{kernel: (registers, static shared bytes, spilled bytes)}"""
    with tempfile.TemporaryDirectory() as d:
        p = subprocess.run([ptxas, "-v", "-arch=" + arch, ptx, "-o", d + "/out"], capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"{arch}: {p.stderr[-2000:]}")
    used = {}
    for name, spilled, registers, rest in re.findall(
        r"entry function '(\w+)' for '\w+'\n.*\n\s*\d+ bytes stack frame, (\d+) bytes spill stores, .*\n.*Used (\d+) registers(.*)", p.stderr
    ):
        shared = re.search(r"(\d+) bytes smem", rest)
        used[name] = int(registers), int(shared[1]) if shared else 0, int(spilled)
    return used


def main(ptx, archs):
    ptxas = find()
    if not ptxas:
        print("SKIPPED: no ptxas; the PTX has not been assembled. python3 -m pip install nvidia-cuda-nvcc-cu12")
        return 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        used = dict(zip(archs, pool.map(lambda a: assemble(ptxas, ptx, a), archs)))
    names = re.findall(r"(?m)^\.visible \.entry (\w+)", open(ptx).read())
    print("registers a thread".ljust(28), *(a.rjust(8) for a in archs), "shared".rjust(8), "spilled".rjust(8))
    bad = 0
    for n in names:
        rows = [used[a].get(n) for a in archs]
        if None in rows:
            print(f"{n}: ptxas says nothing of it")
            bad += 1
            continue
        spilled = max(r[2] for r in rows)
        bad += spilled > 64
        print(n.ljust(28), *(str(r[0]).rjust(8) for r in rows), str(rows[0][1]).rjust(8), str(spilled).rjust(8))
    print(f"{len(names)} kernels assembled for {', '.join(archs)}; {bad} failures")
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--where":
        sys.exit(0 if print(find()) or find() else 1)
    sys.exit(main(sys.argv[1], sys.argv[2:] or ["sm_80", "sm_90", "sm_100", "sm_120"]))
