// Products of few rows with weights as they lie in a GGUF file, decoded on the way.
#pragma once

// The lane's part of the sums of a row of weights that are not quantised, beside others that are.
template <class T, int type> DEVICE void gemv_single_sum(float (&sum)[GEMV_ROWS], const T *a, int lda, const uint8_t *w, int rows, int k) {
  NO_UNROLL for (int at = threadIdx.x & 31; at < k; at += 32) {
    float y = element<type>(w + at * layout<type>::bytes, 0);
    UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
      if (r < rows) sum[r] += widen(a[(size_t)r * lda + at]) * y;
    }
  }
}

// Adds the products of sixteen weights, y times scale, to the sums of rows r to rows-1.
template <int r, class T, int type> DEVICE void add_products(float (&sum)[GEMV_ROWS], const T *a, int lda, int rows, const float (&y)[16], float2 scale) {
  enum { N = vec<T>::n };
  float products = 0, all = 0;
  UNROLL for (int i = 0; i < 16; i += N) {
    float x[N];
    widen16(x, a + i);
    UNROLL for (int e = 0; e < N; e++) {
      products += x[e] * y[i + e];
      if (has_minimum<type>()) all += x[e];
    }
  }
  sum[r] += scale.x * products;
  if (has_minimum<type>()) sum[r] += scale.y * all;
  if constexpr (r + 1 < GEMV_ROWS) { // clang unrolls no loop that ends after rows of them
    if (r + 1 < rows) add_products<r + 1, T, type>(sum, a + anew(lda), lda, rows, y, scale); // anew: else it keeps eight pointers
  }
}

// The same for quantised weights. A lane takes sixteen elements of every 512, which have one
// scale: it is multiplied with their sum. The next sixteen are on their way meanwhile.
template <class T, int type> DEVICE void gemv_sixteen_sum(float (&sum)[GEMV_ROWS], const T *a, int lda, const uint8_t *w, int rows, int k) {
  enum { STEP = 32 * 16, OF = layout<type>::elements, BYTES = STEP / OF * layout<type>::bytes };
  int first = (threadIdx.x & 31) * 16, in_block = first % OF;
  if (first >= k) return;
  const uint8_t *b = w + first / OF * layout<type>::bytes;
  sixteen<type> next;
  next.load(b, in_block);
  NO_UNROLL for (int at = first; at < k; at += STEP) {
    sixteen<type> now = next;
    if (at + STEP < k) b += BYTES; // else the last is read again, and not used
    next.load(b, in_block);
    float y[16];
    now.numbers(y, in_block);
    add_products<0, T, type>(sum, a + at, lda, rows, y, now.scale);
  }
}

template <class T, int type> DEVICE void gemv_quant_sum(float (&sum)[GEMV_ROWS], const T *a, int lda, const uint8_t *w, int rows, int k) {
  if constexpr (layout<type>::elements == 1) gemv_single_sum<T, type>(sum, a, lda, w, rows, k);
  else gemv_sixteen_sum<T, type>(sum, a, lda, w, rows, k);
}
template <class T> DEVICE void gemv_quant(float *c, int ldc, const T *a, int lda, const uint8_t *w, int type, int m, int n, int k, int add) {
  int col = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), row0 = blockIdx.y * GEMV_ROWS, lane = threadIdx.x & 31;
  if (col >= n) return;
  int rows = least(m - row0, GEMV_ROWS);
  a += (size_t)row0 * lda;
  float sum[GEMV_ROWS] = {};
  FOR_SOURCE(type, (gemv_quant_sum<T, TYPE>(sum, a, lda, w + row_bytes<TYPE>(k) * col, rows, k)));
  UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
    if (r >= rows) continue;
    float v = warp_sum(sum[r]);
    if (lane == 0) store_sum(c + (size_t)(row0 + r) * ldc + col, v, add);
  }
}
#define GEMV_QUANT(T, blocks) \
  KERNEL_ON(128, blocks, gemv_quant_##T, float *c, int ldc, const T *a, int lda, const uint8_t *w, int type, int m, int n, int k, int add) { \
    gemv_quant(c, ldc, a, lda, w, type, m, n, k, add); \
  }
GEMV_QUANT(f32, 5) GEMV_QUANT(f16, 6) GEMV_QUANT(bf16, 6)
