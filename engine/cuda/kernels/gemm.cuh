// Products c[m, n] (+)= a[m, k] · w[n, k]ᵀ, float32 out.
#pragma once

DEVICE void store_sum(float *c, float v, int add) { *c = add ? *c + v : v; }

// float32: tiles of 64 x 64 x 16, 4 x 4 a thread. Tiles lie transposed in shared
// memory, so that a thread reads four rows, or four columns, at once.
KERNEL(256, gemm_f32, float *c, int ldc, const float *a, int lda, const float *w, int ldw, int m, int n, int k, int add) {
  DYN_SHARED(memory);
  enum { TILE = 64, STEP = 16, LD = TILE + 4 };
  float *as = (float *)memory, *ws = as + STEP * LD;
  int row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
  int load = threadIdx.x >> 2, at = (threadIdx.x & 3) * 4;
  int ty = threadIdx.x >> 4, tx = threadIdx.x & 15;
  bool wide = lda % 4 == 0 && ldw % 4 == 0 && aligned16(a) && aligned16(w);
  const float *ap = a + (size_t)(row0 + load) * lda, *wp = w + (size_t)(col0 + load) * ldw;
  bool has_a = row0 + load < m, has_w = col0 + load < n;
  float sum[4][4] = {};
  for (int k0 = 0; k0 < k; k0 += STEP) {
    float x[4] = {}, y[4] = {};
    int left = k - k0 - at;
    if (wide && left >= 4) {
      if (has_a) widen16(x, ap + k0 + at);
      if (has_w) widen16(y, wp + k0 + at);
    } else {
      if (has_a) widen_some(x, ap + k0 + at, left);
      if (has_w) widen_some(y, wp + k0 + at, left);
    }
    UNROLL for (int e = 0; e < 4; e++) as[(at + e) * LD + load] = x[e], ws[(at + e) * LD + load] = y[e];
    block_sync();
    UNROLL for (int e = 0; e < STEP; e++) {
      float p[4], q[4];
      widen16(p, as + e * LD + ty * 4);
      widen16(q, ws + e * LD + tx * 4);
      UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 4; j++) sum[i][j] += p[i] * q[j];
    }
    block_sync();
  }
  UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 4; j++) {
    int row = row0 + ty * 4 + i, col = col0 + tx * 4 + j;
    if (row < m && col < n) store_sum(c + (size_t)row * ldc + col, sum[i][j], add);
  }
}

