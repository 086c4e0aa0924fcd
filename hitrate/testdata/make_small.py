"""Writes small.json: attention of two heads and the hit rates of several settings.

The rates are computed here in plain Python, independently of the Go code:

    prefix  = tokens - window
    vote[j] = sum of the last `window` prompt rows at column j < prefix
    k       = floor(p * prefix + 1e-9), the positions of the k largest votes are kept
    active  = positions j < prefix of a reply row with weight > theta
    hits    = those of them that are kept

Weights are stored as multiples of 1/4096, so that they are exact in float32.
"""

import json
import random

UNIT = 4096
HEADS, TOKENS, PROMPT_ROWS, GEN = 2, 40, 16, 4


def row(rng, head, position, keys):
    """One row of weights: zero after `position`, peaked at a few positions."""
    scores = [rng.expovariate(1) ** 3 + (6 if j % (7 + 4 * head) == 3 else 0) for j in range(position + 1)]
    scale = UNIT / sum(scores)
    return [int(s * scale) for s in scores] + [0] * (keys - position - 1)


def counts(prompt, gen, window, p, theta):
    """k, the counted rows, hits, active positions and the mean of the rows' rates."""
    prefix = TOKENS - window
    vote = [sum(r[j] for r in prompt[-window:]) for j in range(prefix)]
    k = int(p * prefix + 1e-9)
    keep = set(sorted(range(prefix), key=lambda j: (-vote[j], j))[:k])
    rates, hits, active = [], 0, 0
    for r in gen:
        above = [j for j in range(prefix) if r[j] / UNIT > theta]
        found = sum(j in keep for j in above)
        if above:
            rates.append(found / len(above))
        hits += found
        active += len(above)
    return [k, len(rates), hits, active, sum(rates) / len(rates) if rates else None]


def main():
    rng = random.Random(7)
    heads, rows = [], []
    for head in range(HEADS):
        prompt = [row(rng, head, TOKENS - PROMPT_ROWS + i, TOKENS) for i in range(PROMPT_ROWS)]
        gen = [row(rng, head, TOKENS + i, TOKENS + GEN) for i in range(GEN)]
        heads.append({"prompt": prompt, "gen": gen})
        for window in (4, 8, 16):
            for p in (0.1, 0.25):
                for theta in (0.02, 0.05, 0.2):
                    rows.append([head, window, p, theta, *counts(prompt, gen, window, p, theta)])
    columns = ["head", "window", "p", "theta", "k", "rows_counted", "hits", "active", "h_rows_mean"]
    small = {"tokens": TOKENS, "gen": GEN, "unit": UNIT, "columns": columns}
    with open("small.json", "w") as out:
        text = json.dumps(small)[:-1]
        for name, items in (("heads", heads), ("rows", rows)):
            text += f',\n"{name}": [\n' + ",\n".join(json.dumps(x, separators=(",", ":")) for x in items) + "\n]"
        out.write(text + "\n}\n")


if __name__ == "__main__":
    main()
