"""Records what language models attend to, and answers questions about it.

    import attnscope
    run = attnscope.capture(["The cat sat on the mat."], "run.attn")   # runs a model
    run = attnscope.open("run.attn")                                   # an existing dump
    run.prompts[0]["id"], run.prompt_rows(0, layer=3)                  # numpy arrays
    attnscope.hit_rates(run, window=[8, 32])                           # a data frame
    attnscope.snapkv(run, method=["snapkv", "h2o"], capacity=[128, 256])
    attnscope.advise(run, loss="5%")
    attnscope.view(run)                                                # the viewer, in a cell

capture, hit_rates, snapkv, advise, table, selection and view run the program attnscope, which
the wheel contains; reading a dump does not. An error of the program is an attnscope.Error
with the program's message, a warning an attnscope.Warning. docs/PYTHON.md is the tutorial.

Modules: reader reads dumps with numpy and zstandard alone; writer writes them; recorder
records models of transformers with PyTorch; presses connects with kvpress.
"""
from importlib import metadata
from typing import TYPE_CHECKING, Any

from attnscope._capture import capture
from attnscope._dump import Dump, open
from attnscope._program import Error, Warning, run
from attnscope._prompts import join
from attnscope._tables import Table, advise, hit_rates, selection, snapkv, summary, table
from attnscope._viewer import Viewer, view

if TYPE_CHECKING:
    from attnscope.recorder import Recorder, record

try:
    __version__ = metadata.version("attnscope")
except metadata.PackageNotFoundError:  # used from a clone, without installing
    __version__ = "0"

__all__ = [
    "Dump", "Error", "Recorder", "Table", "Viewer", "Warning", "advise", "capture", "hit_rates", "join", "open",
    "record", "run", "selection", "snapkv", "summary", "table", "view",
]


def __getattr__(name: str) -> Any:
    """Recorder and record import PyTorch, so they are loaded when they are first used."""
    if name in ("Recorder", "record"):
        from attnscope import recorder

        return getattr(recorder, name)
    raise AttributeError(f"module 'attnscope' has no attribute {name!r}")
