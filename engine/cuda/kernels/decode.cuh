// Attention of few queries against a long cache, in three kernels: every block
// takes a part of the keys of one store, for up to 8 query heads that read it.
// Scores go through memory, so that the row of weights is there to be recorded.
#pragma once

enum { DECODE_THREADS = 128, DECODE_GROUP = 8, DECODE_LD = 256 + 8, DECODE_LANES = 8 };

// What a block of the first two kernels works on.
struct decode_block {
  int row, store, head0, used, slot0, slot1;
  DEVICE_MEMBER decode_block(int heads, int stores, int count, int part) {
    int group = heads / stores, groups = (group + DECODE_GROUP - 1) / DECODE_GROUP, g = blockIdx.y % groups;
    row = blockIdx.z, store = blockIdx.y / groups;
    head0 = store * group + g * DECODE_GROUP;
    used = least(DECODE_GROUP, group - g * DECODE_GROUP);
    slot0 = blockIdx.x * part, slot1 = slot0 + part;
  }
};

// scores [n, heads, keys]; stat [n, heads, parts, 2]: maximum, sum. Eight lanes
// share a key.
template <class T> DEVICE void decode_scores(float *out, float *stat, const T *q, const T *k, const int *counts, const int *pos, int n,
    int pos0, int keys, int room, int heads, int stores, int kdim, int window, int sink_keys, float scale, float cap, int part) {
  enum { N = vec<T>::n };
  DYN_SHARED(memory);
  SHARED float part_m[4][DECODE_GROUP], part_l[4][DECODE_GROUP];
  float *qs = (float *)memory; // [used][DECODE_LD]
  decode_block b(heads, stores, 0, part);
  int count = counts ? counts[b.store] : keys, lane = threadIdx.x & 31, warp = threadIdx.x >> 5, share = lane & (DECODE_LANES - 1);
  sight see = {pos ? pos + (size_t)b.store * room : 0, count - n, pos0, window, sink_keys};
  q += ((size_t)b.row * heads + b.head0) * kdim;
  int padded = (kdim + 7) / 8 * 8; // zeros behind the last channel
  for (int i = threadIdx.x; i < b.used * padded; i += DECODE_THREADS) {
    int h = i / padded, d = i % padded;
    qs[h * DECODE_LD + d] = d < kdim ? widen(q[h * kdim + d]) : 0.f;
  }
  block_sync();
  k += (size_t)b.store * room * kdim;
  bool wide = kdim % N == 0 && aligned16(k);
  float m[DECODE_GROUP], l[DECODE_GROUP];
  UNROLL for (int h = 0; h < DECODE_GROUP; h++) m[h] = NEVER, l[h] = 0;
  int end = least(b.slot1, keys);
  NO_UNROLL for (int base = b.slot0; base < end; base += DECODE_THREADS / DECODE_LANES) { // whole warps stay together
    int slot = base + threadIdx.x / DECODE_LANES;
    bool sees = slot < end && slot < count && see.sees(b.row, slot, see.position(slot));
    float dot[DECODE_GROUP] = {};
    if (sees) {
      const T *key = k + (size_t)slot * kdim;
      NO_UNROLL for (int d = share * N; d < kdim; d += DECODE_LANES * N) {
        float x[N];
        if (wide) widen16(x, key + d);
        else widen_some(x, key + d, kdim - d);
        UNROLL for (int h = 0; h < DECODE_GROUP; h++) {
          if (h >= b.used) continue;
          UNROLL for (int i = 0; i < N; i += 4) {
            float y[4];
            widen16(y, qs + h * DECODE_LD + d + i);
            UNROLL for (int e = 0; e < 4; e++) dot[h] += x[i + e] * y[e];
          }
        }
      }
    }
    UNROLL for (int h = 0; h < DECODE_GROUP; h++) {
      if (h >= b.used) continue;
      float s = dot[h];
      UNROLL for (int x = 1; x < DECODE_LANES; x <<= 1) s += shfl_xor(s, x);
      s = sees ? capped(s, scale, cap) : NEVER;
      if (share == 0 && slot < end) out[((size_t)b.row * heads + b.head0 + h) * keys + slot] = s;
      if (sees) {
        float top = larger(m[h], s);
        l[h] = l[h] * exp_fast(m[h] - top) + exp_fast(s - top);
        m[h] = top;
      }
    }
  }
  UNROLL for (int h = 0; h < DECODE_GROUP; h++) { // the four keys of a warp, then the warps
    if (h >= b.used) continue;
    float top = larger(m[h], shfl_xor(m[h], 8));
    top = larger(top, shfl_xor(top, 16));
    float sum = m[h] == NEVER ? 0.f : l[h] * exp_fast(m[h] - top);
    sum += shfl_xor(sum, 8);
    sum += shfl_xor(sum, 16);
    if (lane == 0) part_m[warp][h] = top, part_l[warp][h] = sum;
  }
  block_sync();
  if (threadIdx.x < b.used) {
    int h = threadIdx.x;
    float top = NEVER, sum = 0;
    for (int w = 0; w < 4; w++) top = larger(top, part_m[w][h]);
    for (int w = 0; w < 4; w++) sum += part_m[w][h] == NEVER ? 0.f : part_l[w][h] * exp_fast(part_m[w][h] - top);
    float *s = stat + (((size_t)b.row * heads + b.head0 + h) * gridDim.x + blockIdx.x) * 2;
    s[0] = top, s[1] = sum;
  }
}

