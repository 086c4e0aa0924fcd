"""Shows progress: as a bar in notebooks, as a line on terminals."""
import html
import sys
from typing import Any


class Progress:
    """A bar for one piece of work, as a context manager. It disappears at the end.

    shown  whether anything is shown; None: in notebooks and on terminals
    """

    def __init__(self, what: str, shown: bool | None = None):
        self.what = what
        self.notebook = _in_notebook()
        self.shown = self.notebook or sys.stderr.isatty() if shown is None else shown
        self.handle: Any = None  # of the notebook's output
        self.length = 0          # of the line on the terminal

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.handle is not None:
            self.handle.update(_html(""))
        if self.length:
            print("\r" + " " * self.length + "\r", end="", file=sys.stderr, flush=True)

    def show(self, done: int, total: int, text: str = "") -> None:
        if not self.shown:
            return
        if not self.notebook:
            line = f"{self.what}: {100 * done // max(1, total)} % {text}"[:79]
            print("\r" + line.ljust(self.length), end="", file=sys.stderr, flush=True)
            self.length = max(self.length, len(line))
            return
        page = _html(
            f'<progress value="{done}" max="{max(1, total)}" style="width:20em"></progress> '
            f"{html.escape(self.what)}: {html.escape(text)}")
        if self.handle is None:
            from IPython.display import display

            self.handle = display(page, display_id=True)
        else:
            self.handle.update(page)


def _html(text: str) -> Any:
    from IPython.display import HTML

    return HTML(text)


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")
