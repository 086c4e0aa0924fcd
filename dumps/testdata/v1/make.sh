#!/bin/sh
# Made the dumps of this folder, once, on 2026-11-25, with the attnscope of that
# day. They are kept as they are: what this script makes today may differ.
set -e
capture() {
	attnscope capture -m ../../../engine/model/testdata/qwen3 -p prompts.jsonl --ignore-eos --max-new-tokens 5 --window-rows 8 --prompt-windows 2x8 --threads 1 "$@"
}
for store in rows factors; do
	for precision in exact fine coarse; do
		capture --store $store --precision $precision --layers 1,3 --values --logits --overview 4 -o $store-$precision.attn
	done
done
capture --store rows --heads 0,2 -o some-layers-and-heads.attn
for shard in 0 1 2; do
	capture --store factors --shard $shard/3 -o shard-$shard.attn
done
attnscope merge shard-2.attn shard-0.attn shard-1.attn -o merged.attn
rm shard-?.attn
head -c 40000 rows-fine.attn >unfinished.attn
python3 - <<'END' # with torch and transformers
import sys
sys.path.insert(0, "../../../python")
sys.dont_write_bytecode = True
import torch, transformers, attnscope
model = transformers.AutoModelForCausalLM.from_pretrained("../../../engine/model/testdata/qwen3", dtype=torch.float32)
with attnscope.Recorder(model, "torch.attn", window_rows=8, prompt_windows=2, prompt_window_size=8) as r:
    r.record([(7 * i + 3) % 128 for i in range(24)], id="one", reply=[5, 9, 77, 2, 64])
END
