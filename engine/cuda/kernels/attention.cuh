// Attention over a prompt: the pass itself, with running maximum and sum, and the
// second passes that give out weights, for asked rows or summed over queries.
#pragma once

template <class T, int D> DEVICE void attention(T *out, float *stat, float *lse, const T *q, const T *k, const T *v, const int *counts,
    const int *pos, const float *sinks, int n, int pos0, int keys, int room, int heads, int stores, int kdim, int vdim, int window,
    int sink_keys, float scale, float cap) {
  DYN_SHARED(memory);
  typedef tile<T, D> size;
  T *qs = (T *)memory, *ks = qs + size::rows * size::ld, *vs = ks + size::keys * size::ld;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  int row0 = (gridDim.x - 1 - blockIdx.x) * size::rows; // the last queries see most: they go first
  int rows = least(size::rows, n - row0), head = blockIdx.y, store = head / (heads / stores);
  int count = counts ? counts[store] : keys;
  sight see = {pos ? pos + (size_t)store * room : 0, count - n, pos0, window, sink_keys};
  k += (size_t)store * room * kdim, v += (size_t)store * room * vdim;

  // Tiles of keys: those of the sinks, then those from the window on.
  int end = (see.first + row0 + rows + size::keys - 1) / size::keys, from = 0, sink_end = 0;
  if (window > 0) {
    from = see.slot_from(pos0 + row0 - window + 1, count) / size::keys;
    if (sink_keys > 0) sink_end = (see.slot_from(sink_keys, count) + size::keys - 1) / size::keys;
  }
  int at = sink_end > 0 ? 0 : from;
  int clear = (see.first + row0 + 1) / size::keys; // tiles before it are seen whole, without a window

  float o[D / 8][4], c[size::parts][4], m[2] = {NEVER, NEVER}, l[2] = {0, 0};
  UNROLL for (int j = 0; j < D / 8; j++) UNROLL for (int e = 0; e < 4; e++) o[j][e] = 0;
  bool busy = warp * 16 < rows;
  const T *mine = qs + warp * 16 * size::ld;

  load_rows<T, D>(qs, q + ((size_t)row0 * heads + head) * kdim, (size_t)heads * kdim, size::rows, 0, rows, kdim);
  load_rows<T, D>(ks, k + (size_t)at * size::keys * kdim, kdim, size::keys, 0, count - at * size::keys, kdim);
  copy_commit();
  load_rows<T, D>(vs, v + (size_t)at * size::keys * vdim, vdim, size::keys, 0, count - at * size::keys, vdim);
  copy_commit();
  NO_UNROLL while (at < end) {
    int key0 = at * size::keys, next = at + 1 == sink_end ? most(at + 1, from) : at + 1;
    copy_wait<1>(); // the keys; the values may still be under way
    block_sync();
    if (busy) scores<size::parts, size::ld>(c, mine, ks, kdim);
    block_sync();
    if (next < end) load_rows<T, D>(ks, k + (size_t)next * size::keys * kdim, kdim, size::keys, 0, count - next * size::keys, kdim);
    copy_commit();
    if (busy) {
      bool edge = window > 0 || at >= clear;
      float top[2] = {m[0], m[1]};
      scale_scores(c, scale, cap);
      if (edge) {
        UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int x = 0; x < 2; x++) {
          int slot = key0 + 8 * j + 2 * t + x, p = slot < count ? see.position(slot) : 0;
          UNROLL for (int i = 0; i < 2; i++) {
            if (!see.sees(row0 + warp * 16 + g + i * 8, slot, p)) c[j][2 * i + x] = NEVER;
          }
        }
      }
      UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int e = 0; e < 4; e++) top[e >> 1] = larger(top[e >> 1], c[j][e]);
      float shrink[2], base[2];
      UNROLL for (int i = 0; i < 2; i++) {
        top[i] = larger(top[i], shfl_xor(top[i], 1));
        top[i] = larger(top[i], shfl_xor(top[i], 2));
        base[i] = top[i] == NEVER ? 0.f : top[i]; // nothing seen yet: exp(NEVER - 0) is 0
        shrink[i] = exp_fast(m[i] - base[i]);
        m[i] = top[i];
        l[i] *= shrink[i];
      }
      UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int e = 0; e < 4; e++) {
        c[j][e] = exp_fast(c[j][e] - base[e >> 1]);
        l[e >> 1] += c[j][e];
      }
      UNROLL for (int j = 0; j < D / 8; j++) UNROLL for (int e = 0; e < 4; e++) o[j][e] *= shrink[e >> 1];
    }
    copy_wait<1>(); // the values; the next keys may be under way
    block_sync();
    if (busy) add_values<size::parts, D / 8, size::ld>(o, c, vs, vdim);
    block_sync();
    if (next < end) load_rows<T, D>(vs, v + (size_t)next * size::keys * vdim, vdim, size::keys, 0, count - next * size::keys, vdim);
    copy_commit();
    at = next;
  }
  if (!busy) return;

  UNROLL for (int i = 0; i < 2; i++) {
    l[i] += shfl_xor(l[i], 1);
    l[i] += shfl_xor(l[i], 2);
    float shrink = 1;
    if (sinks) {
      float top = larger(m[i], sinks[head]);
      shrink = exp_fast(m[i] - top);
      l[i] = l[i] * shrink + exp_fast(sinks[head] - top);
      m[i] = top;
    }
    int row = warp * 16 + g + i * 8;
    if (row >= rows) continue;
    size_t r = (size_t)head * n + row0 + row;
    if (t == 0 && stat) stat[2 * r] = m[i], stat[2 * r + 1] = l[i];
    if (t == 0 && lse) lse[r] = m[i] + log_fast(l[i]);
    float by = shrink / l[i];
    T *to = out + ((size_t)(row0 + row) * heads + head) * vdim;
    UNROLL for (int j = 0; j < D / 8; j++) {
      int d = 8 * j + 2 * t;
      if (vdim % 2 == 0) {
        if (d < vdim) narrow2(to + d, o[j][2 * i] * by, o[j][2 * i + 1] * by);
      } else {
        if (d < vdim) narrow(to[d], o[j][2 * i] * by);
        if (d + 1 < vdim) narrow(to[d + 1], o[j][2 * i + 1] * by);
      }
    }
  }
}

