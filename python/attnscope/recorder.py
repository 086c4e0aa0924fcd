"""Records attention dumps (dumps/FORMAT.md) from any transformers model that uses the
library's attention interface.

    import attnscope
    with attnscope.Recorder(model, "run.attn", window_rows=128) as r:
        r.record(tokenizer("...")["input_ids"], id="a", max_new_tokens=64)

The model generates the reply with its own attention. Prompt and reply then run once
more. In this run the module's own eager attention computes the weights, with the mask
and the arguments that the module passes to it, in float32 and for a few queries at a
time, so that only a slice of the N x N map exists at a time. One sequence is recorded
at a time.

Before a sequence that is longer than all sequences before it, the model runs once with
its attention implementation set to "eager". The recorder keeps the last row of the mask
and the arguments of each layer. It refuses to record if the row that follows from them
is not the recorded one, within 1e-5. It also refuses what the format cannot hold: rows
that do not sum to 1 (unless a learned sink takes the rest, which is recorded), and queries
that see later keys. A refusal is a NotImplementedError. Layers may differ in their heads.
Layers that read the cache of another one (Gemma 3n) are recorded as if they had their own.

The module needs torch and transformers, 4.57 or 5.
"""
import contextlib
import hashlib
import inspect
import struct
import sys
import warnings

import torch
import transformers
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from attnscope import _dump, _progress, _prompts, writer

TOLERANCE = 1e-5        # largest difference between a recorded weight and the model's
DRIFT = 1e-3            # the same if float32 rounding of the layers before is included
SUM_TOLERANCE = 1e-4    # of a row of weights: what `attnscope verify` accepts
WHOLE_MAP = 1 << 30     # bytes of a layer's map up to which eager attention runs on all queries at once
ATTENTION_LAYERS = ("full_attention", "sliding_attention", "chunked_attention", "attention")


