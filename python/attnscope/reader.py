"""Reads attention dumps (dumps/FORMAT.md) with numpy and zstandard.

    import reader                          # or: from attnscope import reader
    d = reader.Dump("run.attn")
    rows = d.prompt_rows(0, layer=3)       # [heads, R, P]
    reply = d.generation_rows(0, layer=3)  # [heads, G, P + G]

P and G are the tokens of a prompt and of its reply, R the recorded rows at the end of
the prompt. Heads are in the order of heads(layer): those of plan["heads"] that the layer
has. layer(l) describes a layer in dumps of both versions of the format. The reader does not
use the index: of a dump that was cut it reads the complete prompts.

This file was written from FORMAT.md and imports nothing of the package, so that it
checks the format independently and can be copied alone.
"""
import json
import struct
from collections import namedtuple

import numpy as np
import zstandard

KINDS = {
    1: "header", 2: "weights", 3: "queries", 4: "lse", 5: "keys", 6: "values",
    7: "sums", 8: "window", 9: "overview", 10: "logits", 11: "prompt", 14: "sinks", 15: "sink_sums",
}
HEAD = struct.Struct("<II4sBBBB8IQQII")
MAGIC, TAG = 0x184D2A5A, b"ATN1"
VERSION = 2  # the newest that is read
PREFILL, DECODE = 0, 1

# Closed sets and limits of FORMAT.md.
PRECISIONS = ("", "exact", "fine", "coarse")
STORES = {"plan": ("", "auto", "rows", "factors"), "prompt": ("", "rows", "factors")}
MAX_BLOCK, MAX_HEADER, MAX_END = 1 << 30, 1 << 26, 1 << 28  # bytes, decompressed
MAX_HEADER_VALUES, MAX_END_VALUES = 1 << 18, 1 << 24
MAX_WEIGHT = 1.001

# A block of the file: `at` is the offset of its payload, the other fields are those of
# its record head.
Block = namedtuple("Block", "at stored raw encoding head0 heads row0 rows key0 keys")


