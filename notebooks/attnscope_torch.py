"""Records attention dumps (dumps/FORMAT.md) from any transformers model that uses the
library's attention interface.

    import attnscope_torch
    with attnscope_torch.Recorder(model, "run.attn", window_rows=128) as r:
        r.record(tokenizer("...")["input_ids"], id="a", max_new_tokens=64)

The model generates the reply with its own attention. Prompt and reply then run once
more through an attention that works on a few queries at a time, in float32, so that
only a slice of the N x N map exists at a time. One sequence is recorded at a time. The
module needs torch, transformers, numpy and zstandard.
"""
import hashlib
import json
import os
import struct
import sys

import numpy as np
import torch
import transformers
import zstandard
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

HEADER, WEIGHTS, SUMS, WINDOW, PROMPT, INDEX, END = 1, 2, 7, 8, 11, 12, 13
PREFILL, DECODE = 0, 1


def _crc_table():
    t = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        t = np.where(t & 1, (t >> 1) ^ np.uint32(0x82F63B78), t >> 1)
    return t


CRC_TABLE = _crc_table()


def crc32c(data):
    """Returns the CRC-32C of bytes. Long data is cut into 512 columns, whose sums are
    computed together and then joined."""
    data = np.frombuffer(data, np.uint8)
    crc = np.full(1, 0xFFFFFFFF, np.uint32)
    width = len(data) // 512
    if width > 64:
        crc = _crc_columns(data[: 512 * width].reshape(512, width))
        data = data[512 * width :]
    for b in data:
        crc = CRC_TABLE[(crc ^ b) & 255] ^ (crc >> 8)
    return int(crc[0] ^ 0xFFFFFFFF)


def _crc_columns(columns):
    """The running CRC of rows [n, width] that follow each other, before its inversion."""
    n, width = columns.shape
    part = np.zeros(n, np.uint32)  # the sum of each row alone
    part[0] = 0xFFFFFFFF
    for i in range(width):
        part = CRC_TABLE[(part ^ columns[:, i]) & 255] ^ (part >> 8)
    shift = 1 << np.arange(32, dtype=np.uint32)  # what `width` zero bytes turn each bit into
    for _ in range(width):
        shift = CRC_TABLE[shift & 255] ^ (shift >> 8)
    bits = np.arange(32, dtype=np.uint32)
    crc = part[:1]
    for p in part[1:]:
        moved = np.where((crc >> bits) & 1, shift, 0).astype(np.uint32)
        crc = np.bitwise_xor.reduce(moved, keepdims=True) ^ p
    return crc