class Recorder:
    """Writes one dump, as a context manager. A run that fails leaves PATH.partial if it
    finished a prompt, and no file otherwise. Layers without attention, which hybrid
    models have, are left out: a warning names them, and left_out lists them.

    model               a transformers model
    path                the dump; an existing one is an error unless force is set
    window_rows         rows at the end of each prompt that are recorded one by one
    prompt_windows      number of query windows whose sums are recorded
    prompt_window_size  queries of such a window
    max_new_tokens      longest reply
    chunk               queries that are computed at the same time
    tokenizer           if given, the text of each token is recorded
    values              whether the values are recorded
    store               "rows", or "factors": queries and keys, from which readers compute
                        the rows; refused if the rows do not follow from them
    """

    def __init__(self, model, path, window_rows=128, prompt_windows=0, prompt_window_size=128,
                 max_new_tokens=128, chunk=256, tokenizer=None, force=False, values=False, store="rows"):
        counts = dict(window_rows=(window_rows, 0), prompt_windows=(prompt_windows, 0),
                      prompt_window_size=(prompt_window_size, 1), max_new_tokens=(max_new_tokens, 0), chunk=(chunk, 1))
        for name, (value, least) in counts.items():
            if value < least:
                raise ValueError(f"{name} is {value}: it must be {least} or more")
        if store not in ("rows", "factors"):
            raise ValueError(f'store is {store!r}: it must be "rows" or "factors"')
        if model.training:
            raise ValueError("the model is in training mode, where dropout changes its weights: call model.eval()")
        if model.config.is_encoder_decoder:
            raise NotImplementedError("the model is an encoder with a decoder: only decoders are recorded")
        self.model = model
        self.chunk = chunk
        self.tokenizer = tokenizer
        self.plan = dict(
            window_rows=window_rows, prompt_windows=prompt_windows, prompt_window_size=prompt_window_size,
            max_new_tokens=max_new_tokens, store=store, precision="exact", values=values, logits=False,
            overview=0, ignore_eos=False, compute="f32", temperature=0.0, seed=0)
        self.left_out = []  # ids of layers without attention
        self.checked = 0    # tokens of the longest sequence that was checked
        self.eager = {}     # layer -> _Reference, of the sequence that is checked
        self.layers = {}    # layer -> _Facts
        self.ids = set()    # of recorded prompts
        self.plain = model.config._attn_implementation
        self.writer = writer.Writer(path, force=force)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.writer.__exit__(*error)

    @property
    def header(self):
        """The header of the dump; None before the first prompt."""
        return self.writer.header

    def record(self, input_ids, id=None, reply=None, max_new_tokens=None, text=None, dataset=""):
        """Records one prompt and returns the token ids of its reply. A given reply is
        followed; without one the model generates it, without sampling. If this fails,
        nothing of the prompt is left in the dump."""
        ids = [int(i) for i in input_ids]
        id = str(self.writer.prompts) if id is None else id
        if not ids:
            raise ValueError(f"prompt {id!r} has no tokens")
        if id in self.ids:
            raise ValueError(f"prompt {id!r} is in the dump already: each prompt needs its own id")
        followed = reply is not None
        if not followed:
            reply = self._generate(ids, self.plan["max_new_tokens"] if max_new_tokens is None else max_new_tokens)
        tokens = ids + [int(i) for i in reply]
        self.prompt = len(ids)
        try:
            if len(tokens) > self.checked:
                self._watch(tokens)
            self._run(tokens, "attnscope")
            self._check_layers()
            self._finish(dict(
                id=id, dataset=dataset, text=text or "", prompt_tokens=len(ids), reply_tokens=len(reply),
                window_rows=min(self.plan["window_rows"], len(ids)), tokens=tokens, followed=followed,
                store=self.plan["store"], sha256=hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()))
        except BaseException:
            self.writer.discard()
            raise
        return reply

    def _finish(self, end):
        if self.tokenizer is not None:
            end["pieces"] = [self.tokenizer.decode([t]) for t in end["tokens"]]
        self.writer.finish(end)
        self.ids.add(end["id"])
        self.checked = max(self.checked, len(end["tokens"]))
        self.eager = {}

    def _generate(self, ids, n):
        if n < 1:
            return []
        prompt = torch.tensor([ids], device=self._device())
        out = self.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=n,
            do_sample=False, num_beams=1, pad_token_id=0)
        return out[0, len(ids):].tolist()

    def _device(self):
        return next(self.model.parameters()).device

    def _run(self, ids, implementation):
        """Runs a sequence with an attention implementation."""
        self.ran = set()
        more = {}
        if "logits_to_keep" in inspect.signature(self.model.forward).parameters:
            more["logits_to_keep"] = 1
        ALL_ATTENTION_FUNCTIONS.register("attnscope", self._attend)
        ALL_MASK_ATTENTION_FUNCTIONS.register("attnscope", sdpa_mask)
        self.model.set_attn_implementation(implementation)
        try:
            with torch.no_grad():
                self.model(torch.tensor([ids], device=self._device()), use_cache=False, **more)
        finally:
            self.model.set_attn_implementation(self.plain)

    def _watch(self, ids):
        """Runs a sequence with the model's own eager attention, and keeps what it does in
        the last row of each layer."""
        self.eager = {}
        with _replaced(self.model, self._watched):
            self._run(ids, "eager")
        if not self.eager:
            raise NotImplementedError(
                f"{type(self.model).__name__} computes its attention without the attention interface of transformers "
                f"{transformers.__version__}: it cannot be recorded")
        self._name_left_out()
        if self.header is None:
            self.writer.header = self._header()

    def _watched(self, own, module, query, key, value, attention_mask=None, *args, **kwargs):
        """Takes the place of the function eager_attention_forward of a modeling module."""
        if args:
            raise NotImplementedError(f"{type(module).__name__} calls its attention with {len(args)} more arguments")
        call = _Call(own, module, query, key, value, attention_mask, kwargs)
        call.check()
        n = query.shape[2]
        if query.shape[1] * n * n * 4 <= WHOLE_MAP:
            out, w = own(module, query, key, value, attention_mask, **kwargs)
            row = w[0, :, n - 1]
        else:
            parts = [call.rows(lo, min(n, lo + self.chunk)) for lo in range(0, n, self.chunk)]
            out = torch.cat([o for o, _ in parts], 1).to(query.dtype)
            w = row = parts[-1][1][:, -1]
        if call.layer in self.eager:
            raise NotImplementedError(f"layer {call.layer} computes attention twice: a dump has one map for each layer")
        self.eager[call.layer] = _Reference(call, row if query.dtype == call.dtype else None)
        return out, w

    def _name_left_out(self):
        """Finds the layers that computed no attention. Layers whose attention could not be
        watched are an error."""
        if self.header is not None:
            return
        c = self.model.config.get_text_config()
        kinds = getattr(c, "layer_types", None) or getattr(c, "layers_block_type", None) or []
        names = []
        for layer in range(c.num_hidden_layers):
            if layer in self.eager:
                continue
            kind = kinds[layer] if layer < len(kinds) else _mixer(self.model, layer)
            if kind in ATTENTION_LAYERS or kind.endswith("Attention"):
                raise NotImplementedError(
                    f"layer {layer} ({kind}) computes its attention without the attention interface: "
                    "it cannot be recorded")
            self.left_out.append(layer)
            names.append(f"{layer} ({kind})")
        if names:
            warnings.warn(f"left out, because they have no attention: layers {', '.join(names)}", stacklevel=4)

    def _header(self):
        c = self.model.config.get_text_config()
        layers = max(c.num_hidden_layers, max(self.eager) + 1)
        shapes = [self._layer_shape(layer, c) for layer in range(layers)]
        self._check_latent(c)
        self.shapes = {layer: shapes[layer] for layer in self.eager}
        most = {name: max(s[name] for s in self.shapes.values()) for name in ("heads", "kv_heads", "key_dim", "value_dim")}
        self.plan.update(layers=sorted(self.eager), heads=list(range(most["heads"])))
        one = {name: self._common(name) for name in ("scale", "soft_cap")}
        info = dict(
            id=str(c.name_or_path), sha256="", architecture=c.model_type, layers=layers, heads=most["heads"],
            kv_heads=most["kv_heads"], head_dim=most["key_dim"], value_dim=most["value_dim"], vocab=c.vocab_size,
            max_positions=getattr(c, "max_position_embeddings", 0) or 0, **one, layer_windows=[s["window"] for s in shapes])
        version = 1
        if self._differ(shapes):
            version = 2
            info["layer_shapes"] = shapes
        manifest = dict(
            program=f"attnscope.recorder, torch {torch.__version__}, transformers {transformers.__version__}", go="",
            command=sys.argv[:1], host="", threads=torch.get_num_threads(), created="", prompts_file="",
            prompts_sha256="", seed=0)
        return dict(version=version, model=info, plan=self.plan, manifest=manifest)

    def _layer_shape(self, layer, config):
        """The shape of a layer, as in a header of version 2."""
        rope = dict(at=0, dim=0, pairing="")  # readers do not need it
        r = self.eager.get(layer)
        if r is None:
            return dict(kind="linear", heads=0, kv_heads=0, key_dim=0, value_dim=0, scale=0, soft_cap=0, window=0,
                        chunk=0, sink=False, cache_of=layer, latent=False, rope=rope)
        f = r.facts
        heads, kv_heads, key_dim, value_dim = f.shape
        rank = getattr(config, "kv_lora_rank", None)
        if rank:  # the cache has one entry for all heads, and its rotated part
            kv_heads, key_dim, value_dim = 1, rank + config.qk_rope_head_dim, rank
        return dict(kind="attention", heads=heads, kv_heads=kv_heads, key_dim=key_dim, value_dim=value_dim,
                    scale=f.scale, soft_cap=f.cap, window=f.window, chunk=0, sink=f.sink, cache_of=layer,
                    latent=bool(rank), rope=rope)

    def _common(self, name):
        """A number that all layers with attention have, or 0 if they differ."""
        values = {s[name] for s in self.shapes.values()}
        return values.pop() if len(values) == 1 else 0.0

    @staticmethod
    def _differ(shapes):
        """Whether layers differ in more than their windows, or have what version 1 cannot say."""
        plain = [dict(s, window=0, cache_of=0) for s in shapes]
        return any(s != plain[0] or s["sink"] or s["latent"] or s["kind"] != "attention" for s in plain)

    def _check_latent(self, config):
        latent = getattr(config, "kv_lora_rank", None)
        if latent and (self.plan["store"] == "factors" or self.plan["values"]):
            raise NotImplementedError(
                f"the cache of this model holds latent vectors of {latent} numbers, not keys and values of heads: "
                'record with store="rows" and without values')

    def _attend(self, module, query, key, value, attention_mask, **kwargs):
        """The attention function that transformers calls. It records the layer and returns
        its output."""
        call = _Call(_eager_of(module), module, query, key, value, attention_mask, kwargs)
        call.check()
        if call.layer in self.ran:
            raise NotImplementedError(f"layer {call.layer} computes attention twice: a dump has one map for each layer")
        self.ran.add(call.layer)
        kept = _Layer(self.plan, query.shape[1], self.prompt, call.has_sinks())
        n = query.shape[2]
        out = None
        edges = kept.edges(n, self.chunk)
        for lo, hi in zip(edges, edges[1:]):
            part, w = call.rows(lo, hi)
            call.check_rows(lo, w)
            if out is None:
                out = torch.empty(1, n, *part.shape[2:], dtype=query.dtype, device=part.device)
            out[:, lo:hi] = part
            kept.add(lo, w)
        last = w[:, -1]
        reference = self.eager.get(call.layer)
        if reference is not None:
            reference.check(call, last)
        if self.plan["store"] == "factors":
            self._check_factors(call, last)
            self._write_factors(call, kept)
        else:
            self._write_rows(call.layer, kept)
        self._write_sums(call.layer, kept)
        self._write_sinks(call.layer, kept)
        if self.plan["values"]:
            self._write_states(writer.VALUES, call.layer, call.value[0])
        return out, None

    def _check_layers(self):
        """Compares the layers that have run with those of the header."""
        if sorted(self.ran) != self.plan["layers"]:
            raise NotImplementedError(
                f"attention ran in layers {sorted(self.ran)} of this prompt, and the dump has {self.plan['layers']}")

    def _check_factors(self, call, last):
        """Computes the last row as readers of factors do, and compares."""
        m = self.shapes[call.layer]
        n = last.shape[1]
        q = call.query[0, :, n - 1].reshape(m["kv_heads"], -1, m["key_dim"])
        s = torch.matmul(q, call.key[0].transpose(1, 2)).reshape(m["heads"], n)
        s = _score(s, m["scale"], m["soft_cap"])
        window = m["window"]
        if window:
            s[:, : max(0, n - window)] = float("-inf")
        w = torch.softmax(s, -1)
        if call.has_sinks():
            w = w * last.sum(-1, keepdim=True)
        difference = (w - last).abs().max().item()
        if not difference <= TOLERANCE:
            raise NotImplementedError(
                f"layer {call.layer}: the last row differs by {difference:.2g} from what follows from queries and keys "
                'by section 4 of FORMAT.md: record with store="rows"')

    def _write_rows(self, layer, kept):
        blocks = []
        for phase, parts in ((writer.PREFILL, kept.rows), (writer.DECODE, kept.reply)):
            for h in range(kept.heads if parts else 0):
                row = 0
                for part in parts:
                    keys = part.shape[2]
                    step = max(1, writer.MOST_BYTES // (4 * keys))
                    for x in part[h].split(step):
                        blocks.append(dict(
                            kind=writer.WEIGHTS, x=x.numpy(), phase=phase, layer=layer, head0=h, heads=1,
                            row0=row, rows=len(x), keys=keys))
                        row += len(x)
        self.writer.blocks_of(blocks)

    def _write_factors(self, call, kept):
        m = self.shapes[call.layer]
        n = call.query.shape[2]
        for phase, lo, hi in ((writer.PREFILL, kept.first, kept.prompt), (writer.DECODE, kept.prompt, n)):
            if lo == hi:
                continue
            q = call.query[0, :, lo:hi]
            self._write_states(writer.QUERIES, call.layer, q, phase)
            sums = [_log_sums(call, m, i, min(hi, i + self.chunk)) for i in range(lo, hi, self.chunk)]
            self.writer.floats(
                writer.LSE, torch.cat(sums, 1).cpu().float().numpy(), phase=phase, layer=call.layer, heads=m["heads"],
                rows=hi - lo, keys=1)
        self._write_states(writer.KEYS, call.layer, call.key[0])

    def _write_states(self, kind, layer, x, phase=writer.PREFILL):
        """Writes x [heads, n, dim] as [n, heads, dim]."""
        heads, n, dim = x.shape
        x = x.transpose(0, 1).float().cpu().contiguous()
        step = max(1, writer.MOST_BYTES // (4 * heads * dim))
        self.writer.blocks_of([
            dict(kind=kind, x=x[i : i + step].numpy(), phase=phase, layer=layer, heads=heads, row0=i,
                 rows=min(step, n - i), keys=dim)
            for i in range(0, n, step)])

    def _write_sums(self, layer, kept):
        self.writer.floats(writer.SUMS, kept.sums.numpy(), layer=layer, heads=kept.heads, rows=1, keys=kept.prompt)
        for i in range(kept.count):
            end = kept.prompt - (kept.count - 1 - i) * kept.size
            x = kept.windows[i, :, :end].numpy()
            self.writer.floats(writer.WINDOW, x, layer=layer, head0=i, heads=kept.heads, row0=i, rows=1, keys=end)


    def _write_sinks(self, layer, kept):
        """Writes the shares of the sinks: of recorded rows, and summed over queries."""
        if kept.shares is None:
            return
        shares = torch.cat(kept.shares, 1)  # [heads, position]
        prompt = shares[:, : kept.prompt]
        for phase, x in ((writer.PREFILL, prompt[:, kept.first :]), (writer.DECODE, shares[:, kept.prompt :])):
            if x.shape[1]:
                self.writer.floats(
                    writer.SINKS, x.numpy(), phase=phase, layer=layer, heads=kept.heads, rows=x.shape[1], keys=1)
        start = kept.prompt - kept.count * kept.size
        sums = [prompt.sum(1)] + [prompt[:, start + i * kept.size :][:, : kept.size].sum(1) for i in range(kept.count)]
        self.writer.floats(
            writer.SINK_SUMS, torch.stack(sums, 1).numpy(), layer=layer, heads=kept.heads, rows=1, keys=1 + kept.count)


def record(model, path, prompts, tokenizer=None, max_new_tokens=128, **settings):
    """Records a transformers model over a prompt set and returns the open dump.

    prompts         texts, which need a tokenizer; or records: dictionaries with "prompt" (a
                    text) or "input_ids", and perhaps "id", "dataset" and "response_ids", the
                    reply that is followed. A data frame or a dataset will do, too
    tokenizer       of transformers; the text of each token is then recorded
    max_new_tokens  longest reply
    settings        as of Recorder: window_rows, prompt_windows, values, store, force, ...
    """
    records = list(_prompts.records(prompts))
    with Recorder(model, str(path), tokenizer=tokenizer, max_new_tokens=max_new_tokens, **settings) as r, \
            _progress.Progress("record") as bar:
        for i, p in enumerate(records):
            id = str(p.get("id", i + 1))
            bar.show(i, len(records), f"prompt {i + 1} of {len(records)} ({id})")
            if "input_ids" not in p and tokenizer is None:
                raise ValueError(f"prompt {id!r} is a text, and no tokenizer was given")
            ids = p["input_ids"] if "input_ids" in p else tokenizer(p["prompt"])["input_ids"]
            r.record(ids, id=id, reply=p.get("response_ids"), text=p.get("prompt"), dataset=p.get("dataset", ""))
    return _dump.open(path)


class _Facts:
    """What the header says about a layer."""

    def __init__(self, call):
        kwargs = call.kwargs
        heads, dim = call.query.shape[1], call.query.shape[3]
        scale = kwargs.get("scaling")
        self.scale = float(dim**-0.5 if scale is None else scale)
        self.cap = float(kwargs.get("softcap") or 0)
        self.window = int(kwargs.get("sliding_window") or 0)
        self.shape = heads, call.key.shape[1], dim, call.value.shape[3]
        self.sink = call.has_sinks()


class _Reference:
    """What the model's own eager attention does in the last row of a layer. row is the row
    itself, or None if the model computes it in a smaller dtype than float32."""

    def __init__(self, call, row):
        n = call.query.shape[2]
        self.own = call.own
        self.facts = _Facts(call)
        self.row = row
        self.mask = None if call.mask is None else call.mask[:, :, n - 1 :, :n].clone()
        self.kwargs = call.sliced(n - 1, n)

    def check(self, call, last):
        """Compares the last recorded row [heads, keys] with the row that the eager
        attention computes with its own mask and arguments, and with the row that it did
        compute."""
        n = call.query.shape[2]
        mask = None if self.mask is None else self.mask.to(call.dtype)
        own = self.own(call.module, call.query[:, :, n - 1 :], call.key, call.value, mask, **self.kwargs)[1][0, :, 0]
        self._compare(call, last, own, TOLERANCE, "that the model's own eager attention computes")
        if self.row is not None:
            self._compare(call, last, self.row, DRIFT, "of a run with the model's own eager attention")

    def _compare(self, call, last, own, tolerance, what):
        difference = (own.to(last.device) - last).abs().max().item()
        if not difference <= tolerance:
            raise NotImplementedError(
                f"layer {call.layer}: the last row would be recorded with a difference of {difference:.2g} from the row "
                f"{what}; at most {tolerance:g} is allowed")


class _Call:
    """One call of an attention function, with query [1, heads, n, dim] and key and value
    [1, kv heads, n, dim]. own is the eager attention function of the model. mask is as the
    module passes it: additive, boolean (true: visible), or None (causal)."""

    def __init__(self, own, module, query, key, value, mask, kwargs):
        self.own = own
        self.module = module
        self.layer = getattr(module, "layer_idx", None)
        self.dtype = query.dtype if query.dtype == torch.float64 else torch.float32
        self.query = query.to(self.dtype)
        self.key = key.to(self.dtype)
        self.value = value.to(self.dtype)
        self.mask = mask
        self.kwargs = kwargs

    def check(self):
        """Refuses calls that are not the self-attention of one whole sequence."""
        batch, heads, n, dim = self.query.shape
        name = type(self.module).__name__
        if self.layer is None:
            raise NotImplementedError(f"{name} does not say which layer it is (layer_idx)")
        if batch != 1 or self.key.shape[2] != n:
            raise NotImplementedError(
                f"{name} of layer {self.layer} computes attention for {batch} sequences, {n} queries on "
                f"{self.key.shape[2]} keys: only the self-attention of one whole sequence is recorded")
        if heads % self.key.shape[1] != 0:
            raise NotImplementedError(
                f"layer {self.layer} has {heads} query heads on {self.key.shape[1]} kv heads: the dump format needs a "
                "multiple")
        if self.mask is not None and (self.mask.ndim != 4 or self.mask.shape[2] != n or self.mask.shape[3] < n):
            raise NotImplementedError(
                f"layer {self.layer} has a mask of shape {list(self.mask.shape)} for {n} queries")
        if self.mask is None and not self.kwargs.get("is_causal", getattr(self.module, "is_causal", True)):
            raise NotImplementedError(f"layer {self.layer} is not causal: the rows of a dump see no later keys")

    def sliced(self, lo, hi):
        """The arguments of a call with queries lo to hi only."""
        n = self.query.shape[2]
        out = {}
        for name, x in self.kwargs.items():
            if isinstance(x, torch.Tensor) and x.ndim >= 3 and x.shape[-2:] == (n, n):
                x = x[..., lo:hi, :hi]
            out[name] = x
        return out

    def rows(self, lo, hi):
        """Computes output [1, hi-lo, heads, dim] and weights [heads, hi-lo, hi] of queries
        lo to hi."""
        out, w = self.own(
            self.module, self.query[:, :, lo:hi], self.key[:, :, :hi], self.value[:, :, :hi], self._mask(lo, hi),
            **self.sliced(lo, hi))
        return out, w[0]

    def _mask(self, lo, hi):
        """The additive mask of queries lo to hi."""
        hidden = torch.finfo(self.dtype).min
        n = self.query.shape[2]
        if self.mask is None:
            mask = torch.full((1, 1, hi - lo, hi), hidden, dtype=self.dtype, device=self.query.device)
            return mask.triu(lo + 1)
        mask = self.mask[:, :, lo:hi, :n]
        later = mask[..., hi:]
        if mask.dtype == torch.bool:
            sees = later.any()
            mask = torch.where(mask[..., :hi], torch.zeros((), dtype=self.dtype, device=mask.device), hidden)
        else:
            sees = (later > -1e4).any()
            mask = mask[..., :hi].to(self.dtype)
        if sees:
            raise NotImplementedError(
                f"layer {self.layer} is not causal, queries {lo} to {hi - 1} see later keys: the rows of a dump do not")
        return mask

    def check_rows(self, lo, w):
        """Refuses rows that `attnscope verify` would report."""
        sums = w.sum(-1)
        off = (sums - 1).clamp(min=0) if self.has_sinks() else (sums - 1).abs()
        if not off.max() <= SUM_TOLERANCE:
            worst = torch.nan_to_num(off, nan=float("inf")).flatten().argmax()
            head, row = divmod(worst.item(), w.shape[1])
            raise NotImplementedError(
                f"layer {self.layer}, head {head}: the weights of query {lo + row} sum to {sums[head, row]:.6g}, "
                + ("more than 1" if self.has_sinks() else "and this layer has no sinks that take the rest"))
        if torch.triu(w[:, :, lo:], 1).any():
            raise NotImplementedError(
                f"layer {self.layer} is not causal, one of the queries {lo} to {lo + w.shape[1] - 1} sees later keys: "
                "the rows of a dump do not")

    def sinks(self):
        """The scores of the layer's learned sinks, [heads], or None."""
        sinks = self.kwargs.get("s_aux")
        return getattr(self.module, "sinks", None) if sinks is None else sinks

    def has_sinks(self):
        return self.sinks() is not None


def _score(s, scale, cap):
    """Scores as FORMAT.md defines them, from products of queries and keys."""
    s = s * scale
    return cap * torch.tanh(s / cap) if cap else s


def _log_sums(call, m, lo, hi):
    """Log-sum-exps [heads, hi-lo] of the scores of queries lo to hi. m is the shape of the layer."""
    q = call.query[0, :, lo:hi].reshape(m["kv_heads"], -1, m["key_dim"])
    s = torch.matmul(q, call.key[0, :, :hi].transpose(1, 2)).reshape(m["heads"], hi - lo, hi)
    s = _score(s, m["scale"], m["soft_cap"])
    position = torch.arange(hi, device=s.device)
    query = position[lo:hi, None]
    unseen = position > query
    window = m["window"]
    if window:
        unseen |= position <= query - window
    sums = torch.logsumexp(s.masked_fill(unseen, float("-inf")), -1)
    sinks = call.sinks()
    if sinks is None:
        return sums
    return torch.logaddexp(sums, sinks.to(sums.dtype).reshape(-1, 1).expand_as(sums))


def _eager_of(module):
    """The eager attention function of the modeling module that defines a module."""
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if own is None:
        raise NotImplementedError(
            f"{type(module).__name__}: its module {type(module).__module__} has no eager_attention_forward")
    return own


@contextlib.contextmanager
def _replaced(model, watched):
    """Calls watched(own, ...) instead of each eager attention function own of a model."""
    names = {type(m).__module__ for m in model.modules()}
    old = {name: getattr(sys.modules.get(name), "eager_attention_forward", None) for name in names}
    old = {name: own for name, own in old.items() if own is not None}
    try:
        for name, own in old.items():
            sys.modules[name].eager_attention_forward = lambda *args, own=own, **kwargs: watched(own, *args, **kwargs)
        yield
    finally:
        for name, own in old.items():
            sys.modules[name].eager_attention_forward = own


def _mixer(model, layer):
    """The class of a layer's attention, or of what the layer has instead."""
    for name, m in model.named_modules():
        if name.endswith(f"layers.{layer}") or name.endswith(f"h.{layer}"):
            kinds = [type(x).__name__ for x in m.modules()]
            return next((k for k in kinds if k.endswith("Attention")), kinds[1] if len(kinds) > 1 else kinds[0])
    return "unknown"


class _Layer:
    """What is kept of the weights of one layer."""

    def __init__(self, plan, heads, prompt, sinks=False):
        self.heads = heads
        self.shares = [] if sinks else None  # of the sinks in all rows: parts [heads, n]
        self.prompt = prompt
        self.first = max(0, prompt - plan["window_rows"])  # first recorded row
        self.size = plan["prompt_window_size"]
        self.count = min(plan["prompt_windows"], prompt // self.size)
        self.keep = plan["store"] == "rows"
        self.sums = torch.zeros(heads, prompt, dtype=torch.float64)
        self.windows = torch.zeros(self.count, heads, prompt, dtype=torch.float64)
        self.rows = []   # recorded rows of the prompt: parts [heads, n, keys]
        self.reply = []  # rows of the reply: parts [heads, n, keys]

    def edges(self, n, chunk):
        """Where slices of n queries begin and end: no slice crosses the border of a query
        window, of the recorded rows or of the reply."""
        borders = (self.prompt - i * self.size for i in range(self.count + 1))
        edges = {*range(0, n, chunk), self.first, self.prompt, n, *borders}
        return sorted(edges & set(range(n + 1)))

    def add(self, lo, w):
        """Takes the weights of a slice of queries from position lo on, [heads, n, keys]."""
        if self.shares is not None:
            self.shares.append((1 - w.double().sum(-1)).clamp(min=0).cpu())
        if lo >= self.prompt:
            if self.keep:
                self.reply.append(w.float().cpu())
            return
        keys = w.shape[2]
        total = w.sum(1).double().cpu()
        self.sums[:, :keys] += total
        start = self.prompt - self.count * self.size  # of the oldest window
        if self.count and lo >= start:
            self.windows[(lo - start) // self.size, :, :keys] += total
        if self.keep and lo >= self.first:
            self.rows.append(w.float().cpu())
