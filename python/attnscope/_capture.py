"""Runs a model over prompts and records its attention."""
import os
from typing import Any

from attnscope import _dump, _program, _prompts


def capture(
    prompts: _prompts.Prompts, output: str | os.PathLike[str], model: str | os.PathLike[str] = "smollm2-135m", *,
    window_rows: int | None = None, max_new_tokens: int | None = None, store: str | None = None,
    precision: str | None = None, values: bool = False, resume: bool = False, force: bool = False,
    progress: bool | None = None, **flags: Any,
) -> _dump.Dump:
    """Runs a model over prompts with `attnscope capture`, records its attention into the
    file output, and opens it.

    prompts         a path; an address such as hf://datasets/OWNER/NAME/FILE; a data frame; a
                    dataset of the package datasets; or a list of texts or of records
                    (docs/PROMPTS.md)
    model           a folder, a .gguf file, a hub id, or smollm2-135m, which is fetched once
    window_rows     rows at the end of each prompt that are recorded one by one
    max_new_tokens  longest reply
    store           rows, factors or auto
    precision       exact, fine or coarse
    values          whether the values are recorded
    resume          continue output.partial
    force           replace an existing file
    flags           any other flag of the verb: layers="0-3", follow=True, limit=10
    """
    with _prompts.file(prompts) as (name, stdin):
        _program.run("capture", flags=dict(
            model=model, prompts=name, output=output, window_rows=window_rows, max_new_tokens=max_new_tokens,
            store=store, precision=precision, values=values, resume=resume, force=force, **flags), stdin=stdin, progress=progress)
    return _dump.open(output)
