"""A dump as an object of Python: arrays, data frames, tables of the program."""
import html
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from attnscope import frames, reader

if TYPE_CHECKING:
    from attnscope import _tables, _viewer


class Dump(reader.Dump):
    """An open dump. Nothing but its list of prompts is read before it is asked for.

    A prompt is given by its index or by its id. Arrays are float32:

        prompt_rows(prompt, layer)      [heads, R, P]: weights of the last R rows of the prompt
        generation_rows(prompt, layer)  [heads, G, P + G]: weights of the rows of the reply
        sums(prompt, layer)             [heads, P]: weights summed over all rows of the prompt, or None
        window_sums(prompt, layer)      a list of [heads, keys]: summed over query windows
        key_states(prompt, layer)       [kv heads, P + G, dim], or None
        value_states(prompt, layer)     [kv heads, P + G, dim], or None
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__(os.fspath(path))

    def __fspath__(self) -> str:
        return self.path

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        return f"<attnscope.Dump {self.path}: {self.model['id']}, {len(self)} prompts, {len(self.layers)} layers>"

    @property
    def layers(self) -> list[int]:
        """The ids of the recorded layers."""
        return self.plan["layers"]

    def index(self, prompt: int | str) -> int:
        """The index of a prompt, which is given by its index or its id."""
        if isinstance(prompt, str):
            ids = [p["id"] for p in self.prompts]
            if prompt not in ids:
                raise KeyError(f"{self.path} has no prompt {prompt!r}: it has {', '.join(ids[:10])}")
            return ids.index(prompt)
        return range(len(self.prompts))[prompt]

    def prompt_rows(self, prompt: int | str, layer: int) -> np.ndarray:
        return super().prompt_rows(self.index(prompt), layer)

    def generation_rows(self, prompt: int | str, layer: int) -> np.ndarray:
        return super().generation_rows(self.index(prompt), layer)

    def sums(self, prompt: int | str, layer: int) -> np.ndarray | None:
        return super().sums(self.index(prompt), layer)

    def window_sums(self, prompt: int | str, layer: int) -> list[np.ndarray]:
        return super().window_sums(self.index(prompt), layer)

    def key_states(self, prompt: int | str, layer: int) -> np.ndarray | None:
        return super().key_states(self.index(prompt), layer)

    def value_states(self, prompt: int | str, layer: int) -> np.ndarray | None:
        return super().value_states(self.index(prompt), layer)

    def tokens(self, prompt: int | str) -> tuple[list[int], list[int]]:
        """The token ids of a prompt and of its reply."""
        p = self.prompts[self.index(prompt)]
        return p["tokens"][: p["prompt_tokens"]], p["tokens"][p["prompt_tokens"] :]

    def frame(self) -> pd.DataFrame:
        """One row per prompt: id, dataset, numbers of tokens, recorded rows, store."""
        return frames.prompts(self)

    def weights(self, prompt: int | str, layer: int, min_weight: float = 1e-3) -> pd.DataFrame:
        """The weights above min_weight of a prompt and its reply, one per row: layer, head,
        phase, row, key, weight."""
        return frames.weights(self, self.index(prompt), layer, min_weight)

    def hit_rates(self, **settings: Any) -> "_tables.Table":
        """attnscope.hit_rates of this dump."""
        from attnscope import _tables

        return _tables.hit_rates(self, **settings)

    def snapkv(self, **settings: Any) -> "_tables.Table":
        """attnscope.snapkv of this dump."""
        from attnscope import _tables

        return _tables.snapkv(self, **settings)

    def advise(self, **settings: Any) -> "_tables.Table":
        """attnscope.advise for this dump."""
        from attnscope import _tables

        return _tables.advise(self, **settings)

    def summary(self, **settings: Any) -> dict[str, Any]:
        """attnscope.summary of this dump."""
        from attnscope import _tables

        return _tables.summary(self, **settings)

    def view(self, **settings: Any) -> "_viewer.Viewer":
        """attnscope.view of this dump."""
        from attnscope import _viewer

        return _viewer.view(self, **settings)

    def _repr_html_(self) -> str:
        facts = {
            "file": self.path, "model": self.model["id"], "prompts": len(self), "layers": len(self.layers),
            "heads": len(self.plan["heads"]), "recorded rows of a prompt": self.plan["window_rows"],
            "store": self.plan["store"], "precision": self.plan["precision"]}
        rows = "".join(f"<tr><th>{name}</th><td>{html.escape(str(x))}</td></tr>" for name, x in facts.items())
        return f"<table>{rows}</table>{self.frame().to_html(max_rows=10)}"


def open(path: str | os.PathLike[str]) -> Dump:
    """Opens a dump. Of an unfinished one, such as run.attn.partial, it has the finished
    prompts."""
    return Dump(path)
