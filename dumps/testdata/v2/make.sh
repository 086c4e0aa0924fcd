#!/bin/sh
# Made the dumps of this folder, once, on 2026-11-29, with the attnscope of that
# day. They are kept as they are: what this script makes today may differ.
set -e
for model in gpt_oss qwen3_next deepseek_v2 gemma3n_text llama4_text; do
	for store in rows factors; do
		attnscope capture -m ../../../engine/model/testdata/$model -p ../v1/prompts.jsonl --limit 2 --ignore-eos --max-new-tokens 5 \
			--window-rows 8 --prompt-windows 2x8 --values --threads 1 --store $store -o $model-$store.attn
	done
done