class Recorder:
    """Writes one dump, as a context manager. A run that fails leaves PATH.partial, whose
    finished prompts can be read.

    model               a transformers model
    path                the dump; an existing one is an error unless force is set
    window_rows         rows at the end of each prompt that are recorded one by one
    prompt_windows      number of query windows whose sums are recorded
    prompt_window_size  queries of such a window
    max_new_tokens      longest reply
    chunk               queries that are computed at the same time
    tokenizer           if given, the text of each token is recorded
    """

    def __init__(self, model, path, window_rows=128, prompt_windows=0, prompt_window_size=128,
                 max_new_tokens=128, chunk=256, tokenizer=None, force=False):
        if os.path.exists(path) and not force:
            raise FileExistsError(f"{path} exists: force=True replaces it")
        self.model = model
        self.path = path
        self.chunk = chunk
        self.tokenizer = tokenizer
        self.plan = dict(
            window_rows=window_rows, prompt_windows=prompt_windows, prompt_window_size=prompt_window_size,
            max_new_tokens=max_new_tokens, store="rows", precision="exact", values=False, logits=False,
            overview=0, ignore_eos=False, compute="f32", temperature=0.0, seed=0)
        self.header = None
        self.file = open(path + ".partial", "wb")
        self.at = 0       # bytes written
        self.index = []   # (offset of the payload, record head) of every record
        self.prompts = 0  # complete ones
        self.zstd = zstandard.ZstdCompressor(level=3)
        self.plain = model.config._attn_implementation
        ALL_ATTENTION_FUNCTIONS["attnscope"] = self._attend
        ALL_MASK_ATTENTION_FUNCTIONS["attnscope"] = sdpa_mask

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self._write_index()
        self.file.close()
        if kind is None:
            os.replace(self.path + ".partial", self.path)

    def _write_index(self):
        entries = b"".join(struct.pack("<Q", at) + head for at, head in self.index)
        where = self.at
        self._block(INDEX, struct.pack("<Q", len(self.index)) + entries)
        self._block(END, None, row0=where & 0xFFFFFFFF, rows=where >> 32)

    def _block(self, kind, raw, encoding=0, phase=PREFILL, layer=0, head0=0, heads=0, row0=0, rows=0, key0=0, keys=0):
        """Writes a record head and its payload."""
        stored = b"" if raw is None else self.zstd.compress(raw)
        head = struct.pack(
            "<4sBBBB8IQQI", b"ATN1", kind, encoding, phase, 0, self.prompts, layer, head0, heads,
            row0, rows, key0, keys, len(raw or b""), len(stored), crc32c(stored))
        frame = struct.pack("<II", 0x184D2A5A, 64) + head + struct.pack("<I", crc32c(head))
        self.file.write(frame + stored)
        if kind not in (INDEX, END):
            self.index.append((self.at + len(frame), frame))
        self.at += len(frame) + len(stored)

    def _floats(self, kind, x, **where):
        """Writes an array block of float32 in byte planes."""
        planes = np.ascontiguousarray(x, "<f4").reshape(-1, 1).view(np.uint8).T
        self._block(kind, planes.tobytes(), encoding=1, **where)
        self.blocks += 1

    def record(self, input_ids, id=None, reply=None, max_new_tokens=None, text=None, dataset=""):
        """Records one prompt and returns the token ids of its reply. A given reply is
        followed; without one the model generates greedily."""
        ids = [int(i) for i in input_ids]
        followed = reply is not None
        if not followed:
            reply = self._generate(ids, self.plan["max_new_tokens"] if max_new_tokens is None else max_new_tokens)
        if self.header is None:
            self.prompt = 0
            self.seen = {}
            self._run(ids[:1])  # shows scale, cap and window of every layer before the first block
            self._write_header()
        self.prompt = len(ids)
        self.reply = len(reply)
        self.blocks = 0
        tokens = ids + list(reply)
        self._run(tokens)
        end = dict(
            id=str(self.prompts) if id is None else id, dataset=dataset, text=text or "",
            prompt_tokens=self.prompt, reply_tokens=self.reply,
            window_rows=min(self.plan["window_rows"], self.prompt), tokens=tokens, followed=followed, store="rows",
            blocks=self.blocks, sha256=hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest())
        if self.tokenizer is not None:
            end["pieces"] = [self.tokenizer.decode([t]) for t in tokens]
        self._block(PROMPT, json.dumps(end).encode())
        self.prompts += 1
        return reply

    def _generate(self, ids, n):
        prompt = torch.tensor([ids], device=self._device())
        out = self.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=n,
            do_sample=False, num_beams=1, pad_token_id=0)
        return out[0, len(ids):].tolist()

    def _device(self):
        return next(self.model.parameters()).device

    def _run(self, ids):
        """Runs a sequence through the recording attention."""
        self.model.set_attn_implementation("attnscope")
        try:
            with torch.no_grad():
                self.model(torch.tensor([ids], device=self._device()), use_cache=False, logits_to_keep=1)
        finally:
            self.model.set_attn_implementation(self.plain)

    def _write_header(self):
        c = self.model.config.get_text_config()
        layers = sorted(self.seen)
        scale, cap, _, shape = self.seen[layers[0]]
        if any((s, c_, sh) != (scale, cap, shape) for s, c_, _, sh in self.seen.values()):
            raise NotImplementedError("layers with different scales, caps or heads do not fit into one dump")
        heads, kv_heads, dim, value_dim = shape
        self.plan.update(layers=layers, heads=list(range(heads)))
        info = dict(
            id=str(c.name_or_path), sha256="", architecture=c.model_type, layers=len(layers), heads=heads,
            kv_heads=kv_heads, head_dim=dim, value_dim=value_dim, vocab=c.vocab_size,
            max_positions=getattr(c, "max_position_embeddings", 0) or 0, scale=scale, soft_cap=cap,
            layer_windows=[self.seen[i][2] for i in layers])
        manifest = dict(
            program=f"attnscope_torch, torch {torch.__version__}, transformers {transformers.__version__}", go="",
            command=sys.argv[:1], host="", threads=torch.get_num_threads(), created="", prompts_file="",
            prompts_sha256="", seed=0)
        self.header = dict(version=1, model=info, plan=self.plan, manifest=manifest)
        self._block(HEADER, json.dumps(self.header).encode())

    def _attend(self, module, query, key, value, attention_mask, scaling=None, dropout=0.0,
                sliding_window=None, softcap=None, **kwargs):
        """The attention function that transformers calls, for query [1, heads, n, dim] and
        key and value [1, kv heads, n, dim]. It records the layer and returns its output."""
        batch, heads, n, dim = query.shape
        if batch != 1 or key.shape[2] != n:
            raise NotImplementedError(
                f"{batch} sequences, {n} queries on {key.shape[2]} keys: one whole sequence is recorded at a time")
        if kwargs.get("s_aux") is not None:
            raise NotImplementedError("attention with learned sinks is not recorded")
        scale = scaling if scaling is not None else dim**-0.5
        window = sliding_window or 0
        layer = module.layer_idx
        self.seen[layer] = (float(scale), float(softcap or 0), int(window), (heads, key.shape[1], dim, value.shape[3]))
        k, v = key[0].float(), value[0].float()
        out = torch.empty(heads, n, v.shape[2], device=v.device)
        kept = _Layer(self.plan, heads, self.prompt)
        position = torch.arange(n, device=k.device)
        edges = kept.edges(n, self.chunk)
        for lo, hi in zip(edges, edges[1:]):
            q = query[0, :, lo:hi].float().reshape(key.shape[1], -1, dim)
            s = torch.matmul(q, k.transpose(1, 2)).reshape(heads, hi - lo, n) * scale
            if softcap:
                s = softcap * torch.tanh(s / softcap)
            unseen = position[None] > position[lo:hi, None]
            if window:
                unseen |= position[None] <= position[lo:hi, None] - window
            w = torch.softmax(s.masked_fill(unseen, float("-inf")), -1)
            out[:, lo:hi] = torch.matmul(w.reshape(key.shape[1], -1, n), v).reshape(heads, hi - lo, -1)
            kept.add(lo, w)
        if self.header is not None:
            self._write_layer(layer, kept)
        return out.transpose(0, 1)[None].to(query.dtype).contiguous(), None

    def _write_layer(self, layer, kept):
        for phase, parts in ((PREFILL, kept.rows), (DECODE, kept.reply)):
            for h in range(kept.heads if parts else 0):
                x = torch.cat([p[h] for p in parts]).numpy()
                self._floats(WEIGHTS, x, phase=phase, layer=layer, head0=h, heads=1, rows=x.shape[0], keys=x.shape[1])
        self._floats(SUMS, kept.sums.numpy(), layer=layer, heads=kept.heads, rows=1, keys=kept.prompt)
        for i in range(kept.count):
            end = kept.prompt - (kept.count - 1 - i) * kept.size
            x = kept.windows[i, :, :end].numpy()
            self._floats(WINDOW, x, layer=layer, head0=i, heads=kept.heads, row0=i, rows=1, keys=end)


