#!/bin/sh
# Compiles kernels.cu: to PTX with clang, without a CUDA toolkit, and from that to cubins with
# ptxas 12.9, which is in the Python package nvidia-cuda-nvcc-cu12. `go generate` runs it.
#
# usage: build.sh            writes kernels.tar.zst, which the program embeds
#        build.sh ptx FILE   writes the PTX alone
set -e
cd "$(dirname "$0")"

ptx() {
	${CLANG:-clang} -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 -Xclang -target-feature -Xclang +ptx70 \
		-nocudainc -nocudalib -std=c++17 -fms-extensions -O3 -ffp-contract=fast -Wall -Wno-unknown-pragmas \
		-S kernels.cu -o "$1.raw"
	sed -e 's,[[:blank:]]*//.*,,' -e '/^[[:blank:]]*$/d' "$1.raw" >"$1" # comments double its size
	rm "$1.raw"
}

if [ "$1" = ptx ]; then
	ptx "$2"
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ptx "$work/kernels.ptx"
python3 ptxas.py --cubins "$work" "$work/kernels.ptx"
go run ./pack -o kernels.tar.zst "$work/kernels.ptx" "$work"/sm_*.cubin
