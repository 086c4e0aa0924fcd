#!/bin/sh
# Builds the emulated driver and the emulated cuBLAS, which tests load in the
# place of the real ones. usage: build.sh FOLDER   needs g++ on x86-64
#
#	ATTNSCOPE_LIBCUDA=FOLDER/libcuda_emu.so ATTNSCOPE_LIBCUBLAS=FOLDER/libcublas_emu.so
set -e
test -n "$1" || { sed -n '2,5s/^# *//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
# NaN and infinities are used: no fast-math. Fused or not is for tolerances to bear.
flags="-std=c++17 -O2 -g1 -fPIC -fvisibility=hidden -U_FORTIFY_SOURCE -Wall -Wno-unknown-pragmas -Wno-unused-function -mtls-dialect=gnu2 -I${CUDA_INCLUDE:-../include}"
for part in driver blocks kernels triton; do
	${CXX:-g++} $flags -c $part.cc -o "$out/emu_$part.o" &
	jobs="$jobs $!"
done
for job in $jobs; do wait $job; done
${CXX:-g++} -shared -Wl,-soname,libcuda.so.1 -o "$out/libcuda_emu.so" "$out/emu_driver.o" "$out/emu_blocks.o" "$out/emu_kernels.o" "$out/emu_triton.o" -lpthread
${CXX:-g++} $flags -shared -Wl,-soname,libcublas_emu.so -o "$out/libcublas_emu.so" blas.cc "$out/libcuda_emu.so"
