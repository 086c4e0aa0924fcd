// What the words of ../kernels/device.h mean on the host. Every thread of a block
// is a fiber on one system thread, so `static thread_local` is shared memory of
// the block; barriers and warp-wide instructions switch fibers. A warp-wide
// instruction is computed by the last lane to arrive, for all 32.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstddef>
#include <cstring>
#include <utility>

struct emu_dim3 { int x, y, z; };
struct emu_thread {
  emu_dim3 tid, bid, bdim, gdim;
  unsigned lane, warp;
  unsigned char *dyn;
};
extern thread_local emu_thread *emu_self; // set at every switch

void emu_barrier(int line);
// All lanes of a warp meet at one instruction, named by its function; f computes
// for all from what each brings.
void emu_collective(void (*f)(void **lanes), void *mine);
void emu_complain(const char *fault); // the launch fails
void emu_copy_async(void *dst, const void *src, int bytes, int size);
void emu_copy_commit();
void emu_copy_wait(int pending);

#define threadIdx (emu_self->tid)
#define blockIdx (emu_self->bid)
#define blockDim (emu_self->bdim)
#define gridDim (emu_self->gdim)
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define SHARED static thread_local
#define DYN_SHARED(name) unsigned char *name = emu_self->dyn
#define UNROLL
#define NO_UNROLL
#define block_sync() emu_barrier(__LINE__)

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };

DEVICE int anew(int x) { return x; }

template <class T> struct emu_shuffle { T value, result; int from; };
template <class T> T emu_shuffled(T v, int from) {
  emu_shuffle<T> s = {v, v, from};
  emu_collective([](void **lanes) {
    for (int i = 0; i < 32; i++) {
      auto *me = (emu_shuffle<T> *)lanes[i];
      if (me->from >= 0) me->result = ((emu_shuffle<T> *)lanes[me->from & 31])->value;
    }
  }, &s);
  return s.result;
}
DEVICE float shfl_xor(float v, int mask) { return emu_shuffled(v, (int)emu_self->lane ^ mask); }
DEVICE int shfl_xor(int v, int mask) { return emu_shuffled(v, (int)emu_self->lane ^ mask); }
DEVICE int shfl_up(int v, int by) { return emu_shuffled(v, (int)emu_self->lane - by); }
DEVICE float shfl(float v, int lane) { return emu_shuffled(v, lane); }

DEVICE float exp2_fast(float x) { return exp2f(x); }
DEVICE float log2_fast(float x) { return log2f(x); }
DEVICE float square_root(float x) { return sqrtf(x); }
DEVICE float reciprocal(float x) { return 1.f / x; }
DEVICE float larger(float a, float b) { return fmaxf(a, b); }
DEVICE int round_even(float x) { return (int)lrintf(x); }
DEVICE uint32_t bits_of(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
DEVICE uint64_t bits_of(double x) { uint64_t u; memcpy(&u, &x, 8); return u; }
DEVICE float float_of(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }
DEVICE uint32_t byte_permute(uint32_t x, uint32_t y, uint32_t choice) {
  uint64_t all = x | (uint64_t)y << 32;
  uint32_t r = 0;
  for (int i = 0; i < 4; i++) {
    uint32_t digit = choice >> 4 * i & 15;
    uint8_t byte = (uint8_t)(all >> 8 * (digit & 7));
    if (digit & 8) byte = byte & 128 ? 255 : 0;
    r |= (uint32_t)byte << 8 * i;
  }
  return r;
}

DEVICE float half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h >> 15) << 31, e = h >> 10 & 31, f = h & 1023;
  if (e == 0) return sign ? -(f * 0x1p-24f) : f * 0x1p-24f;
  return float_of(sign | (e == 31 ? 0x7f800000u : (e + 112) << 23) | f << 13);
}
DEVICE uint16_t float_to_half(float x) {
  uint32_t u = bits_of(x), sign = u >> 16 & 0x8000;
  u &= 0x7fffffff;
  if (u > 0x7f800000) return 0x7fff;
  if (u >= 0x477ff000) return sign | 0x7c00;
  if (u < 0x38800000) return sign | (uint16_t)lrintf(float_of(u) * 0x1p24f);
  u += 0xfff + (u >> 13 & 1);
  return sign | (u - 0x38000000) >> 13;
}
DEVICE uint16_t emu_float_to_bfloat(float x) {
  uint32_t u = bits_of(x);
  return x != x ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
DEVICE uint32_t pack_half(float lo, float hi) { return float_to_half(lo) | (uint32_t)float_to_half(hi) << 16; }
DEVICE uint32_t pack_bfloat(float lo, float hi) { return emu_float_to_bfloat(lo) | (uint32_t)emu_float_to_bfloat(hi) << 16; }

// mma.sync.aligned.m16n8k16.row.col.f32.*.*.f32, fragments of the PTX ISA: with
// g = lane/4 and t = lane%4, a holds (g, 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8) and
// their right neighbours, b (2t, g), (2t+8, g) and their lower ones.
// Sums are float32's, or with emu_cuts_off like those that tests of V100 to A100 found
// (Fasi et al., "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science
// 7:e330): eight exact products and the sum so far are aligned to the largest of them, cut
// off one bit behind the 24 of a float32, added, and cut off to a float32 again.
extern bool emu_cuts_off; // ATTNSCOPE_EMU_CUT_OFF, read at each launch
float emu_cut_off(float c, const float *a, const float *b, int stride);
struct emu_mma { float *d; const uint32_t *a; uint32_t b[2]; };
template <float widen(uint16_t)> void emu_mma_warp(void **lanes) {
  float a[16][16], b[16][8];
  for (int i = 0; i < 32; i++) {
    auto *m = (emu_mma *)lanes[i];
    int g = i >> 2, t = i & 3;
    for (int r = 0; r < 4; r++) for (int x = 0; x < 2; x++) a[g + (r & 1) * 8][2 * t + (r >> 1) * 8 + x] = widen(m->a[r] >> (16 * x));
    for (int r = 0; r < 2; r++) for (int x = 0; x < 2; x++) b[2 * t + r * 8 + x][g] = widen(m->b[r] >> (16 * x));
  }
  for (int i = 0; i < 32; i++) {
    auto *m = (emu_mma *)lanes[i];
    for (int e = 0; e < 4; e++) {
      int row = (i >> 2) + (e >> 1) * 8, col = (i & 3) * 2 + (e & 1);
      if (emu_cuts_off) {
        for (int k = 0; k < 16; k += 8) m->d[e] = emu_cut_off(m->d[e], &a[row][k], &b[k][col], 8);
        continue;
      }
      float sum = 0;
      for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][col];
      m->d[e] += sum;
    }
  }
}
inline float emu_bfloat(uint16_t h) { return float_of((uint32_t)h << 16); }
inline float emu_half(uint16_t h) { return half_to_float(h); }
DEVICE void mma_half(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emu_mma m = {d, a, {b0, b1}};
  emu_collective(emu_mma_warp<emu_half>, &m);
}
DEVICE void mma_bfloat(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emu_mma m = {d, a, {b0, b1}};
  emu_collective(emu_mma_warp<emu_bfloat>, &m);
}

