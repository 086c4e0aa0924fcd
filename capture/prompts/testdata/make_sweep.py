"""Writes what transformers 5 makes of records of 15 kinds, and of each with one field
changed, removed or added: the ids of apply_chat_template and of the prompts that the data
sets publish. The test TestSweep compares.

usage: make_sweep.py [--all] >sweep.json     without --all every fourth change
       make_sweep.py --parquet rows.parquet
"""

import copy
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATE = (
    "{% if tools %}[tools]{% for t in tools %}{{ t | tojson }};{% endfor %}{% endif %}"
    "{% if documents %}{% for d in documents %}<{{ d.title }}:{{ d.text }}>{% endfor %}{% endif %}"
    "{% if brief %}[brief]{% endif %}"
    "{% for m in messages %}<s>{{ m.role }}{% if m.name %}({{ m.name }}){% endif %}:"
    "{% if m.reasoning_content %}[{{ m.reasoning_content }}]{% endif %}"
    "{% if m.content is string %}{{ m.content }}{% elif m.content %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}"
    "{% for c in m.tool_calls or [] %}[call {{ c.function | tojson }}]{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)

user = lambda s: {"role": "user", "content": s}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"city": "Oslo"}}}
KINDS = {
    "prompt": {"id": "p", "prompt": "6 x 7 is", "answer": 42},
    "tokens": {"id": "t", "input_ids": [5, 6, 7], "response_ids": [8]},
    "chat": {"id": "c", "messages": [{"role": "system", "content": "be brief"}, user("hi"), {"role": "assistant", "content": "yo", "reasoning_content": "greet"}, user("bye")], "chat_template_kwargs": {"brief": True}},
    "tools": {"id": "w", "messages": [user("weather?"), {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "name": "f", "content": "12C"}], "tools": [TOOL]},
    "documents": {"id": "d", "messages": [user("what?")], "documents": [{"title": "t", "text": "x"}]},
    "parts": {"id": "a", "messages": [{"role": "user", "content": [{"type": "text", "text": "hello "}, {"type": "text", "text": "you"}]}, {"role": "assistant", "content": "yes"}]},
    "leval": {"id": "e", "document": "long text", "instructions": ["what", "why"], "outputs": ["a", "b"]},
    "longbench": {"_id": "l", "context": "The mill.", "input": "Which?", "answers": ["x"], "length": 7, "dataset": "qasper", "language": "en", "all_classes": None},
    "longbench2": {"_id": "q", "domain": "d", "sub_domain": "s", "difficulty": "easy", "length": "short", "question": " Which? ", "choice_A": "red", "choice_B": "green", "choice_C": "blue", "choice_D": "none", "answer": "B", "context": "The mill. "},
    "scbench": {"id": 3, "context": "{k: v}", "multi_turns": [{"input": "k?", "answer": "v"}, {"input": "l?", "answer": 7}, {"input": "m?", "answer": ["a", "b"]}], "dataset": "scbench_kv"},
    "scbench_choice": {"id": "s", "context": "A book.", "multi_turns": [{"input": "who?", "answer": "B", "options": ["a", "b", "c", "d"]}, {"input": "why?", "answer": "C", "options": ["e", "f", "g", "h"]}]},
    "ruler": {"index": 0, "input": "The number is 4711. What is it?", "outputs": ["4711"], "length": 20, "answer_prefix": " It is"},
    "kvpress": {"context": "The number is 4711.", "question": " What is it?", "answer_prefix": "It is", "answer": ["4711"], "max_new_tokens": 8, "task": "niah"},
    "alpaca": {"instruction": "Add.", "input": "1 2", "output": "3"},
    "sharegpt": {"id": "g", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}, {"from": "human", "value": "bye"}], "system": "be brief"},
}
ADDED = {
    "system": "be kind", "tools": [TOOL], "choices": ["a", "b"], "suffix": "tail", "answer_prefix": "So", "question": "who?", "input": "more",
    "instruction": "Do.", "few_shot": ["x"], "images": ["a.png"], "prompt": "other", "context": "more", "name": "bob", "license": "mit",
    "enable_thinking": True, "documents": [{"title": "t", "text": "y"}], "messages": [user("x")], "choice_A": "a",
}
V2 = open(os.path.join(HERE, "longbench2.txt")).read()
OPTIONS = "Question: {}\nA. {}\nB. {}\nC. {}\nD. {}\n\nThe the correct answer is"


