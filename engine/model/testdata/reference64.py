"""What transformers computes in float64: rows of attention and logits, to tell which of two computations in float32 is nearer.

usage: reference64.py CASES.json   (needs torch, transformers 5.24, gguf, safetensors)

CASES.json is a list of objects: model (a folder or a GGUF file), ids, rows (the last so many positions) and out, a file that is written:
rows.L [head, row, key] for the layers L with attention, in order, and logits of the last position, all in float64. A line a case: out, or
error if transformers cannot run the model.

Models are loaded in float32, so that frequencies of rotations have the values that float32 gives them, and then widened. Where the code
asks for float32, it gets float64. Only the angles of rotations are rounded to float32, as they are in the model.
"""
import json, os, sys
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, logging

logging.set_verbosity_error()
logging.disable_progress_bar()
single = torch.float32
for name in ("cos", "sin"):
    def rounded(x, exact=getattr(torch.Tensor, name)):
        return exact(x.to(single).double()) if x.dtype == torch.float64 else exact(x)
    setattr(torch.Tensor, name, rounded)


def load(path):
    where = {"pretrained_model_name_or_path": path}
    if path.endswith(".gguf"):
        where = {"pretrained_model_name_or_path": os.path.dirname(path), "gguf_file": os.path.basename(path)}
    try:
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=single, attn_implementation="eager", experts_implementation="eager")
    except ValueError:
        model = AutoModelForImageTextToText.from_pretrained(**where, dtype=single, attn_implementation="eager", experts_implementation="eager")
    return model.eval().double()


loaded = (None, None)
for case in json.load(open(sys.argv[1])):
    try:
        torch.float32 = torch.float = single
        torch.set_default_dtype(single)
        if loaded[0] != case["model"]:
            loaded = (case["model"], load(case["model"]))
        torch.float32 = torch.float = torch.float64
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
        with torch.no_grad():
            out = loaded[1](torch.tensor([case["ids"]]), output_attentions=True, use_cache=False)
        rows = [a[0, :, -case["rows"]:].double().contiguous() for a in out.attentions if a is not None]
        save = {f"rows.{i}": a for i, a in enumerate(rows)}
        save["logits"] = out.logits[0, -1].double().contiguous()
        save_file(save, case["out"])
        print(json.dumps({"out": case["out"]}), flush=True)
    except Exception as e:
        print(json.dumps({"error": f"{type(e).__name__}: {e}"[:300]}), flush=True)
