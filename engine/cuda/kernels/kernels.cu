// The kernels of attnscope. One source gives the PTX that is committed beside it
// (clang, see build.sh) and, compiled by g++, the bodies of the emulated
// driver. Every kernel is launched by one Go method of ../kernels_*.go.
//
// T in a name is f32, f16 or bf16: what products read. The residual stream,
// what products write, norms' weights and biases are float32; so are all sums.
// Matrices are row-major, [rows, columns]; ld is the number of elements between
// rows. "Slots" are places of a cache: store s, slot t of keys is
// k[(s*room + t)*kdim]; slots are in the order of positions. A cache that was
// never cut holds position t in slot t; a compressed one has pos [stores, room]
// and counts [stores], the slots in use.
//
//	embed            x[i, :] = scale * table[ids[i], :]; the table in any type a checkpoint has
//	dequant_T        dst[i] = src[i]: any type of a checkpoint to T
//	fill_random_T    pseudo-random numbers of mean 0 and a standard deviation
//	rms_norm_T       dst = x / sqrt(mean(x²) + eps) * (offset + weight), a row each
//	layer_norm_T     dst = (x - mean) / sqrt(var + eps) * weight + bias, a row each
//	bias_add         x[i, :] += bias
//	add_scaled       x += by * y
//	scale_cap        x = cap * tanh(x / divide / cap), without cap x / divide
//	heads_T          a projection's heads: bias, bound, norm of the head, rotation, to T, into queries or a cache
//	advance          positions and counts of a compressed cache after n more
//	gate_T           dst = act(x[:, :ff]) * x[:, ff:], or act(x); SiLU, GELU by tanh or erf, ReLU, its square
//	gemm_T           c (+)= a·wᵀ, tensor cores for f16 and bf16
//	split_f32        float32 as three bfloat16 numbers that add up to it
//	gemm_f32_bf16    float32's product on tensor cores: a as split_f32 gives it, w bfloat16
//	gemv_T           the same for up to 8 rows, at the speed of reading w
//	gemv_f32_bf16    a float32, w bfloat16
//	gemv_quant_T     the same with w as it lies in a GGUF file
//	route            the router of a mixture: softmax, largest few, their weights
//	gather_rows      dst[i, :] = src[idx[i], :]
//	scatter_add      out[idx[i], :] += weight[i] * y[i, :]
//	attention_T_D    prefill attention by tiles with running maximum and sum; heads of at most D = 64, 128, 256 channels
//	attention_rows_T_D   second pass: rows of weights, for asked rows and heads
//	attention_sums_T_D   second pass: weights summed over queries, in 64-bit fixed point, and the pooled overview
//	decode_scores_T  few queries against a long cache: scores and each part's maximum and sum
//	decode_values_T  the same: weights (the recorded row) and each part's output
//	decode_combine_T the same: parts added
//	fixed_to_float   fixed-point sums to float32
//	snap_vote        SnapKV: votes of the observation window
//	snap_pool        SnapKV: votes pooled over neighbours
//	snap_merge       votes of a group of query heads merged
//	snap_topk        the k largest votes of each head, ascending, then the tail of the prompt
//	gather_slots     keys or values of kept slots, into a compressed cache
//	gather_pos       their positions
#include "device.h"
#include "numbers.cuh"
#include "quant.cuh"
#include "rows.cuh"
#include "gemm.cuh"
#include "quantgemv.cuh"
#include "tile.cuh"
#include "attention.cuh"
#include "decode.cuh"
#include "select.cuh"
