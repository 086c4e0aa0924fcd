"""Finds and runs the program attnscope."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from attnscope._progress import Progress

LISTS = ("by", "heads", "layers", "method", "pooling")  # flags that take one comma-separated list


class Error(RuntimeError):
    """The program failed. The text is its message; hint says what to do, if it knows; code
    is its exit code: 2 for a mistake in the arguments, else 1. output is what it had
    printed."""

    def __init__(self, message: str, hint: str = "", code: int = 1, output: str = ""):
        super().__init__(message + (f"\nhint: {hint}" if hint else ""))
        self.message = message
        self.hint = hint
        self.code = code
        self.output = output


class Warning(UserWarning):
    """A doubt of the program about a sound result."""


def path() -> str:
    """Returns the program: the one that the environment variable ATTNSCOPE names, else the
    one that was installed with this package, else attnscope in PATH."""
    named = os.environ.get("ATTNSCOPE")
    if named:
        return named
    name = "attnscope.exe" if os.name == "nt" else "attnscope"
    package = Path(__file__).resolve().parent
    schemes = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user")]
    for folder in [*schemes, package.parent / "bin"]:  # the last: pip install --target
        if (Path(folder) / name).is_file():
            return str(Path(folder) / name)
    found = shutil.which(name)
    if found is None:
        raise Error("the program attnscope is not installed", "install the wheel, or name the program in ATTNSCOPE")
    return found


def flags_of(flags: Mapping[str, Any]) -> list[str]:
    """Returns flags as arguments: window=[8, 32] as --window=8 --window=32, by=["layer",
    "head"] as --by=layer,head, values=True as --values. None and False are left out."""
    args = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        flag = "--" + name.replace("_", "-")
        if value is True:
            args.append(flag)
            continue
        values = [value] if isinstance(value, (str, os.PathLike)) or not hasattr(value, "__iter__") else list(value)
        if name in LISTS:
            values = [",".join(map(str, values))]
        args.extend(f"{flag}={os.fspath(v) if isinstance(v, os.PathLike) else v}" for v in values)
    return args


class Result:
    """What a run of the program printed: output is its standard output, notes are the
    lines of its standard error that are neither warnings nor progress. code is its exit
    code."""

    def __init__(self, command: list[str]):
        self.command = command
        self.code = 0
        self.output = ""
        self.notes: list[str] = []


def run(
    verb: str, files: Sequence[str | os.PathLike[str]] = (), flags: Mapping[str, Any] | None = None,
    stdin: IO[str] | None = None, progress: bool | None = None,
) -> Result:
    """Runs `attnscope VERB FLAGS -- FILES` and returns what it printed. A run that fails is
    an Error. Its warnings are given as warnings of Python, its progress is shown.

    flags     as keyword arguments of the other functions: see flags_of
    stdin     a file that the program reads
    progress  whether progress is shown; None: in notebooks and on terminals
    """
    args = [path(), verb, *flags_of(flags or {}), *(["--", *map(os.fspath, files)] if files else [])]
    result = Result(args)
    with Progress(verb, progress) as bar, tempfile.TemporaryDirectory(prefix="attnscope-") as folder:
        status = os.path.join(folder, "status.json")
        if verb == "capture" and bar.shown and "status" not in (flags or {}):
            args.insert(2, f"--status={status}")  # each second, where lines of progress are rare
            lines = _communicate(args, stdin, result, each_second=lambda: _show_status(bar, status))
        else:
            lines = _communicate(args, stdin, result, each_line=lambda line: _show_line(bar, verb, line))
    lines = [line for line in lines if _percent(verb, line) is None]
    message, hint = [], ""
    for line in lines:
        text = line.removeprefix("attnscope: ")
        if text.startswith("warning: "):
            warnings.warn(text.removeprefix("warning: "), Warning, stacklevel=_depth())
        elif text.startswith("hint: "):
            hint = text.removeprefix("hint: ")
        else:
            result.notes.append(text)
            message.append(text)
    if result.code:
        raise Error("\n".join(message) or f"attnscope {verb} failed", hint, result.code, result.output)
    return result


def _depth() -> int:
    """The stack level, as seen by run, of the first caller outside of this package."""
    depth = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "attnscope":
        frame = frame.f_back
        depth += 1
    return depth


def _communicate(
    args: list[str], stdin: IO[str] | None, result: Result, each_line: Callable[[str], None] = lambda line: None,
    each_second: Callable[[], None] = lambda: None,
) -> list[str]:
    """Runs a command, and calls each_line with the lines of its standard error as they come
    and each_second while it runs. Returns the lines."""
    process = subprocess.Popen(  # in a session of its own: Ctrl-C reaches it once, by the signal below
        args, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        start_new_session=True)
    lines: list[str] = []

    def read_errors() -> None:
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            each_line(lines[-1])

    output: list[str] = []
    threads = [
        threading.Thread(target=read_errors, daemon=True),
        threading.Thread(target=lambda: output.append(process.stdout.read()), daemon=True),
    ]
    for thread in threads:
        thread.start()
    while True:
        try:
            process.wait(timeout=1)
            break
        except subprocess.TimeoutExpired:
            each_second()
        except BaseException:  # an interrupted cell: the program ends as after Ctrl-C
            process.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
            process.wait()
            raise
    for thread in threads:
        thread.join()
    process.stdout.close()
    process.stderr.close()
    result.output = "".join(output)
    result.code = process.returncode
    return lines


def _percent(verb: str, line: str) -> tuple[int, int, str] | None:
    """What a line of progress says: how much is done, of how much, and its text. None if
    the line is no progress."""
    text = line.removeprefix("attnscope: ").removeprefix(verb + ": ")
    if text == line.removeprefix("attnscope: "):
        return None
    found = re.search(r"(\d+) of (\d+) tokens|(\d+) %$", text)
    if found is None:
        return None
    done, total, percent = found.groups()
    return (int(percent), 100, text) if percent else (int(done), int(total), text)


def _show_line(bar: Progress, verb: str, line: str) -> None:
    step = _percent(verb, line)
    if step is not None:
        bar.show(*step)


def _show_status(bar: Progress, path: str) -> None:
    """Shows the status file of a capture."""
    try:
        with open(path, encoding="utf-8") as f:
            s = json.load(f)
    except (OSError, ValueError):
        return  # it is not there yet
    if not s["tokens"]:
        bar.show(0, 1, "opening the model")
        return
    text = f"{s['prompts_done']} of {s['prompts']} prompts done"
    if "tokens_per_second" in s:
        text += f", {s['tokens_per_second']:.3g} tokens/s"
    if "seconds_left" in s:
        text += f", {s['seconds_left']:.0f} s left"
    bar.show(s["tokens_done"], s["tokens"], text)
