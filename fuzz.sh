#!/usr/bin/env bash
# Fuzzes every target for a while: ./fuzz.sh 10s
set -euo pipefail
# Inputs are not made small for long: what is found is small enough.
for target in dumps:FuzzOpen dumps:FuzzForged engine/checkpoint:FuzzSafetensors engine/checkpoint:FuzzGGUF engine/model:FuzzConfig engine/tokenizer:FuzzTokenizerJSON \
	engine/tokenizer:FuzzModelFile engine/tokenizer:FuzzByteLevel engine/tokenizer:FuzzChatTemplate capture/prompts:FuzzRead analysis/states:FuzzCompress viz/view:FuzzRequest cmd/attnscope:FuzzVerbs; do
	go test -run '^$' -fuzz "^${target#*:}\$" -fuzztime "${1:-10s}" -fuzzminimizetime 100x -parallel 2 "./${target%:*}"
done
