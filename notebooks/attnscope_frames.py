"""Turns dumps and the tables of attnscope into pandas data frames.

    import attnscope, attnscope_frames as frames
    frames.table("hitrate", "run.attn", window=32, by="layer,span")  # a table of the program
    frames.weights(attnscope.Dump("run.attn"), 0, layer=3)           # layer, head, phase, row, key, weight
"""
import io
import os
import subprocess

import numpy as np
import pandas as pd


def table(verb, *files, **flags):
    """Runs `attnscope VERB` (hitrate, snapkv or advise) and returns its table.

    Flags are keyword arguments: by="layer", window=[8, 32], group="mean", method="all".
    The program is the one named by the environment variable ATTNSCOPE, by default
    attnscope in PATH. A run that fails is a RuntimeError with the program's message.
    """
    args = [os.environ.get("ATTNSCOPE", "attnscope"), verb, "--format", "jsonl"]
    for name, values in flags.items():
        for value in values if isinstance(values, (list, tuple)) else [values]:
            args.append("--%s=%s" % (name.replace("_", "-"), value))
    run = subprocess.run(args + ["--", *map(str, files)], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr.strip())
    return pd.read_json(io.StringIO(run.stdout), lines=True, dtype={"prompt": str, "dataset": str})


def prompts(dump):
    """Returns one row per prompt: id, dataset, tokens of prompt and reply, recorded rows
    and store."""
    columns = ["id", "dataset", "prompt_tokens", "reply_tokens", "window_rows", "store"]
    return pd.DataFrame([{c: p.get(c, "") for c in columns} for p in dump.prompts], columns=columns)


def weights(dump, prompt, layer, min_weight=1e-3):
    """Returns the weights above min_weight in the columns of `attnscope export -o
    FILE.csv`: rows count from the first recorded row of their phase."""
    parts = []
    for phase, x in (("prompt", dump.prompt_rows(prompt, layer)), ("generation", dump.generation_rows(prompt, layer))):
        head, row, key = np.nonzero(x > min_weight)
        parts.append(pd.DataFrame({
            "layer": layer,
            "head": np.array(dump.plan["heads"])[head],
            "phase": phase,
            "row": row,
            "key": key,
            "weight": x[head, row, key],
        }))
    return pd.concat(parts, ignore_index=True)
