#!/bin/sh
# Compiles kernels.cu to PTX with clang, without a CUDA toolkit; `go generate`
# runs it. usage: build.sh [FILE]   FILE is kernels.ptx unless given
set -e -o pipefail 2>/dev/null || set -e
cd "$(dirname "$0")"
${CLANG:-clang} -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 -Xclang -target-feature -Xclang +ptx70 \
	-nocudainc -nocudalib -std=c++17 -fms-extensions -O3 -ffp-contract=fast -Wall -Wno-unknown-pragmas \
	-S kernels.cu -o - | sed -e 's,[[:blank:]]*//.*,,' -e '/^[[:blank:]]*$/d' >"${1:-kernels.ptx}"
