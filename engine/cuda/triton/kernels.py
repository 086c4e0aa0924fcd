"""Attention over a prompt, the passes that follow it, and products, in Triton. Each kernel computes what the
kernel of the same name in ../kernels computes, with the same layouts of memory, for the case that long prompts
of most models need: bfloat16, heads of D = 64 or 128 channels, a cache that is not compressed, and no
sliding window, soft cap or learned sinks. The other kernels compute everything else.

q and out are [n, heads, D] and k and v [stores, room, D]; slot j of the cache holds
position j, and query i is at position pos0 + i. head reads store head / group. factor is the scale of the
scores divided by ln 2, so that weights are powers of two. The first pass leaves in stat [heads, n, 2] the
largest score of a row, times factor, and the sum of 2^(score * factor - largest).
"""

import triton
import triton.language as tl


@triton.jit
def attend_tiles(o, m, l, query, k, v, first, last, end, see, factor, D: tl.constexpr, KEYS: tl.constexpr, MASKED: tl.constexpr):
    """Adds the tiles of keys that begin in [first, last) to the running output, maximum and sum of each row.
    see [rows] are the positions of the queries, and keys from end on are not in the cache."""
    for key0 in range(first, last, KEYS):
        key = key0 + tl.arange(0, KEYS)
        at = key[:, None] * D + tl.arange(0, D)[None, :]
        if MASKED:
            keys = tl.load(k + at, mask=key[:, None] < end, other=0.0)
        else:
            keys = tl.load(k + at)
        c = tl.dot(query, keys.T)
        if MASKED:
            c = tl.where(key[None, :] <= see[:, None], c, float("-inf"))
        top = tl.maximum(tl.max(c, 1) * factor, m)
        shrink = tl.exp2(m - top)
        p = tl.exp2(c * factor - top[:, None])
        l = l * shrink + tl.sum(p, 1)
        m = top
        if MASKED:
            values = tl.load(v + at, mask=key[:, None] < end, other=0.0)
        else:
            values = tl.load(v + at)
        o = tl.dot(p.to(values.dtype), values, o * shrink[:, None])
    return o, m, l


