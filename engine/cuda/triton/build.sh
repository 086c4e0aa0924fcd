#!/bin/sh
# Compiles kernels.py: build.py makes PTX and cubins of it, without a card. `go generate` runs it. It needs Triton 3.9
# in the Python that ATTNSCOPE_PYTHON names, and ptxas 12.9 and nvdisasm as ../kernels/build.sh does.
#
# usage: build.sh   writes kernels.tar.zst, which the program embeds, and facts.tsv
set -e
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
TRITON_CACHE_DIR="$work/cache" "${ATTNSCOPE_PYTHON:-python3}" build.py "$work"
go run ../kernels/pack -o kernels.tar.zst "$work/sm_80.ptx" "$work/sm_90a.cubin" "$work/sm_100a.cubin"
mv "$work/facts.tsv" .
