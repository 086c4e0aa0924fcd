// Weights in the types of checkpoints, element by element, rounded as
// engine/tensor does: scale * number, or scale * number ± minimum.
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

// Where the codes of an element lie in its block: from bit shift of byte low on, and from bit of
// byte high on, if the type has high bits. Elements i to i+15, where i is a multiple of 16, have
// the same shift and bit, in 16 bytes one after the other; but the high bits of Q5_0 and Q5_1 are
// packed, eight in a byte.
struct code_place { int low, shift, high, bit; };
template <int type> DEVICE code_place code_at(int i) {
  int quarter = i >> 5 & 3, half = i >> 7, byte = i & 31;
  int nibble = i >> 2 & 4; // 0 for the first 16 of 32 elements, 4 for the others
  switch (type) {
  case Q4_0:
  case IQ4_NL: return {2 + (i & 15), nibble, 0, 0};
  case Q4_1: return {4 + (i & 15), nibble, 0, 0};
  case Q5_0: return {6 + (i & 15), nibble, 2 + i / 8, i & 7};
  case Q5_1: return {8 + (i & 15), nibble, 4 + i / 8, i & 7};
  case Q8_0: return {2 + i, 0, 0, 0};
  case Q2_K: return {16 + half * 32 + byte, 2 * quarter, 0, 0};         // after 16 scales and minima of 4 bits
  case Q3_K: return {32 + half * 32 + byte, 2 * quarter, byte, i / 32}; // after 32 bytes of high bits
  case Q4_K: return {16 + i / 64 * 32 + byte, i >> 3 & 4, 0, 0};        // after scale, minimum, 8 of each in 12 bytes
  case Q5_K: return {48 + i / 64 * 32 + byte, i >> 3 & 4, 16 + byte, i / 32}; // after the same and 32 bytes of high bits
  case IQ4_XS: return {8 + i / 32 * 16 + (i & 15), nibble, 0, 0};       // after the scales
  case MXFP4: return {1 + (i & 15), nibble, 0, 0};
  case TQ2_0: return {half * 32 + byte, 2 * quarter, 0, 0};
  default: return {half * 64 + (i & 63), i >> 4 & 4, 128 + half * 32 + byte, 2 * quarter}; // Q6_K
  }
}

// Four numbers of -128 to 127 plus 128, a byte each, looked up by four codes of 4 bits, a byte
// each. Of the sixteen numbers, low has those of the codes below 8, and high the others.
DEVICE uint32_t look_up(uint64_t low, uint64_t high, uint32_t codes) {
  uint32_t pairs = codes | codes >> 4; // two codes in byte 0, two in byte 2
  uint32_t digits = byte_permute(pairs, 0, 0x4420) & 0x7777;
  uint32_t small = byte_permute((uint32_t)low, (uint32_t)(low >> 32), digits);
  uint32_t large = byte_permute((uint32_t)high, (uint32_t)(high >> 32), digits);
  uint32_t is_large = byte_permute(codes << 4, 0, 0xba98); // bit 3 of each code, in all bits of its byte
  return ((small & ~is_large) | (large & is_large)) ^ 0x80808080u;
}

// The numbers of four codes, a byte each, plus bias<type>(). The first bits of each byte of low
// and of high are the code's, and those of Q5_0 and Q5_1 are the first four bits of high.
template <int type> DEVICE uint32_t code_bytes(uint32_t low, uint32_t high) {
  switch (type) {
  case Q5_0:
  case Q5_1: return (low & 0x0f0f0f0fu) | ((high & 15) * 0x02040810u & 0x10101010u);
  case Q8_0: return low ^ 0x80808080u;
  case Q2_K:
  case TQ2_0: return low & 0x03030303u;
  case Q3_K: return (low & 0x03030303u) | (high & 0x01010101u) << 2;
  case Q5_K: return (low & 0x0f0f0f0fu) | (high & 0x01010101u) << 4;
  case Q6_K: return (low & 0x0f0f0f0fu) | (high & 0x03030303u) << 4;
  case IQ4_NL:
  case IQ4_XS: return look_up(0xf6eaddcfbfad9881ull, 0x7159453526190d01ull, low & 0x0f0f0f0fu); // -127 -104 -83 ... 89 113
  case MXFP4: return look_up(0x0c08060403020100ull, 0xf4f8fafcfdfeff00ull, low & 0x0f0f0f0fu);  // twice those of E2M1
  default: return low & 0x0f0f0f0fu;
  }
}
template <int type> DEVICE constexpr int bias() {
  return type == Q4_0 ? 8 : type == Q5_0 ? 16 : type == Q3_K ? 4 : type == Q6_K ? 32 : type == TQ2_0 ? 1
       : type == Q8_0 || type == IQ4_NL || type == IQ4_XS || type == MXFP4 ? 128 : 0;
}
template <int type> DEVICE constexpr bool has_minimum() {
  return type == Q4_1 || type == Q5_1 || type == Q2_K || type == Q4_K || type == Q5_K;
}

// Scales of Q4_K and Q5_K: 8 scales and 8 minima of 6 bits in 12 bytes.
DEVICE void scale_6bit(const uint8_t *s, int sub, int &scale, int &minimum) {
  if (sub < 4) {
    scale = s[sub] & 63, minimum = s[sub + 4] & 63;
  } else {
    scale = (s[sub + 4] & 15) | (s[sub - 4] >> 6) << 4, minimum = s[sub + 4] >> 4 | (s[sub] >> 6) << 4;
  }
}

