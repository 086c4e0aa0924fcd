"""Prompt sets from Python objects, and results joined to them."""
import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import pandas as pd

# What capture takes: the path or the address of a file, a data frame, a dataset of the
# package datasets, or records. A record is a text or a dictionary of docs/PROMPTS.md.
Prompts = str | os.PathLike[str] | pd.DataFrame | Iterable[str | Mapping[str, Any]]


def records(prompts: pd.DataFrame | Iterable[str | Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Returns the records of a set. A missing value (None, NaN, NaT, pandas.NA) is left out."""
    if isinstance(prompts, pd.DataFrame):
        prompts = prompts.to_dict("records")
    for record in prompts:
        if isinstance(record, str):
            record = {"prompt": record}
        yield {str(k): v for k, v in record.items() if not _missing(v)}


def _missing(value: Any) -> bool:
    return value is None or pd.api.types.is_scalar(value) and bool(pd.isna(value))


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy, and dates, as JSON has them."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


@contextlib.contextmanager
def file(prompts: Prompts) -> Iterator[tuple[str, IO[str] | None]]:
    """Gives the argument of --prompts for a set, and what standard input is then: the path
    of a file; or - and JSON lines. An address with a scheme (hf://datasets/OWNER/NAME/FILE,
    https://, s3://) is read by fsspec, which needs the package of the scheme, such as
    huggingface_hub."""
    if isinstance(prompts, (str, os.PathLike)):
        where = os.fspath(prompts)
        if "://" not in where:
            yield where, None
            return
        import fsspec

        with tempfile.TemporaryDirectory(prefix="attnscope-") as folder:
            local = os.path.join(folder, os.path.basename(where) or "prompts")
            with fsspec.open(where, "rb") as source, open(local, "wb") as copy:
                while part := source.read(1 << 20):
                    copy.write(part)
            yield local, None
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        for record in records(prompts):
            lines.write(json.dumps(record, default=_plain) + "\n")
        lines.flush()
        lines.seek(0)
        yield "-", lines


def join(prompts: Any, table: pd.DataFrame, on: str = "id") -> Any:
    """Returns a prompt set with the columns of a table that has one row per prompt, such as
    hit_rates(run, by="prompt"): a data frame for a data frame, a dataset for a dataset. on
    names the column of the set that holds the ids of the prompts. A row of the set without
    one in the table gets missing values.
    """
    frame = prompts if isinstance(prompts, pd.DataFrame) else pd.DataFrame(list(prompts))
    key = next(c for c in ("prompt", "id") if c in table.columns)
    if table[key].duplicated().any():
        raise ValueError(
            f"the table has several rows for one {key}: make it with one window, one method and by='prompt'")
    right = pd.DataFrame(table).rename(columns={key: on})
    right = right[[on, *(c for c in right.columns if c not in frame.columns and c != "dataset")]]
    left = frame.assign(**{on: frame[on].astype(str)})
    joined = left.merge(right, on=on, how="left", validate="many_to_one")
    if isinstance(prompts, pd.DataFrame):
        return joined.set_index(frame.index)
    return type(prompts).from_pandas(joined, preserve_index=False)