@triton.jit
def attention(out, stat, lse, q, k, v, n, pos0, room, heads, group, factor, D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """The first pass, for ROWS queries of a head. stat and lse, the logarithm of a row's sum [heads, n], may be null."""
    row0 = (tl.num_programs(0) - 1 - tl.program_id(0)) * ROWS  # the last queries see most: they go first
    head = tl.program_id(1)
    store = (head // group).to(tl.int64)
    k += store * room * D
    v += store * room * D
    row = row0 + tl.arange(0, ROWS)
    at = (row[:, None].to(tl.int64) * heads + head) * D + tl.arange(0, D)[None, :]
    query = tl.load(q + at, mask=row[:, None] < n, other=0.0)
    see = pos0 + row
    end = pos0 + n
    clear = (pos0 + row0 + 1) // KEYS * KEYS  # all rows see the keys before
    last = tl.minimum(pos0 + row0 + ROWS, end)
    o = tl.zeros([ROWS, D], tl.float32)
    m = tl.full([ROWS], float("-inf"), tl.float32)
    l = tl.zeros([ROWS], tl.float32)
    o, m, l = attend_tiles(o, m, l, query, k, v, 0, clear, end, see, factor, D, KEYS, False)
    o, m, l = attend_tiles(o, m, l, query, k, v, clear, last, end, see, factor, D, KEYS, True)
    inside = row < n
    r = head.to(tl.int64) * n + row
    if stat:
        tl.store(stat + 2 * r, m, mask=inside)
        tl.store(stat + 2 * r + 1, l, mask=inside)
    if lse:
        tl.store(lse + r, (m + tl.log2(l)) * 0.6931471805599453, mask=inside)
    tl.store(out + at, (o * (1.0 / l)[:, None]).to(out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def sum_tiles(sums, key, keys, q, stat, first, last, low, high, pos0, heads, factor, D: tl.constexpr, QUERIES: tl.constexpr, MASKED: tl.constexpr):
    """Adds the weights of the tiles of queries at the positions [first, last) to the sums of the keys, in units of
    2^-40. Queries at positions outside of [low, high) do not count."""
    for p0 in range(first, last, QUERIES):
        position = p0 + tl.arange(0, QUERIES)
        row = position - pos0
        at = row[:, None].to(tl.int64) * heads * D + tl.arange(0, D)[None, :]
        if MASKED:
            counts = (position >= low) & (position < high)
            query = tl.load(q + at, mask=counts[:, None], other=0.0)
            top = tl.load(stat + 2 * row, mask=counts, other=0.0)
            by = 1.0 / tl.load(stat + 2 * row + 1, mask=counts, other=1.0)
        else:
            query = tl.load(q + at)
            top = tl.load(stat + 2 * row)
            by = 1.0 / tl.load(stat + 2 * row + 1)
        w = tl.exp2(tl.dot(keys, query.T) * factor - top[None, :]) * by[None, :]
        if MASKED:
            w = tl.where(counts[None, :] & (key[:, None] <= position[None, :]), w, 0.0)
        sums += (tl.sum(w, 1) * 1099511627776.0).to(tl.int64)
    return sums


@triton.jit
def attention_sums(
    total, ld_total, listed, first, rows, q, k, stat, n, pos0, room, heads, group, factor, D: tl.constexpr, KEYS: tl.constexpr, QUERIES: tl.constexpr
):
    """Adds the weights of the queries of rows [first, first + rows), summed over them, to total [listed, ld_total], int64 in units
    of 2^-40, for KEYS keys of a listed head and a part of the queries. Tiles of queries stand at multiples of QUERIES."""
    key0 = tl.program_id(0) * KEYS
    head = tl.load(listed + tl.program_id(1))
    store = (head // group).to(tl.int64)
    end = pos0 + n
    key = key0 + tl.arange(0, KEYS)
    keys = tl.load(k + store * room * D + key[:, None] * D + tl.arange(0, D)[None, :], mask=key[:, None] < end, other=0.0)
    low = tl.maximum(pos0 + first, key0)
    high = pos0 + first + rows
    begin = low // QUERIES
    tiles = tl.maximum((high + QUERIES - 1) // QUERIES - begin, 0)
    each = (tiles + tl.num_programs(2) - 1) // tl.num_programs(2)
    from_tile = begin + tl.program_id(2) * each
    to_tile = tl.minimum(begin + tiles, from_tile + each)
    # Tiles in the middle have queries that all count and see all keys.
    clear = tl.maximum((tl.maximum(low, key0 + KEYS - 1) + QUERIES - 1) // QUERIES, from_tile)
    whole = tl.maximum(tl.minimum(high // QUERIES, to_tile), clear)
    q += head * D
    stat += 2 * head.to(tl.int64) * n
    sums = tl.zeros([KEYS], tl.int64)
    sums = sum_tiles(sums, key, keys, q, stat, from_tile * QUERIES, tl.minimum(clear, to_tile) * QUERIES, low, high, pos0, heads, factor, D, QUERIES, True)
    sums = sum_tiles(sums, key, keys, q, stat, clear * QUERIES, whole * QUERIES, low, high, pos0, heads, factor, D, QUERIES, False)
    sums = sum_tiles(sums, key, keys, q, stat, whole * QUERIES, to_tile * QUERIES, low, high, pos0, heads, factor, D, QUERIES, True)
    tl.atomic_add(total + tl.program_id(1).to(tl.int64) * ld_total + key, sums, mask=(key < end) & (sums != 0), sem="relaxed")


@triton.jit
def attention_rows(
    w, ld_head, ld, drop, listed, first, rows, width, q, k, stat, n, pos0, room, heads, group, factor, D: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr
):
    """Writes the weights of rows [first, first + rows) of listed heads, over the first width keys: w [listed, ld_head, ld],
    float32 or, if drop is not null, half floats. drop [256] holds by float32 exponent the low bits that rounding removes."""
    key = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    head = tl.load(listed + tl.program_id(2))
    store = (head // group).to(tl.int64)
    inside = row < rows
    end = pos0 + n
    channel = tl.arange(0, D)
    query = tl.load(q + ((first + row)[:, None].to(tl.int64) * heads + head) * D + channel[None, :], mask=inside[:, None], other=0.0)
    keys = tl.load(k + store * room * D + key[:, None] * D + channel[None, :], mask=key[:, None] < end, other=0.0)
    r = head.to(tl.int64) * n + first + row
    top = tl.load(stat + 2 * r, mask=inside, other=0.0)
    by = 1.0 / tl.load(stat + 2 * r + 1, mask=inside, other=1.0)
    x = tl.exp2(tl.dot(query, keys.T) * factor - top[:, None]) * by[:, None]
    x = tl.where(key[None, :] <= (pos0 + first + row)[:, None], x, 0.0)
    at = (tl.program_id(2).to(tl.int64) * ld_head + row[:, None]) * ld + key[None, :]
    mask = inside[:, None] & (key[None, :] < width)
    if drop:
        u = x.to(tl.uint32, bitcast=True)
        e = u >> 23 & 255
        d = tl.load(drop + e).to(tl.uint32)
        small = (x * 16777216.0 + 8388608.0 - 8388608.0).to(tl.uint32)  # rounded to even
        u += ((1 << (d - 1)) - 1 + (u >> d & 1)).to(tl.uint32)
        u = (u >> d << d) - 939524096  # the exponent of a half float
        half = tl.where(e < 127 - 24, 0, tl.where(e < 127 - 14, small, u >> 13)).to(tl.uint16)
        tl.store(w.to(tl.pointer_type(tl.uint16)) + at, half, mask=mask)
    else:
        tl.store(w + at, x, mask=mask)


@triton.jit
def gemm(c, ldc, a, lda, w, ldw, m, n, k, add, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr):
    """c [m, n] = a [m, k] * w [n, k]^T, added to what c holds if add is not 0. c is float32; k is a multiple of DEPTH. Blocks
    next to each other in the order of launch share rows of a: they take GROUP tiles of rows, then the next tile of columns."""
    tiles_m = tl.cdiv(m, ROWS)
    tiles_n = tl.cdiv(n, COLUMNS)
    width = GROUP * tiles_n
    first = tl.program_id(0) // width * GROUP
    here = tl.minimum(tiles_m - first, GROUP)
    row = (first + tl.program_id(0) % width % here) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % width // here * COLUMNS + tl.arange(0, COLUMNS)
    depth = tl.arange(0, DEPTH)
    a += (row % m)[:, None].to(tl.int64) * lda + depth[None, :]  # rows past the end repeat others, and are not stored
    w += (column % n)[:, None].to(tl.int64) * ldw + depth[None, :]
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    for _ in range(0, k, DEPTH):
        sums = tl.dot(tl.load(a), tl.load(w).T, sums)
        a += DEPTH
        w += DEPTH
    at = c + row[:, None].to(tl.int64) * ldc + column[None, :]
    mask = (row < m)[:, None] & (column < n)[None, :]
    if add:
        sums += tl.load(at, mask=mask, other=0.0)
    tl.store(at, sums, mask=mask)
