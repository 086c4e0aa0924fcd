#!/usr/bin/env python3
"""Worker that runs transformers: it reads one JSON task per line and writes one answer per line.

  theirs.py MODEL_DIR --mode sdpa|eager-win|eager-attn --threads N --dtype float32|bfloat16

Tasks: {"op": "prefill", "tokens": P}, {"op": "decode", "tokens": P, "reply": G},
{"op": "set", "prompts": N, "tokens": P, "reply": G, "batch": B} and, without a model,
{"op": "gemm", "n": rows, "out": O, "in": I}. A set is read and answered with sdpa by generate(), B prompts at once, and
otherwise one prompt after the other, with a row kept of each generated token. Modes:
  sdpa        scaled_dot_product_attention, nothing kept
  eager-win   eager attention, each layer's last 128 rows kept, the rest dropped: the least that recording takes
  eager-attn  eager attention, output_attentions=True: what the plain interface gives
The prefill fills a cache and computes the logits of the last position only, as generate() does.
"""
import argparse, json, os, resource, sys, time


def high_water():
    """Returns the peak resident memory in bytes of this program, not of the one that started it."""
    try:
        return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu():
    return sum(os.times()[:2])


def answer(tokens, seconds, used):
    peak = high_water()
    return {"tokens": tokens, "seconds": seconds, "cpu": used, "peak": peak}


class Model:
    def __init__(self, a):
        import torch
        from transformers import AutoModelForCausalLM
        torch.set_num_threads(a.threads)
        self.torch, self.mode, self.kept = torch, a.mode, []
        self.model = AutoModelForCausalLM.from_pretrained(
            a.model, dtype=getattr(torch, a.dtype), attn_implementation="sdpa" if a.mode == "sdpa" else "eager").eval()
        if a.mode == "eager-win":
            for layer in self.model.model.layers:
                layer.self_attn.register_forward_hook(self.keep)

    def keep(self, module, inputs, outputs):
        self.kept.append(outputs[1][:, :, -128:, :].clone())
        return outputs[0], None

    def ids(self, n, prompts=1):
        g = self.torch.Generator().manual_seed(7)
        return self.torch.randint(0, self.model.config.vocab_size, (prompts, n), generator=g)

    def generate(self, t):
        """Reads the prompts of a set and generates a reply to each; returns the number of tokens."""
        ids, reply = self.ids(t["tokens"], t["prompts"]), t["reply"]
        if self.mode == "sdpa":
            for some in ids.split(t["batch"]):
                out = self.model.generate(some, attention_mask=self.torch.ones_like(some), do_sample=False,
                                          min_new_tokens=reply, max_new_tokens=reply, pad_token_id=0)
                assert out.shape[1] == t["tokens"] + reply, out.shape
            return ids.numel() + len(ids) * reply
        from transformers import DynamicCache
        for prompt in ids.split(1):
            self.kept.clear()
            cache = DynamicCache()
            out = self.model(prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
            for _ in range(reply):
                out = self.model(out.logits[:, -1:].argmax(-1), past_key_values=cache, use_cache=True, logits_to_keep=1)
            layers = len(self.model.model.layers)
            assert len(self.kept) == layers * (1 + reply), len(self.kept)
        return ids.numel() + len(ids) * reply

    def run(self, t):
        if t["op"] == "set":
            with self.torch.inference_mode():
                start, used = time.perf_counter(), cpu()
                tokens = self.generate(t)
                return answer(tokens, time.perf_counter() - start, cpu() - used)
        from transformers import DynamicCache
        all_rows = self.mode == "eager-attn"
        ids, cache = self.ids(t["tokens"]), DynamicCache()
        self.kept.clear()
        with self.torch.inference_mode():
            if t["op"] == "prefill":
                start, used = time.perf_counter(), cpu()
                self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1, output_attentions=all_rows)
                return answer(t["tokens"], time.perf_counter() - start, cpu() - used)
            for s in range(0, t["tokens"], 512):  # only decoding is timed
                out = self.model(ids[:, s:s + 512], past_key_values=cache, use_cache=True, logits_to_keep=1)
            start, used = time.perf_counter(), cpu()
            for _ in range(t["reply"]):
                out = self.model(out.logits[:, -1:].argmax(-1), past_key_values=cache, use_cache=True, logits_to_keep=1,
                                 output_attentions=all_rows)
            return answer(t["reply"], time.perf_counter() - start, cpu() - used)


class Products:
    """Measures x·Wᵀ by torch (MKL) or numpy (OpenBLAS), as the median of several runs."""

    def __init__(self, a):
        import numpy, torch
        torch.set_num_threads(a.threads)
        self.numpy, self.torch, self.mode = numpy, torch, a.mode

    def run(self, t):
        rng = self.numpy.random.default_rng(1)
        x = rng.standard_normal((t["n"], t["in"]), dtype="float32")
        w = rng.standard_normal((t["out"], t["in"]), dtype="float32")
        if self.mode == "torch":
            x, w = self.torch.from_numpy(x), self.torch.from_numpy(w)
            product = lambda: self.torch.nn.functional.linear(x, w)
        else:
            product = lambda: x @ w.T
        product()
        times, start, used = [], time.perf_counter(), cpu()
        while len(times) < 5 or time.perf_counter() - start < 0.3:
            at = time.perf_counter()
            product()
            times.append(time.perf_counter() - at)
        return answer(t["n"], sorted(times)[len(times) // 2], (cpu() - used) / len(times))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--mode", default="sdpa")
    p.add_argument("--dtype", default="float32")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()
    worker = Products(a) if a.model == "products" else Model(a)
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        try:
            result = worker.run(json.loads(line))
        except Exception as e:  # the harness shows it and continues
            result = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
