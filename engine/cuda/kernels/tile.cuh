// Tiles of attention: 16 rows a warp against a few columns, scores in registers.
// All element types share one layout, that of mma's accumulator: with g = lane/4
// and t = lane%4, c[j][0..3] are (row g, column 8j+2t), (g, 8j+2t+1), (g+8, 8j+2t),
// (g+8, 8j+2t+1). Source of the scheme: Dao, "FlashAttention-2", arXiv:2307.08691.
#pragma once

// Sizes for heads of at most D channels; ../kernels_attention.go has the same.
template <class T, int D> struct tile {
  static const int rows = 64;                                                                   // queries, 16 a warp
  static const int keys = sizeof(T) == 4 ? 4096 / D : (8192 / D < 64 ? 8192 / D : 64);          // of a tile
  static const int parts = keys / 8;                                                            // of 8 columns
  static const int ld = D + vec<T>::n;                                                          // 16 bytes of padding
};
enum { ATTENTION_THREADS = 128 };

// Rows [lo, hi) of src to the same rows of the tile, zeros to its others, up to
// the next 16 channels: those that products read.
template <class T, int D> DEVICE void load_rows(T *to, const T *src, size_t stride, int rows, int lo, int hi, int dim) {
  enum { N = vec<T>::n, WIDE = D / N, STEP = ATTENTION_THREADS / WIDE };
  int x = threadIdx.x % WIDE * N;
  if (x >= (dim + 15) / 16 * 16) return;
  if (dim % N == 0 && stride % N == 0 && aligned16(src)) {
    NO_UNROLL for (int r = threadIdx.x / WIDE; r < rows; r += STEP) {
      bool in = r >= lo && r < hi && x < dim;
      copy_async(to + r * tile<T, D>::ld + x, in ? src + (int64_t)r * (int64_t)stride + x : src, in ? 16 : 0);
    }
    return;
  }
  NO_UNROLL for (int r = threadIdx.x / WIDE; r < rows; r += STEP) {
    const T *from = src + (int64_t)r * (int64_t)stride + x;
    UNROLL for (int e = 0; e < N; e++) narrow(to[r * tile<T, D>::ld + x + e], r >= lo && r < hi && x + e < dim ? widen(from[e]) : 0.f);
  }
}

// c = a·bᵀ: 16 rows of a against 8*P rows of b, over dim channels.
template <int P, int LD> DEVICE void scores(float (&c)[P][4], const f32 *a, const f32 *b, int dim) {
  int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) c[j][e] = 0;
  NO_UNROLL for (int d = 0; d < dim; d += 4) {
    float x[2][4], y[2][4];
    widen16(x[0], a + g * LD + d);
    widen16(x[1], a + (g + 8) * LD + d);
    UNROLL for (int j = 0; j < P; j++) {
      widen16(y[0], b + (8 * j + 2 * t) * LD + d);
      widen16(y[1], b + (8 * j + 2 * t + 1) * LD + d);
      UNROLL for (int e = 0; e < 4; e++) UNROLL for (int i = 0; i < 4; i++) c[j][e] += x[e >> 1][i] * y[e & 1][i];
    }
  }
}
template <int P, int LD, class T> DEVICE void scores(float (&c)[P][4], const T *a, const T *b, int dim) {
  int lane = threadIdx.x & 31;
  a += (lane & 15) * LD + (lane >> 4) * 8;
  b += ((lane & 7) + (lane >> 4) * 8) * LD + (lane >> 3 & 1) * 8;
  UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) c[j][e] = 0;
  NO_UNROLL for (int d = 0; d < dim; d += 16) {
    uint32_t x[4];
    load_matrices(x, a + d);
    UNROLL for (int j = 0; j < P; j += 2) {
      uint32_t y[4];
      load_matrices(y, b + j * 8 * LD + d);
      mma(T(), c[j], x, y[0], y[1]);
      mma(T(), c[j + 1], x, y[2], y[3]);
    }
  }
}

// Scores as they enter the softmax.
template <int P> DEVICE void scale_scores(float (&c)[P][4], float scale, float cap) {
  if (cap > 0) {
    UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) c[j][e] = capped(c[j][e], scale, cap);
  } else {
    UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) c[j][e] *= scale;
  }
}

// o += p·v: weights of 16 rows against 8*P rows of v, dim channels of O*8.
template <int P, int O, int LD> DEVICE void add_values(float (&o)[O][4], const float (&p)[P][4], const f32 *v, int dim) {
  int lane = threadIdx.x & 31, t = lane & 3;
  UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 8; e++) {
    int from = (lane & ~3) | e >> 1; // who holds column 8j+e of my rows
    float w0 = shfl(p[j][e & 1], from), w1 = shfl(p[j][2 + (e & 1)], from);
    UNROLL for (int n = 0; n < O; n++) {
      if (8 * n >= dim) continue;
      float2 x = *(const float2 *)(v + (8 * j + e) * LD + 8 * n + 2 * t);
      o[n][0] += w0 * x.x, o[n][1] += w0 * x.y, o[n][2] += w1 * x.x, o[n][3] += w1 * x.y;
    }
  }
}
DEVICE uint32_t pack(f16, float lo, float hi) { return pack_half(lo, hi); }
DEVICE uint32_t pack(bf16, float lo, float hi) { return pack_bfloat(lo, hi); }
template <int P, int O, int LD, class T> DEVICE void add_values(float (&o)[O][4], const float (&p)[P][4], const T *v, int dim) {
  int lane = threadIdx.x & 31;
  v += (lane & 15) * LD + (lane >> 4) * 8;
  UNROLL for (int j = 0; j < P; j += 2) { // the accumulator's layout is that of the next product's left side
    const uint32_t x[4] = {pack(T(), p[j][0], p[j][1]), pack(T(), p[j][2], p[j][3]), pack(T(), p[j + 1][0], p[j + 1][1]), pack(T(), p[j + 1][2], p[j + 1][3])};
    // Channels from dim on are computed and never stored: with a test of dim here, ptxas loads
    // every matrix into the same registers, and each load waits for the product before it.
    UNROLL for (int n = 0; n < O; n += 2) {
      uint32_t y[4];
      load_matrices_transposed(y, v + j * 8 * LD + 8 * n);
      mma(T(), o[n], x, y[0], y[1]);
      mma(T(), o[n + 1], x, y[2], y[3]);
    }
  }
}

// What one store's queries may see. Slots are in the order of positions, and the
// n of the pass stand last.
struct sight {
  const int *pos; // positions of slots, 0: their numbers
  int first;      // slots before the pass
  int pos0, window, sink_keys;

  // What a test of a slot needs of its position: nothing without a window.
  DEVICE_MEMBER int position(int slot) const { return pos && window > 0 ? pos[slot] : slot; }
  // Whether row i of the pass sees a slot of that position.
  DEVICE_MEMBER bool sees(int i, int slot, int position) const {
    return slot <= first + i && (window <= 0 || position > pos0 + i - window || position < sink_keys);
  }
  // The first slot of a position of at least p.
  DEVICE_MEMBER int slot_from(int p, int count) const {
    if (!pos) return p < 0 ? 0 : least(p, count);
    int lo = 0, hi = count;
    while (lo < hi) {
      int mid = (lo + hi) >> 1;
      if (pos[mid] < p) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }
};
