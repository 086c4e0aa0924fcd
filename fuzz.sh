#!/usr/bin/env bash
# Runs every fuzz target for some time, 10 seconds by default: ./fuzz.sh 1m
set -euo pipefail

targets=(
	dumps:FuzzOpen
	dumps:FuzzForged
	engine/checkpoint:FuzzSafetensors
	engine/checkpoint:FuzzGGUF
	engine/model:FuzzConfig
	engine/tokenizer:FuzzTokenizerJSON
	engine/tokenizer:FuzzModelFile
	engine/tokenizer:FuzzByteLevel
	engine/tokenizer:FuzzChatTemplate
	internal/jinja:FuzzTemplate
	internal/jinja:FuzzJSON
	capture/prompts:FuzzRead
	analysis/states:FuzzCompress
	analysis/tasks:FuzzQuestions
	experiments/leaderboard:FuzzRead
	viz/view:FuzzRequest
	cmd/attnscope:FuzzVerbs
)
for target in "${targets[@]}"; do
	# Failing inputs are small enough after a short minimization.
	go test -run '^$' -fuzz "^${target#*:}\$" -fuzztime "${1:-10s}" -fuzzminimizetime 100x -parallel 2 "./${target%:*}"
done
