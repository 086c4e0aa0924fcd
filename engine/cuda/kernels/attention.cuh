// Attention over a prompt: the pass itself, with running maximum and sum, and the
// second passes that give out weights, for asked rows or summed over queries.
#pragma once

// A block takes some rows of a store's queries: those of its heads, a query after another, so
// that few queries fill a block, too. It may begin with any head of its first query. All its
// rows read the same keys and values.
template <class T, int D> DEVICE void attention(T *out, float *stat, float *lse, const T *q, const T *k, const T *v, const int *counts,
    const int *pos, const float *sinks, int n, int pos0, int keys, int room, int heads, int stores, int kdim, int vdim, int window,
    int sink_keys, float scale, float cap) {
  DYN_SHARED(memory);
  typedef tile<T, D> size;
  enum { S = size::strips, P = size::keys / 8 };
  T *qs = (T *)memory, *ks = qs + size::rows * D, *vs = ks + size::keys * D;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  int group = heads / stores, row0 = (gridDim.x - 1 - blockIdx.x) * size::rows; // the last queries see most: they go first
  int rows = least(size::rows, n * group - row0), store = blockIdx.y;
  int query0 = row0 / group, query1 = (row0 + rows - 1) / group;
  int count = counts ? counts[store] : keys;
  sight see = {pos ? pos + (size_t)store * room : 0, count - n, pos0, window, sink_keys};
  k += (size_t)store * room * kdim, v += (size_t)store * room * vdim;

  // Tiles of keys: those of the sinks, then those from the window on.
  int end = (see.first + query1 + size::keys) / size::keys, from = 0, sink_end = 0;
  if (window > 0) {
    from = see.slot_from(pos0 + query0 - window + 1, count) / size::keys;
    if (sink_keys > 0) sink_end = (see.slot_from(sink_keys, count) + size::keys - 1) / size::keys;
  }
  int at = sink_end > 0 ? 0 : from;

  // The warp's rows: it sees keys before hidden, and without a window all keys before clear.
  int mine = warp * 16 * S;
  int clear = window > 0 ? 0 : see.first + (row0 + mine) / group + 1;
  int hidden = mine < rows ? see.first + (row0 + least(mine + 16 * S, rows) - 1) / group + 1 : 0;
  float factor = score_factor(scale, cap);
  float o[S][D / 8][4], c[S][P][4], m[S][2], l[S][2]; // m: the largest score so far, times factor
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int i = 0; i < 2; i++) m[s][i] = NEVER, l[s][i] = 0;
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int j = 0; j < D / 8; j++) UNROLL for (int e = 0; e < 4; e++) o[s][j][e] = 0;

  load_rows<T, D>(qs, group_rows<T>{q + ((size_t)query0 * heads + store * group) * kdim, (size_t)heads * kdim, group, row0 % group, kdim}, size::rows, 0, rows,
      kdim);
  load_rows<T, D>(ks, matrix_rows<T>{k + (size_t)at * size::keys * kdim, (size_t)kdim}, size::keys, 0, count - at * size::keys, kdim);
  copy_commit();
  NO_UNROLL while (at < end) {
    int key0 = at * size::keys, next = at + 1 == sink_end ? most(at + 1, from) : at + 1;
    copy_wait<0>();
    block_sync(); // the keys are there, and all are done with the last values
    load_rows<T, D>(vs, matrix_rows<T>{v + (size_t)key0 * vdim, (size_t)vdim}, size::keys, 0, count - key0, vdim);
    copy_commit();
    bool busy = key0 < hidden;
    if (busy) {
      scores<D>(c, qs + mine * D, ks, kdim);
      cap_scores(c, scale, cap);
      if (key0 + size::keys > clear) {
        UNROLL for (int s = 0; s < S; s++) UNROLL for (int i = 0; i < 2; i++) {
          int query = (row0 + mine + 16 * s + g + 8 * i) / group;
          UNROLL for (int j = 0; j < P; j++) UNROLL for (int x = 0; x < 2; x++) {
            int slot = key0 + 8 * j + 2 * t + x;
            if (!see.sees(query, slot, slot < count ? see.position(slot) : 0)) c[s][j][2 * i + x] = NEVER;
          }
        }
      }
      UNROLL for (int s = 0; s < S; s++) {
        float top[2] = {NEVER, NEVER}, shrink[2], base[2];
        UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) top[e >> 1] = larger(top[e >> 1], c[s][j][e]);
        UNROLL for (int i = 0; i < 2; i++) {
          top[i] = larger(top[i], shfl_xor(top[i], 1));
          top[i] = larger(top[i], shfl_xor(top[i], 2));
          top[i] = larger(top[i] * factor, m[s][i]);
          base[i] = top[i] == NEVER ? 0.f : top[i]; // nothing seen yet: exp(NEVER - 0) is 0
          shrink[i] = exp2_fast(m[s][i] - base[i]);
          m[s][i] = top[i];
          l[s][i] *= shrink[i];
        }
        UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) {
          c[s][j][e] = weight_of(c[s][j][e], factor, base[e >> 1]);
          l[s][e >> 1] += c[s][j][e];
        }
        if (shrink[0] != 1.f || shrink[1] != 1.f) { // seldom: the largest score is among the first keys
          UNROLL for (int j = 0; j < D / 8; j++) UNROLL for (int e = 0; e < 4; e++) o[s][j][e] *= shrink[e >> 1];
        }
      }
    }
    copy_wait<0>();
    block_sync(); // the values are there, and all are done with the keys
    if (next < end) load_rows<T, D>(ks, matrix_rows<T>{k + (size_t)next * size::keys * kdim, (size_t)kdim}, size::keys, 0, count - next * size::keys, kdim);
    copy_commit();
    if (busy) add_values<D>(o, c, vs, vdim);
    at = next;
  }

  UNROLL for (int s = 0; s < S; s++) UNROLL for (int i = 0; i < 2; i++) {
    float sum = l[s][i], top = m[s][i], shrink = 1;
    sum += shfl_xor(sum, 1);
    sum += shfl_xor(sum, 2);
    int row = mine + 16 * s + g + 8 * i, query = (row0 + row) / group, head = store * group + (row0 + row) % group;
    if (row >= rows) continue;
    if (sinks) {
      float sink = sinks[head] * LOG2E;
      top = larger(top, sink);
      shrink = exp2_fast(m[s][i] - top);
      sum = sum * shrink + exp2_fast(sink - top);
    }
    size_t r = (size_t)head * n + query;
    if (t == 0 && stat) stat[2 * r] = top, stat[2 * r + 1] = sum;
    if (t == 0 && lse) lse[r] = (top + log2_fast(sum)) * LN2;
    float by = shrink / sum;
    T *to = out + ((size_t)query * heads + head) * vdim;
    UNROLL for (int j = 0; j < D / 8; j++) {
      int d = 8 * j + 2 * t;
      if (vdim % 2 == 0) {
        if (d < vdim) narrow2(to + d, o[s][j][2 * i] * by, o[s][j][2 * i + 1] * by);
      } else {
        if (d < vdim) narrow(to[d], o[s][j][2 * i] * by);
        if (d + 1 < vdim) narrow(to[d + 1], o[s][j][2 * i + 1] * by);
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
  enum { KEYS = size::row_keys, P = KEYS / 8 };
  T *qs = (T *)memory, *ks = qs + RECORDED_ROWS * D;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  int out0 = blockIdx.y * RECORDED_ROWS, row0 = first + out0, here = least(RECORDED_ROWS, rows - out0);
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
  load_rows<T, D>(qs, matrix_rows<T>{q + ((size_t)row0 * heads + head) * kdim, (size_t)heads * kdim}, RECORDED_ROWS, 0, here, kdim);
  bool busy = warp * 16 < here;
  float factor = score_factor(scale, cap);
  NO_UNROLL for (int i = 0; i < per_block; i++) {
    int off = (blockIdx.x * per_block + i) * KEYS, slot0 = key0 + off;
    if (off >= width) break;
    bool any = slot0 <= see.first + row0 + here - 1; // else none of these rows sees any of these keys
    float c[1][P][4] = {};
    block_sync(); // all are done with the last keys
    if (any) load_rows<T, D>(ks, matrix_rows<T>{k + (size_t)slot0 * kdim, (size_t)kdim}, KEYS, 0, count - slot0, kdim);
    copy_commit();
    copy_wait<0>();
    block_sync();
    if (!busy) continue;
    if (any) scores<D>(c, qs + warp * 16 * D, ks, kdim);
    cap_scores(c, scale, cap);
    UNROLL for (int j = 0; j < P; j++) UNROLL for (int x = 0; x < 2; x++) {
      int slot = slot0 + 8 * j + 2 * t + x, p = slot < count ? see.position(slot) : 0;
      UNROLL for (int i = 0; i < 2; i++) {
        float v = weight_of(c[0][j][2 * i + x], factor, m[i]) * by[i];
        c[0][j][2 * i + x] = any && see.sees(row0 + warp * 16 + g + i * 8, slot, p) ? v : 0.f;
      }
    }
    UNROLL for (int i = 0; i < 2; i++) {
      int row = warp * 16 + g + i * 8;
      if (row >= here) continue;
      size_t to = ((size_t)blockIdx.z * ld_head + out0 + row) * ldw + off + 2 * t;
      int left = width - off - 2 * t;
      if (drop) {
        UNROLL for (int j = 0; j < P; j++) UNROLL for (int x = 0; x < 2; x++) {
          if (8 * j + x < left) ((uint16_t *)w)[to + 8 * j + x] = dropped_half(c[0][j][2 * i + x], drop);
        }
      } else {
        UNROLL for (int j = 0; j < P; j++) UNROLL for (int x = 0; x < 2; x++) {
          if (8 * j + x < left) ((float *)w)[to + 8 * j + x] = c[0][j][2 * i + x];
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

// The keys that a warp owns, as the left side of products with all queries: in registers, and
// those of float32 in shared memory.
template <class T, int D, int S> struct left_side {
  uint32_t x[D / 16][S][4];
  // Takes the keys of a, whose copies have been started. Then their place is free.
  DEVICE_MEMBER void keep(const T *a) {
    copy_commit();
    copy_wait<0>();
    block_sync();
    a = left_row<D>(a);
    UNROLL for (int i = 0; i < D / 16; i++) UNROLL for (int s = 0; s < S; s++) load_matrices(x[i][s], a + s * 16 * D + left_piece(16 * i));
    block_sync();
  }
  template <int P> DEVICE_MEMBER void scores(float (&c)[S][P][4], const T *b, int dim) const {
    b = right_row<D>(b);
    clear(c);
    UNROLL for (int d = 0; d < D; d += 32) {
      if (d >= dim) continue;
      multiply<D>(c, x[d / 16], b, d);
      multiply<D>(c, x[d / 16 + 1], b, d + 16);
    }
  }
};
template <int D> struct left_side<f32, D, 1> {
  const f32 *a;
  DEVICE_MEMBER void keep(const f32 *keys) { a = keys; }
  template <int P> DEVICE_MEMBER void scores(float (&c)[1][P][4], const f32 *b, int dim) const { ::scores<D>(c, a, b, dim); }
};

// Weights summed over queries. A block owns some keys, and goes over the
// queries by tiles that stand at multiples of their size: what is added up as
// float32 before it becomes fixed point does not depend on how a prompt is cut.
template <class T, int D> DEVICE void attention_sums(int64_t *total, uint64_t ld_total, int64_t *windows, uint64_t ld_window, int win_start,
    int win_size, int win_count, float *cells, int side, int prompt, const int *list, int first, int rows, const T *q, const T *k,
    const float *stat, int n, int pos0, int room, int heads, int stores, int kdim, int window, int sink_keys, float scale, float cap) {
  DYN_SHARED(memory);
  typedef tile<T, D> size;
  enum { S = size::strips, KEYS = size::columns, QUERIES = size::queries, P = QUERIES / 8 };
  SHARED float2 stats[2][QUERIES]; // maximum and 1/sum of each query
  // Two tiles of queries: one is loaded while the other is used. float32's keys lie before
  // them. Other keys pass through their place to registers, and stay there.
  T *ks = (T *)memory, *qs = size::half ? ks : ks + KEYS * D;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  int key0 = blockIdx.x * KEYS, listed = blockIdx.y, head = list ? list[listed] : listed, store = head / (heads / stores);
  sight see = {0, pos0, pos0, window, sink_keys};
  int lo = most(pos0 + first, key0), hi = pos0 + first + rows; // positions of queries that may see these keys
  if (window > 0 && key0 >= sink_keys) hi = least(hi, key0 + KEYS - 1 + window);
  int begin = lo / QUERIES, tiles = hi > lo ? (hi + QUERIES - 1) / QUERIES - begin : 0, each = (tiles + gridDim.z - 1) / gridDim.z;
  int x = begin + blockIdx.z * each, last = begin + least(tiles, (blockIdx.z + 1) * each);
  if (x >= last) return;
  load_rows<T, D>(ks, matrix_rows<T>{k + ((size_t)store * room + key0) * kdim, (size_t)kdim}, KEYS, 0, pos0 + n - key0, kdim);
  left_side<T, D, S> left;
  left.keep(ks + warp * 16 * S * D);
  q += head * kdim, stat += 2 * (size_t)head * n;
  sum_queries_tile next = {x * QUERIES, lo, hi, QUERIES};
  load_rows<T, D>(qs, matrix_rows<T>{q + (int64_t)(next.p0 - pos0) * heads * kdim, (size_t)heads * kdim}, QUERIES, next.from(), next.to(), kdim);
  copy_commit();
  float2 s = next.stat(stat, pos0);
  if (threadIdx.x < QUERIES) stats[0][threadIdx.x] = s;
  int key = key0 + warp * 16 * S + g; // and every eighth key of the warp's strips
  float factor = score_factor(scale, cap);
  int64_t sum[S][2] = {}, part[S][2] = {};
  int open = -1, buffer = 0; // the window that part belongs to
  NO_UNROLL for (; x < last; x++, buffer ^= 1) {
    int p0 = next.p0, r0 = p0 - pos0, from = next.from(), to = next.to(); // queries of the tile that count; r0 may be negative
    copy_wait<0>();
    block_sync(); // this tile is there, and all are done with the last one
    if (x + 1 < last) {
      next.p0 += QUERIES;
      load_rows<T, D>(qs + (buffer ^ 1) * QUERIES * D, matrix_rows<T>{q + (int64_t)(next.p0 - pos0) * heads * kdim, (size_t)heads * kdim}, QUERIES,
          next.from(), next.to(), kdim);
      s = next.stat(stat, pos0);
    }
    copy_commit();
    float c[S][P][4];
    left.scores(c, qs + buffer * QUERIES * D, kdim);
    if (threadIdx.x < QUERIES) stats[buffer ^ 1][threadIdx.x] = s;
    cap_scores(c, scale, cap);
    if (from == 0 && to == QUERIES && window <= 0 && p0 >= key0 + KEYS - 1) { // all of them see all of the keys
      UNROLL for (int j = 0; j < P; j++) UNROLL for (int x = 0; x < 2; x++) {
        float2 row = stats[buffer][8 * j + 2 * t + x];
        UNROLL for (int s = 0; s < S; s++) UNROLL for (int e = x; e < 4; e += 2) c[s][j][e] = weight_of(c[s][j][e], factor, row.x) * row.y;
      }
    } else {
      UNROLL for (int j = 0; j < P; j++) UNROLL for (int x = 0; x < 2; x++) {
        int y = 8 * j + 2 * t + x;
        float2 row = stats[buffer][y];
        UNROLL for (int s = 0; s < S; s++) UNROLL for (int e = x; e < 4; e += 2) {
          int slot = key + 16 * s + (e >> 1) * 8;
          c[s][j][e] = y >= from && y < to && see.sees(r0 + y, slot, slot) ? weight_of(c[s][j][e], factor, row.x) * row.y : 0.f;
        }
      }
    }
    int w_lo = -1, w_hi = -1, w_end = -1; // windows that the tile's first and last query fall into; w_hi is one that is wanted
    if (windows) {
      int a = p0 + from - win_start, b = p0 + to - 1 - win_start;
      w_lo = a < 0 ? -1 : a / win_size;
      w_end = b < 0 ? -1 : b / win_size;
      w_hi = least(w_end, win_count - 1);
    }
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int i = 0; i < 2; i++) {
      int64_t whole = to_fixed(sum_queries(c[s], i, 0, QUERIES));
      int at = key + 16 * s + 8 * i;
      sum[s][i] += whole;
      NO_UNROLL for (int w = most(w_lo, 0), was = open; w <= w_hi; w++) {
        int a = win_start + w * win_size - p0;
        int64_t in = w_lo == w_end ? whole : to_fixed(sum_queries(c[s], i, a, a + win_size));
        if (w != was && was >= 0) {
          if (t == 0 && at < pos0 + n) atomic_add(windows + ((size_t)listed * win_count + was) * ld_window + at, part[s][i]);
          part[s][i] = 0;
        }
        part[s][i] += in;
        was = w;
      }
    }
    if (w_hi >= 0 && w_hi >= w_lo) open = w_hi;
    if (!cells) continue;
    float *to_cells = cells + (size_t)listed * side * side;
    int row_lo = (p0 + from) * side / prompt, row_hi = (p0 + to - 1) * side / prompt;
    UNROLL for (int s = 0; s < S; s++) {
      float top = 0;
      UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) top = larger(top, c[s][j][e]);
      int strip = key - g + 16 * s, col_lo = strip * side / prompt, col_hi = (strip + 15) * side / prompt;
      if (row_lo == row_hi && col_lo == col_hi) {
        top = warp_max(top);
        if (lane == 0 && top > 0) atomic_max(to_cells + row_lo * side + col_lo, top);
      } else {
        UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) {
          int row = (p0 + 8 * j + 2 * t + (e & 1)) * side / prompt, col = (strip + g + (e >> 1) * 8) * side / prompt;
          if (c[s][j][e] > 0) atomic_max(to_cells + row * side + col, c[s][j][e]);
        }
      }
    }
  }
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int i = 0; i < 2; i++) {
    int at = key + 16 * s + 8 * i;
    if (t != 0 || at >= pos0 + n) continue;
    if (total && sum[s][i] != 0) atomic_add(total + (size_t)listed * ld_total + at, sum[s][i]);
    if (open >= 0 && part[s][i] != 0) atomic_add(windows + ((size_t)listed * win_count + open) * ld_window + at, part[s][i]);
  }
}

// blocks and sums are how many blocks of the first pass and of sums over queries are to fit on
// a multiprocessor.
#define ATTENTION(T, D, blocks, sums) \
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
  KERNEL_ON(128, sums, attention_sums_##T##_##D, int64_t *total, uint64_t ld_total, int64_t *windows, uint64_t ld_window, int win_start, int win_size, \
      int win_count, float *cells, int side, int prompt, const int *list, int first, int rows, const T *q, const T *k, const float *stat, \
      int n, int pos0, int room, int heads, int stores, int kdim, int window, int sink_keys, float scale, float cap) { \
    attention_sums<T, D>(total, ld_total, windows, ld_window, win_start, win_size, win_count, cells, side, prompt, list, first, rows, q, k, \
        stat, n, pos0, room, heads, stores, kdim, window, sink_keys, scale, cap); \
  }
ATTENTION(f32, 64, 1, 1) ATTENTION(f32, 128, 1, 1) ATTENTION(f32, 256, 1, 1)
ATTENTION(f16, 64, 3, 2) ATTENTION(f16, 128, 2, 2) ATTENTION(f16, 256, 1, 1)
ATTENTION(bf16, 64, 3, 2) ATTENTION(bf16, 128, 2, 2) ATTENTION(bf16, 256, 1, 1)
