"""Makes grids.bin, which ../iq.go embeds: the tables of the types IQ1 to IQ3 of GGUF, as the PyPI package gguf has them. Needs gguf.

One number of 16 bits stands for one entry, with the indices of its values from the lowest bit on: eight of 2 bits, or four of 4 bits (IQ3).
"""
import numpy as np
from gguf.quants import IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS

out = b"".join(bytes.fromhex(c.grid_hex.decode()) for c in (IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ1_S))
assert len(out) == 2 * (256 + 512 + 1024 + 256 + 512 + 2048)
open("../grids.bin", "wb").write(out)
