"""Turns dumps into data frames."""
import numpy as np
import pandas as pd


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
