"""Writes what NVIDIA's kvpress keeps of the layer of kvpress_test.go.

usage: make_kvpress.py >kvpress.json     (pip install kvpress)

The layer follows from a generator of integers that both sides have, so that no tensor is
stored. Queries and keys have no rotation: cosines are 1 and sines are 0, so that what
kvpress computes before and after the rotation is the same. Presses see hidden states that
hold queries and keys, which q_proj and k_proj cut out.

The file has, by method and case, the positions that are kept of each kv head, ascending.
Of presses with scores, these are the best positions of the prefix, so that a press that
may drop the window is compared as well. The script fails if a score at the edge of a
selection is not unique, because topk then chooses freely.
"""
import json, logging, math, types
import numpy as np
import torch
import kvpress

logging.disable(logging.WARNING)
HEADS, KV, DIM, WINDOW, BUDGETS = 4, 2, 8, 16, (20, 60, 140)
GROUP = HEADS // KV


def generate(n, state):
    """n numbers, sums of four uniform ones, in steps of 1/64."""
    out = []
    for _ in range(n):
        total = 0
        for _ in range(4):
            state = (state * 1664525 + 1013904223) % 2**32
            total += state >> 26
        out.append((total - 126) / 64)
    return torch.tensor(out)


class Layer:
    """The tensors of one case, and the attention module that presses see."""

    def __init__(self, length, seed):
        self.length = length
        self.q = generate(length * HEADS * DIM, seed).view(length, HEADS, DIM)
        self.k = generate(length * KV * DIM, seed + 1).view(length, KV, DIM)
        self.v = generate(length * KV * DIM, seed + 2).view(length, KV, DIM)
        self.k += torch.arange(DIM) / 8  # keys and queries have directions
        self.q += torch.arange(DIM).flip(0) / 16
        self.keys = self.k.transpose(0, 1)[None]
        self.values = self.v.transpose(0, 1)[None]
        self.hidden = torch.cat([self.q.flatten(1), self.k.flatten(1)], 1)[None]
        scores = self.q.transpose(0, 1) @ self.keys[0].repeat_interleave(GROUP, 0).transpose(1, 2) / math.sqrt(DIM)
        scores += torch.full((length, length), float("-inf")).triu(1)
        self.attention = scores.softmax(-1)[None]
        ones, zeros = torch.ones(1, length, DIM), torch.zeros(1, length, DIM)
        self.kwargs = {"position_embeddings": (ones, zeros), "hidden_states": self.hidden}
        config = types.SimpleNamespace(
            num_attention_heads=HEADS, num_key_value_heads=KV, head_dim=DIM, hidden_size=HEADS * DIM,
            num_hidden_layers=1, _attn_implementation="sdpa")
        rotary = lambda x, ids: (torch.ones(1, ids.shape[1], DIM), torch.zeros(1, ids.shape[1], DIM))
        self.module = types.SimpleNamespace(
            config=config, head_dim=DIM, layer_idx=0, num_key_value_groups=GROUP, rotary_emb=rotary,
            q_proj=lambda x: x[..., : HEADS * DIM], k_proj=lambda x: x[..., HEADS * DIM:])

    def score(self, press, attention=False):
        return press.score(self.module, self.hidden, self.keys, self.values,
                           self.attention if attention else None, self.kwargs)[0]

    def expected(self):
        """Expected attention over the prefix, with the statistics of the window's queries."""
        prefix = self.length - WINDOW
        press = kvpress.ExpectedAttentionPress(n_sink=0)
        return press.score(self.module, self.hidden[:, prefix:], self.keys[:, :, :prefix], self.values[:, :, :prefix],
                           None, self.kwargs)[0]

    def compress(self, press, keep):
        """The kept positions of a press that gathers or masks, on the first keep positions."""
        self.module.masked_key_indices = None
        keys, values = press.compress(self.module, self.hidden[:, :keep], self.keys[:, :, :keep].clone(),
                                      self.values[:, :, :keep].clone(), None, self.kwargs)
        if self.module.masked_key_indices is not None:
            return self.masked(keep)
        kept = []
        for kv in range(KV):
            at = (values[0, kv][:, None] == self.v[None, :keep, kv]).all(-1)
            assert (at.sum(1) == 1).all(), "a value is not unique"
            kept.append(sorted(at.int().argmax(1).tolist()))
        return kept

    def masked(self, keep):
        """The positions of the first keep ones that a press has not masked."""
        _, heads, positions = self.module.masked_key_indices
        dropped = [set(positions[heads == kv].tolist()) for kv in range(KV)]
        return [[j for j in range(keep) if j not in dropped[kv]] for kv in range(KV)]


