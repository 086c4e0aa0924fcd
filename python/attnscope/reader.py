"""Reads attention dumps (dumps/FORMAT.md) with numpy and zstandard.

    import reader                          # or: from attnscope import reader
    d = reader.Dump("run.attn")
    rows = d.prompt_rows(0, layer=3)       # [heads, R, P]
    reply = d.generation_rows(0, layer=3)  # [heads, G, P + G]

P and G are the tokens of a prompt and of its reply, R the recorded rows at the end of
the prompt. Heads are in the order of heads(layer). The reader walks over the records of
the file and does not use its index. Of a file that was cut it reads the complete prompts.

This file was written from FORMAT.md, section 4, and imports nothing of the package, so
that it checks the format independently and can be copied alone. Section 9 says what it
leaves out.
"""
import json
import struct
from collections import namedtuple

import numpy as np
import zstandard

HEAD = struct.Struct("<II4sBBBB8IQQII")
MAGIC, TAG = 0x184D2A5A, b"ATN1"
VERSION = 2  # the newest that is read
HEADER, WEIGHTS, QUERIES, KEYS, VALUES, SUMS, WINDOW, PROMPT, SINKS, SINK_SUMS = 1, 2, 3, 5, 6, 7, 8, 11, 14, 15
PREFILL, DECODE = 0, 1

# The fields of a record head, and the offset of its payload in the file.
Record = namedtuple(
    "Record", "magic size tag kind encoding phase bits prompt layer "
    "head0 heads row0 rows key0 keys raw stored sum head_sum at")


