"""What transformers decodes greedily in float32 from a GGUF file's dequantised weights.

usage: greedy.py FILE.gguf PROMPTS.json REPLY > replies.jsonl   (needs torch, transformers, gguf)

PROMPTS.json is a list of lists of token ids. A line a prompt: ids, and gaps, by how much the best logit of each step exceeds the next.
"""
import json, os, sys
import torch
from transformers import AutoModelForCausalLM, logging

logging.set_verbosity_error()
path, prompts, reply = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32).eval()
for ids in prompts:
    line = {"ids": [], "gaps": []}
    step, cache = torch.tensor([ids]), None
    with torch.no_grad():
        for _ in range(reply):
            out = model(step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            two, cache = out.logits[0, -1].topk(2), out.past_key_values
            line["ids"].append(int(two.indices[0]))
            line["gaps"].append(float(two.values[0] - two.values[1]))
            step = two.indices[:1][None]
    print(json.dumps(line), flush=True)
