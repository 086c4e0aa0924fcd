// Tiles of attention: strips of 16 rows a warp against a few columns, scores in registers.
// All element types share one layout, that of mma's accumulator: with g = lane/4
// and t = lane%4, c[j][0..3] are (row g, column 8j+2t), (g, 8j+2t+1), (g+8, 8j+2t),
// (g+8, 8j+2t+1). Source of the scheme: Dao, "FlashAttention-2", arXiv:2307.08691.
#pragma once

// Sizes for heads of at most D channels; ../kernels_attention.go has the same. The first
// pass multiplies rows of queries with keys, a recorded row's pass too, and sums over
// queries multiply columns of keys with queries.
template <class T, int D> struct tile {
  static const bool half = sizeof(T) == 2;
  static const int strips = half && D <= 128 ? 2 : 1;                     // of 16 rows, a warp
  static const int rows = 64 * strips;                                    // of the first pass
  static const int keys = half ? 32 : 4096 / D;                          // of the first pass
  static const int row_keys = half ? (D <= 128 ? 64 : 32) : 4096 / D;     // of recorded rows
  static const int columns = 64 * strips;                                 // keys that sums over queries own
  static const int queries = row_keys;                                    // of these sums
};
enum { ATTENTION_THREADS = 128, RECORDED_ROWS = 64 };

// Where element x of row r of a tile stands. The pieces of 16 bytes of a row are exchanged
// by the row's number, so that the same piece of eight rows lies in eight groups of banks.
template <class T, int D> DEVICE int place(int r, int x) {
  enum { N = vec<T>::n };
  return r * D + ((x / N ^ (r & 7)) * N) + x % N;
}

// Rows of a matrix, and the rows of a group's heads: those of a query one after another, from
// head first of a query on, whose first head is at.
template <class T> struct matrix_rows {
  const T *at;
  size_t stride;
  DEVICE_MEMBER const T *row(int r) const { return at + (int64_t)r * (int64_t)stride; }
  DEVICE_MEMBER bool aligned(int to) const { return stride % to == 0 && aligned16(at); }
};
template <class T> struct group_rows {
  const T *at;
  size_t stride; // of queries
  int group, first, dim;
  DEVICE_MEMBER const T *row(int r) const { return at + (first + r) / group * stride + (first + r) % group * dim; }
  DEVICE_MEMBER bool aligned(int to) const { return dim % to == 0 && aligned16(at); }
};

// Rows [lo, hi) of src to the same rows of the tile, and zeros to its other rows and to
// channels from dim on, up to the next 32: those that products read.
template <class T, int D, class Rows> DEVICE void load_rows(T *to, Rows src, int rows, int lo, int hi, int dim) {
  enum { N = vec<T>::n, WIDE = D / N, STEP = ATTENTION_THREADS / WIDE };
  int x = threadIdx.x % WIDE * N;
  if (x >= (dim + 31) / 32 * 32) return;
  if (dim % N == 0 && src.aligned(N)) {
    NO_UNROLL for (int r = threadIdx.x / WIDE; r < rows; r += STEP) {
      bool in = r >= lo && r < hi && x < dim;
      copy_async(to + place<T, D>(r, x), in ? src.row(r) + x : src.at, in ? 16 : 0);
    }
    return;
  }
  NO_UNROLL for (int r = threadIdx.x / WIDE; r < rows; r += STEP) {
    UNROLL for (int e = 0; e < N; e++) narrow(to[place<T, D>(r, x + e)], r >= lo && r < hi && x + e < dim ? widen(src.row(r)[x + e]) : 0.f);
  }
}

template <int S, int P> DEVICE void clear(float (&c)[S][P][4]) {
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) c[s][j][e] = 0;
}

// c = a·bᵀ: strips of 16 rows of a against 8*P rows of b, over dim channels.
template <int D, int P> DEVICE void scores(float (&c)[1][P][4], const f32 *a, const f32 *b, int dim) {
  int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  clear(c);
  NO_UNROLL for (int d = 0; d < dim; d += 4) {
    float x[2][4], y[2][4];
    widen16(x[0], a + place<f32, D>(g, d));
    widen16(x[1], a + 8 * D + place<f32, D>(g, d));
    UNROLL for (int j = 0; j < P; j++) {
      widen16(y[0], b + 8 * j * D + place<f32, D>(2 * t, d));
      widen16(y[1], b + 8 * j * D + place<f32, D>(2 * t + 1, d));
      UNROLL for (int e = 0; e < 4; e++) UNROLL for (int i = 0; i < 4; i++) c[0][j][e] += x[e >> 1][i] * y[e & 1][i];
    }
  }
}

