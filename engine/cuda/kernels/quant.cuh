// Weights in the types of checkpoints, element by element, rounded as
// engine/tensor does: value = scale * q or scale * q ± minimum.
#pragma once

// The numbers of types; ../kernels_rows.go has the same.
enum source { F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4, TQ2_0 };

template <int type> struct layout;
#define LAYOUT(type, of_elements, of_bytes) \
  template <> struct layout<type> { static const int elements = of_elements, bytes = of_bytes; };
LAYOUT(F32, 1, 4) LAYOUT(F16, 1, 2) LAYOUT(BF16, 1, 2)
LAYOUT(Q4_0, 32, 18) LAYOUT(Q4_1, 32, 20) LAYOUT(Q5_0, 32, 22) LAYOUT(Q5_1, 32, 24) LAYOUT(Q8_0, 32, 34)
LAYOUT(Q2_K, 256, 84) LAYOUT(Q3_K, 256, 110) LAYOUT(Q4_K, 256, 144) LAYOUT(Q5_K, 256, 176) LAYOUT(Q6_K, 256, 210)
LAYOUT(IQ4_NL, 32, 18) LAYOUT(IQ4_XS, 256, 136) LAYOUT(MXFP4, 32, 17) LAYOUT(TQ2_0, 256, 66)

DEVICE float half_at(const uint8_t *b) { return half_to_float(*(const uint16_t *)b); } // such blocks have even sizes

// Number q of 16 that lie in two words, a byte each.
DEVICE float sixteenth(uint64_t low, uint64_t high, int q) { return (float)(int8_t)((q < 8 ? low : high) >> (8 * (q & 7))); }
DEVICE float iq4_value(int q) { return sixteenth(0xf6eaddcfbfad9881ull, 0x7159453526190d01ull, q); }   // -127 -104 -83 ... 89 113
DEVICE float mxfp4_value(int q) { return sixteenth(0x0c08060403020100ull, 0xf4f8fafcfdfeff00ull, q); } // twice those of E2M1

// Scales of Q4_K and Q5_K: 8 scales and 8 minima of 6 bits in 12 bytes.
DEVICE void scale_6bit(const uint8_t *s, int sub, int &scale, int &minimum) {
  if (sub < 4) {
    scale = s[sub] & 63, minimum = s[sub + 4] & 63;
  } else {
    scale = (s[sub + 4] & 15) | (s[sub - 4] >> 6) << 4, minimum = s[sub + 4] >> 4 | (s[sub] >> 6) << 4;
  }
}

// Element i of the block at b.
template <int type> DEVICE float element(const uint8_t *b, int i) {
  switch (type) {
  case F32: return *(const float *)b;
  case F16: return half_at(b);
  case BF16: return float_of((uint32_t)*(const uint16_t *)b << 16);
  case Q4_0: {
    int q = i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4;
    return mul_rn(half_at(b), (float)(q - 8));
  }
  case Q4_1: {
    int q = i < 16 ? b[4 + i] & 15 : b[4 + i - 16] >> 4;
    return add_rn(mul_rn(half_at(b), (float)q), half_at(b + 2));
  }
  case Q5_0: {
    int q = (i < 16 ? b[6 + i] & 15 : b[6 + i - 16] >> 4) | (b[2 + i / 8] >> (i & 7) & 1) << 4;
    return mul_rn(half_at(b), (float)(q - 16));
  }
  case Q5_1: {
    int q = (i < 16 ? b[8 + i] & 15 : b[8 + i - 16] >> 4) | (b[4 + i / 8] >> (i & 7) & 1) << 4;
    return add_rn(mul_rn(half_at(b), (float)q), half_at(b + 2));
  }
  case Q8_0: return mul_rn(half_at(b), (float)(int8_t)b[2 + i]);
  case Q2_K: { // 16 scales and minima of 4 bits, 64 bytes of 2 bits, their scales
    int in = i & 127, q = b[16 + i / 128 * 32 + (in & 31)] >> (2 * (in / 32)) & 3, s = b[i / 16];
    return add_rn(mul_rn(mul_rn(half_at(b + 80), (float)(s & 15)), (float)q), -mul_rn(half_at(b + 82), (float)(s >> 4)));
  }
  case Q3_K: { // 32 bytes of high bits, 64 of low pairs, 16 scales of 6 bits
    const uint8_t *packed = b + 96;
    int in = i & 127, n = i / 16;
    int scale = ((packed[n & 7] >> (4 * (n / 8)) & 15) | (packed[8 + (n & 3)] >> (2 * (n / 4)) & 3) << 4) - 32;
    int q = b[32 + i / 128 * 32 + (in & 31)] >> (2 * (in / 32)) & 3;
    if (!(b[i & 31] >> (i / 32) & 1)) q -= 4;
    return mul_rn(mul_rn(half_at(b + 108), (float)scale), (float)q);
  }
  case Q4_K:
  case Q5_K: { // scale, minimum, 8 of each in 12 bytes; Q5_K: 32 bytes of fifth bits; 128 of 4 bits
    int sub = i / 32, j = i & 31, scale, minimum;
    scale_6bit(b + 4, sub, scale, minimum);
    int q = b[(type == Q4_K ? 16 : 48) + sub / 2 * 32 + j] >> (4 * (sub & 1)) & 15;
    if (type == Q5_K) q |= (b[16 + j] >> sub & 1) << 4;
    return add_rn(mul_rn(mul_rn(half_at(b), (float)scale), (float)q), -mul_rn(half_at(b + 2), (float)minimum));
  }
  case IQ4_NL: return mul_rn(half_at(b), iq4_value(i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4));
  case IQ4_XS: { // scale, 16 high pairs of the 8 scales, their low nibbles, 128 bytes of 4 bits
    int sub = i / 32, j = i & 31;
    int scale = ((b[4 + sub / 2] >> (4 * (sub & 1)) & 15) | (*(const uint16_t *)(b + 2) >> (2 * sub) & 3) << 4) - 32;
    return mul_rn(mul_rn(half_at(b), (float)scale), iq4_value(b[8 + 16 * sub + (j & 15)] >> (4 * (j / 16)) & 15));
  }
  case MXFP4: { // an exponent: half of 2^(b-127), which ends below the normal numbers
    uint32_t d = b[0] >= 2 ? (uint32_t)(b[0] - 1) << 23 : 0x00200000u << b[0];
    return mul_rn(float_of(d), mxfp4_value(i < 16 ? b[1 + i] & 15 : b[1 + i - 16] >> 4));
  }
  case TQ2_0: return mul_rn(half_at(b + 64), (float)((b[i / 128 * 32 + (i & 31)] >> (2 * ((i & 127) / 32)) & 3) - 1));
  default: { // Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales
    int in = i & 127, group = i / 128;
    int l = b[group * 64 + (in & 63)] >> (4 * (in / 64)) & 15, h = b[128 + group * 32 + (in & 31)] >> (2 * (in / 32)) & 3;
    return mul_rn(mul_rn(half_at(b + 208), (float)(int8_t)b[192 + i / 16]), (float)((l | h << 4) - 32));
  }
  }
}

