#!/bin/sh
# Checks the kernels without a card: on the emulated one in several orders of
# threads and under the race detector, the embedded PTX in the interpreter, the PTX
# against its source, and the cubins and what ptxas says of them against limits.tsv.
#
# usage: check.sh FOLDER   with libcuda.a (`make cuda` leaves it in build/cuda)
# ORDERS lists the orders of threads besides the usual one and the race detector's: "1 17".
set -e
test -n "$1" || { sed -n '2,8s/^# *//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
cuda=$(dirname "$here")
test -f "$out/libcuda_emu.so" || sh "$cuda/emu/build.sh" "$out"

export CGO_ENABLED=1 CGO_CFLAGS="-O2 -g -I$cuda/include" CGO_LDFLAGS="-L$out -ldl"
export ATTNSCOPE_LIBCUDA="$out/libcuda_emu.so" ATTNSCOPE_LIBCUBLAS="$out/libcublas_emu.so"
# The tests of kernels_*_test.go: those of whole models lay buffers of several types side by side.
kernel_tests="^($(sed -n 's/^func \(Test[A-Za-z0-9]*\)(.*/\1/p' "$cuda"/kernels_test.go "$cuda"/kernels_*_test.go | tr '\n' '|')none)\$"
cd "$cuda"
go test -tags cuda -c -o "$out/kernels.test" .
rm -f "$out/launches"
ATTNSCOPE_EMU_RECORD="$out/launches" ATTNSCOPE_EMU_RECORD_ALL=embed:dequant_:gemv_quant_ "$out/kernels.test" -test.run "$kernel_tests"
for order in ${ORDERS:-17}; do
	ATTNSCOPE_EMU_ORDER=$order "$out/kernels.test" -test.run "$kernel_tests"
done
go test -race -tags cuda -c -o "$out/kernels-race.test" .
ATTNSCOPE_EMU_ORDER=5 "$out/kernels-race.test" -test.run "$kernel_tests"

(cd "$cuda/../.." && go run ./engine/cuda/kernels/pack -x "$out/images" "$here/kernels.tar.zst")
(cd "$cuda/../.." && go run ./engine/cuda/kernels/pack -x "$out/triton" "$cuda/triton/kernels.tar.zst")
if python3 -c 'import numpy' 2>/dev/null; then
	python3 "$here/replay.py" "$out/launches" "$out/images/kernels.ptx" "$out/triton/sm_80.ptx"
else
	echo "SKIPPED: no numpy here; the embedded PTX has not been run"
fi
rm -f "$out/launches"

# Any clang from 14 on makes PTX that works, but not the same to the byte.
if ${CLANG:-clang} --version 2>/dev/null | grep -q 'version 14\.0'; then
	sh "$here/build.sh" ptx "$out/kernels.ptx"
	cmp "$out/kernels.ptx" "$out/images/kernels.ptx" || { echo "kernels.tar.zst is not what the source gives: run go generate -tags cuda ./engine/cuda" >&2; exit 1; }
	echo "the embedded PTX is what the source gives"
else
	echo "SKIPPED: no clang 14 here; the embedded PTX has not been compared with its source"
fi

if ! python3 "$here/ptxas.py" --where >/dev/null; then
	python3 -m pip install --quiet --target "$out/ptxas" nvidia-cuda-nvcc-cu12==12.9.86 nvidia-cuda-nvdisasm==13.5.37 2>/dev/null || true
fi
PYTHONPATH="$out/ptxas" python3 "$here/ptxas.py" --check "$out/images"
PYTHONPATH="$out/ptxas" python3 "$here/predict.py" --check "$out/images"