class Dump:
    """An open dump. header, model and plan are the header as JSON gives it; prompts
    lists the ends of the complete prompts, in the order of their set."""

    def __init__(self, path):
        self.path = path
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        complete = list(self._read())
        if all(end.get("index") for end, _ in complete):
            complete.sort(key=lambda prompt: prompt[0]["index"])
        self.prompts = [end for end, _ in complete]
        self.blocks = [blocks for _, blocks in complete]  # per prompt: (kind, phase, layer) -> list of Record
        self.model = self.header["model"]
        self.plan = self.header["plan"]

    def _read(self):
        """Sets the header. Yields the end and the blocks of each prompt."""
        blocks = {}
        at = 0
        while at + HEAD.size <= len(self.data):
            r = Record(*HEAD.unpack(self.data[at : at + HEAD.size].tobytes()), at + HEAD.size)
            if (r.magic, r.tag) != (MAGIC, TAG):
                raise ValueError(f"{self.path}: byte {at} does not begin a record")
            at = r.at + r.stored
            if at > len(self.data):
                break  # the file is cut
            if r.kind == HEADER:
                self.header = json.loads(self._payload(r))
                version = self.header["version"]
                if version > VERSION:
                    raise ValueError(f"{self.path}: format version {version}; the newest that is read is {VERSION}")
            elif r.kind == PROMPT:
                end = json.loads(self._payload(r))
                if sum(map(len, blocks.values())) != end["blocks"]:
                    raise ValueError(f"{self.path}: prompt {end['id']!r} lacks blocks or has too many")
                yield end, blocks
                blocks = {}
            else:
                blocks.setdefault((r.kind, r.phase, r.layer), []).append(r)

    def _payload(self, record):
        stored = self.data[record.at : record.at + record.stored].tobytes()
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=record.raw)

    def _floats(self, record):
        """The numbers of a block, float32, joined from their byte planes."""
        planes = np.frombuffer(self._payload(record), np.uint8)
        size, dtype = {1: (4, "<f4"), 2: (2, "<f2")}[record.encoding]
        return planes.reshape(size, -1).T.copy().view(dtype).ravel().astype(np.float32)

    def _blocks(self, prompt, kind, layer, phase=PREFILL):
        return self.blocks[prompt].get((kind, phase, layer), [])

    def _states(self, prompt, kind, layer, phase, rows, heads, width):
        """Queries, keys or values, [heads, rows, width]."""
        out = np.zeros((rows, heads, width), np.float32)
        for b in self._blocks(prompt, kind, layer, phase):
            out[b.row0 : b.row0 + b.rows] = self._floats(b).reshape(b.rows, heads, width)
        return out.transpose(1, 0, 2)

    def _shape(self, prompt, phase):
        """Rows and keys of a phase, and the position of its first row."""
        p = self.prompts[prompt]
        n = p["prompt_tokens"]
        if phase == DECODE:
            return p["reply_tokens"], n + p["reply_tokens"], n
        return p["window_rows"], n, n - p["window_rows"]

    def _from_factors(self, prompt):
        return self.prompts[prompt].get("store") == "factors"

    def _rows(self, prompt, layer, phase):
        read = self._rebuilt_rows if self._from_factors(prompt) else self._stored_rows
        out = read(prompt, layer, phase)
        bad = np.argwhere(~((out >= 0) & (out <= 1.001)))
        if len(bad):
            head, row, key = bad[0]
            raise ValueError(
                f"{self.path}: prompt {self.prompts[prompt]['id']!r}, layer {layer}, head {self.heads(layer)[head]}, "
                f"{('prompt', 'reply')[phase]} row {row}, key {key}: weight {out[head, row, key]}, want 0 to 1")
        return out

    def _stored_rows(self, prompt, layer, phase):
        rows, keys, _ = self._shape(prompt, phase)
        heads = self.heads(layer)
        out = np.zeros((len(heads), rows, keys), np.float32)
        for b in self._blocks(prompt, WEIGHTS, layer, phase):
            part = self._floats(b).reshape(b.rows, b.keys)
            out[heads.index(b.head0), b.row0 : b.row0 + b.rows, b.key0 : b.key0 + b.keys] = part
        return out

    def _rebuilt_rows(self, prompt, layer, phase):
        """Weights computed from queries and keys."""
        rows, keys, first = self._shape(prompt, phase)
        s, heads = self.layer(layer), self.heads(layer)
        q = self._states(prompt, QUERIES, layer, phase, rows, s["heads"], s["key_dim"])
        k = self.key_states(prompt, layer)
        position = first + np.arange(rows)[:, None]
        key = np.arange(keys)[None]
        visible = key <= position
        if s["window"]:
            visible &= key > position - s["window"]
        if s["chunk"]:
            visible &= key >= position // s["chunk"] * s["chunk"]
        out = np.zeros((len(heads), rows, keys), np.float32)
        for i, head in enumerate(heads):
            score = s["scale"] * (q[head] @ k[head * s["kv_heads"] // s["heads"], :keys].T)
            if s["soft_cap"]:
                score = s["soft_cap"] * np.tanh(score / s["soft_cap"])
            score = np.where(visible, score, -np.inf)
            e = np.exp(score - score.max(1, keepdims=True))
            out[i] = e / e.sum(1, keepdims=True)
        if s["sink"]:
            out *= 1 - self.sinks(prompt, layer, phase)[:, :, None]
        return out

    def layer(self, layer):
        """The shape of a layer, a dictionary with the fields of layer_shapes in FORMAT.md
        but rope. In version 1, layers differ only in their windows."""
        m = self.model
        if m.get("layer_shapes"):
            return m["layer_shapes"][layer]
        windows = m.get("layer_windows") or []
        return dict(
            kind="attention", heads=m["heads"], kv_heads=m["kv_heads"], key_dim=m["head_dim"], value_dim=m["value_dim"],
            scale=m["scale"], soft_cap=m["soft_cap"], window=windows[layer] if layer < len(windows) else 0, chunk=0,
            sink=False, cache_of=layer, latent=False)

    def heads(self, layer):
        """The recorded heads of a recorded layer, ids in ascending order."""
        if layer not in self.plan["layers"]:
            raise ValueError(f"{self.path}: layer {layer} was not recorded; these were: {self.plan['layers']}")
        return [h for h in self.plan["heads"] if h < self.layer(layer)["heads"]]

    def prompt_rows(self, prompt, layer):
        """Weights of the last R rows of the prompt, [heads, R, P]."""
        return self._rows(prompt, layer, PREFILL)

    def generation_rows(self, prompt, layer):
        """Weights of the rows of the reply, [heads, G, P + G]. A key that a row does not
        see has weight zero."""
        return self._rows(prompt, layer, DECODE)

    def sinks(self, prompt, layer, phase=PREFILL):
        """The shares of the learned sinks in the recorded rows of a layer, [heads, rows]:
        with its weights, each row sums to 1. None if the layer has no sinks."""
        heads = self.heads(layer)
        if not self.layer(layer)["sink"]:
            return None
        out = np.zeros((len(heads), self._shape(prompt, phase)[0]), np.float32)
        for b in self._blocks(prompt, SINKS, layer, phase):
            out[:, b.row0 : b.row0 + b.rows] = self._floats(b).reshape(b.heads, b.rows)
        return out

    def sink_sums(self, prompt, layer):
        """The shares of the sinks of a layer summed over all queries of the prompt [heads],
        and over those of each query window [heads, windows]. None if the layer has no sinks."""
        if not self.layer(layer)["sink"]:
            return None
        x = self._summed(prompt, SINK_SUMS, layer)[0]
        return x[:, 0], x[:, 1:]

    def sums(self, prompt, layer):
        """Weights summed over all queries of the prompt, [heads, P]. None if the plan has
        no_prompt_sums."""
        return next(iter(self._summed(prompt, SUMS, layer)), None)

    def window_sums(self, prompt, layer):
        """Weights summed over the queries of each older query window: a list of
        [heads, keys] from the oldest window to the one that ends with the prompt."""
        return self._summed(prompt, WINDOW, layer)

    def _summed(self, prompt, kind, layer):
        heads = len(self.heads(layer))
        blocks = sorted(self._blocks(prompt, kind, layer), key=lambda b: b.row0)
        return [self._floats(b).reshape(heads, -1) for b in blocks]

    def key_states(self, prompt, layer):
        """Keys after the rotation, [kv heads, P + G, dim], of the cache that the layer reads.
        None if the prompt is not stored as factors."""
        if not self._from_factors(prompt):
            return None
        s = self.layer(layer)
        return self._cached(prompt, KEYS, layer, s["key_dim"])

    def value_states(self, prompt, layer):
        """Values, [kv heads, P + G, dim], of the cache that the layer reads. None if the
        dump has none."""
        s = self.layer(layer)
        if not self.plan["values"]:
            return None
        if s["latent"] and self._from_factors(prompt):
            return self.key_states(prompt, layer)[:, :, : s["value_dim"]]
        return self._cached(prompt, VALUES, layer, s["value_dim"])

    def _cached(self, prompt, kind, layer, width):
        s = self.layer(layer)
        tokens = len(self.prompts[prompt]["tokens"])
        return self._states(prompt, kind, s["cache_of"], PREFILL, tokens, s["kv_heads"], width)
