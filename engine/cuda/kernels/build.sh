#!/bin/sh
# Compiles kernels.cu to PTX with clang, without a CUDA toolkit; `go generate`
# runs it. usage: build.sh [FILE]   FILE is kernels.ptx unless given
set -e
cd "$(dirname "$0")"
out=${1:-kernels.ptx}
${CLANG:-clang} -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 -Xclang -target-feature -Xclang +ptx70 \
	-nocudainc -nocudalib -std=c++17 -fms-extensions -O3 -ffp-contract=fast -Wall -Wno-unknown-pragmas \
	-S kernels.cu -o "$out.raw"
sed -e 's,[[:blank:]]*//.*,,' -e '/^[[:blank:]]*$/d' "$out.raw" >"$out" # comments double its size
rm "$out.raw"