def prompts(r):
    """The prompts of a record: token ids, text, or messages with further arguments."""
    r = {k: v for k, v in r.items() if v is not None}
    if "input_ids" in r:
        return [[int(i) for i in r["input_ids"]]]
    if "messages" in r:
        messages = r["messages"]
        if r.get("system"):
            messages = [{"role": "system", "content": r["system"]}] + messages
        if messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        more = {k: r[k] for k in ("tools", "documents") if k in r}
        return [(messages, {**more, **r.get("chat_template_kwargs", {})})]
    if "conversations" in r:
        roles = {"human": "user", "gpt": "assistant", "system": "system"}
        messages = [{"role": roles[m["from"]], "content": m["value"]} for m in r["conversations"]]
        if r.get("system"):
            messages = [{"role": "system", "content": r["system"]}] + messages
        if messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        return [(messages, {})]
    if "prompt" in r:
        return [r["prompt"]]
    if "document" in r:
        return [([user(r["document"] + "\n\n" + i)], {}) for i in r["instructions"]]
    if "multi_turns" in r:
        out, messages = [], []
        first = "Extract the value corresponding to the specified key in the JSON object below.\n\n" if r.get("dataset") == "scbench_kv" else ""
        choice = r.get("dataset") != "scbench_kv" and "options" in r["multi_turns"][0]
        for i, t in enumerate(r["multi_turns"]):
            asked = OPTIONS.format(t["input"], *t["options"]) if choice else t["input"]
            messages = messages + [user((first + r["context"] + "\n\n" if i == 0 else "") + asked)]
            out.append((messages, {}))
            messages = messages + [{"role": "assistant", "content": str(t["answer"])}]
        return out
    if "choice_A" in r and "context" in r:
        text = V2
        for mark, field in [("DOC", "context"), ("Q", "question"), *[("C_" + c, "choice_" + c) for c in "ABCD"]]:
            text = text.replace("$" + mark + "$", r[field].strip())
        return [([user(text)], {})]
    if "context" in r:
        asked = r.get("question", r.get("input", ""))
        between = "\n\n" if "answer_prefix" not in r and asked else ""
        return [([user(r["context"] + between + asked)], {})]
    if "instruction" in r:
        return [([user(r["instruction"] + ("\n" + r["input"] if r.get("input") else ""))], {})]
    return [([user(r["input"])], {})]


def ids(tok, record):
    try:
        out = []
        for p in prompts(record):
            if isinstance(p, str):
                out.append(tok.encode(p + record.get("answer_prefix", "")))
            elif isinstance(p, tuple):
                text = tok.apply_chat_template(p[0], tokenize=False, add_generation_prompt=True, **p[1])
                out.append(tok.encode(text + (record.get("answer_prefix") or ""), add_special_tokens=False))
            else:
                out.append(list(p))
        return out or None
    except Exception:
        return None  # the reference cannot make a prompt of it


def other(v):
    """Another legal value."""
    if isinstance(v, bool):
        return not v
    if isinstance(v, (int, float)):
        return v + 1
    if isinstance(v, str):
        return {"user": "tool", "assistant": "user", "system": "user", "human": "gpt", "gpt": "human"}.get(v, v + " more")
    if isinstance(v, list):
        return v + v[-1:]
    if isinstance(v, dict):
        return {**v, "zz": "new"}
    return "new"


def paths(v, path=()):
    items = v.items() if isinstance(v, dict) else enumerate(v) if isinstance(v, list) else []
    for k, inner in items:
        yield path + (k,)
        yield from paths(inner, path + (k,))


def changes(record):
    yield "as it is", record
    for path in paths(record):
        for what in ("changed", "removed", "number"):
            r = copy.deepcopy(record)
            at = r
            for k in path[:-1]:
                at = at[k]
            if what == "changed":
                at[path[-1]] = other(at[path[-1]])
            elif what == "number":
                at[path[-1]] = 12
            else:
                del at[path[-1]]
            yield ".".join(map(str, path)) + " " + what, r
    for k, v in ADDED.items():
        if k not in record:
            yield k + " added", {**record, k: v}


def main():
    if sys.argv[1:2] == ["--parquet"]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [
            {"id": "a", "messages": [{"role": "user", "content": "q", "name": None}, {"role": "assistant", "content": "r", "name": None}], "answers": ["x", "y"], "length": 3},
            {"id": "b", "messages": [{"role": "user", "content": "é \\ud800 <b>", "name": "bob"}], "answers": [], "length": None},
        ]
        pq.write_table(pa.Table.from_pylist(rows), sys.argv[2])
        return
    from transformers import AutoTokenizer

    tok = AutoTokenizer.from_pretrained(os.path.join(HERE, "model"))
    tok.chat_template = TEMPLATE
    number = 0
    print("[")
    for kind, record in KINDS.items():
        for what, r in changes(record):
            number += 1
            if "--all" in sys.argv or what == "as it is" or number % 4 == 0:
                print(json.dumps({"kind": kind, "change": what, "record": r, "ids": ids(tok, r)}, separators=(",", ":")) + ",")
    print("null]")


main()