def best(scores, budget):
    """The best positions of the prefix of each kv head."""
    kept = []
    for row in scores[:, : scores.shape[1] - WINDOW]:
        order = row.sort(descending=True, stable=True)
        edge = order.values[budget - 1] - order.values[budget]
        assert edge > 1e-6 * order.values[budget - 1].abs(), f"equal scores at {budget}"
        kept.append(sorted(order.indices[:budget].tolist()))
    return kept


class Given(kvpress.ScorerPress):
    """A press with given scores [kv head, position], for presses that wrap another one."""

    def __init__(self, scores, ratio):
        self.scores, self.compression_ratio = scores, ratio

    def score(self, module, hidden_states, keys, values, attentions, kwargs):
        return self.scores[None, :, : keys.shape[2]].clone()


def scored(layer, budget):
    ratio = 1 - (budget + WINDOW) / layer.length
    # The sketch of leverage scores is the identity: as many dimensions as keys have.
    torch.randn = lambda *shape, **kw: torch.eye(DIM).expand(*shape[:2], DIM, DIM) * math.sqrt(DIM)
    yield "snapkv", layer.score(kvpress.SnapKVPress(window_size=WINDOW, kernel_size=5), attention=True)
    yield "tova", layer.score(kvpress.TOVAPress(), attention=True)
    yield "observedattention", layer.score(kvpress.ObservedAttentionPress(), attention=True)
    finch = kvpress.FinchPress()
    finch.window_size = WINDOW
    yield "finch", layer.score(finch, attention=True)
    yield "knorm", layer.score(kvpress.KnormPress())
    yield "keydiff", layer.score(kvpress.KeyDiffPress())
    yield "lagkv", layer.score(kvpress.LagKVPress())
    yield "curdkv", layer.score(kvpress.CURPress())
    yield "leverage", layer.score(kvpress.LeverageScorePress(sketch_dimension=DIM))
    yield "noncausal", layer.score(kvpress.NonCausalAttnPress())
    yield "compactor", layer.score(kvpress.CompactorPress(compression_ratio=ratio, sketch_dimension=DIM))
    yield "expectedattention", torch.nn.functional.pad(layer.expected(), (0, WINDOW))
    window = layer.hidden[:, -WINDOW:]
    cap = kvpress.CapPress()
    cap._query_states_pre_rope = lambda module, hidden: kvpress.utils.get_prerope_query_states(module, window)
    yield "capkv", layer.score(cap)
    # The filter is the main direction of the window's queries.
    filters = []
    for kv in range(KV):
        q = layer.q[-WINDOW:, kv * GROUP:(kv + 1) * GROUP].reshape(-1, DIM).double()
        u = torch.linalg.svd(q, full_matrices=False).Vh[0]
        filters.append(-u * torch.sign((q @ u).sum()))
    qfilter = kvpress.QFilterPress()
    qfilter.q_filters = torch.stack(filters).float()[None]
    yield "qfilters", layer.score(qfilter)
    compose = kvpress.KVComposePress()
    compose.num_layers, compose.num_att_heads, compose.num_kv_heads, compose.num_kv_groups = 1, HEADS, KV, GROUP
    compose.device, compose.context_len = "cpu", layer.length - WINDOW
    compose._init_statistics()
    for h in range(HEADS):
        compose.task_aggregators[0][h].partial_fit(layer.attention[:, h, -WINDOW:, : layer.length - WINDOW])
    compose.compute_scores()
    compose.enhance_scores()
    yield "kvcompose", torch.nn.functional.pad(compose.scores[0], (0, WINDOW))