// Rows of weights. A block takes 64 rows of a head against some tiles of keys.
template <class T, int D> DEVICE void attention_rows(void *w, uint64_t ld_head, int ldw, const uint8_t *drop, const int *list, int first,
    int rows, int key0, int width, int per_block, const T *q, const T *k, const float *stat, const int *counts, const int *pos, int n,
    int pos0, int keys, int room, int heads, int stores, int kdim, int window, int sink_keys, float scale, float cap) {
  DYN_SHARED(memory);
  typedef tile<T, D> size;
  T *qs = (T *)memory, *ks = qs + size::rows * size::ld;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  int out0 = blockIdx.y * size::rows, row0 = first + out0, here = least(size::rows, rows - out0);
  int head = list ? list[blockIdx.z] : blockIdx.z, store = head / (heads / stores);
  int count = counts ? counts[store] : keys;
  sight see = {pos ? pos + (size_t)store * room : 0, count - n, pos0, window, sink_keys};
  k += (size_t)store * room * kdim;
  float m[2], by[2];
  UNROLL for (int i = 0; i < 2; i++) {
    int row = least(warp * 16 + g + i * 8, here - 1);
    const float *s = stat + 2 * ((size_t)head * n + row0 + row);
    m[i] = s[0], by[i] = 1.f / s[1];
  }
  load_rows<T, D>(qs, q + ((size_t)row0 * heads + head) * kdim, (size_t)heads * kdim, size::rows, 0, here, kdim);
  bool busy = warp * 16 < here;
  NO_UNROLL for (int i = 0; i < per_block; i++) {
    int off = (blockIdx.x * per_block + i) * size::keys, slot0 = key0 + off;
    if (off >= width) break;
    bool any = slot0 <= see.first + row0 + here - 1; // else none of these rows sees any of these keys
    float c[size::parts][4] = {};
    block_sync(); // all are done with the last keys
    if (any) load_rows<T, D>(ks, k + (size_t)slot0 * kdim, kdim, size::keys, 0, count - slot0, kdim);
    copy_commit();
    copy_wait<0>();
    block_sync();
    if (!busy) continue;
    if (any) scores<size::parts, size::ld>(c, qs + warp * 16 * size::ld, ks, kdim);
    scale_scores(c, scale, cap);
    UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int x = 0; x < 2; x++) {
      int slot = slot0 + 8 * j + 2 * t + x, p = slot < count ? see.position(slot) : 0;
      UNROLL for (int i = 0; i < 2; i++) {
        float v = exp_fast(c[j][2 * i + x] - m[i]) * by[i];
        c[j][2 * i + x] = any && see.sees(row0 + warp * 16 + g + i * 8, slot, p) ? v : 0.f;
      }
    }
    UNROLL for (int i = 0; i < 2; i++) {
      int row = warp * 16 + g + i * 8;
      if (row >= here) continue;
      size_t to = ((size_t)blockIdx.z * ld_head + out0 + row) * ldw + off + 2 * t;
      int left = width - off - 2 * t;
      if (drop) {
        UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int x = 0; x < 2; x++) {
          if (8 * j + x < left) ((uint16_t *)w)[to + 8 * j + x] = dropped_half(c[j][2 * i + x], drop);
        }
      } else {
        UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int x = 0; x < 2; x++) {
          if (8 * j + x < left) ((float *)w)[to + 8 * j + x] = c[j][2 * i + x];
        }
      }
    }
  }
}

