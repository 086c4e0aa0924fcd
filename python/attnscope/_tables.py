"""Tables of the program as data frames."""
import html
import json
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from attnscope import _dump, _program

File = str | os.PathLike[str]
Files = File | Sequence[File]
Ints = int | Sequence[int] | None
Floats = float | Sequence[float] | None
Words = str | Sequence[str] | None

FIRST = 4  # positions that a summary leaves out


class Table(pd.DataFrame):
    """A data frame that knows how it was made: command is the command line, notes are what
    the program said about the table. In notebooks, columns that only say that everything is
    pooled (* or -1) are not shown."""

    _metadata = ["command", "notes"]

    @property
    def _constructor(self) -> type["Table"]:
        return Table

    def _repr_html_(self) -> str:
        notes = [f"<code>{html.escape(' '.join(x))}</code>" for x in [getattr(self, "command", None)] if x]
        notes += map(html.escape, getattr(self, "notes", None) or [])
        empty = self.isin(["*", -1]) | self.isna()
        shown = self[[c for c in self.columns if len(self) == 0 or not empty[c].all()]]
        index = not isinstance(self.index, pd.RangeIndex)
        table = shown.to_html(classes="attnscope", max_rows=60, float_format=_shown, na_rep="", index=index)
        style = "<style>.attnscope th, .attnscope td { white-space: nowrap; }</style>"
        below = "".join(f"<div>{note}</div>" for note in notes)
        return f'{style}<div style="overflow-x:auto">{table}</div>{below}'


def _shown(x: float) -> str:
    """A number as text: whole and large numbers, such as bytes, with all digits before the point."""
    return f"{x:.0f}" if x.is_integer() or abs(x) >= 1e4 else f"{x:.4g}"


def table(verb: str, *dumps: Files, progress: bool | None = None, **flags: Any) -> Table:
    """Runs `attnscope VERB` and returns its table. Flags are keyword arguments: by="layer",
    window=[8, 32], same_prefix=True. The verb is any that prints a table in JSON lines:
    hitrate, snapkv, advise."""
    files = [f for group in dumps for f in ([group] if isinstance(group, (str, os.PathLike)) else group)]
    result = _program.run(verb, files, dict(flags, format="jsonl"), progress=progress)
    frame = Table([json.loads(line) for line in result.output.splitlines()])
    frame.command = ["attnscope", *result.command[1:]]
    frame.notes = result.notes
    return frame


def hit_rates(
    *dumps: Files, window: Ints = None, top: Floats = None, budget: Ints = None, theta: Floats = None, by: Words = None,
    skip_first: int | None = None, same_prefix: bool = False, average: str | None = None, preset: str | None = None,
    progress: bool | None = None, **flags: Any,
) -> Table:
    """Returns the table of `attnscope hitrate`: the share of the positions a reply attends to
    that the observation window had voted for. docs/MEASURES.md defines its columns.

    window       sizes of the observation window, in rows
    top, budget  the share or the number of positions that are kept
    theta        a weight above it is significant
    by           a row for each layer, head, prompt, dataset or span; "none": one row
    skip_first   positions at the beginning that are left out (attention sinks)
    same_prefix  rate all windows on the same positions, so that they can be compared
    average      pooled, rows or heads
    preset       paper, code or code-exact
    flags        any other flag of the verb
    """
    return table(
        "hitrate", *dumps, progress=progress, window=window, top=top, budget=budget, theta=theta, by=by,
        skip_first=skip_first, same_prefix=same_prefix, average=average, preset=preset, **flags)


def snapkv(
    *dumps: Files, method: Words = None, capacity: Ints = None, window: Ints = None, kernel: Ints = None,
    pooling: Words = None, group: str | None = None, by: Words = None, preset: str | None = None,
    progress: bool | None = None, **flags: Any,
) -> Table:
    """Returns the table of `attnscope snapkv`: how much of the reply's attention lies on what
    methods keep of the cache. docs/MEASURES.md defines its columns.

    method    methods, or "all"
    capacity  positions that are kept per head, the window included
    window    the last prompt tokens, which vote and are kept
    kernel    votes are pooled over so many positions
    pooling   avgpool or maxpool
    group     how votes of the query heads of a kv head are merged: mean, max, sum; head: not
    by        a row for each layer, head, prompt, dataset or span; "none": one row
    preset    settings that the others override, such as reference or kvpress
    flags     any other flag of the verb
    """
    return table(
        "snapkv", *dumps, progress=progress, method=method, capacity=capacity, window=window, kernel=kernel,
        pooling=pooling, group=group, by=by, preset=preset, **flags)