// ldmatrix: lane 8i+r brings the address of row r of matrix i; lane l receives
// elements 2(l%4), 2(l%4)+1 of row l/4, of the transposed matrix where asked.
struct emu_matrices { uint32_t *r; const uint16_t *row; };
template <bool transposed> void emu_load_warp(void **lanes) {
  for (int i = 0; i < 4; i++) { // the rows of a matrix come at once if they lie in eight groups of banks
    int banks = 0;
    for (int r = 0; r < 8; r++) banks |= 1 << ((uintptr_t)((emu_matrices *)lanes[8 * i + r])->row >> 4 & 7);
    if (banks != 255) emu_complain("rows of a matrix that meet in a bank of shared memory");
  }
  for (int l = 0; l < 32; l++) {
    for (int i = 0; i < 4; i++) {
      uint16_t x[2];
      for (int e = 0; e < 2; e++) {
        int row = l >> 2, col = (l & 3) * 2 + e;
        if (transposed) std::swap(row, col);
        x[e] = ((emu_matrices *)lanes[8 * i + row])->row[col];
      }
      ((emu_matrices *)lanes[l])->r[i] = x[0] | (uint32_t)x[1] << 16;
    }
  }
}
DEVICE void load_matrices(uint32_t (&r)[4], const void *row) {
  emu_matrices m = {r, (const uint16_t *)row};
  emu_collective(emu_load_warp<false>, &m);
}
DEVICE void load_matrices_transposed(uint32_t (&r)[4], const void *row) {
  emu_matrices m = {r, (const uint16_t *)row};
  emu_collective(emu_load_warp<true>, &m);
}

// A copy is made when it is waited for, no sooner.
DEVICE void copy_async(void *dst, const void *src, int bytes) { emu_copy_async(dst, src, bytes, 16); }
DEVICE void copy_commit() { emu_copy_commit(); }
template <int pending> void copy_wait() { emu_copy_wait(pending); }

DEVICE void atomic_add(int64_t *p, int64_t v) { __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
DEVICE void atomic_max(float *p, float v) {
  uint32_t *u = (uint32_t *)p, was = __atomic_load_n(u, __ATOMIC_RELAXED), want = bits_of(v);
  while (want > was && !__atomic_compare_exchange_n(u, &was, want, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}
DEVICE void atomic_count(uint32_t *shared) { ++*shared; }

// Kernels make themselves known by name, with the sizes of their parameters.
typedef void (*emu_call)(void *fn, void **params);
void emu_register(const char *name, int threads, void *fn, emu_call call, const unsigned *sizes, unsigned n);
template <class... A> struct emu_signature {
  template <size_t... I> static void go(void *fn, void **p, std::index_sequence<I...>) { ((void (*)(A...))fn)(*(A *)p[I]...); }
  static void call(void *fn, void **p) { go(fn, p, std::index_sequence_for<A...>{}); }
};
struct emu_registration {
  template <class... A> emu_registration(const char *name, int threads, void (*f)(A...)) {
    static const unsigned sizes[] = {sizeof(A)...};
    emu_register(name, threads, (void *)f, &emu_signature<A...>::call, sizes, sizeof...(A));
  }
};
#define KERNEL_ON(threads, blocks, name, ...) KERNEL(threads, name, __VA_ARGS__)
#define KERNEL(threads, name, ...) \
  static void name(__VA_ARGS__); \
  static emu_registration emu_register_##name(#name, threads, name); \
  static void name(__VA_ARGS__)
