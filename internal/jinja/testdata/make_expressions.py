"""Renders the templates of expressions.txt, which lines of --- separate, in the environment that
transformers 5 gives to chat templates, and writes expressions.json: the text or the error of each.
"""

import datetime
import json
import pathlib

import transformers.utils.chat_template_utils as utils


class Fixed(datetime.datetime):
    @classmethod
    def now(cls):
        return cls(2024, 3, 7, 9, 5, 3, 12345)


utils.datetime = Fixed

VARIABLES = {
    "messages": [{"role": "user", "content": "hi é"}, {"role": "assistant", "content": "x"}],
    "m": {
        "a": "q,x,r", "list": [1, 2, 3], "float": 1.0, "big": 12345678901234567890123, "neg": -3, "e": 1e-7,
        "t": True, "n": None,
    },
}


def rendered(template):
    try:
        return {"text": utils._compile_jinja_template(template).render(**VARIABLES)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


folder = pathlib.Path(__file__).parent
templates = (folder / "expressions.txt").read_bytes().decode().removesuffix("\n").split("\n---\n")
cases = [{"template": t, **rendered(t)} for t in templates]
result = {"variables": VARIABLES, "cases": cases}
(folder / "expressions.json").write_text(json.dumps(result, ensure_ascii=False, indent=0) + "\n")
