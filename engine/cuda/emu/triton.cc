// Bodies for the kernels of ../triton: plain loops, in which the first thread of a block does what the block
// does. They say what the kernels compute; the other threads leave at once.
#define ATTNSCOPE_EMU
#include "../kernels/device.h"
#include "../kernels/numbers.cuh"
#include <vector>

namespace {

// The score of query q and key k, times factor.
template <class T> float scaled(const T *q, const T *k, int dim, float factor) {
  float s = 0;
  for (int d = 0; d < dim; d++) s += widen(q[d]) * widen(k[d]);
  return s * factor;
}

template <class T, int D>
void attention(T *out, float *stat, float *lse, const T *q, const T *k, const T *v, int n, int pos0, int room, int heads, int group, float factor) {
  enum { ROWS = 128 };
  int head = blockIdx.y;
  k += (size_t)(head / group) * room * D, v += (size_t)(head / group) * room * D;
  for (int row = blockIdx.x * ROWS; row < least(n, (blockIdx.x + 1) * ROWS); row++) {
    const T *query = q + ((size_t)row * heads + head) * D;
    std::vector<float> p(pos0 + row + 1);
    float top = NEVER, sum = 0, o[D] = {};
    for (size_t j = 0; j < p.size(); j++) {
      p[j] = scaled(query, k + j * D, D, factor);
      top = larger(top, p[j]);
    }
    for (size_t j = 0; j < p.size(); j++) {
      p[j] = exp2_fast(p[j] - top);
      sum += p[j];
      T rounded;
      narrow(rounded, p[j]);
      for (int d = 0; d < D; d++) o[d] += widen(rounded) * widen(v[j * D + d]);
    }
    size_t r = (size_t)head * n + row;
    if (stat) stat[2 * r] = top, stat[2 * r + 1] = sum;
    if (lse) lse[r] = (top + log2_fast(sum)) * LN2;
    for (int d = 0; d < D; d++) narrow(out[((size_t)row * heads + head) * D + d], o[d] / sum);
  }
}

template <class T, int D>
void attention_sums(int64_t *total, int64_t ld_total, const int *list, int first, int rows, const T *q, const T *k, const float *stat, int n, int pos0,
    int room, int heads, int group, float factor) {
  enum { KEYS = 128, QUERIES = 64 };
  int key0 = blockIdx.x * KEYS, head = list[blockIdx.y];
  int low = most(pos0 + first, key0), high = pos0 + first + rows;
  int begin = low / QUERIES, tiles = most((high + QUERIES - 1) / QUERIES - begin, 0), each = (tiles + gridDim.z - 1) / gridDim.z;
  int from = begin + blockIdx.z * each, to = least(begin + tiles, from + each);
  k += (size_t)(head / group) * room * D, stat += 2 * (size_t)head * n;
  for (int key = key0; key < least(key0 + KEYS, pos0 + n); key++) {
    int64_t sum = 0;
    for (int tile = from; tile < to; tile++) {
      float s = 0;
      for (int p = most(most(tile * QUERIES, low), key); p < least((tile + 1) * QUERIES, high); p++) {
        const float *of = stat + 2 * (size_t)(p - pos0);
        s += exp2_fast(scaled(q + ((size_t)(p - pos0) * heads + head) * D, k + (size_t)key * D, D, factor) - of[0]) / of[1];
      }
      sum += to_fixed(s);
    }
    if (sum) atomic_add(total + blockIdx.y * ld_total + key, sum);
  }
}

template <class T, int D>
void attention_rows(float *w, int64_t ld_head, int ld, const uint8_t *drop, const int *list, int first, int rows, int width, const T *q, const T *k,
    const float *stat, int n, int pos0, int room, int heads, int group, float factor) {
  enum { ROWS = 64, KEYS = 64 };
  int head = list[blockIdx.z];
  k += (size_t)(head / group) * room * D;
  for (int row = blockIdx.y * ROWS; row < least(rows, (blockIdx.y + 1) * ROWS); row++) {
    const float *of = stat + 2 * ((size_t)head * n + first + row);
    for (int key = blockIdx.x * KEYS; key < least(width, (blockIdx.x + 1) * KEYS); key++) {
      float x = 0;
      if (key <= pos0 + first + row) {
        x = exp2_fast(scaled(q + ((size_t)(first + row) * heads + head) * D, k + (size_t)key * D, D, factor) - of[0]) / of[1];
      }
      size_t at = (blockIdx.z * ld_head + row) * ld + key;
      if (drop) ((uint16_t *)w)[at] = dropped_half(x, drop);
      else w[at] = x;
    }
  }
}

template <class T> void gemm(float *c, int ldc, const T *a, int lda, const T *w, int ldw, int m, int n, int k, int add) {
  enum { ROWS = 128, COLUMNS = 128, GROUP = 8 };
  int tiles_m = (m + ROWS - 1) / ROWS, tiles_n = (n + COLUMNS - 1) / COLUMNS, width = GROUP * tiles_n, block = blockIdx.x;
  int first = block / width * GROUP, here = least(tiles_m - first, GROUP);
  int row0 = (first + block % width % here) * ROWS, column0 = block % width / here * COLUMNS;
  for (int i = row0; i < least(m, row0 + ROWS); i++) {
    for (int j = column0; j < least(n, column0 + COLUMNS); j++) {
      float s = scaled(a + (size_t)i * lda, w + (size_t)j * ldw, k, 1.f);
      float *to = c + (size_t)i * ldc + j;
      *to = add ? *to + s : s;
    }
  }
}

} // namespace

// Triton adds two pointers to the parameters of each kernel, to memory that these do not need.
#define TRITON_ATTENTION(T, D) \
  KERNEL(256, triton_attention_##T##_##D, T *out, float *stat, float *lse, const T *q, const T *k, const T *v, int n, int pos0, int room, int heads, \
      int group, float factor, void *, void *) { \
    if (threadIdx.x == 0) attention<T, D>(out, stat, lse, q, k, v, n, pos0, room, heads, group, factor); \
  } \
  KERNEL(256, triton_attention_sums_##T##_##D, int64_t *total, int64_t ld_total, const int *list, int first, int rows, const T *q, const T *k, \
      const float *stat, int n, int pos0, int room, int heads, int group, float factor, void *, void *) { \
    if (threadIdx.x == 0) attention_sums<T, D>(total, ld_total, list, first, rows, q, k, stat, n, pos0, room, heads, group, factor); \
  } \
  KERNEL(128, triton_attention_rows_##T##_##D, float *w, int64_t ld_head, int ld, const uint8_t *drop, const int *list, int first, int rows, int width, \
      const T *q, const T *k, const float *stat, int n, int pos0, int room, int heads, int group, float factor, void *, void *) { \
    if (threadIdx.x == 0) attention_rows<T, D>(w, ld_head, ld, drop, list, first, rows, width, q, k, stat, n, pos0, room, heads, group, factor); \
  }
#define TRITON_GEMM(T) \
  KERNEL(256, triton_gemm_##T, float *c, int ldc, const T *a, int lda, const T *w, int ldw, int m, int n, int k, int add, void *, void *) { \
    if (threadIdx.x == 0) gemm<T>(c, ldc, a, lda, w, ldw, m, n, k, add); \
  }
TRITON_ATTENTION(bf16, 64) TRITON_ATTENTION(bf16, 128)
TRITON_GEMM(bf16)
