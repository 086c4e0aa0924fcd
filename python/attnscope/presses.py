"""Connects attnscope with kvpress, in both directions.

A selection that attnscope made of a recorded prompt runs inside kvpress:

    from attnscope import presses
    press = presses.SelectionPress(attnscope.selection(run, "h2o", prompt="a", capacity=512, group="mean"))
    with press(model):
        model.model(input_ids=ids, past_key_values=cache)     # or kvpress's pipeline

And attnscope measures what a press of kvpress keeps of a recorded prompt, next to its own
methods:

    presses.judge(kvpress.KnormPress(0.5), model, run, prompt="a", method=["snapkv", "oracle"])

The module needs torch, transformers and kvpress.
"""
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from kvpress.presses.base_press import BasePress

from attnscope import _dump, _program, _tables

WINDOW = 32  # the default window of attnscope

# The positions that are kept: for each layer a list of those of each kv head, ascending.
Selection = Mapping[int, Sequence[Any]]


class SelectionPress(BasePress):
    """A press that keeps given positions: those of one prompt, the window included, as
    attnscope.selection returns them. The prompt must be the one that they were selected
    from. Heads of a layer may keep different numbers of positions: as in kvpress's
    AdaKVPress, the cache then keeps its size and masks the others.

    positions  for each layer a list with the positions of each kv head. Layers that are not
               named keep everything
    length     tokens of the prompt; 0: the last position that is kept is its last token
    """

    def __init__(self, positions: Selection, length: int = 0):
        self.positions = {
            layer: [torch.as_tensor(np.asarray(x, dtype=np.int64)) for x in heads] for layer, heads in positions.items()}
        last = max((int(x[-1]) for heads in self.positions.values() for x in heads if len(x)), default=-1)
        self.length = length or last + 1

    def compress(self, module, hidden_states, keys, values, attentions, kwargs):
        heads = self.positions.get(module.layer_idx)
        if heads is None:
            return keys, values
        batch, kv_heads, length, dim = keys.shape
        if batch != 1 or length != self.length:
            raise ValueError(
                f"positions of a prompt of {self.length} tokens were given: this is a batch of {batch} with {length}")
        if len(heads) != kv_heads:
            raise ValueError(
                f"layer {module.layer_idx} has {kv_heads} kv heads, and positions of {len(heads)} heads were given: "
                'select by kv head, with group="mean", "max" or "sum"')
        if len({len(x) for x in heads}) == 1:
            index = torch.stack(heads)[None, :, :, None].to(keys.device)
            return (keys.gather(2, index.expand(-1, -1, -1, dim)).contiguous(),
                    values.gather(2, index.expand(-1, -1, -1, values.shape[-1])).contiguous())
        dropped = torch.ones(kv_heads, length, dtype=torch.bool)
        for head, kept in enumerate(heads):
            dropped[head, kept] = False
        head, position = dropped.to(keys.device).nonzero(as_tuple=True)
        module.masked_key_indices = (torch.zeros_like(head), head, position)
        return keys, values


def kept(press: BasePress, model: Any, tokens: Sequence[int]) -> dict[int, list[np.ndarray]]:
    """Runs a prompt with a press and returns the positions that it keeps: for each layer that
    it compresses a list with the ascending positions of each kv head. A press whose cache
    holds anything else than keys and values of the prompt, such as rotated or merged ones,
    is a NotImplementedError."""
    inputs = torch.tensor([list(tokens)], device=next(model.parameters()).device)
    whole, cache = transformers.DynamicCache(), transformers.DynamicCache()
    decoder = model.model
    modules = [m for m in decoder.modules() if hasattr(m, "layer_idx") and hasattr(m, "head_dim")]
    for module in modules:
        module.masked_key_indices = None
    with torch.no_grad():
        decoder(input_ids=inputs, past_key_values=whole)
        with press(model):
            decoder(input_ids=inputs, past_key_values=cache)
    found = {}
    for module in modules:
        layer = module.layer_idx
        masked = getattr(module, "masked_key_indices", None)
        heads = _positions(whole.layers[layer], cache.layers[layer], f"{type(press).__name__}, layer {layer}")
        if masked is not None:
            for head in range(len(heads)):
                heads[head] = np.setdiff1d(heads[head], masked[2][masked[1] == head].cpu().numpy())
            module.masked_key_indices = None
        found[layer] = heads
    return found