// A window's sum over the queries of a tile, in every lane of a key's four.
template <int P> DEVICE float sum_queries(const float (&w)[P][4], int key, int first, int last) {
  int t = threadIdx.x & 3;
  float s = 0;
  UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 2; e++) {
    int x = 8 * j + 2 * t + e;
    if (x >= first && x < last) s += w[j][2 * key + e];
  }
  s += shfl_xor(s, 1);
  return s + shfl_xor(s, 2);
}

// A tile of the queries at positions p0.., of which those in [lo, hi) count.
struct sum_queries_tile {
  int p0, lo, hi, queries;
  DEVICE_MEMBER int from() const { return most(lo - p0, 0); }
  DEVICE_MEMBER int to() const { return least(hi - p0, queries); }
  // Maximum and 1/sum of the query that is this thread's to fetch.
  DEVICE_MEMBER float2 stat(const float *stat, int pos0) const {
    int y = threadIdx.x;
    if (y < from() || y >= to()) return float2{0, 0};
    const float *s = stat + 2 * (int64_t)(p0 - pos0 + y);
    return float2{s[0], 1.f / s[1]};
  }
};

// Weights summed over queries. A block owns 64 keys, 16 a warp, and goes over the
// queries by tiles that stand at multiples of their size: what is added up as
// float32 before it becomes fixed point does not depend on how a prompt is cut.
template <class T, int D> DEVICE void attention_sums(int64_t *total, uint64_t ld_total, int64_t *windows, uint64_t ld_window, int win_start,
    int win_size, int win_count, float *cells, int side, int prompt, const int *list, int first, int rows, const T *q, const T *k,
    const float *stat, int n, int pos0, int room, int heads, int stores, int kdim, int window, int sink_keys, float scale, float cap) {
  DYN_SHARED(memory);
  typedef tile<T, D> size;
  enum { QUERIES = size::keys }; // of a tile; the keys of a block are as many as a tile's rows
  SHARED float2 stats[2][QUERIES]; // maximum and 1/sum of each query
  T *ks = (T *)memory, *qs = ks + size::rows * size::ld; // two tiles of queries: one is loaded while the other is used
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  int key0 = blockIdx.x * size::rows, listed = blockIdx.y, head = list ? list[listed] : listed, store = head / (heads / stores);
  sight see = {0, pos0, pos0, window, sink_keys};
  int lo = most(pos0 + first, key0), hi = pos0 + first + rows; // positions of queries that may see these keys
  if (window > 0 && key0 >= sink_keys) hi = least(hi, key0 + size::rows - 1 + window);
  int begin = lo / QUERIES, tiles = hi > lo ? (hi + QUERIES - 1) / QUERIES - begin : 0, each = (tiles + gridDim.z - 1) / gridDim.z;
  int x = begin + blockIdx.z * each, last = begin + least(tiles, (blockIdx.z + 1) * each);
  if (x >= last) return;
  load_rows<T, D>(ks, k + ((size_t)store * room + key0) * kdim, kdim, size::rows, 0, pos0 + n - key0, kdim);
  q += head * kdim, stat += 2 * (size_t)head * n;
  sum_queries_tile next = {x * QUERIES, lo, hi, QUERIES};
  load_rows<T, D>(qs, q + (int64_t)(next.p0 - pos0) * heads * kdim, (size_t)heads * kdim, QUERIES, next.from(), next.to(), kdim);
  copy_commit();
  float2 s = next.stat(stat, pos0);
  if (threadIdx.x < QUERIES) stats[0][threadIdx.x] = s;
  int key = key0 + warp * 16 + g; // and key + 8
  int64_t sum[2] = {0, 0}, part[2] = {0, 0};
  int open = -1, buffer = 0; // the window that part belongs to
  NO_UNROLL for (; x < last; x++, buffer ^= 1) {
    int p0 = next.p0, r0 = p0 - pos0, from = next.from(), to = next.to(); // queries of the tile that count; r0 may be negative
    copy_wait<0>();
    block_sync(); // this tile is there, and all are done with the last one
    if (x + 1 < last) {
      next.p0 += QUERIES;
      load_rows<T, D>(qs + (buffer ^ 1) * QUERIES * size::ld, q + (int64_t)(next.p0 - pos0) * heads * kdim, (size_t)heads * kdim, QUERIES,
          next.from(), next.to(), kdim);
      s = next.stat(stat, pos0);
    }
    copy_commit();
    float c[size::parts][4];
    scores<size::parts, size::ld>(c, ks + warp * 16 * size::ld, qs + buffer * QUERIES * size::ld, kdim);
    if (threadIdx.x < QUERIES) stats[buffer ^ 1][threadIdx.x] = s;
    scale_scores(c, scale, cap);
    if (from == 0 && to == QUERIES && window <= 0 && p0 >= key0 + size::rows - 1) { // all of them see all of the keys
      UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int e = 0; e < 4; e++) {
        float2 row = stats[buffer][8 * j + 2 * t + (e & 1)];
        c[j][e] = exp_fast(c[j][e] - row.x) * row.y;
      }
    } else {
      UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int e = 0; e < 4; e++) {
        int y = 8 * j + 2 * t + (e & 1), slot = key + (e >> 1) * 8;
        float2 row = stats[buffer][y];
        c[j][e] = y >= from && y < to && see.sees(r0 + y, slot, slot) ? exp_fast(c[j][e] - row.x) * row.y : 0.f;
      }
    }
    int w_lo = -1, w_hi = -1; // windows the tile's queries fall into
    if (windows) {
      int a = p0 + from - win_start, b = p0 + to - 1 - win_start;
      w_lo = a < 0 ? -1 : a / win_size;
      w_hi = b < 0 ? -1 : least(b / win_size, win_count - 1);
    }
    UNROLL for (int i = 0; i < 2; i++) {
      int64_t whole = to_fixed(sum_queries(c, i, 0, QUERIES));
      sum[i] += whole;
      NO_UNROLL for (int w = most(w_lo, 0), was = open; w <= w_hi; w++) {
        int a = win_start + w * win_size - p0;
        int64_t s = w_lo == w_hi ? whole : to_fixed(sum_queries(c, i, a, a + win_size));
        if (w != was && was >= 0) {
          if (t == 0 && key + 8 * i < pos0 + n) atomic_add(windows + ((size_t)listed * win_count + was) * ld_window + key + 8 * i, part[i]);
          part[i] = 0;
        }
        part[i] += s;
        was = w;
      }
    }
    if (w_hi >= 0 && w_hi >= w_lo) open = w_hi;
    if (!cells) continue;
    float top = 0;
    UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int e = 0; e < 4; e++) top = larger(top, c[j][e]);
    int row_lo = (p0 + from) * side / prompt, row_hi = (p0 + to - 1) * side / prompt;
    int col_lo = (key - g) * side / prompt, col_hi = (key - g + 15) * side / prompt;
    float *to_cells = cells + (size_t)listed * side * side;
    if (row_lo == row_hi && col_lo == col_hi) {
      top = warp_max(top);
      if (lane == 0 && top > 0) atomic_max(to_cells + row_lo * side + col_lo, top);
    } else {
      UNROLL for (int j = 0; j < size::parts; j++) UNROLL for (int e = 0; e < 4; e++) {
        int row = (p0 + 8 * j + 2 * t + (e & 1)) * side / prompt, col = (key + (e >> 1) * 8) * side / prompt;
        if (c[j][e] > 0) atomic_max(to_cells + row * side + col, c[j][e]);
      }
    }
  }
  UNROLL for (int i = 0; i < 2; i++) {
    if (t != 0 || key + 8 * i >= pos0 + n) continue;
    if (total && sum[i] != 0) atomic_add(total + (size_t)listed * ld_total + key + 8 * i, sum[i]);
    if (open >= 0 && part[i] != 0) atomic_add(windows + ((size_t)listed * win_count + open) * ld_window + key + 8 * i, part[i]);
  }
}