// Fragments of strips of 16 rows, and of 8*P rows of the right side: addresses of channel 0 in
// the lane's row. The piece of channel d is exchanged by swap = lane%8, the row's number.
template <int D, class T> DEVICE const T *left_row(const T *a) { return a + (threadIdx.x & 15) * D; }
template <int D, class T> DEVICE const T *right_row(const T *b) { return b + ((threadIdx.x & 7) + (threadIdx.x >> 4 & 1) * 8) * D; }
DEVICE int left_piece(int d) { return ((d / 8 + (threadIdx.x >> 4 & 1)) ^ (threadIdx.x & 7)) * 8; }
DEVICE int right_piece(int d) { return ((d / 8 + (threadIdx.x >> 3 & 1)) ^ (threadIdx.x & 7)) * 8; }

// c += x·bᵀ for the 16 channels from d on. b is right_row's.
template <int D, int S, int P, class T> DEVICE void multiply(float (&c)[S][P][4], const uint32_t (&x)[S][4], const T *b, int d) {
  UNROLL for (int j = 0; j < P; j += 2) {
    uint32_t y[4];
    load_matrices(y, b + j * 8 * D + right_piece(d));
    UNROLL for (int s = 0; s < S; s++) {
      mma(T(), c[s][j], x[s], y[0], y[1]);
      mma(T(), c[s][j + 1], x[s], y[2], y[3]);
    }
  }
}
template <int D, int S, int P, class T> DEVICE void scores(float (&c)[S][P][4], const T *a, const T *b, int dim) {
  a = left_row<D>(a), b = right_row<D>(b);
  clear(c);
  NO_UNROLL for (int d = 0; d < dim; d += 32) {
    UNROLL for (int e = 0; e < 32; e += 16) {
      uint32_t x[S][4];
      UNROLL for (int s = 0; s < S; s++) load_matrices(x[s], a + s * 16 * D + left_piece(d + e));
      multiply<D>(c, x, b, d + e);
    }
  }
}

// Scores as weights need them: those of weight_of.
template <int S, int P> DEVICE void cap_scores(float (&c)[S][P][4], float scale, float cap) {
  if (cap <= 0) return;
  UNROLL for (int s = 0; s < S; s++) UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 4; e++) {
    c[s][j][e] = capped(c[s][j][e], scale, cap);
  }
}

// o += p·v: weights of strips of 16 rows against 8*P rows of v, dim channels of O*8.
template <int D, int P, int O> DEVICE void add_values(float (&o)[1][O][4], const float (&p)[1][P][4], const f32 *v, int dim) {
  int lane = threadIdx.x & 31, t = lane & 3;
  const f32 *even = v + 2 * t, *odd = v + (2 * t ^ 4);
  UNROLL for (int j = 0; j < P; j++) UNROLL for (int e = 0; e < 8; e++) {
    int from = (lane & ~3) | e >> 1; // who holds column 8j+e of my rows
    const f32 *row = (e & 1 ? odd : even) + (8 * j + e) * D;
    float w0 = shfl(p[0][j][e & 1], from), w1 = shfl(p[0][j][2 + (e & 1)], from);
    UNROLL for (int n = 0; n < O; n++) {
      if (8 * n >= dim) continue;
      float2 x = *(const float2 *)(row + (8 * n ^ 4 * (e & 6))); // at place(e, 8n + 2t)
      o[0][n][0] += w0 * x.x, o[0][n][1] += w0 * x.y, o[0][n][2] += w1 * x.x, o[0][n][3] += w1 * x.y;
    }
  }
}
DEVICE uint32_t pack(f16, float lo, float hi) { return pack_half(lo, hi); }
DEVICE uint32_t pack(bf16, float lo, float hi) { return pack_bfloat(lo, hi); }
template <int D, int S, int P, int O, class T> DEVICE void add_values(float (&o)[S][O][4], const float (&p)[S][P][4], const T *v, int dim) {
  v = left_row<D>(v);
  int piece = anew(left_piece(0)); // else the addresses of all channels would take registers
  UNROLL for (int j = 0; j < P; j += 2) { // the accumulator's layout is that of the next product's left side
    uint32_t x[S][4];
    UNROLL for (int s = 0; s < S; s++) UNROLL for (int i = 0; i < 4; i++) {
      x[s][i] = pack(T(), p[s][j + (i >> 1)][2 * (i & 1)], p[s][j + (i >> 1)][2 * (i & 1) + 1]);
    }
    // Channels from dim on are computed and never stored: with a test of dim here, ptxas loads
    // every matrix into the same registers, and each load waits for the product before it.
    UNROLL for (int n = 0; n < O; n += 2) {
      uint32_t y[4];
      load_matrices_transposed(y, v + j * 8 * D + (8 * n ^ piece));
      UNROLL for (int s = 0; s < S; s++) {
        mma(T(), o[s][n], x[s], y[0], y[1]);
        mma(T(), o[s][n + 1], x[s], y[2], y[3]);
      }
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
