// SnapKV's selection (Li et al., arXiv:2404.14469, listing 1), as package snapkv
// does it: float64, sums in the same order, of equal scores the lower position.
#pragma once

KERNEL(256, snap_vote, double *vote, const float *rows, uint64_t ld_head, int ld, int n, int window, int prefix, int heads) {
  int j = blockIdx.x * blockDim.x + threadIdx.x, h = blockIdx.y;
  if (j >= prefix) return;
  double sum = 0;
  for (int i = n - window; i < n; i++) sum += (double)rows[((size_t)h * ld_head + i) * ld + j];
  vote[(size_t)h * prefix + j] = sum;
}

KERNEL(256, snap_pool, double *dst, const double *vote, int kernel, int max_pool, int prefix, int heads) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= prefix) return;
  vote += (size_t)blockIdx.y * prefix;
  int lo = most(0, j - kernel / 2), hi = least(prefix, j + kernel / 2 + 1);
  double v = max_pool ? vote[lo] : 0.0;
  for (int i = lo; i < hi; i++) v = max_pool ? (vote[i] > v ? vote[i] : v) : v + vote[i];
  dst[(size_t)blockIdx.y * prefix + j] = max_pool ? v : v / (double)kernel;
}

KERNEL(256, snap_merge, double *dst, const double *score, int group, int how, int prefix, int kv_heads) {
  int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= prefix) return;
  score += (size_t)blockIdx.y * group * prefix + j;
  double v = score[0];
  for (int h = 1; h < group; h++) {
    double x = score[(size_t)h * prefix];
    v = how == 1 ? (x > v ? x : v) : v + x;
  }
  dst[(size_t)blockIdx.y * prefix + j] = how == 0 ? v / (double)group : v;
}

// Numbers in the order of scores; both zeros are one.
DEVICE uint64_t ordered(double x) {
  uint64_t u = bits_of(x + 0.0);
  return u >> 63 ? ~u : u | 1ull << 63;
}

// The sum of x over the threads before this one, and over all.
DEVICE int scan(int x, int &all) {
  SHARED int part[32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, sum = x;
  UNROLL for (int by = 1; by < 32; by <<= 1) {
    int v = shfl_up(sum, by);
    if (lane >= by) sum += v;
  }
  block_sync(); // all have read the last call's parts
  if (lane == 31) part[warp] = sum;
  block_sync();
  int before = 0;
  all = 0;
  for (int w = 0; w < (blockDim.x >> 5); w++) {
    if (w < warp) before += part[w];
    all += part[w];
  }
  return before + sum - x;
}

// One head a block: the k-th largest number is found by its bytes from the top,
// then positions are written in order. Where a score is not a number, the first is
// -1.
KERNEL(512, snap_topk, int *keep, int ld, const double *score, int prefix, int k, int tail, int heads) {
  SHARED uint32_t bins[256];
  SHARED uint64_t cut_at;
  SHARED int left_at;
  SHARED uint32_t broken;
  if (threadIdx.x == 0) broken = 0;
  score += (size_t)blockIdx.x * prefix, keep += (size_t)blockIdx.x * ld;
  uint64_t cut = 0;
  int left = k; // to be found among the numbers that agree with cut so far
  for (int shift = 56; shift >= 0 && k > 0; shift -= 8) {
    for (int i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
    block_sync();
    for (int j = threadIdx.x; j < prefix; j += blockDim.x) {
      uint64_t u = ordered(score[j]);
      if (shift == 56 && bits_of(score[j]) << 1 > 0xffeull << 52) atomic_count(&broken);
      if (shift == 56 || u >> (shift + 8) == cut >> (shift + 8)) atomic_count(&bins[u >> shift & 255]);
    }
    block_sync();
    if (threadIdx.x == 0) {
      int bin = 255, need = left;
      while (need > (int)bins[bin]) need -= (int)bins[bin--];
      cut_at = cut | (uint64_t)bin << shift;
      left_at = need;
    }
    block_sync();
    cut = cut_at, left = left_at;
    block_sync();
  }
  int done = 0, ties = 0; // written; numbers equal to cut that came before
  for (int base = 0; base < prefix && k > 0; base += blockDim.x) {
    int j = base + threadIdx.x;
    uint64_t u = j < prefix ? ordered(score[j]) : 0;
    int above = j < prefix && u > cut, equal = j < prefix && u == cut, all;
    int before = scan(above | equal << 16, all);
    int rank = ties + (before >> 16);
    if (above || (equal && rank < left)) keep[done + (before & 0xffff) + least(rank, left) - least(ties, left)] = j;
    done += (all & 0xffff) + least(ties + (all >> 16), left) - least(ties, left);
    ties += all >> 16;
  }
  for (int i = threadIdx.x; i < tail; i += blockDim.x) keep[k + i] = prefix + i;
  if (k == 0) return;
  block_sync();
  if (threadIdx.x == 0 && broken > 0) keep[0] = -1;
}

// A warp copies a slot.
KERNEL(256, gather_slots, uint8_t *dst, const uint8_t *src, const int *keep, const int *counts, int dst_room, int src_room, int ld_keep,
    int count, int stores, int src_stores, int bytes) {
  int i = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), s = blockIdx.y;
  if (i >= (counts ? counts[s] : count)) return;
  size_t from = (size_t)(s / (stores / src_stores)) * src_room + keep[(size_t)s * ld_keep + i];
  copy_bytes(dst + ((size_t)s * dst_room + i) * bytes, src + from * bytes, bytes, threadIdx.x & 31, 32);
}

KERNEL(256, gather_pos, int *dst, const int *src, const int *keep, const int *counts, int dst_room, int src_room, int ld_keep, int count,
    int stores, int src_stores) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, s = blockIdx.y;
  if (i >= (counts ? counts[s] : count)) return;
  int slot = keep[(size_t)s * ld_keep + i];
  dst[(size_t)s * dst_room + i] = src ? src[(size_t)(s / (stores / src_stores)) * src_room + slot] : slot;
}