// blocks is how many blocks of the first pass are to fit on a multiprocessor.
#define ATTENTION(T, D, blocks) \
  KERNEL_ON(128, blocks, attention_##T##_##D, T *out, float *stat, float *lse, const T *q, const T *k, const T *v, const int *counts, const int *pos, \
      const float *sinks, int n, int pos0, int keys, int room, int heads, int stores, int kdim, int vdim, int window, int sink_keys, \
      float scale, float cap) { \
    attention<T, D>(out, stat, lse, q, k, v, counts, pos, sinks, n, pos0, keys, room, heads, stores, kdim, vdim, window, sink_keys, scale, cap); \
  } \
  KERNEL(128, attention_rows_##T##_##D, void *w, uint64_t ld_head, int ldw, const uint8_t *drop, const int *list, int first, int rows, \
      int key0, int width, int per_block, const T *q, const T *k, const float *stat, const int *counts, const int *pos, int n, int pos0, \
      int keys, int room, int heads, int stores, int kdim, int window, int sink_keys, float scale, float cap) { \
    attention_rows<T, D>(w, ld_head, ldw, drop, list, first, rows, key0, width, per_block, q, k, stat, counts, pos, n, pos0, keys, room, heads, \
        stores, kdim, window, sink_keys, scale, cap); \
  } \
  KERNEL(128, attention_sums_##T##_##D, int64_t *total, uint64_t ld_total, int64_t *windows, uint64_t ld_window, int win_start, int win_size, \
      int win_count, float *cells, int side, int prompt, const int *list, int first, int rows, const T *q, const T *k, const float *stat, \
      int n, int pos0, int room, int heads, int stores, int kdim, int window, int sink_keys, float scale, float cap) { \
    attention_sums<T, D>(total, ld_total, windows, ld_window, win_start, win_size, win_count, cells, side, prompt, list, first, rows, q, k, \
        stat, n, pos0, room, heads, stores, kdim, window, sink_keys, scale, cap); \
  }
ATTENTION(f32, 64, 1) ATTENTION(f32, 128, 1) ATTENTION(f32, 256, 1)
ATTENTION(f16, 64, 1) ATTENTION(f16, 128, 3) ATTENTION(f16, 256, 1)
ATTENTION(bf16, 64, 1) ATTENTION(bf16, 128, 3) ATTENTION(bf16, 256, 1)