// partial [n, heads, parts, vdim]; w [heads, n, ldw]; lse [heads, n].
template <class T> DEVICE void decode_values(float *partial, void *w, int ldw, const uint8_t *drop, float *lse, const float *scores,
    const float *stat, const T *v, const int *counts, const float *sinks, int n, int keys, int room, int heads, int stores, int vdim, int part) {
  enum { N = vec<T>::n, STEP = 128 };
  DYN_SHARED(memory);
  SHARED float weight[DECODE_GROUP][STEP], all_m[DECODE_GROUP], all_l[DECODE_GROUP];
  float *sum = (float *)memory; // [used][DECODE_LD]
  decode_block b(heads, stores, 0, part);
  int count = counts ? counts[b.store] : keys, lane = threadIdx.x & 31, warp = threadIdx.x >> 5, parts = gridDim.x;
  for (int h = warp; h < b.used; h += 4) { // a warp puts the parts of a head together
    const float *s = stat + ((size_t)b.row * heads + b.head0 + h) * parts * 2;
    float top = sinks ? sinks[b.head0 + h] : NEVER, l = 0;
    for (int p = lane; p < parts; p += 32) top = larger(top, s[2 * p]);
    top = warp_max(top);
    for (int p = lane; p < parts; p += 32) l += s[2 * p] == NEVER ? 0.f : s[2 * p + 1] * exp_fast(s[2 * p] - top);
    l = warp_sum(l) + (sinks ? exp_fast(sinks[b.head0 + h] - top) : 0.f);
    if (lane == 0) {
      all_m[h] = top, all_l[h] = 1.f / l;
      if (lse && blockIdx.x == 0) lse[(size_t)(b.head0 + h) * n + b.row] = top + log_fast(l);
    }
  }
  for (int i = threadIdx.x; i < b.used * vdim; i += DECODE_THREADS) sum[i / vdim * DECODE_LD + i % vdim] = 0;
  // Threads share out the channels by 16 bytes, and the keys among what is left.
  int chunks = (vdim + N - 1) / N, ways = DECODE_THREADS / chunks, way = threadIdx.x / chunks, d = threadIdx.x % chunks * N;
  v += (size_t)b.store * room * vdim;
  bool wide = vdim % N == 0 && aligned16(v);
  float acc[DECODE_GROUP][N] = {};
  int end = least(b.slot1, keys);
  NO_UNROLL for (int base = b.slot0; base < end; base += STEP) {
    block_sync();
    int here = least(STEP, end - base);
    for (int h = warp; h < b.used; h += 4) {
      NO_UNROLL for (int i = lane; i < here; i += 32) {
        size_t row = (size_t)b.row * heads + b.head0 + h;
        float x = exp_fast(scores[row * keys + base + i] - all_m[h]) * all_l[h];
        weight[h][i] = x;
        if (w) {
          size_t to = ((size_t)(b.head0 + h) * n + b.row) * ldw + base + i;
          if (drop) ((uint16_t *)w)[to] = dropped_half(x, drop);
          else ((float *)w)[to] = x;
        }
      }
    }
    block_sync();
    if (way >= ways) continue;
    here = least(here, count - base); // slots past the store's count hold nothing
    NO_UNROLL for (int i = way; i < here; i += ways) {
      float x[N];
      const T *value = v + (size_t)(base + i) * vdim + d;
      if (wide) widen16(x, value);
      else widen_some(x, value, vdim - d);
      UNROLL for (int h = 0; h < DECODE_GROUP; h++) {
        if (h >= b.used) continue;
        float y = weight[h][i];
        UNROLL for (int e = 0; e < N; e++) acc[h][e] += y * x[e];
      }
    }
  }
  NO_UNROLL for (int x = 0; x < ways; x++) { // one after the other: the sum's order is fixed
    block_sync();
    if (way != x) continue;
    UNROLL for (int h = 0; h < DECODE_GROUP; h++) UNROLL for (int e = 0; e < N; e++) {
      if (h < b.used && d + e < vdim) sum[h * DECODE_LD + d + e] += acc[h][e];
    }
  }
  block_sync();
  for (int i = threadIdx.x; i < b.used * vdim; i += DECODE_THREADS) {
    int h = i / vdim, at = i % vdim;
    partial[(((size_t)b.row * heads + b.head0 + h) * parts + blockIdx.x) * vdim + at] = sum[h * DECODE_LD + at];
  }
}

// out [n, heads, vdim].
template <class T> DEVICE void decode_combine(T *out, const float *partial, int n, int heads, int vdim, int parts) {
  size_t head = (size_t)blockIdx.y * heads + blockIdx.x;
  for (int d = threadIdx.x; d < vdim; d += DECODE_THREADS) {
    float sum = 0;
    for (int p = 0; p < parts; p++) sum += partial[(head * parts + p) * vdim + d];
    narrow(out[head * vdim + d], sum);
  }
}

#define DECODE(T) \
  KERNEL(128, decode_scores_##T, float *out, float *stat, const T *q, const T *k, const int *counts, const int *pos, int n, int pos0, int keys, \
      int room, int heads, int stores, int kdim, int window, int sink_keys, float scale, float cap, int part) { \
    decode_scores(out, stat, q, k, counts, pos, n, pos0, keys, room, heads, stores, kdim, window, sink_keys, scale, cap, part); \
  } \
  KERNEL(128, decode_values_##T, float *partial, void *w, int ldw, const uint8_t *drop, float *lse, const float *scores, const float *stat, \
      const T *v, const int *counts, const float *sinks, int n, int keys, int room, int heads, int stores, int vdim, int part) { \
    decode_values(partial, w, ldw, drop, lse, scores, stat, v, counts, sinks, n, keys, room, heads, stores, vdim, part); \
  } \
  KERNEL(128, decode_combine_##T, T *out, const float *partial, int n, int heads, int vdim, int parts) { \
    decode_combine(out, partial, n, heads, vdim, parts); \
  }
DECODE(f32) DECODE(f16) DECODE(bf16)