def wrapped(layer, budget):
    """Presses that wrap another one, or that return keys and values instead of scores.
    They see the prefix, or the scores of the prefix."""
    prefix = layer.length - WINDOW
    ratio = 1 - (budget + 0.5) / prefix  # of which the integer part is kept
    snapkv = layer.score(kvpress.SnapKVPress(window_size=WINDOW, kernel_size=5), attention=True)[:, :prefix]
    # Norms of values take the place of those of W_O V, which a dump does not have.
    kvpress.CriticalKVPress.vwl1norm = staticmethod(lambda values, module: values.norm(dim=-1))
    # Epsilon is added to the mean of the window's weights here, and to their sum there.
    critical = kvpress.CriticalKVPress(Given(snapkv, ratio), epsilon=1e-4 / WINDOW)
    yield "criticalkv", best(torch.nn.functional.pad(critical.score(
        layer.module, None, layer.keys[:, :, :prefix], layer.values[:, :, :prefix], None, {})[0], (0, WINDOW)), budget)
    yield "criticaladakv", layer.compress(kvpress.CriticalAdaKVPress(Given(snapkv, ratio), epsilon=1e-4 / WINDOW), prefix)
    yield "adakv", layer.compress(kvpress.AdaKVPress(Given(snapkv, ratio)), prefix)
    yield "adaexpected", layer.compress(kvpress.AdaKVPress(Given(layer.expected(), ratio)), prefix)
    yield "streamingllm", layer.compress(kvpress.StreamingLLMPress(compression_ratio=ratio), prefix)
    yield "keydiffblocks", layer.compress(kvpress.BlockPress(press=kvpress.KeyDiffPress(ratio)), prefix)
    yield "entropychunkkv", layer.compress(kvpress.EntropyGatedChunkKVPress(Given(snapkv, ratio)), prefix)
    chunks = math.ceil(prefix / 20)
    plain = layer.score(kvpress.SnapKVPress(window_size=WINDOW, kernel_size=1), attention=True)[:, :prefix]
    kept = layer.compress(kvpress.ChunkKVPress(Given(plain, 1 - (budget / 20 + 0.5) / chunks)), prefix)
    if len(kept[0]) == budget:  # without the last, shorter chunk
        yield "chunkkv", kept
    # The prompt is a context and its repetition, the window.
    press = kvpress.KVzipPress(compression_ratio=1 - budget / prefix, layerwise=True)
    press.context_length = press.end_idx = prefix
    press.score_val = torch.zeros(1, 1, KV, prefix)
    cos, sin = layer.kwargs["position_embeddings"]
    press.score_kvzip(layer.module, layer.hidden[:, prefix:], layer.keys, layer.values, None,
                      {"position_embeddings": (cos[:, prefix:], sin[:, prefix:])})
    press.compression_ratio = (prefix - budget + 0.2) / prefix
    press.compress_post(types.SimpleNamespace(model=types.SimpleNamespace(
        layers=[types.SimpleNamespace(self_attn=layer.module)])))
    yield "kvzip", layer.masked(prefix)


def budgets():
    """How pyramidkv and duoattention share a budget, without a selection."""
    pyramid = []
    for layers, length, budget in ((30, 4000, 1000), (8, 3000, 333), (30, 1500, 1000)):
        press = kvpress.PyramidKVPress(compression_ratio=1 - budget / length, window_size=WINDOW)
        config = types.SimpleNamespace(num_hidden_layers=layers)
        pyramid.append({"layers": layers, "budget": budget, "length": length, "budgets": [
            press.get_layer_budget(types.SimpleNamespace(config=config, layer_idx=i), length) for i in range(layers)]})
    scores = (generate(6 * KV, 5) / 8).tolist()
    scores = [scores[i:i + KV] for i in range(0, len(scores), KV)]
    duo = kvpress.DuoAttentionPress(head_compression_ratio=0.5)
    duo.load_attention_pattern = lambda model: (4, BUDGETS[0], np.array(scores))
    duo.post_init_from_model(types.SimpleNamespace(device="cpu"))
    return {"pyramid": pyramid, "scores": scores, "streaming": duo.streaming_mask.tolist()}


def main():
    cases = []
    for length, seed in ((400, 1), (512, 7), (524, 9)):
        layer = Layer(length, seed)
        for budget in BUDGETS:
            kept = dict(wrapped(layer, budget))
            for name, scores in scored(layer, budget):
                # kvpress counts rows of padding in an incomplete chunk.
                if name == "noncausal" and length % 256 or name == "compactor" and (length - 12) % 256:
                    continue
                # Positions of the tail are always kept, with equal scores; the others of
                # all partitions have equal ranks.
                if name == "lagkv":
                    rest = budget - (4 + 128 + (length - 4) % 128 - WINDOW)
                    if rest < 0 or rest % ((length - 4) // 128 - 1):
                        continue
                kept[name] = best(scores, budget)
            # The layer is lazy for all thresholds below its share. kvpress leaves the last
            # position out of it.
            lazy = kvpress.SimLayerKVPress(n_recent=budget + WINDOW - 4 - 1)
            low, high = 0.0, 1.0
            for _ in range(40):
                lazy.lazy_threshold = (low + high) / 2
                if lazy.is_lazy(layer.module, layer.hidden, layer.keys, layer.kwargs["position_embeddings"]):
                    low = lazy.lazy_threshold
                else:
                    high = lazy.lazy_threshold
            cases.append({"length": length, "seed": seed, "budget": budget, "kept": kept, "laziness": round(low + layer.attention[0, :, -1, -1].mean().item(), 6)})
    lines = []
    for case in cases:
        kept = ",\n  ".join(f'"{name}": {json.dumps(rows, separators=(",", ":"))}' for name, rows in case.pop("kept").items())
        lines.append(json.dumps(case)[:-1] + ', "kept": {\n  ' + kept + "}}")
    print('{"window": %d, "shares": %s, "cases": [\n%s\n]}' % (WINDOW, json.dumps(budgets()), ",\n".join(lines)))


if __name__ == "__main__":
    main()