class _Layer:
    """What is kept of the weights of one layer."""

    def __init__(self, plan, heads, prompt):
        self.heads = heads
        self.prompt = prompt
        self.first = max(0, prompt - plan["window_rows"])  # first recorded row
        self.size = plan["prompt_window_size"]
        self.count = min(plan["prompt_windows"], prompt // self.size)
        self.sums = torch.zeros(heads, prompt, dtype=torch.float64)
        self.windows = torch.zeros(self.count, heads, prompt, dtype=torch.float64)
        self.rows = []   # recorded rows of the prompt: parts [heads, n, prompt]
        self.reply = []  # rows of the reply: parts [heads, n, keys]

    def edges(self, n, chunk):
        """Where slices of n queries begin and end: no slice crosses the border of a query
        window, of the recorded rows or of the reply."""
        borders = (self.prompt - i * self.size for i in range(self.count + 1))
        edges = {*range(0, n, chunk), self.first, self.prompt, n, *borders}
        return sorted(edges & set(range(n + 1)))

    def add(self, lo, w):
        """Takes the weights of a slice of queries from position lo on, [heads, n, keys]."""
        if lo >= self.prompt:
            self.reply.append(w.cpu())
            return
        w = w[:, :, : self.prompt]
        total = w.sum(1, dtype=torch.float64).cpu()
        self.sums += total
        start = self.prompt - self.count * self.size  # of the oldest window
        if self.count and lo >= start:
            self.windows[(lo - start) // self.size] += total
        if lo >= self.first:
            self.rows.append(w.cpu())
