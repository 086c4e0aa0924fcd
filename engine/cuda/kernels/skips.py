#!/usr/bin/env python3
"""Measures on a recorded prompt what it would cost to leave out tiles of the second pass over
the scores, which sums weights over queries. It looks at the recorded rows of each prompt: record
as many as there are tokens (--window-rows), to measure the sums over all of them.

usage: skips.py RUN.attn [LAYER...]

A tile is 64 queries against 128 keys, as in attention_sums. Its mass is the mean over its queries
of the weight that falls into it. A tile under the bound is not multiplied again: its mass, which
the first pass knows, is spread evenly over its keys. Each row of the table is a bound, with

    tiles     the part of all tiles below the diagonal that is left out
    mass      the part of all weight that is spread instead of placed
    error     the largest error of a key's sum, relative to the mean sum of a key
    moved     half the sum of all errors, relative to the sum: the weight that is at a wrong key
    top 10 %  the part of the tenth of keys with the largest sums that stays the same

Masses are those after the whole row is known. The first pass sees a row's keys in order, and
knows only an upper bound of a tile's mass, relative to the row so far: "first pass" is the part of
the tiles that this bound leaves out.
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "python", "attnscope"))
import reader  # noqa: E402

QUERIES, KEYS = 64, 128
BOUNDS = [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]


def tiles_of(w):
    """Masses of tiles [query tile, key tile] and upper bounds of the first pass, which are
    averages over the queries of a tile; w [queries, keys] of one head."""
    n, keys = w.shape
    rows = np.zeros((-(-n // QUERIES) * QUERIES, -(-keys // KEYS) * KEYS), np.float32)
    rows[:n, :keys] = w
    mass = rows.reshape(rows.shape[0], -1, KEYS).sum(2)
    so_far = mass / np.maximum(mass.cumsum(1), 1e-30)
    mean = lambda x: x.reshape(-1, QUERIES, x.shape[1]).mean(1)
    return rows, mean(mass), mean(so_far)


def measure(dump, prompt, layers):
    n, recorded = dump.prompts[prompt]["prompt_tokens"], dump.prompts[prompt]["window_rows"]
    found = {b: [] for b in BOUNDS}
    for layer in layers:
        for w in dump.prompt_rows(prompt, layer):
            rows, mass, bound = tiles_of(w)
            q, k = np.indices(mass.shape)
            first = n - recorded + q * QUERIES  # position of a tile's first query
            below = first >= (k + 1) * KEYS  # seen whole; others are always multiplied
            seen = first + QUERIES > k * KEYS
            exact = rows.sum(0)
            best = set(np.argsort(-exact[:n])[: n // 10])
            for b in BOUNDS:
                out = below & (mass < b)
                spread = np.repeat(np.repeat(out, QUERIES, 0), KEYS, 1)
                sums = (rows * ~spread).sum(0) + np.repeat((mass * out).sum(0) * QUERIES / KEYS, KEYS)
                error = np.abs(sums - exact)[:n]
                kept = set(np.argsort(-sums[:n])[: n // 10])
                found[b].append([
                    out.sum() / seen.sum(), (mass * out).sum() * QUERIES / recorded, error.max() / exact[:n].mean(), error.sum() / 2 / exact.sum(),
                    len(kept & best) / len(best), (below & (bound < b)).sum() / seen.sum(),
                ])
    return n, recorded, found


def main(args):
    if not args:
        sys.exit(__doc__)
    dump = reader.Dump(args[0])
    layers = [int(x) for x in args[1:]] or range(dump.model["layers"])
    for prompt in range(len(dump.prompts)):
        n, recorded, found = measure(dump, prompt, layers)
        print(f"{dump.prompts[prompt]['id']}: {n} tokens, the last {recorded} queries, {len(found[BOUNDS[0]])} heads, mean over heads")
        print("| bound | tiles | mass | error | largest error of a head | moved | top 10 % | of the worst head | first pass |\n|---|---|---|---|---|---|---|---|---|")
        for b in BOUNDS:
            x = np.array(found[b])
            m = x.mean(0)
            print(f"| {b:g} | {m[0]:.3f} | {m[1]:.4f} | {m[2]:.3f} | {x[:, 2].max():.2f} | {m[3]:.5f} | {m[4]:.4f} | {x[:, 4].min():.3f} | {m[5]:.3f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
