package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/model"
)

// cacheFlags say how compressed caches are held; generate and leaderboard share them.
var cacheFlags = []cli.Flag{
	&cli.IntFlag{
		Name: "decode-every", DefaultText: "never",
		Usage: "let every method select again after each `N` reply tokens, so that its cache stays within the" +
			" capacity",
	},
	&cli.StringFlag{
		Name: "compress-at", Value: string(decode.AtPrompt),
		Usage: "compress the caches at the end of `PLACE`, " + strings.Join(decode.Places, " or ") + ": at the end of the" +
			" prompt, the window holds the question; at the end of its context, the question is not known yet",
	},
	&cli.IntSliceFlag{
		Name: "kv-bits", DefaultText: "16",
		Usage: "hold the caches in `N` bits per number, 2 to 8, quantized as KIVI does; 16: not quantized" +
			" (in generate, repeatable)",
	},
	&cli.IntFlag{
		Name: "kv-group", Value: decode.DefaultFormat.Group,
		Usage: "in quantized caches, let `N` numbers share a scale and a minimum",
	},
	&cli.IntFlag{
		Name: "kv-residual", Value: decode.DefaultFormat.Residual,
		Usage: "in quantized caches, do not quantize the last `N` positions",
	},
	boolFlag("equal-bytes", "with --kv-bits, let quantized caches keep as many positions as fit into the bytes"+
		" that they would take at 16 bits"),
}

// budgetUsage describes the flag --budget of generate and leaderboard.
const budgetUsage = "each of a comma-separated `LIST`: positions per head, a share of the prompt such as 25%, or 4bit:" +
	" the bytes of the full cache in 4 bits, which is then decoded too"

// budgetsOf returns the budgets that --budget asks for.
func budgetsOf(c *cli.Context) ([]decode.Budget, error) {
	var list []decode.Budget
	if c.String("budget") == "" {
		return nil, nil
	}
	for _, text := range splitList(c.String("budget")) {
		b, err := decode.ParseBudget(text)
		if err != nil {
			return nil, usagef("--%w", err)
		}
		if !slices.Contains(list, b) {
			list = append(list, b)
		}
	}
	return list, nil
}

// formatsOf returns the formats that --kv-bits, --kv-group and --kv-residual ask for.
func formatsOf(c *cli.Context) []model.CacheFormat {
	var list []model.CacheFormat
	for _, bits := range c.IntSlice("kv-bits") {
		f := budgetFormat(c)
		f.Bits = bits
		if bits == 16 {
			f = model.CacheFormat{}
		}
		list = append(list, f)
	}
	return list
}

// budgetFormat returns the group and the residual of quantized caches.
func budgetFormat(c *cli.Context) model.CacheFormat {
	return model.CacheFormat{Group: c.Int("kv-group"), Residual: c.Int("kv-residual")}
}

// checkCaches checks cacheFlags and --budget.
func checkCaches(c *cli.Context) error {
	if c.IsSet("decode-every") && c.Int("decode-every") < 1 {
		return usagef("--decode-every %d: want 1 or more", c.Int("decode-every"))
	}
	budgets, err := budgetsOf(c)
	if err != nil {
		return err
	}
	inBits := slices.ContainsFunc(budgets, func(b decode.Budget) bool { return b.Bits > 0 })
	quantizes := c.IsSet("kv-bits") || inBits
	for _, name := range []string{"kv-group", "kv-residual"} {
		if c.IsSet(name) && !quantizes {
			return hintf(usagef("--%s needs quantized caches", name), "add, for example, --kv-bits 4, or --budget 4bit")
		}
	}
	if c.IsSet("equal-bytes") && !c.IsSet("kv-bits") {
		return hintf(usagef("--equal-bytes needs --kv-bits"), "add, for example, --kv-bits 4")
	}
	for i, f := range formatsOf(c) {
		if bits := c.IntSlice("kv-bits")[i]; bits != 16 && (bits < 2 || bits > 8) {
			return usagef("--kv-bits %d: want 2 to 8, or 16 for a cache that is not quantized", bits)
		}
		if err := f.Check(); err != nil {
			return usagef("--kv-%w", err)
		}
	}
	if inBits {
		f := budgetFormat(c)
		f.Bits = 2
		if err := f.Check(); err != nil {
			return usagef("--kv-%w", err)
		}
	}
	return checkWord(c, "compress-at", decode.Places)
}

// checkCardCaches refuses what caches on a card cannot do.
func checkCardCaches(c *cli.Context, src *capture.Source, budgets []decode.Budget) error {
	if src.Device.Card == nil {
		return nil
	}
	refuse := func(flag string) error {
		err := usagef("--%s: caches on a card are compressed once and are not quantized", flag)
		return hintf(err, "decode on the processor with --device cpu")
	}
	for _, name := range []string{"decode-every", "kv-bits"} {
		if c.IsSet(name) {
			return refuse(name)
		}
	}
	for _, b := range budgets {
		if b.Bits > 0 {
			return refuse("budget " + b.String())
		}
	}
	return nil
}
