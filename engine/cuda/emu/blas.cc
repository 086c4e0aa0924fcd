// The functions of cuBLAS that engine/cuda calls, for tests without a card:
// column-major, float32, half or bfloat16 in, float32 or bfloat16 out, float32 sums.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <cuda.h>
#include <utility>
#include <vector>

extern "C" int attnscope_emu_enqueue(CUstream, void (*)(void *), void *);
extern "C" int attnscope_emu_on_device(CUdeviceptr, size_t);

struct cublasContext { CUstream stream; };
typedef cublasContext *Handle;

namespace {

enum { F32 = 0, F16 = 2, BF16 = 14, COMPUTE_32F = 68 };
enum { OK = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, INTERNAL_ERROR = 14, NOT_SUPPORTED = 15 };

size_t size_of(int t) { return t == F32 ? 4 : 2; }
float load(const char *p, size_t i, int t) {
  float f;
  if (t == F32) {
    memcpy(&f, p + 4 * i, 4);
    return f;
  }
  uint16_t h;
  memcpy(&h, p + 2 * i, 2);
  uint32_t u = (uint32_t)h << 16, e = h >> 10 & 31, m = h & 1023, s = (uint32_t)(h >> 15) << 31;
  if (t == F16 && e == 0) {
    f = m * 0x1p-24f;
    return s ? -f : f;
  }
  if (t == F16) u = s | (e == 31 ? 0x7f800000u : (e + 112) << 23) | m << 13;
  memcpy(&f, &u, 4);
  return f;
}
void store(char *p, size_t i, int t, float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if (t == F32) {
    memcpy(p + 4 * i, &u, 4);
    return;
  }
  uint16_t h = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  memcpy(p + 2 * i, &h, 2);
}

struct Gemm {
  bool ta, tb;
  int m, n, k, at, lda, bt, ldb, ct, ldc, batch;
  long long sa, sb, sc;
  float alpha, beta;
  const char *a, *b;
  char *c;

  void one(const char *a, const char *b, char *c) const {
    std::vector<float> x((size_t)m * k), y((size_t)n * k); // both with k innermost
    for (int i = 0; i < m; i++) for (int l = 0; l < k; l++) x[(size_t)i * k + l] = load(a, ta ? (size_t)i * lda + l : (size_t)l * lda + i, at);
    for (int j = 0; j < n; j++) for (int l = 0; l < k; l++) y[(size_t)j * k + l] = load(b, tb ? (size_t)l * ldb + j : (size_t)j * ldb + l, bt);
    for (int j = 0; j < n; j++) for (int i = 0; i < m; i++) {
      const float *p = &x[(size_t)i * k], *q = &y[(size_t)j * k];
      float part[8] = {}, s = 0;
      int l = 0;
      for (; l + 8 <= k; l += 8) for (int e = 0; e < 8; e++) part[e] += p[l + e] * q[l + e];
      for (; l < k; l++) s += p[l] * q[l];
      for (float v : part) s += v;
      size_t o = (size_t)j * ldc + i;
      store(c, o, ct, alpha * s + (beta ? beta * load(c, o, ct) : 0));
    }
  }
  void run() const {
    for (int i = 0; i < batch; i++) one(a + i * sa * size_of(at), b + i * sb * size_of(bt), c + i * sc * size_of(ct));
  }
};

void run(void *p) {
  ((Gemm *)p)->run();
  delete (Gemm *)p;
}

} // namespace

#define API extern "C" __attribute__((visibility("default"))) int
API cublasCreate_v2(Handle *h) {
  if (const char *s = getenv("ATTNSCOPE_EMU_FAIL")) if (!strncmp(s, "cublasCreate_v2", 15)) return NOT_INITIALIZED;
  *h = new cublasContext{nullptr};
  return OK;
}
API cublasDestroy_v2(Handle h) { delete h; return OK; }
API cublasSetStream_v2(Handle h, CUstream s) { h->stream = s; return OK; }
API cublasSetMathMode(Handle, int) { return OK; }
API cublasGemmStridedBatchedEx(Handle h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at, int lda, long long sa,
                               const void *b, int bt, int ldb, long long sb, const void *beta, void *c, int ct, int ldc, long long sc, int batch,
                               int compute, int) {
  if (m < 0 || n < 0 || k < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return INVALID_VALUE;
  if (compute != COMPUTE_32F || at != bt || ct == F16) return NOT_SUPPORTED;
  if (m == 0 || n == 0) return OK;
  if (!attnscope_emu_on_device((CUdeviceptr)c, ((size_t)(n - 1) * ldc + m) * size_of(ct)) ||
      !attnscope_emu_on_device((CUdeviceptr)a, ((size_t)((ta ? m : k) - 1) * lda + (ta ? k : m)) * size_of(at)) ||
      !attnscope_emu_on_device((CUdeviceptr)b, ((size_t)((tb ? k : n) - 1) * ldb + (tb ? n : k)) * size_of(bt))) return INTERNAL_ERROR;
  auto *g = new Gemm{ta != 0, tb != 0, m, n, k, at, lda, bt, ldb, ct, ldc, batch, sa, sb, sc,
                     *(const float *)alpha, *(const float *)beta, (const char *)a, (const char *)b, (char *)c};
  return attnscope_emu_enqueue(h->stream, run, g) ? EXECUTION_FAILED : OK;
}
API cublasGemmEx(Handle h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at, int lda, const void *b, int bt, int ldb,
                 const void *beta, void *c, int ct, int ldc, int compute, int algorithm) {
  return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0, 1, compute, algorithm);
}