def advise(
    *dumps: Files, loss: str | float | None = None, agreement: float | None = None, risk: float | None = None,
    method: Words = None, capacity: Ints = None, by: str | None = None, progress: bool | None = None, **flags: Any,
) -> Table:
    """Returns the table of `attnscope advise`: methods and budgets with the loss that is
    predicted, the smallest cache first. The notes of the table have the recommendation. If no
    method stays within the bound, this is an Error.

    loss       the bound: "5%" (increase of the perplexity) or 0.05 (KL divergence)
    agreement  instead: the share of reply tokens that stay the same
    risk       the share of prompts that may lose more
    by         layer or head: a budget for each
    flags      any other flag of the verb
    """
    return table(
        "advise", *dumps, progress=progress, loss=loss, agreement=agreement, risk=risk, method=method, capacity=capacity,
        by=by, **flags)


def selection(
    dump: File, method: str = "snapkv", *, prompt: str | None = None, capacity: int | None = None,
    window: int | None = None, kernel: int | None = None, pooling: str | None = None, group: str | None = None,
    preset: str | None = None, **flags: Any,
) -> dict[int, list[np.ndarray]]:
    """Returns the positions that a method keeps of a prompt, the window included: for each
    recorded layer a list with the ascending positions of each head. The heads are query
    heads with group="head", else kv heads."""
    with tempfile.TemporaryDirectory(prefix="attnscope-") as folder:
        out = os.path.join(folder, "indices.safetensors")
        _program.run("snapkv", [dump], dict(
            indices=out, method=method, prompt=prompt, capacity=capacity, window=window, kernel=kernel, pooling=pooling,
            group=group, preset=preset, **flags))
        arrays, settings = _read_safetensors(out)
    run = dump if isinstance(dump, _dump.Dump) else _dump.open(dump)
    n = run.prompts[run.index(settings["prompt"])]["prompt_tokens"]
    last = np.arange(n - int(settings["window"]), n)
    return {
        layer: [np.concatenate([x[x >= 0], last]) for x in arrays[f"indices.{layer}"]] for layer in run.layers
        if f"indices.{layer}" in arrays}


def _read_safetensors(path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The int32 arrays of a .safetensors file, and its metadata."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    settings = header.pop("__metadata__", {})
    arrays = {}
    for name, x in header.items():
        lo, hi = x["data_offsets"]
        arrays[name] = np.frombuffer(data[lo:hi], "<i4").reshape(x["shape"])
    return arrays, settings


def summary(*dumps: Files, progress: bool | None = None, **flags: Any) -> dict[str, Any]:
    """Returns one flat dictionary of numbers about dumps, for wandb.log, TensorBoard or a line
    of JSON: all columns of hit_rates(by="none") that are numbers, and hit_rate and mass again
    without the first four positions. flags are those of hit_rates; there is one window, top and
    theta."""
    rows = [hit_rates(*dumps, by="none", skip_first=skip, progress=progress, **flags) for skip in (0, FIRST)]
    for frame in rows:
        if len(frame) != 1:
            raise ValueError(f"a summary has one row, and these settings give {len(frame)}")
    plain, without = (frame.iloc[0].dropna().to_dict() for frame in rows)
    plain.pop(f"without_first_{FIRST}", None)  # hit_rate_without_first_4
    also = {f"{name}_without_first_{FIRST}": without[name] for name in ("hit_rate", "mass") if name in without}
    numbers = {name: x.item() if hasattr(x, "item") else x for name, x in (plain | also).items()}
    return {name: x for name, x in numbers.items() if not isinstance(x, str) and x != -1}  # -1: all are pooled
