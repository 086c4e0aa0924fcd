// What works row by row or element by element between two products.
#pragma once

// One row a block. Weight 0 means ones; eps < 0 means no norm.
template <class T> DEVICE void rms_norm(T *dst, int ldd, const float *x, int ldx, const float *weight, float offset, float eps, int dim) {
  dst += (size_t)blockIdx.x * ldd, x += (size_t)blockIdx.x * ldx;
  float scale = 1;
  if (eps >= 0) {
    float sum = 0;
    for (int d = threadIdx.x; d < dim; d += blockDim.x) sum += x[d] * x[d];
    scale = 1.f / square_root(block_sum(sum) / dim + eps);
  }
  for (int d = threadIdx.x; d < dim; d += blockDim.x) narrow(dst[d], x[d] * scale * (weight ? offset + weight[d] : 1.f));
}
#define RMS_NORM(T) \
  KERNEL(256, rms_norm_##T, T *dst, int ldd, const float *x, int ldx, const float *weight, float offset, float eps, int rows, int dim) { \
    rms_norm(dst, ldd, x, ldx, weight, offset, eps, dim); \
  }
RMS_NORM(f32) RMS_NORM(f16) RMS_NORM(bf16)

template <class T> DEVICE void layer_norm(T *dst, int ldd, const float *x, int ldx, const float *weight, const float *bias, float eps, int dim) {
  dst += (size_t)blockIdx.x * ldd, x += (size_t)blockIdx.x * ldx;
  float sum = 0;
  for (int d = threadIdx.x; d < dim; d += blockDim.x) sum += x[d];
  float mean = block_sum(sum) / dim;
  sum = 0;
  for (int d = threadIdx.x; d < dim; d += blockDim.x) sum += (x[d] - mean) * (x[d] - mean);
  float scale = 1.f / square_root(block_sum(sum) / dim + eps);
  for (int d = threadIdx.x; d < dim; d += blockDim.x) {
    narrow(dst[d], (x[d] - mean) * scale * (weight ? weight[d] : 1.f) + (bias ? bias[d] : 0.f));
  }
}
#define LAYER_NORM(T) \
  KERNEL(256, layer_norm_##T, T *dst, int ldd, const float *x, int ldx, const float *weight, const float *bias, float eps, int rows, int dim) { \
    layer_norm(dst, ldd, x, ldx, weight, bias, eps, dim); \
  }
LAYER_NORM(f32) LAYER_NORM(f16) LAYER_NORM(bf16)

KERNEL(256, bias_add, float *x, int ldx, const float *bias, int rows, int dim) {
  int d = blockIdx.x * blockDim.x + threadIdx.x;
  if (d >= dim) return;
  for (int i = blockIdx.y; i < rows; i += gridDim.y) x[(size_t)i * ldx + d] += bias[d];
}

KERNEL(256, add_scaled, float *x, const float *y, float by, int count) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) x[i] += by * y[i];
}

KERNEL(256, scale_cap, float *x, int count, float divide, float cap) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    float v = x[i] / divide;
    x[i] = cap > 0 ? cap * tanh_of(v / cap) : v;
  }
}

// Channel d of a head as the product left it.
DEVICE float head_channel(const float *src, const float *bias, float clip, int d) {
  float v = src[d] + (bias ? bias[d] : 0.f);
  return clip > 0 ? larger(-clip, -larger(-v, -clip)) : v;
}

// A warp takes one head of one row.
template <class T> DEVICE void take_heads(T *dst, uint64_t dst_head, int dst_row, int base, const int *counts, const float *src, int ld_src,
    const float *bias, float clip, const float *norm, float offset, float eps, const float *cos, const float *sin, int half, int adjacent,
    int heads, int dim, int rows, int repeat) {
  int all = heads * repeat, task = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), lane = threadIdx.x & 31;
  if (task >= rows * all) return;
  int i = task / all, h = task % all;
  src += (size_t)i * ld_src + h / repeat * dim;
  if (bias) bias += h / repeat * dim;
  float scale = 1;
  if (norm) {
    float sum = 0;
    for (int d = lane; d < dim; d += 32) {
      float v = head_channel(src, bias, clip, d);
      sum += v * v;
    }
    scale = 1.f / square_root(warp_sum(sum) / dim + eps);
  }
  dst += (size_t)h * dst_head + (size_t)((counts ? counts[h] : base) + i) * dst_row;
  if (cos) cos += (size_t)i * half, sin += (size_t)i * half;
  for (int d = lane; d < dim; d += 32) {
    float v = head_channel(src, bias, clip, d) * scale * (norm ? offset + norm[d] : 1.f);
    if (cos && d < 2 * half) {
      bool first = adjacent ? !(d & 1) : d < half;
      int partner = adjacent ? d ^ 1 : first ? d + half : d - half;
      int j = adjacent ? d >> 1 : first ? d : d - half;
      float o = head_channel(src, bias, clip, partner) * scale * (norm ? offset + norm[partner] : 1.f);
      v = first ? v * cos[j] - o * sin[j] : v * cos[j] + o * sin[j];
    }
    narrow(dst[d], v);
  }
}
#define HEADS(T) \
  KERNEL(256, heads_##T, T *dst, uint64_t dst_head, int dst_row, int base, const int *counts, const float *src, int ld_src, const float *bias, \
      float clip, const float *norm, float offset, float eps, const float *cos, const float *sin, int half, int adjacent, int heads, int dim, int rows, \
      int repeat) { \
    take_heads(dst, dst_head, dst_row, base, counts, src, ld_src, bias, clip, norm, offset, eps, cos, sin, half, adjacent, heads, dim, rows, repeat); \
  }