// Element i of an array.
template <int type> DEVICE float at(const uint8_t *src, size_t i) {
  return element<type>(src + i / layout<type>::elements * layout<type>::bytes, (int)(i % layout<type>::elements));
}

// The bytes of a row of that many elements.
template <int type> DEVICE size_t row_bytes(int n) { return (size_t)(n / layout<type>::elements) * layout<type>::bytes; }

// Runs BODY with TYPE a constant.
#define FOR_SOURCE(type, BODY) \
  switch (type) { \
  case F32: { enum { TYPE = F32 }; BODY; } break; \
  case F16: { enum { TYPE = F16 }; BODY; } break; \
  case BF16: { enum { TYPE = BF16 }; BODY; } break; \
  case Q4_0: { enum { TYPE = Q4_0 }; BODY; } break; \
  case Q4_1: { enum { TYPE = Q4_1 }; BODY; } break; \
  case Q5_0: { enum { TYPE = Q5_0 }; BODY; } break; \
  case Q5_1: { enum { TYPE = Q5_1 }; BODY; } break; \
  case Q8_0: { enum { TYPE = Q8_0 }; BODY; } break; \
  case Q2_K: { enum { TYPE = Q2_K }; BODY; } break; \
  case Q3_K: { enum { TYPE = Q3_K }; BODY; } break; \
  case Q4_K: { enum { TYPE = Q4_K }; BODY; } break; \
  case Q5_K: { enum { TYPE = Q5_K }; BODY; } break; \
  case Q6_K: { enum { TYPE = Q6_K }; BODY; } break; \
  case IQ4_NL: { enum { TYPE = IQ4_NL }; BODY; } break; \
  case IQ4_XS: { enum { TYPE = IQ4_XS }; BODY; } break; \
  case MXFP4: { enum { TYPE = MXFP4 }; BODY; } break; \
  case TQ2_0: { enum { TYPE = TQ2_0 }; BODY; } break; \
  }

template <class T> DEVICE void dequant(T *dst, const uint8_t *src, int type, uint64_t count) {
  size_t first = (size_t)blockIdx.x * blockDim.x + threadIdx.x, step = (size_t)gridDim.x * blockDim.x;
  FOR_SOURCE(type, NO_UNROLL for (size_t i = first; i < count; i += step) narrow(dst[i], at<TYPE>(src, i)));
}
KERNEL(256, dequant_f32, f32 *dst, const uint8_t *src, int type, uint64_t count) { dequant(dst, src, type, count); }
KERNEL(256, dequant_f16, f16 *dst, const uint8_t *src, int type, uint64_t count) { dequant(dst, src, type, count); }
KERNEL(256, dequant_bf16, bf16 *dst, const uint8_t *src, int type, uint64_t count) { dequant(dst, src, type, count); }

KERNEL(256, embed, float *x, const uint8_t *table, int type, const int *ids, float scale, int n, int hidden) {
  int i = blockIdx.x;
  float *row = x + (size_t)i * hidden;
  FOR_SOURCE(type, const uint8_t *src = table + row_bytes<TYPE>(hidden) * ids[i];
             NO_UNROLL for (int d = threadIdx.x; d < hidden; d += blockDim.x) row[d] = at<TYPE>(src, d) * scale);
}

// The finaliser of SplitMix64 makes a number of every index; four of its 16-bit
// parts add up to nearly a normal one, of deviation 65536/√3.
template <class T> DEVICE void fill_random(T *dst, uint64_t count, uint64_t seed, float std) {
  size_t step = (size_t)gridDim.x * blockDim.x;
  NO_UNROLL for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    int sum = (int)(z & 0xffff) + (int)(z >> 16 & 0xffff) + (int)(z >> 32 & 0xffff) + (int)(z >> 48);
    narrow(dst[i], (float)(sum - 131070) * (std / 37837.23f));
  }
}
KERNEL(256, fill_random_f32, f32 *dst, uint64_t count, uint64_t seed, float std) { fill_random(dst, count, seed, std); }
KERNEL(256, fill_random_f16, f16 *dst, uint64_t count, uint64_t seed, float std) { fill_random(dst, count, seed, std); }
KERNEL(256, fill_random_bf16, bf16 *dst, uint64_t count, uint64_t seed, float std) { fill_random(dst, count, seed, std); }