DEVICE void mma(f16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { mma_half(d, a, b0, b1); }
DEVICE void mma(bf16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { mma_bfloat(d, a, b0, b1); }

// Where element x of a row of STEP stands: pieces of 16 bytes are exchanged by the row's number, so
// that the same piece of eight rows lies in eight groups of banks.
template <int STEP> DEVICE int gemm_place(int row, int x) {
  return row * STEP + ((x / 8 ^ (row / (64 / STEP) & (STEP / 8 - 1))) * 8) + x % 8;
}

// Rows [0, 128) of columns [k0, k0+STEP) to shared memory, zeros outside of valid
// rows and k.
template <int STEP, class T> DEVICE void gemm_load(T *tile, const T *src, int ld, int valid, int k0, int k, bool wide) {
  enum { PIECES = STEP / 8 };
  UNROLL for (int i = 0; i < PIECES / 2; i++) {
    int chunk = threadIdx.x + 256 * i, row = chunk / PIECES, at = chunk % PIECES * 8;
    T *dst = tile + gemm_place<STEP>(row, at);
    const T *from = src + (size_t)row * ld + k0 + at;
    int left = row < valid ? k - k0 - at : 0;
    if (wide) {
      copy_async(dst, left > 0 ? from : src, left > 0 ? 16 : 0);
    } else {
      UNROLL for (int e = 0; e < 8; e++) dst[e].bits = e < left ? from[e].bits : 0;
    }
  }
}

// One stage's tiles: those of a's terms, then that of w.
template <int TERMS, int STEP, class T>
DEVICE void gemm_stage(T *tiles, const T *a, int lda, size_t term, int rows, const T *w, int ldw, int columns, int k0, int k, bool wide) {
  enum { TILE = 128 * STEP };
  UNROLL for (int t = 0; t < TERMS; t++) gemm_load<STEP>(tiles + t * TILE, a + t * term, lda, rows, k0, k, wide);
  gemm_load<STEP>(tiles + TERMS * TILE, w, ldw, columns, k0, k, wide);
}

// Tensor cores: tiles of 128 x 128 x STEP in three stages, 8 warps of 64 x 32. With several
// TERMS, a is the sum of so many matrices [m, lda], the largest numbers in the first. Their
// products are then added up from the smallest for 16 columns at a time, and that sum is added
// to the whole by an addition that rounds: tensor cores cut sums off instead, which would add
// up over long rows.
template <class T, int TERMS, int STEP>
DEVICE void gemm(float *c, int ldc, const T *a, int lda, const T *w, int ldw, int m, int n, int k, int add) {
  DYN_SHARED(memory);
  enum { TILE = 128, STAGES = 3, STAGE = (TERMS + 1) * TILE * STEP };
  T *tiles = (T *)memory; // [stage][terms of a, w][128][STEP]
  int row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, wm = (warp >> 2) * 64, wn = (warp & 3) * 32;
  size_t term = (size_t)m * lda;
  a += (size_t)row0 * lda, w += (size_t)col0 * ldw;
  bool wide = k % 8 == 0 && lda % 8 == 0 && ldw % 8 == 0 && aligned16(a) && aligned16(w);
  bool busy = row0 + wm < m && col0 + wn < n; // else all of the warp's tile is outside
  float sum[4][4][4] = {};
  int coming = 0, stage = 0, free = STAGES - 1; // columns asked for; the stage to use; the one to fill
  NO_UNROLL for (int i = 0; i < STAGES - 1; i++, coming += STEP) {
    if (coming < k) gemm_stage<TERMS, STEP>(tiles + i * STAGE, a, lda, term, m - row0, w, ldw, n - col0, coming, k, wide);
    copy_commit();
  }
  NO_UNROLL for (int k0 = 0; k0 < k; k0 += STEP, coming += STEP) {
    copy_wait<STAGES - 2>();
    block_sync(); // this stage is there, and all are done with the last one, which is filled anew
    if (coming < k) gemm_stage<TERMS, STEP>(tiles + free * STAGE, a, lda, term, m - row0, w, ldw, n - col0, coming, k, wide);
    copy_commit();
    if (busy) {
      const T *as = tiles + stage * STAGE, *ws = as + TERMS * TILE * STEP;
      UNROLL for (int s = 0; s < STEP; s += 16) {
        uint32_t x[4][4], y[2][4];
        int xr = wm + (lane & 15), xk = s + (lane >> 4) * 8;
        if (TERMS == 1) UNROLL for (int i = 0; i < 4; i++) load_matrices(x[i], as + gemm_place<STEP>(xr + i * 16, xk));
        UNROLL for (int j = 0; j < 2; j++) load_matrices(y[j], ws + gemm_place<STEP>(wn + j * 16 + (lane & 7) + (lane >> 4) * 8, s + (lane >> 3 & 1) * 8));
        UNROLL for (int i = 0; i < 4; i++) {
          float part[4][4] = {};
          if (TERMS > 1) UNROLL for (int t = 0; t < TERMS; t++) load_matrices(x[t], as + t * TILE * STEP + gemm_place<STEP>(xr + i * 16, xk));
          UNROLL for (int t = TERMS - 1; t >= 0; t--) UNROLL for (int j = 0; j < 4; j++) {
            mma(T(), TERMS == 1 ? sum[i][j] : part[j], x[TERMS == 1 ? i : t], y[j >> 1][(j & 1) * 2], y[j >> 1][(j & 1) * 2 + 1]);
          }
          if (TERMS > 1) UNROLL for (int j = 0; j < 4; j++) UNROLL for (int e = 0; e < 4; e++) sum[i][j][e] += part[j][e];
        }
      }
    }
    free = stage;
    stage = stage == STAGES - 1 ? 0 : stage + 1;
  }
  if (!busy) return;
  UNROLL for (int i = 0; i < 4; i++) UNROLL for (int j = 0; j < 4; j++) UNROLL for (int e = 0; e < 4; e++) {
    int row = row0 + wm + i * 16 + (lane >> 2) + (e >> 1) * 8, col = col0 + wn + j * 8 + (lane & 3) * 2 + (e & 1);
    if (row < m && col < n) store_sum(c + (size_t)row * ldc + col, sum[i][j][e], add);
  }
}
#define GEMM(T) \
  KERNEL(256, gemm_##T, float *c, int ldc, const T *a, int lda, const T *w, int ldw, int m, int n, int k, int add) { \
    gemm<T, 1, 32>(c, ldc, a, lda, w, ldw, m, n, k, add); \
  }
GEMM(f16) GEMM(bf16)

// float32 times bfloat16: a is the sum of three matrices [m, lda], which split_f32 has written.
enum { TERMS = 3 };
KERNEL_ON(256, 2, gemm_f32_bf16, float *c, int ldc, const bf16 *a, int lda, const bf16 *w, int ldw, int m, int n, int k, int add) {
  gemm<bf16, TERMS, 16>(c, ldc, a, lda, w, ldw, m, n, k, add);
}

// float32 as three bfloat16 numbers, dst [3, m, k], whose sum is the float32 exactly: each is what
// the ones before it leave, rounded.
KERNEL(256, split_f32, bf16 *dst, const float *src, int ld, int m, int k) {
  int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= k) return;
  for (int row = blockIdx.y; row < m; row += gridDim.y) {
    float x = src[(size_t)row * ld + at];
    UNROLL for (int t = 0; t < TERMS; t++) {
      bf16 part;
      narrow(part, x);
      x -= widen(part);
      dst[((size_t)t * m + row) * k + at] = part;
    }
  }
}

// Few rows: a warp takes one output of up to 8 rows, and reads its weights once.
enum { GEMV_ROWS = 8 };

// As many elements as x has, of whole pieces of 16 bytes.
template <class T, int N> DEVICE void widen_all(float (&x)[N], const T *p) {
  enum { PIECE = vec<T>::n };
  UNROLL for (int i = 0; i < N; i += PIECE) widen16(*(float(*)[PIECE])(x + i), p + i);
}

template <class A, class T> DEVICE void gemv(float *c, int ldc, const A *a, int lda, const T *w, int ldw, int m, int n, int k, int add) {
  enum { N = vec<T>::n };
  int col = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), row0 = blockIdx.y * GEMV_ROWS, lane = threadIdx.x & 31;
  if (col >= n) return;
  int rows = least(m - row0, GEMV_ROWS);
  a += (size_t)row0 * lda, w += (size_t)col * ldw;
  bool wide = lda % N == 0 && aligned16(a) && aligned16(w);
  float sum[GEMV_ROWS] = {};
  for (int at = lane * N; at < k; at += 32 * N) {
    float y[N], x[N];
    bool whole = wide && at + N <= k;
    if (whole) widen_all(y, w + at);
    else widen_some(y, w + at, k - at);
    UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
      if (r >= rows) continue;
      if (whole) widen_all(x, a + (size_t)r * lda + at);
      else widen_some(x, a + (size_t)r * lda + at, k - at);
      UNROLL for (int e = 0; e < N; e++) sum[r] += x[e] * y[e];
    }
  }
  UNROLL for (int r = 0; r < GEMV_ROWS; r++) {
    if (r >= rows) continue;
    float v = warp_sum(sum[r]);
    if (lane == 0) store_sum(c + (size_t)(row0 + r) * ldc + col, v, add);
  }
}
#define GEMV(T) \
  KERNEL(128, gemv_##T, float *c, int ldc, const T *a, int lda, const T *w, int ldw, int m, int n, int k, int add) { \
    gemv(c, ldc, a, lda, w, ldw, m, n, k, add); \
  }
GEMV(f32) GEMV(f16) GEMV(bf16)
KERNEL(128, gemv_f32_bf16, float *c, int ldc, const float *a, int lda, const bf16 *w, int ldw, int m, int n, int k, int add) {
  gemv(c, ldc, a, lda, w, ldw, m, n, k, add);
}
