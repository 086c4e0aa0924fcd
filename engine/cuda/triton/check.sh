#!/bin/sh
# Checks the kernels of Triton where Triton 3.9 and PyTorch are: in Triton's interpreter, for the launches of the
# tests on the emulated card, and against what a fresh build makes of them. ../kernels/check.sh, which runs
# before, checks what it can without Triton.
#
# usage: check.sh FOLDER   the folder of ../kernels/check.sh; ATTNSCOPE_PYTHON names the Python
set -e
test -n "$1" || { sed -n '2,7s/^# *//p' "$0" >&2; exit 2; }
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
python=${ATTNSCOPE_PYTHON:-python3}
if ! "$python" -c 'import torch, triton; assert triton.__version__.startswith("3.9.")' 2>/dev/null; then
	echo "SKIPPED: $python has no Triton 3.9; its kernels have been neither interpreted nor built"
	exit 0
fi
rm -f "$out/launches"
(cd .. && ATTNSCOPE_LIBCUDA="$out/libcuda_emu.so" ATTNSCOPE_EMU_RECORD="$out/launches" "$out/kernels.test" -test.run '^TestTriton(Attention|Gemm)$')
"$python" interpret.py "$out/launches"
rm "$out/launches"
rm -rf "$out/fresh"
PYTHONPATH="$out/ptxas:$PYTHONPATH" TRITON_CACHE_DIR="$out/fresh/cache" "$python" build.py "$out/fresh"
for file in sm_80.ptx sm_90a.cubin sm_100a.cubin; do
	cmp "$out/fresh/$file" "$out/triton/$file" || { echo "kernels.tar.zst is not what kernels.py gives: run build.sh" >&2; exit 1; }
done
diff facts.tsv "$out/fresh/facts.tsv"
rm -rf "$out/fresh"
echo "the embedded kernels of Triton are what the source gives"
