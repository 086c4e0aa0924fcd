"""Reader of attention dumps (dumps/FORMAT.md) with numpy and zstandard.

    import attnscope
    d = attnscope.Dump("run.attn")
    rows = d.prompt_rows(0, layer=3)      # [heads, R, P]
    reply = d.generation_rows(0, layer=3) # [heads, G, P + G]
"""
import json
import struct

import numpy as np
import zstandard

KINDS = {1: "header", 2: "weights", 3: "queries", 4: "lse", 5: "keys", 6: "values", 7: "sums", 8: "window", 9: "overview", 10: "logits", 11: "prompt"}
HEAD = struct.Struct("<II4sBBBB8IQQII")


class Dump:
    def __init__(self, path):
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        self.prompts, self.blocks, pending, at = [], [], {}, 0
        while at + HEAD.size <= len(self.data):
            magic, size, tag, kind, enc, phase, _, _, layer, head0, heads, row0, rows, key0, keys, raw, stored, _, _ = HEAD.unpack(
                self.data[at : at + HEAD.size].tobytes())
            if magic != 0x184D2A5A or tag != b"ATN1" or at + HEAD.size + stored > len(self.data):
                break  # cut: what is complete has been read
            block = (at + HEAD.size, stored, raw, enc, head0, heads, row0, rows, key0, keys)
            name = KINDS.get(kind)
            if name == "header":
                self.header = json.loads(self._raw(block))
            elif name == "prompt":
                self.prompts.append(json.loads(self._raw(block)))
                self.blocks.append(pending)
                pending = {}
            elif name:
                pending.setdefault((name, phase, layer), []).append(block)
            at += HEAD.size + stored
        self.model, self.plan = self.header["model"], self.header["plan"]

    def _raw(self, b):
        return zstandard.ZstdDecompressor().decompress(self.data[b[0] : b[0] + b[1]].tobytes(), max_output_size=b[2])

    def _floats(self, b):
        raw = np.frombuffer(self._raw(b), np.uint8)
        size = {1: 4, 2: 2}[b[3]]
        return raw.reshape(size, -1).T.copy().view({4: "<f4", 2: "<f2"}[size]).ravel().astype(np.float32)

    def _stack(self, prompt, name, phase, layer, rows, heads, width):
        out = np.zeros((rows, heads, width), np.float32)
        for b in self.blocks[prompt].get((name, phase, layer), []):
            out[b[6] : b[6] + b[7]] = self._floats(b).reshape(b[7], heads, width)
        return out

    def _rows(self, prompt, layer, phase):
        p, m, heads = self.prompts[prompt], self.model, self.plan["heads"]
        n, pos0, keys = p["window_rows"], p["prompt_tokens"] - p["window_rows"], p["prompt_tokens"]
        if phase == 1:
            n, pos0, keys = p["reply_tokens"], p["prompt_tokens"], p["prompt_tokens"] + p["reply_tokens"]
        out = np.zeros((len(heads), n, keys), np.float32)
        if p["store"] == "rows":
            for b in self.blocks[prompt].get(("weights", phase, layer), []):
                out[heads.index(b[4]), b[6] : b[6] + b[7], b[8] : b[8] + b[9]] = self._floats(b).reshape(b[7], b[9])
            return out
        q = self._stack(prompt, "queries", phase, layer, n, m["heads"], m["head_dim"])
        k = self.key_states(prompt, layer)
        pos, key = pos0 + np.arange(n)[:, None], np.arange(keys)[None]
        window = (m["layer_windows"] or [0] * m["layers"])[layer]
        seen = (key <= pos) & ((key > pos - window) if window else True)
        for i, h in enumerate(heads):
            s = m["scale"] * (q[:, h] @ k[h * m["kv_heads"] // m["heads"], :keys].T)
            if m["soft_cap"]:
                s = m["soft_cap"] * np.tanh(s / m["soft_cap"])
            s = np.where(seen, s, -np.inf)
            e = np.exp(s - s.max(1, keepdims=True))
            out[i] = e / e.sum(1, keepdims=True)
        return out

    def prompt_rows(self, prompt, layer):
        """Weights of the last R prompt rows, [heads, R, P]."""
        return self._rows(prompt, layer, 0)

    def generation_rows(self, prompt, layer):
        """Weights of the reply's rows, [heads, G, P + G]; zero where not visible."""
        return self._rows(prompt, layer, 1)

    def key_states(self, prompt, layer):
        """Keys after the rotation, [kv heads, P + G, dim]; factors only."""
        p, m = self.prompts[prompt], self.model
        n = p["prompt_tokens"] + p["reply_tokens"]
        return self._stack(prompt, "keys", 0, layer, n, m["kv_heads"], m["head_dim"]).transpose(1, 0, 2)

    def sums(self, prompt, layer):
        """Weights summed over all prompt queries, [heads, P]."""
        return self._floats(self.blocks[prompt][("sums", 0, layer)][0]).reshape(len(self.plan["heads"]), -1)
