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
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# limited reports whether a run failed only because the fuzzer took the end of its own
# time for a failure: it then names no input.
limited() { grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; }

for target in "${targets[@]}"; do
	for try in 1 2 3; do
		# Failing inputs are small enough after a short minimization.
		go test -run '^$' -fuzz "^${target#*:}\$" -fuzztime "${1:-10s}" -fuzzminimizetime 100x -parallel 2 "./${target%:*}" 2>&1 |
			tee "$log" && break
		if test "$try" = 3 || ! limited; then
			exit 1
		fi
		echo "$target is tried again: its time ended, and no input failed"
	done
done
