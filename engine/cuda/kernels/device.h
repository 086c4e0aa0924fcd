// The vocabulary of CUDA C that the kernels use, without a toolkit: for clang,
// which has the language but not NVIDIA's headers, and for the emulated driver,
// where every word has a meaning on the host (../emu/device.h).
#pragma once
#if defined(ATTNSCOPE_EMU)
#include "../emu/device.h"
#else

typedef __SIZE_TYPE__ size_t;
typedef unsigned char uint8_t;
typedef signed char int8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };
struct __attribute__((aligned(8))) float2 { float x, y; };
struct __attribute__((aligned(16))) uint4 { uint32_t x, y, z, w; };

#define DEVICE static __attribute__((device, always_inline))
#define DEVICE_MEMBER __attribute__((device, always_inline))
#define KERNEL(threads, name, ...) \
  extern "C" __attribute__((global, launch_bounds(threads))) void name(__VA_ARGS__)
// A kernel of which at least blocks blocks fit on a multiprocessor: ptxas limits its registers.
#define KERNEL_ON(threads, blocks, name, ...) \
  extern "C" __attribute__((global, launch_bounds(threads, blocks))) void name(__VA_ARGS__)
#define SHARED __attribute__((shared))
// The dynamic shared memory of the launch.
#define DYN_SHARED(name) extern SHARED __attribute__((aligned(16))) uint8_t name[]
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")

#define SPECIAL_REGISTER(name, reg) \
  struct name##_t { \
    __declspec(property(get = get_x)) int x; \
    __declspec(property(get = get_y)) int y; \
    __declspec(property(get = get_z)) int z; \
    DEVICE int get_x() { return __nvvm_read_ptx_sreg_##reg##_x(); } \
    DEVICE int get_y() { return __nvvm_read_ptx_sreg_##reg##_y(); } \
    DEVICE int get_z() { return __nvvm_read_ptx_sreg_##reg##_z(); } \
  }; \
  extern const __attribute__((device)) __attribute__((weak)) name##_t name;
SPECIAL_REGISTER(threadIdx, tid)
SPECIAL_REGISTER(blockIdx, ctaid)
SPECIAL_REGISTER(blockDim, ntid)
SPECIAL_REGISTER(gridDim, nctaid)

// Not clang's __syncthreads: its optimiser believes that this touches no shared
// variable of a function, and clang 14 moved loads across it.
DEVICE void block_sync() { asm volatile("bar.sync 0;" : : : "memory"); }

// The same number, of which the compiler does not know that: it computes what depends on it
// anew, and keeps none of it in registers over a loop.
DEVICE int anew(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

DEVICE float shfl_xor(float v, int mask) { return __nvvm_shfl_sync_bfly_f32(~0u, v, mask, 31); }
DEVICE int shfl_xor(int v, int mask) { return __nvvm_shfl_sync_bfly_i32(~0u, v, mask, 31); }
DEVICE int shfl_up(int v, int by) { return __nvvm_shfl_sync_up_i32(~0u, v, by, 0); }
DEVICE float shfl(float v, int lane) { return __nvvm_shfl_sync_idx_f32(~0u, v, lane, 31); }

// 2^x and log2(x) of the special function unit: errors near 2^-22.
DEVICE float exp2_fast(float x) { return __nvvm_ex2_approx_ftz_f(x); }
DEVICE float log2_fast(float x) { return __nvvm_lg2_approx_ftz_f(x); }
DEVICE float reciprocal(float x) { // an ulp off at most
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
DEVICE float larger(float a, float b) { return __nvvm_fmax_f(a, b); }
DEVICE float square_root(float x) { return __nvvm_sqrt_rn_f(x); }
DEVICE int round_even(float x) {
  int r;
  asm("cvt.rni.s32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}
DEVICE uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
DEVICE float float_of(uint32_t u) { return __builtin_bit_cast(float, u); }
// Four bytes of the eight of x and y, where x has the first: digit i of choice, in base 16, says
// which is byte i of the result. A digit of 8 and more repeats the highest bit of byte digit-8.
DEVICE uint32_t byte_permute(uint32_t x, uint32_t y, uint32_t choice) {
  uint32_t r;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(choice));
  return r;
}
DEVICE uint64_t bits_of(double x) { return __builtin_bit_cast(uint64_t, x); }

DEVICE float half_to_float(uint16_t h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
DEVICE uint16_t float_to_half(float x) {
  uint16_t h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}
// Two numbers in a word, the first in the low half.
DEVICE uint32_t pack_half(float lo, float hi) {
  uint32_t u;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(u) : "f"(hi), "f"(lo));
  return u;
}
DEVICE uint32_t pack_bfloat(float lo, float hi) {
  uint32_t u;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(u) : "f"(hi), "f"(lo));
  return u;
}

// d[16,8] += a[16,16] * b[16,8], fragments as the PTX ISA lays them out.
DEVICE void mma_half(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void mma_bfloat(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

DEVICE uint32_t shared_address(const void *p) { return (uint32_t)(size_t)(__attribute__((address_space(3))) const void *)p; }

// Four 8 x 8 matrices of 16-bit elements from shared memory; lane 8i+r gives
// the address of row r of matrix i, 16 bytes.
DEVICE void load_matrices(uint32_t (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
DEVICE void load_matrices_transposed(uint32_t (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// 16 bytes to shared memory without waiting: the first bytes from src, then zeros.
DEVICE void copy_async(void *dst, const void *src, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(shared_address(dst)), "l"(src), "r"(bytes) : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" : : : "memory"); }
// Waits until at most pending of the committed groups are under way.
template <int pending> DEVICE void copy_wait() { asm volatile("cp.async.wait_group %0;" : : "n"(pending) : "memory"); }

DEVICE void atomic_add(int64_t *p, int64_t v) {
  asm volatile("red.global.add.u64 [%0], %1;" : : "l"(p), "l"(v) : "memory");
}
// The larger of non-negative floats: their bits are in the same order.
DEVICE void atomic_max(float *p, float v) {
  asm volatile("red.global.max.u32 [%0], %1;" : : "l"(p), "r"(bits_of(v)) : "memory");
}
DEVICE void atomic_count(uint32_t *shared) {
  asm volatile("red.shared.add.u32 [%0], 1;" : : "r"(shared_address(shared)) : "memory");
}
#endif