// The scale (x) and what is added (y) of the 16 elements among which element i is.
template <int type> DEVICE float2 scale_at(const uint8_t *b, int i) {
  int n = i / 16, sub = i / 32;
  switch (type) {
  case Q4_1:
  case Q5_1: return {half_at(b), half_at(b + 2)};
  case Q2_K: return {half_at(b + 80) * (float)(b[n] & 15), -half_at(b + 82) * (float)(b[n] >> 4)};
  case Q3_K: { // 16 scales of 6 bits: their low nibbles, then their high pairs
    const uint8_t *packed = b + 96;
    int scale = ((packed[n & 7] >> (4 * (n / 8)) & 15) | (packed[8 + (n & 3)] >> (2 * (n / 4)) & 3) << 4) - 32;
    return {half_at(b + 108) * (float)scale, 0};
  }
  case Q4_K:
  case Q5_K: {
    int scale, minimum;
    scale_6bit(b + 4, sub, scale, minimum);
    return {half_at(b) * (float)scale, -half_at(b + 2) * (float)minimum};
  }
  case Q6_K: return {half_at(b + 208) * (float)(int8_t)b[192 + n], 0};
  case IQ4_XS: { // 8 scales of 6 bits: 16 bits of high pairs, then the low nibbles
    int scale = ((b[4 + sub / 2] >> (4 * (sub & 1)) & 15) | (*(const uint16_t *)(b + 2) >> (2 * sub) & 3) << 4) - 32;
    return {half_at(b) * (float)scale, 0};
  }
  case MXFP4: // half of 2^(b-127), which ends below the normal numbers
    return {float_of(b[0] >= 2 ? (uint32_t)(b[0] - 1) << 23 : 0x00200000u << b[0]), 0};
  case TQ2_0: return {half_at(b + 64), 0};
  default: return {half_at(b), 0};
  }
}

// Element i of the block at b. A scale has at most 18 significant bits, and its product with a
// code's number at most 24. Products are therefore exact, and only the sum is rounded, whether a
// compiler fuses the two or not.
template <int type> DEVICE float element(const uint8_t *b, int i) {
  if (type == F32) return *(const float *)b;
  if (type == F16) return half_at(b);
  if (type == BF16) return float_of((uint32_t)*(const uint16_t *)b << 16);
  code_place p = code_at<type>(i);
  int number = (int)(code_bytes<type>(b[p.low] >> p.shift, b[p.high] >> p.bit) & 255) - bias<type>();
  float2 scale = scale_at<type>(b, i);
  return has_minimum<type>() ? scale.x * (float)number + scale.y : scale.x * (float)number;
}

// Sixteen bytes from an address that is a multiple of BY.
template <int BY> DEVICE void load_sixteen(uint32_t (&words)[4], const uint8_t *p) {
  if (BY == 16) {
    uint4 v = *(const uint4 *)p;
    words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
    return;
  }
  UNROLL for (int i = 0; i < 4; i++) {
    const uint8_t *q = p + 4 * i;
    if (BY == 2) {
      words[i] = *(const uint16_t *)q | (uint32_t)*(const uint16_t *)(q + 2) << 16;
    } else if (BY == 1) {
      words[i] = q[0] | (uint32_t)q[1] << 8 | (uint32_t)q[2] << 16 | (uint32_t)q[3] << 24;
    } else {
      words[i] = *(const uint32_t *)q;
    }
  }
}

// Elements i to i+15 of a block, where i is a multiple of 16. load reads them, and what follows
// computes with them: so the next ones can be read before the computation.
template <int type> struct sixteen {
  enum {
    BY = layout<type>::bytes & -layout<type>::bytes, // what the addresses of blocks are multiples of, and those of codes in them
    BITS = type == Q5_0 || type == Q5_1,
    BYTES = type == Q3_K || type == Q5_K || type == Q6_K,
  };
  uint32_t low[4], high[4];
  float2 scale;

  DEVICE_MEMBER void load(const uint8_t *b, int i) {
    code_place p = code_at<type>(i);
    load_sixteen<BY>(low, b + p.low);
    if (BYTES) load_sixteen<BY>(high, b + p.high);
    if (BITS) high[0] = *(const uint16_t *)(b + p.high);
    scale = scale_at<type>(b, i);
    UNROLL for (int w = 0; w < 4; w++) low[w] = anew(low[w]); // else clang reads them where they are used
    UNROLL for (int w = 0; w < (BYTES ? 4 : BITS ? 1 : 0); w++) high[w] = anew(high[w]);
  }

  // The numbers of the codes. A byte that stands in the last bits of 2^23 has been added to it:
  // taking 2^23 away makes a float of it, faster than a conversion.
  DEVICE_MEMBER void numbers(float (&x)[16], int i) const {
    code_place p = code_at<type>(i);
    UNROLL for (int w = 0; w < 4; w++) {
      uint32_t bytes = code_bytes<type>(low[w] >> p.shift, BYTES ? high[w] >> p.bit : BITS ? high[0] >> (4 * w) : 0);
      UNROLL for (int e = 0; e < 4; e++) x[4 * w + e] = float_of(byte_permute(bytes, 0x4b000000u, 0x7440 | e)) - (8388608.f + bias<type>());
    }
  }
};

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