def _positions(whole: Any, compressed: Any, where: str) -> list[np.ndarray]:
    """Finds the entries of a compressed cache in the whole one. Layers after the first see what
    earlier layers have computed with whole caches, so both have the same bits."""
    heads = []
    for head in range(whole.keys.shape[1]):
        rows = _rows(whole, head)
        at = {row: i for i, row in enumerate(rows)}
        if len(at) < len(rows):
            raise NotImplementedError(f"{where}, head {head}: two positions have the same key and value")
        places = [at.get(row) for row in _rows(compressed, head)]
        if None in places:
            raise NotImplementedError(
                f"{where}, head {head}: entry {places.index(None)} of the compressed cache "
                "is no key and value of the prompt")
        heads.append(np.array(sorted(places), np.int64))
    return heads


def _rows(layer: Any, head: int) -> list[bytes]:
    """Key and value of each entry of a head, as bytes."""
    both = torch.cat([layer.keys[0, head], layer.values[0, head]], -1).float().cpu().contiguous().numpy()
    return [row.tobytes() for row in both]


def judge(
    press: BasePress, model: Any, dump: "_tables.File", prompt: int | str = 0, *, window: int | None = None,
    method: "_tables.Words" = None, **flags: Any,
) -> "_tables.Table":
    """Measures what a press keeps of a recorded prompt, and returns the table of `attnscope
    snapkv --kept`. The press is a row of its own, under the name of its class.

    The measures are about the positions before the window, which attnscope's methods always
    keep. If the press drops some of the window, a warning says how many: they count as kept.

    press   any press of kvpress that drops keys and values
    model   the transformers model that the prompt was recorded from
    prompt  of the dump: its index or id
    window  by default 32, or less if the press keeps fewer of the last positions
    method  methods of attnscope to compare with, at the mean budget of the press
    flags   any other flag of the verb, such as by="layer"
    """
    run = dump if isinstance(dump, _dump.Dump) else _dump.open(dump)
    index = run.index(prompt)
    tokens, _ = run.tokens(index)
    positions = kept(press, model, tokens)
    last = [_last(x, len(tokens)) for layer in run.layers for x in positions[layer]]
    limit = min(run.prompts[index]["window_rows"], len(tokens) - 1)
    size = window or max(1, min(WINDOW, limit, *last))
    missing = sum(size - int((x >= len(tokens) - size).sum()) for layer in run.layers for x in positions[layer])
    if missing:
        warnings.warn(
            f"{type(press).__name__} drops {missing} of {size * len(last)} entries of the window, which count as kept",
            _program.Warning, stacklevel=2)
    with tempfile.TemporaryDirectory(prefix="attnscope-") as folder:
        path = os.path.join(folder, "kept.safetensors")
        _write(path, {layer: positions[layer] for layer in run.layers}, dict(
            format="attnscope indices", prompt=run.prompts[index]["id"], method=type(press).__name__, window=str(size)))
        return _tables.table("snapkv", run, kept=path, method=method, **flags)


def _last(positions: np.ndarray, length: int) -> int:
    """How many of the last positions are kept, without a gap."""
    dropped = np.setdiff1d(np.arange(length), positions)
    return length - 1 - int(dropped[-1]) if len(dropped) else length


def _write(path: str, positions: Selection, metadata: Mapping[str, str]) -> None:
    """Writes positions as `attnscope snapkv --indices` does: indices.LAYER [heads, longest],
    padded with -1."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    data = b""
    for layer, heads in positions.items():
        rows = np.full((len(heads), max(map(len, heads))), -1, "<i4")
        for row, x in zip(rows, heads):
            row[: len(x)] = x
        at = len(data)
        data += rows.tobytes()
        header[f"indices.{layer}"] = dict(dtype="I32", shape=list(rows.shape), data_offsets=[at, len(data)])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + data)
