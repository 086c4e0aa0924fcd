"""Compares kvpress and attnscope on a tiny model, in both directions.

    check_presses.py MODEL PROMPTS.jsonl FOLDER

PROMPTS.jsonl has input_ids. The tests of this package run it with kvpress installed.
"""
import json
import os
import sys

import numpy as np
import torch
import transformers
import kvpress

import attnscope
from attnscope import presses

transformers.logging.set_verbosity_error()
folder, prompts, out = sys.argv[1:]
WINDOW, CAPACITY, TOKENS = 8, 32, 12
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
records = [json.loads(line) for line in open(prompts)]
run = attnscope.capture(
    prompts, os.path.join(out, "run.attn"), folder, window_rows=WINDOW, max_new_tokens=TOKENS, precision="exact",
    store="factors", values=True, ignore_eos=True)


def decode(press, ids, n):
    """The greedy tokens after a prompt that was compressed by a press, as kvpress's pipeline
    decodes: the prompt without its last logits, then token by token."""
    cache = transformers.DynamicCache()
    with torch.no_grad():
        with press(model):
            logits = model(input_ids=torch.tensor([ids]), past_key_values=cache).logits
        tokens = [int(logits[0, -1].argmax())]
        while len(tokens) < n:
            at = torch.tensor([[len(ids) + len(tokens) - 1]])
            logits = model(input_ids=torch.tensor([[tokens[-1]]]), past_key_values=cache, position_ids=at).logits
            tokens.append(int(logits[0, -1].argmax()))
    return tokens, cache


# A selection of attnscope inside of kvpress: the kept positions and the generated tokens are
# those of `attnscope generate`.
settings = dict(window=WINDOW, capacity=CAPACITY, kernel=3, group="mean")
methods = ["snapkv", "tova", "knorm", "pyramidkv", "adakv", "streamingllm"]
lines = attnscope.run("generate", [], dict(
    model=folder, prompts=prompts, method=methods, max_new_tokens=TOKENS, ignore_eos=True, **settings)).output.splitlines()
generated = {(x["id"], x["method"]): x["output_ids"] for x in map(json.loads, lines)}
differ = set()
for record in records:
    for method in methods:
        chosen = attnscope.selection(run, method, prompt=record["id"], **settings)
        press = presses.SelectionPress(chosen)
        again = presses.kept(press, model, record["input_ids"])
        for layer in run.layers:
            for a, b in zip(chosen[layer], again[layer]):
                assert np.array_equal(a, b), (method, layer, a, b)
        tokens, _ = decode(press, record["input_ids"], TOKENS)
        want = generated[record["id"], method]
        assert tokens == want, (record["id"], method, tokens, want)
        differ.add(tuple(tokens))
assert len(differ) > len(records), "all methods generate the same tokens: the test shows nothing"

# What presses keep, measured by attnscope.
length = len(records[0]["input_ids"])
ratio = 1 - CAPACITY / length
everything = presses.judge(kvpress.SnapKVPress(0.0, window_size=WINDOW), model, run, method="full", by="none")
assert everything["mass"][0] == everything["mass"][1] and everything["mass_of_oracle"][0] == 1, everything
for press, method in (
    (kvpress.SnapKVPress(ratio, window_size=WINDOW, kernel_size=3), "snapkv"),
    (kvpress.AdaKVPress(kvpress.SnapKVPress(ratio, window_size=WINDOW, kernel_size=3)), "adakv"),
):
    t = presses.judge(press, model, run, method=[method, "oracle"], kernel=3, by="none", group="mean")
    row = t.set_index("method")
    name = type(press).__name__
    assert list(t["method"]) == [name, method, "oracle"], t
    assert (t["window"] == WINDOW).all() and (t["prompts"] == 1).all(), t
    assert 0 < row["mass"][name] <= row["mass"]["oracle"] + 1e-9, t
    if method == "snapkv":
        assert row["capacity"][name] == CAPACITY and row["mass"][name] == row["mass"][method], t
press = kvpress.KnormPress(0.5)
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    t = presses.judge(press, model, run, records[1]["id"], by="prompt")
assert list(t["prompt"]) == [records[1]["id"]] and list(t["window"]) == [1], t
assert any("drops" in str(w.message) for w in caught), caught
for press in (kvpress.KeyRerotationPress(kvpress.KnormPress(0.5)), kvpress.ThinKPress(0.5)):
    try:
        presses.judge(press, model, run)
        raise SystemExit(f"{press} is judged, though its cache holds other keys")
    except NotImplementedError as e:
        assert "no key and value of the prompt" in str(e), e
for wrong, reason in (
    (attnscope.selection(run, prompt=records[0]["id"], window=WINDOW, capacity=CAPACITY, group="head"), "2 kv heads"),
    (attnscope.selection(run, prompt=records[1]["id"], **settings), "tokens were given"),
):
    try:
        decode(presses.SelectionPress(wrong), records[0]["input_ids"], 1)
        raise SystemExit("a selection that does not fit is used")
    except ValueError as e:
        assert reason in str(e), e
print("fine")
