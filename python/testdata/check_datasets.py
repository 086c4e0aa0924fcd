"""Captures prompts of the package datasets and of an address, and records a transformers
model from a data frame.

    check_datasets.py MODEL FOLDER
"""
import json
import os
import sys

import datasets
import fsspec
import numpy as np
import pandas as pd
import torch
import transformers

import attnscope

transformers.logging.set_verbosity_error()
folder, out = sys.argv[1:]
settings = dict(window_rows=16, max_new_tokens=6, ignore_eos=True, precision="exact", store="rows")
rows = [
    {"id": i, "input_ids": [(7 * j + i) % 100 for j in range(60 + i)], "topic": topic} for i, topic in ((3, "a"), (4, None))]
prompts = datasets.Dataset.from_list(rows)

run = attnscope.capture(prompts, os.path.join(out, "datasets.attn"), folder, **settings)
assert [p["id"] for p in run.prompts] == ["3", "4"] and [p["prompt_tokens"] for p in run.prompts] == [63, 64], run.prompts
assert run.tokens("4")[0] == rows[1]["input_ids"]
rates = run.hit_rates(window=8, by="prompt")
joined = attnscope.join(prompts, rates)
assert isinstance(joined, datasets.Dataset) and joined["hit_rate"][:] == list(rates["hit_rate"]), joined
assert joined["topic"][:] == ["a", None] and joined["input_ids"][1] == rows[1]["input_ids"], joined[1]

stream = prompts.to_iterable_dataset()
again = attnscope.capture(stream, os.path.join(out, "stream.attn"), folder, **settings)
layer = run.layers[0]
assert np.array_equal(again.generation_rows(1, layer), run.generation_rows(1, layer))

with fsspec.open("memory://sets/prompts.jsonl", "w") as f:
    for row in rows:
        f.write(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n")
again = attnscope.capture("memory://sets/prompts.jsonl", os.path.join(out, "address.attn"), folder, **settings)
assert np.array_equal(again.prompt_rows("3", layer), run.prompt_rows("3", layer))

model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
frame = pd.DataFrame(rows).assign(response_ids=[run.tokens("3")[1], run.tokens("4")[1]])
recorded = attnscope.record(model, os.path.join(out, "recorded.attn"), frame, window_rows=16)
for p in range(2):
    assert recorded.tokens(p) == run.tokens(p)
    for layer in run.layers:
        assert abs(recorded.generation_rows(p, layer) - run.generation_rows(p, layer)).max() < 1e-5
        assert abs(recorded.prompt_rows(p, layer) - run.prompt_rows(p, layer)).max() < 1e-5
try:
    attnscope.record(model, os.path.join(out, "text.attn"), ["a text"])
    raise SystemExit("a text without a tokenizer is recorded")
except ValueError as e:
    assert "no tokenizer" in str(e) and not os.path.exists(os.path.join(out, "text.attn")), e
print("fine")
