#!/usr/bin/env bash
# Fuzzes every target for a while: ./fuzz.sh 10s
set -euo pipefail
for target in dumps:FuzzOpen capture/checkpoint:FuzzSafetensors capture/checkpoint:FuzzGGUF capture/tokenizer:FuzzTokenizerJSON \
	capture/tokenizer:FuzzModelFile capture/tokenizer:FuzzByteLevel \
	capture/tokenizer:FuzzChatTemplate capture/prompts:FuzzRead analysis/states:FuzzCompress; do
	go test -run '^$' -fuzz "^${target#*:}\$" -fuzztime "${1:-10s}" -parallel 2 "./${target%:*}"
done