HEADS(f32) HEADS(f16) HEADS(bf16)

// One store a block.
KERNEL(256, advance, int *pos, int *counts, int stores, int room, int pos0, int n) {
  int s = blockIdx.x, count = counts[s];
  for (int i = threadIdx.x; i < n; i += blockDim.x) pos[(size_t)s * room + count + i] = pos0 + i;
  block_sync(); // all have read the count
  if (threadIdx.x == 0) counts[s] = count + n;
}

DEVICE float activated(float g, int act) {
  if (act == 2) { // GELU, erf
    float half = 0.5f * g * erfc_of(__builtin_fabsf(g) * 0.7071067811865476f);
    return g < 0 ? half : g - half;
  }
  if (act >= 3) { // ReLU, its square
    float r = larger(g, 0.f);
    return act == 3 ? r : r * r;
  }
  float y = g; // SiLU
  if (act == 1) y = 1.5957691216057308f * (g + 0.044715f * g * g * g); // GELU: (1 + tanh(y))/2 = 1 / (1 + exp(-2y))
  return g / (1.f + exp_fast(-y));
}
template <class T, class X> DEVICE void gate_from(T *dst, const X *x, int ldx, int act, int plain, int rows, int ff) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= ff) return;
  for (int i = blockIdx.y; i < rows; i += gridDim.y) {
    const X *row = x + (size_t)i * ldx;
    float v = activated(widen(row[j]), act);
    narrow(dst[(size_t)i * ff + j], plain ? v : v * widen(row[ff + j]));
  }
}
#define GATE(T) \
  KERNEL(256, gate_##T, T *dst, const void *x, int same, int ldx, int act, int plain, int rows, int ff) { \
    if (same) gate_from(dst, (const T *)x, ldx, act, plain, rows, ff); \
    else gate_from(dst, (const float *)x, ldx, act, plain, rows, ff); \
  }
GATE(f32) GATE(f16) GATE(bf16)

// A warp takes a row: each round finds the best that comes after the last pick,
// larger first and lower first among equals.
KERNEL(256, route, int *chosen, float *weights, const float *logits, int n, int experts, int top, int normalise) {
  int i = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), lane = threadIdx.x & 31;
  if (i >= n) return;
  const float *row = logits + (size_t)i * experts;
  float peak = NEVER;
  for (int e = lane; e < experts; e += 32) peak = larger(peak, row[e]);
  peak = warp_max(peak);
  float all = 0, kept = 0, last = __builtin_inff();
  for (int e = lane; e < experts; e += 32) all += exp_fast(row[e] - peak);
  all = warp_sum(all);
  int last_at = -1;
  for (int t = 0; t < top; t++) {
    float best = NEVER;
    int best_at = experts;
    for (int e = lane; e < experts; e += 32) {
      float v = row[e];
      bool after = v < last || (v == last && e > last_at);
      if (after && (v > best || best_at == experts)) best = v, best_at = e;
    }
    UNROLL for (int m = 16; m > 0; m >>= 1) {
      float v = shfl_xor(best, m);
      int at = shfl_xor(best_at, m);
      if (at < experts && (best_at == experts || v > best || (v == best && at < best_at))) best = v, best_at = at;
    }
    float w = exp_fast(best - peak) / all;
    kept += w;
    last = best, last_at = best_at;
    if (lane == 0) chosen[(size_t)i * top + t] = best_at, weights[(size_t)i * top + t] = w;
  }
  if (normalise && lane == 0) {
    for (int t = 0; t < top; t++) weights[(size_t)i * top + t] /= kept;
  }
}

// Copies bytes, a multiple of 2, with the threads of a group.
DEVICE void copy_bytes(uint8_t *dst, const uint8_t *src, int bytes, int at, int step) {
  if (aligned16(dst) && aligned16(src) && bytes % 16 == 0) {
    for (int b = at; b < bytes / 16; b += step) ((uint4 *)dst)[b] = ((const uint4 *)src)[b];
  } else {
    for (int b = at; b < bytes / 2; b += step) ((uint16_t *)dst)[b] = ((const uint16_t *)src)[b];
  }
}

KERNEL(256, gather_rows, uint8_t *dst, const uint8_t *src, const int *idx, int bytes, int n) {
  int i = blockIdx.x;
  copy_bytes(dst + (size_t)i * bytes, src + (size_t)idx[i] * bytes, bytes, threadIdx.x, blockDim.x);
}

KERNEL(256, scatter_add, float *out, const float *y, const int *idx, const float *weight, int n, int dim) {
  int i = blockIdx.x;
  float w = weight[i];
  float *row = out + (size_t)idx[i] * dim;
  for (int d = threadIdx.x; d < dim; d += blockDim.x) row[d] += w * y[(size_t)i * dim + d];
}

// As the writer of dumps rounds: to bits mantissa bits, ties to even.
KERNEL(256, fixed_to_float, float *dst, const int64_t *src, int count, int bits) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
    uint32_t u = bits_of((float)((double)src[i] * (1.0 / 1099511627776.0)));
    int drop = 23 - bits;
    if (drop > 0) u = (u + (1u << (drop - 1)) - 1 + (u >> drop & 1)) >> drop << drop;
    dst[i] = float_of(u);
  }
}
