// Element types, and functions of float32 that have no instruction of their own.
#pragma once

typedef float f32;
struct f16 { uint16_t bits; };
struct bf16 { uint16_t bits; };

DEVICE float widen(f32 x) { return x; }
DEVICE float widen(f16 x) { return half_to_float(x.bits); }
DEVICE float widen(bf16 x) { return float_of((uint32_t)x.bits << 16); }

// Rounded to the nearest, ties to even.
DEVICE void narrow(f32 &to, float x) { to = x; }
DEVICE void narrow(f16 &to, float x) { to.bits = float_to_half(x); }
DEVICE void narrow(bf16 &to, float x) { to.bits = (uint16_t)pack_bfloat(x, 0); }

// Two neighbours at once; to is aligned to both.
DEVICE void narrow2(f32 *to, float a, float b) { *(float2 *)to = float2{a, b}; }
DEVICE void narrow2(f16 *to, float a, float b) { *(uint32_t *)to = pack_half(a, b); }
DEVICE void narrow2(bf16 *to, float a, float b) { *(uint32_t *)to = pack_bfloat(a, b); }

// The elements of 16 bytes.
template <class T> struct vec { static const int n = 16 / sizeof(T); };
DEVICE void widen16(float (&x)[4], const f32 *p) {
  float4 v = *(const float4 *)p;
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
template <class T> DEVICE void widen16(float (&x)[8], const T *p) {
  uint4 v = *(const uint4 *)p;
  const uint32_t w[4] = {v.x, v.y, v.z, v.w};
  UNROLL for (int i = 0; i < 4; i++) {
    x[2 * i] = widen(T{(uint16_t)w[i]});
    x[2 * i + 1] = widen(T{(uint16_t)(w[i] >> 16)});
  }
}
// n of them (n < vec::n), or all where the address is not a multiple of 16.
template <class T, int N> DEVICE void widen_some(float (&x)[N], const T *p, int n) {
  UNROLL for (int i = 0; i < N; i++) x[i] = i < n ? widen(p[i]) : 0.f;
}
DEVICE bool aligned16(const void *p) { return ((size_t)p & 15) == 0; }

DEVICE int least(int a, int b) { return a < b ? a : b; }
DEVICE int most(int a, int b) { return a > b ? a : b; }

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
#define NEVER (-__builtin_inff())

DEVICE float exp_fast(float x) { return exp2_fast(x * LOG2E); }
DEVICE float log_fast(float x) { return log2_fast(x) * LN2; }

// tanh: a polynomial near zero (Cephes), else from exp; error under 3e-7.
DEVICE float tanh_of(float x) {
  float a = __builtin_fabsf(x);
  if (a < 0.625f) {
    float z = x * x;
    float p = (((-5.70498872745e-3f * z + 2.06390887954e-2f) * z - 5.37397155531e-2f) * z + 1.33314422036e-1f) * z - 3.33332819422e-1f;
    return p * z * x + x;
  }
  float y = 1.f - 2.f / (exp_fast(2.f * a) + 1.f);
  return x < 0 ? -y : y;
}

// erfc of a number that is not negative, to a relative 1e-6: the Chebyshev fit of
// Press et al., "Numerical Recipes in C", 2nd edition, section 6.2.
DEVICE float erfc_of(float x) {
  float t = 1.f / (1.f + 0.5f * x);
  float p = -0.82215223f + t * 0.17087277f;
  p = -1.13520398f + t * (1.48851587f + t * p);
  p = -0.18628806f + t * (0.27886807f + t * p);
  p = 0.37409196f + t * (0.09678418f + t * p);
  p = -1.26551223f + t * (1.00002368f + t * p);
  return t * exp_fast(p - x * x);
}

// A score as it enters the softmax. The cap's tanh comes from exp alone: it is off
// by 2e-7 of the cap, which moves a weight by that share of itself.
DEVICE float capped(float s, float scale, float cap) {
  s *= scale;
  return cap > 0 ? cap - 2.f * cap * reciprocal(exp_fast(2.f * reciprocal(cap) * s) + 1.f) : s;
}

// The weight of a score before its row's sum divides it: exp(score - top), with a factor that
// makes the score one of base 2, and the row's largest one in base 2. Both passes over the
// scores call it, so that they agree to the bit.
DEVICE float weight_of(float score, float factor, float top) { return exp2_fast(__builtin_fmaf(score, factor, -top)); }
DEVICE float score_factor(float scale, float cap) { return cap > 0 ? LOG2E : scale * LOG2E; }

DEVICE float warp_sum(float v) {
  UNROLL for (int m = 16; m > 0; m >>= 1) v += shfl_xor(v, m);
  return v;
}
DEVICE float warp_max(float v) {
  UNROLL for (int m = 16; m > 0; m >>= 1) v = larger(v, shfl_xor(v, m));
  return v;
}
// The sum over a block of whole warps, in every thread.
DEVICE float block_sum(float v) {
  SHARED float part[32];
  int lane = threadIdx.x & 31, warps = blockDim.x >> 5;
  v = warp_sum(v);
  if (lane == 0) part[threadIdx.x >> 5] = v;
  block_sync();
  v = warp_sum(lane < warps ? part[lane] : 0.f);
  block_sync();
  return v;
}

// A weight in [0, 1] as a half with the low bits taken off that drop says by
// float32 exponent, as the writer of dumps rounds.
DEVICE uint16_t dropped_half(float w, const uint8_t *drop) {
  uint32_t u = bits_of(w), e = u >> 23 & 255, d = drop[e]; // NaN may have a sign
  uint32_t small = (uint32_t)round_even(w * 16777216.f); // below 2^-14 a half is a multiple of 2^-24
  u += (1u << (d - 1)) - 1 + (u >> d & 1);
  u = (u >> d << d) - (112u << 23);
  return (uint16_t)(e < 127 - 24 ? 0 : e < 127 - 14 ? small : u >> 13);
}

// Fixed point of 64 bits: sums do not depend on their order.
#define FIXED_ONE 1099511627776.f
DEVICE int64_t to_fixed(float x) { return (int64_t)(x * FIXED_ONE); }