class Dump:
    """An open dump. header, model and plan are the header as JSON gives it; prompts
    lists the ends of the complete prompts. ignored has the lists "config" and "fields":
    what was not understood and was ignored at the user's request."""

    def __init__(self, path):
        self.path = path
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        self.prompts = []
        self.blocks = []  # per prompt: (kind, phase, layer) -> list of Block
        self._read_records()
        self._sort()
        self.model = self.header["model"]
        self.plan = self.header["plan"]
        ignored = self.header["manifest"].get("ignored", {})
        self.ignored = {key: ignored.get(key, []) for key in ("config", "fields")}

    def _read_records(self):
        pending = {}  # blocks of the prompt that has not ended yet
        at = 0
        while at + HEAD.size <= len(self.data):
            (magic, _, tag, kind, encoding, phase, _, _, layer, head0, heads, row0, rows, key0, keys,
             raw, stored, _, _) = HEAD.unpack(self.data[at : at + HEAD.size].tobytes())
            payload = at + HEAD.size
            if magic != MAGIC or tag != TAG or payload + stored > len(self.data):
                break  # the file is cut; everything complete has been read
            block = Block(payload, stored, raw, encoding, head0, heads, row0, rows, key0, keys)
            name = KINDS.get(kind)
            if name is None and kind not in (12, 13):  # index and end
                raise ValueError(f"{self.path}: byte {at}: record of the unknown kind {kind}")
            if phase not in (PREFILL, DECODE):
                raise ValueError(f"{self.path}: byte {at}: {name} of the unknown phase {phase}")
            if raw > {"header": MAX_HEADER, "prompt": MAX_END}.get(name, MAX_BLOCK) and name:
                raise ValueError(f"{self.path}: byte {at}: {name} of {raw} bytes is too large")
            if name == "header":
                self.header = self._json(block, name, MAX_HEADER_VALUES)
                if not 1 <= self.header["version"] <= VERSION:
                    raise ValueError(
                        f"{self.path}: format version {self.header['version']}, this program reads versions 1 to {VERSION}")
                self._check("plan precision", self.header["plan"].get("precision", ""), PRECISIONS)
                self._check("plan store", self.header["plan"].get("store", ""), STORES["plan"])
            elif name == "prompt":
                prompt = self._json(block, name, MAX_END_VALUES + len(self.data))
                self._check(f"prompt {prompt.get('id')!r}: store", prompt.get("store", ""), STORES["prompt"])
                self.prompts.append(prompt)
                self.blocks.append(pending)
                pending = {}
            elif name:
                pending.setdefault((name, phase, layer), []).append(block)
            at = payload + stored

    def _sort(self):
        """Puts the prompts in the order of their set, if they know it: those whose replies
        were decoded together are in the file in the order in which the replies ended."""
        if all(p.get("index") for p in self.prompts):
            order = sorted(range(len(self.prompts)), key=lambda i: self.prompts[i]["index"])
            self.prompts = [self.prompts[i] for i in order]
            self.blocks = [self.blocks[i] for i in order]

    def _raw(self, block):
        """The payload of a block, decompressed."""
        stored = self.data[block.at : block.at + block.stored].tobytes()
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=block.raw)

    def _json(self, block, name, most):
        """The JSON of a header or a prompt end, which has at most so many values."""
        text = self._raw(block)
        if text.count(b",") > most:
            raise ValueError(f"{self.path}: {name}: JSON of more than {most} values, which is the most that is read")
        return json.loads(text)

    def _check(self, what, word, known):
        if word not in known:
            raise ValueError(f"{self.path}: {what} {word!r}: want {', '.join(filter(None, known))}")

    def _weights(self, w, prompt, layer, phase):
        """w [heads, rows, keys], or an error that names the first number that is no weight."""
        bad = ~((w >= 0) & (w <= MAX_WEIGHT))
        if bad.any():
            h, row, key = np.argwhere(bad)[0]
            raise ValueError(
                f"{self.path}: prompt {self.prompts[prompt]['id']!r}, layer {layer}, head {self.heads(layer)[h]}, "
                f"{('prompt', 'reply')[phase]} row {row}, key {key}: weight {w[h, row, key]}, want 0 to 1")
        return w

    def _floats(self, block):
        """The numbers of an array block, float32, joined from their byte planes."""
        planes = np.frombuffer(self._raw(block), np.uint8)
        size, dtype = {1: (4, "<f4"), 2: (2, "<f2")}[block.encoding]
        return planes.reshape(size, -1).T.copy().view(dtype).ravel().astype(np.float32)

    def _stack(self, prompt, name, phase, layer, rows, heads, width):
        """Blocks joined to one array, [rows, heads, width]."""
        out = np.zeros((rows, heads, width), np.float32)
        for b in self.blocks[prompt].get((name, phase, layer), []):
            out[b.row0 : b.row0 + b.rows] = self._floats(b).reshape(b.rows, heads, width)
        return out

    def _shape(self, prompt, phase):
        """Rows and keys of a phase, and the position of its first row."""
        p = self.prompts[prompt]
        n = p["prompt_tokens"]
        if phase == DECODE:
            return p["reply_tokens"], n + p["reply_tokens"], n
        return p["window_rows"], n, n - p["window_rows"]

    def _rows(self, prompt, layer, phase):
        factors = self.prompts[prompt].get("store") == "factors"
        read = self._rebuilt_rows if factors else self._stored_rows
        return self._weights(read(prompt, layer, phase), prompt, layer, phase)

    def _stored_rows(self, prompt, layer, phase):
        rows, keys, _ = self._shape(prompt, phase)
        heads = self.heads(layer)
        out = np.zeros((len(heads), rows, keys), np.float32)
        for b in self.blocks[prompt].get(("weights", phase, layer), []):
            part = self._floats(b).reshape(b.rows, b.keys)
            out[heads.index(b.head0), b.row0 : b.row0 + b.rows, b.key0 : b.key0 + b.keys] = part
        return out

    def _rebuilt_rows(self, prompt, layer, phase):
        """Weights computed from queries and keys: FORMAT.md, section 4."""
        rows, keys, pos0 = self._shape(prompt, phase)
        s, heads = self.layer(layer), self.heads(layer)
        q = self._stack(prompt, "queries", phase, layer, rows, s["heads"], s["key_dim"])
        k = self.key_states(prompt, layer)
        position = pos0 + np.arange(rows)[:, None]
        key = np.arange(keys)[None]
        visible = key <= position
        if s["window"]:
            visible &= key > position - s["window"]
        if s["chunk"]:
            visible &= key >= position // s["chunk"] * s["chunk"]
        out = np.zeros((len(heads), rows, keys), np.float32)
        for i, head in enumerate(heads):
            score = s["scale"] * (q[:, head] @ k[head * s["kv_heads"] // s["heads"], :keys].T)
            if s["soft_cap"]:
                score = s["soft_cap"] * np.tanh(score / s["soft_cap"])
            score = np.where(visible, score, -np.inf)
            e = np.exp(score - score.max(1, keepdims=True))
            out[i] = e / e.sum(1, keepdims=True)
        if self.has_sinks(layer):
            out *= 1 - self.sinks(prompt, layer, phase)[:, :, None]
        return out

    def layer(self, layer):
        """The shape of a layer, as a dictionary with the fields of layer_shapes in FORMAT.md. In
        version 1 all layers have attention and differ only in their windows."""
        m = self.model
        if m.get("layer_shapes"):
            return m["layer_shapes"][layer]
        windows = m.get("layer_windows") or []
        return dict(
            kind="attention", heads=m["heads"], kv_heads=m["kv_heads"], key_dim=m["head_dim"], value_dim=m["value_dim"],
            scale=m["scale"], soft_cap=m["soft_cap"], window=windows[layer] if layer < len(windows) else 0, chunk=0,
            sink=False, cache_of=layer, latent=False)

    def heads(self, layer):
        """The recorded heads of a layer, ids in ascending order."""
        return [h for h in self.plan["heads"] if h < self.layer(layer)["heads"]]

    def prompt_rows(self, prompt, layer):
        """Weights of the last R rows of the prompt, [heads, R, P]."""
        return self._rows(prompt, layer, PREFILL)

    def generation_rows(self, prompt, layer):
        """Weights of the rows of the reply, [heads, G, P + G]. A key that a row does not
        see has weight zero."""
        return self._rows(prompt, layer, DECODE)

    def has_sinks(self, layer):
        """Whether a learned sink takes a part of every row of a layer."""
        return self.layer(layer)["sink"]

    def sinks(self, prompt, layer, phase=PREFILL):
        """The shares of the sinks in the recorded rows of a layer, [heads, rows]: with its
        weights, each row sums to 1. None if the layer has no sinks."""
        if not self.has_sinks(layer):
            return None
        rows, _, _ = self._shape(prompt, phase)
        out = np.zeros((len(self.heads(layer)), rows), np.float32)
        for b in self.blocks[prompt].get(("sinks", phase, layer), []):
            out[:, b.row0 : b.row0 + b.rows] = self._floats(b).reshape(b.heads, b.rows)
        return out

    def sink_sums(self, prompt, layer):
        """The shares of the sinks of a layer summed over all queries of the prompt [heads],
        and over those of each query window [heads, windows]. None if the layer has no sinks."""
        if not self.has_sinks(layer):
            return None
        block = self.blocks[prompt]["sink_sums", PREFILL, layer][0]
        x = self._floats(block).reshape(block.heads, block.keys)
        return x[:, 0], x[:, 1:]

    def key_states(self, prompt, layer):
        """Keys after the rotation, [kv heads, P + G, dim], of the cache that the layer reads.
        Only the store "factors" has them."""
        p, s = self.prompts[prompt], self.layer(layer)
        n = p["prompt_tokens"] + p["reply_tokens"]
        return self._stack(prompt, "keys", PREFILL, s["cache_of"], n, s["kv_heads"], s["key_dim"]).transpose(1, 0, 2)

    def value_states(self, prompt, layer):
        """Values, [kv heads, P + G, dim], of the cache that the layer reads; None if the dump
        has none. In the store "factors", those of a latent cache are parts of its keys."""
        p, s = self.prompts[prompt], self.layer(layer)
        if not self.plan["values"]:
            return None
        if s["latent"] and p.get("store") == "factors":
            return self.key_states(prompt, layer)[:, :, : s["value_dim"]]
        n = p["prompt_tokens"] + p["reply_tokens"]
        return self._stack(prompt, "values", PREFILL, s["cache_of"], n, s["kv_heads"], s["value_dim"]).transpose(1, 0, 2)

    def sums(self, prompt, layer):
        """Weights summed over all queries of the prompt, [heads, P]."""
        block = self.blocks[prompt]["sums", PREFILL, layer][0]
        return self._floats(block).reshape(len(self.heads(layer)), -1)

    def window_sums(self, prompt, layer):
        """Weights summed over the queries of each older query window: a list of
        [heads, keys] from the oldest window to the one that ends with the prompt."""
        blocks = sorted(self.blocks[prompt].get(("window", PREFILL, layer), []), key=lambda b: b.row0)
        return [self._floats(b).reshape(len(self.heads(layer)), -1) for b in blocks]
