package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// Flags that several verbs share: each once, with one name, unit and default.
var (
	modelFlag = &cli.StringFlag{
		Name: "model", Aliases: []string{"m"}, Value: "smollm2-135m",
		Usage: "`MODEL`: hub-layout folder, .gguf file, hub id, or smollm2-135m",
	}
	revisionFlag = &cli.StringFlag{Name: "revision", Usage: "`REVISION` of a hub id", Value: "main"}
	offlineFlag  = &cli.BoolFlag{Name: "offline", Usage: "never reach for the network"}
	promptsFlag  = &cli.StringFlag{Name: "prompts", Aliases: []string{"p"}, Usage: "`FILE` of prompts: .jsonl, .jsonl.zst, or - for stdin"}
	forceFlag    = &cli.BoolFlag{Name: "force", Usage: "replace an existing output file"}
	threadsFlag  = &cli.IntFlag{Name: "threads", Usage: "`N` threads (0: one for each core)"}
	computeFlag  = &cli.StringFlag{Name: "compute", Value: "f32", Usage: "arithmetic of the prompt's matrix products: f32, bf16 or int8; on a card of everything: f32, bf16 or f16"}
	deviceFlag   = &cli.StringFlag{Name: "device", Value: "auto", Usage: "`DEVICE`: auto (a card, where this program and machine have one), cpu, cuda or cuda:i"}
	seedFlag     = &cli.Int64Flag{Name: "seed", Usage: "`SEED` of sampling"}
)

// Flags that say how a prompt file is read.
var promptFlags = []cli.Flag{
	&cli.BoolFlag{Name: "no-special-tokens", Usage: "do not add what the tokenizer's post-processor adds to raw text (BOS)"},
	&cli.BoolFlag{Name: "no-chat-template", Usage: "join the messages' text instead of applying the model's chat template"},
	&cli.StringFlag{Name: "system", Usage: "system message `TEXT` before every chat"},
	&cli.BoolFlag{Name: "follow", Usage: "follow the reference answers (outputs, answers, answer) instead of generating"},
	&cli.IntFlag{Name: "max-prompt-tokens", Usage: "longest prompt, in `N` tokens; needs --truncate"},
	&cli.StringFlag{Name: "truncate", Usage: "how to cut a longer prompt: middle"},
}

// parseList reads "0,3,7-9" or "all" into ids below n.
func parseList(name, text string, n int) ([]int, error) {
	var list []int
	if text == "" || text == "all" {
		for i := range n {
			list = append(list, i)
		}
		return list, nil
	}
	seen := map[int]bool{}
	for _, part := range strings.Split(text, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.Atoi(lo)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(hi)
		}
		if err != nil || first < 0 || last < first {
			return nil, usagef("--%s %s: %q is not a number or a range such as 7-9", name, text, part)
		}
		if last >= n {
			return nil, usagef("--%s %s: the model has %s 0 to %d", name, text, name, n-1)
		}
		for i := first; i <= last; i++ {
			if !seen[i] {
				seen[i] = true
				list = append(list, i)
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// parseWindows reads "20x128": number and size of the older query windows.
func parseWindows(text string) (count, size int, err error) {
	if text == "" || text == "0" || text == "off" {
		return 0, 0, nil
	}
	if _, err := fmt.Sscanf(text, "%dx%d", &count, &size); err != nil || count < 0 || size < 1 ||
		fmt.Sprintf("%dx%d", count, size) != text {
		return 0, 0, usagef("--prompt-windows %q: want COUNTxSIZE such as 20x128, or 0", text)
	}
	return count, size, nil
}

// parseShard reads "i/n", 0 <= i < n.
func parseShard(text string) (i, n int, err error) {
	if text == "" {
		return 0, 1, nil
	}
	if _, err := fmt.Sscanf(text, "%d/%d", &i, &n); err != nil || n < 1 || i < 0 || i >= n ||
		fmt.Sprintf("%d/%d", i, n) != text {
		return 0, 0, usagef("--shard %q: want I/N with 0 <= I < N, such as 0/8", text)
	}
	return i, n, nil
}
