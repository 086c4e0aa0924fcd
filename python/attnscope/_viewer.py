"""Shows the viewer in a cell of a notebook."""
import atexit
import html
import os
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from attnscope import _program

# Pages that may show the viewer in a frame: notebooks on this machine.
ORIGINS = "http://localhost:*", "http://127.0.0.1:*", "https://localhost:*", "vscode-webview:"


class Viewer:
    """A running viewer. url is its address, which contains a secret. The viewer ends with
    close(), at the end of a with statement, or with this process."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, height: int):
        self.process = process
        self.url = url
        self.height = height
        atexit.register(self.close)

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        atexit.unregister(self.close)
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.process.stdout.close()

    def __repr__(self) -> str:
        return f"<attnscope.Viewer {self.url}>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{html.escape(self.url)}" width="100%" height="{self.height}" style="border:1px solid #8884">'
            "</iframe>")


def view(
    *dumps: str | os.PathLike[str], height: int = 720, at: str | None = None, origins: Sequence[str] = ORIGINS,
    **flags: Any,
) -> Viewer:
    """Starts `attnscope view` and returns it: as the result of a cell, it is shown there.
    The browser must be on the machine that runs the notebook, or reach its port through a
    tunnel.

    height   of the frame, in pixels
    at       the part of an address of the viewer after #
    origins  the origins of the pages that may show it, in the terms of frame-ancestors
    flags    any other flag of the verb
    """
    args = _program.flags_of(dict(flags, at=at, no_open=True, frame=" ".join(origins) or None))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [_program.path(), "view", *args, "--", *map(os.fspath, dumps)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, text=True)
        url = process.stdout.readline().strip()
        if url:
            return Viewer(process, url, height)
        process.communicate()
        errors.seek(0)
        lines = [line.removeprefix("attnscope: ") for line in errors.read().splitlines()]
        hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    message = "\n".join(line for line in lines if not line.startswith("hint: "))
    raise _program.Error(message, " ".join(hints), process.returncode)
