// Package glossary explains the terms that attnscope's tables and pages use.
package glossary

import (
	"slices"
	"strings"
	"unicode"
)

// A Term is a word that the program prints and a newcomer may not know.
type Term struct {
	Name    string
	Aliases []string // other names of the same thing, such as those of flags and columns
	Text    string   // one to three sentences
	Formula string   // may be empty
	More    string   // where the documentation says more
}

// Terms lists all terms in alphabetical order.
var Terms = []Term{
	{
		Name:    "budget",
		Aliases: []string{"k", "top"},
		Text: "The number k of positions that a method selects from the prefix of a prompt. " +
			"hitrate sets it with --budget, or with --top as a share of the prefix; snapkv and generate set --capacity, which also counts the observation window.",
		Formula: "k = floor(top × n + 1e-9), for a prefix of n positions",
		More:    "docs/MEASURES.md",
	},
	{
		Name:    "cache ratio",
		Aliases: []string{"compression"},
		Text: "The memory of a compressed cache divided by the memory of the full cache of the same prompt. " +
			"It exceeds the share of kept positions where query heads of a group keep different positions, because each of them then needs a copy.",
		Formula: "cache_ratio = bytes of the kept keys and values / bytes of all keys and values",
		More:    "docs/MEASURES.md",
	},
	{
		Name: "capacity",
		Text: "The number of positions that a compressed cache holds per head when decoding begins: the selected positions of the prefix and the observation window. " +
			"Tokens of the reply are added to it.",
		Formula: "capacity = budget + window",
		More:    "docs/METHODS.md",
	},
	{
		Name: "chance",
		Text: "The hit rate that a random selection of k positions would have on average. " +
			"A method is informative only as far as its hit rate exceeds this.",
		Formula: "chance = k / n, for a prefix of n positions",
		More:    "docs/MEASURES.md",
	},
	{
		Name:    "difference",
		Aliases: []string{"against", "p"},
		Text: "How much higher the hit rate of a window is than that of the window of hitrate --against, on average over prompts. " +
			"Its interval is bootstrapped over prompts, and p is the share of all ways to flip the signs of the differences whose mean is at least as far from zero.",
		Formula: "difference = mean over prompts of (rate − rate of the other window in the same prompt)",
		More:    "docs/MEASURES.md",
	},
	{
		Name:    "dump",
		Aliases: []string{".attn"},
		Text: "The file that capture writes. It holds the attention weights of the last prompt tokens and of all reply tokens, " +
			"or the queries and keys from which they follow, and answers all later questions without the model.",
		More: "dumps/FORMAT.md",
	},
	{
		Name:    "factors",
		Aliases: []string{"store", "rows"},
		Text: "One of the two forms in which a dump keeps attention: queries and keys, from which a reader computes the weights. " +
			"The other form, rows, keeps the weights themselves; --store auto takes the smaller one.",
		Formula: "weight = exp(scale × q·k − log-sum-exp of the row)",
		More:    "dumps/FORMAT.md",
	},
	{
		Name: "few",
		Text: "What a hit rate rests on too little of: fewer than 30 significant positions (--min-significant), a prompt with few of them, " +
			"or fewer than 10 prompts, down to a single one. A table on the screen has such rates in parentheses, a file names the reasons in the column few.",
		More: "docs/MEASURES.md",
	},
	{
		Name: "full",
		Text: "The uncompressed cache, with which every method is compared. Its kept mass and its agreement are 1.",
		More: "docs/METHODS.md",
	},
	{
		Name:    "GQA group",
		Aliases: []string{"group", "kv head", "gqa"},
		Text: "The query heads that read the keys and values of one kv head. " +
			"With --group mean or max, they select one set of positions together, as a real cache requires; with --group head, each selects its own.",
		Formula: "query head h reads kv head floor(h × kv heads / query heads)",
		More:    "docs/METHODS.md",
	},
	{
		Name:    "hit rate",
		Aliases: []string{"hits"},
		Text: "The share of the significant positions of the prefix that the observation window had selected. " +
			"A rate near 1 supports the claim of SnapKV; compare it with chance, sinks_recent and oracle before you trust it. " +
			"A row over several prompts has the mean of their rates, not the sum of hits over the sum of significant positions.",
		Formula: "hit_rate = hits / significant (arXiv:2404.14469v1, section 3)",
		More:    "docs/MEASURES.md",
	},
	{
		Name: "kernel",
		Text: "The width of the pooling that smooths the votes of neighboring positions before the largest are selected. " +
			"A wider kernel keeps whole phrases instead of single tokens. In a dump's list of prompts, the kernel is the instruction set that computed the numbers.",
		Formula: "pooled vote of j = max or mean of the votes of j − floor(kernel/2) to j + floor(kernel/2) (arXiv:2404.14469, listing 1)",
		More:    "docs/METHODS.md",
	},
	{
		Name:    "latent",
		Aliases: []string{"mla"},
		Text: "In multi-head latent attention (DeepSeek, Kimi), the cache holds one vector per position, from which the keys and values of all heads follow. " +
			"A method must therefore select the same positions for all heads of a layer.",
		More: "docs/METHODS.md",
	},
	{
		Name:    "loss",
		Aliases: []string{"kl", "perplexity", "ppl"},
		Text: "What decoding from a compressed cache loses against the full cache. " +
			"advise bounds it: --loss 5% is an increase of the perplexity of the reply, and --loss 0.05 a KL divergence in nats per reply token. " +
			"In leaderboard, it is the score of the full cache minus the score of a method, prompt by prompt.",
		Formula: "kl = mean over reply tokens of Σ p ln(p/q), with p from the full cache and q from the compressed one",
		More:    "docs/ADVICE.md",
	},
	{
		Name:    "mass",
		Aliases: []string{"kept mass"},
		Text: "The total attention weight that a row puts on the selected positions, as a mean over rows. " +
			"Unlike the hit rate, it has no threshold: a position counts by its weight.",
		Formula: "mass = mean over rows of the sum of the weights on selected positions",
		More:    "docs/MEASURES.md",
	},
	{
		Name:    "observation window",
		Aliases: []string{"window"},
		Text: "The last tokens of the prompt, whose queries vote for the positions before them. " +
			"SnapKV always keeps the window itself.",
		Formula: "vote of head h for position j = sum over the window's queries of the weight on j (arXiv:2404.14469, listing 1)",
		More:    "docs/MEASURES.md",
	},
	{
		Name: "oracle",
		Text: "The highest hit rate that any fixed set of k positions can reach on the same rows. " +
			"It uses the reply, so no method can know it in advance.",
		Formula: "the k positions that are significant in the most rows",
		More:    "docs/MEASURES.md",
	},
	{
		Name: "overlap",
		Text: "The share of selected positions that are also among the k positions with the largest mean weight over the reply. " +
			"It compares two sets of equal size and needs no threshold.",
		Formula: "overlap = |selected ∩ top k by mean weight| / k",
		More:    "docs/MEASURES.md",
	},
	{
		Name:    "prefix",
		Text:    "The tokens of the prompt before the observation window. Positions are selected from the prefix only.",
		Formula: "n = P − w positions, for a prompt of P tokens and a window of w",
		More:    "docs/MEASURES.md",
	},
	{
		Name:    "quantized",
		Aliases: []string{"quantization", "kv-bits"},
		Text: "Stored in few bits per number. generate --kv-bits and leaderboard --kv-bits quantize caches as KIVI (arXiv:2402.02750) does, " +
			"and --budget 4bit gives methods the bytes of the full cache in 4 bits (docs/METHODS.md, Quantized caches). " +
			"Checkpoints whose weights are quantized are read as they are published, and computed with the decoded weights.",
		More: "docs/QUANTIZED.md",
	},
	{
		Name: "recent",
		Text: "The hit rate of a baseline that keeps the last k positions of the prefix and knows nothing of the prompt.",
		More: "docs/MEASURES.md",
	},
	{
		Name:    "significant",
		Aliases: []string{"theta", "significant position"},
		Text: "A position of the prefix whose weight in a row of the reply is greater than theta, 0.05 by default. " +
			"Rows without such a position are skipped.",
		Formula: "weight > theta",
		More:    "docs/MEASURES.md",
	},
	{
		Name:    "sinks",
		Aliases: []string{"sink", "attention sinks", "sinks_recent", "skip-first"},
		Text: "The first positions of a prompt, which most heads attend to whatever the text says (arXiv:2309.17453). " +
			"They raise every hit rate, so compare a rate with sinks_recent, and compute it again with --skip-first 4. " +
			"A learned sink (gpt-oss) is not a position: it takes a part of every row and has neither a key in the cache nor a value.",
		Formula: "sinks_recent = hit rate of the first min(4, k) positions and the last k − 4",
		More:    "docs/MEASURES.md",
	},
	{
		Name: "span",
		Text: "A range of reply tokens over which a rate is computed, to see whether the selection stays useful as the reply grows.",
		More: "docs/MEASURES.md",
	},
	{
		Name:    "vote",
		Text:    "The attention that the queries of the observation window give a position of the prefix, for one head. The positions with the largest votes are selected.",
		Formula: "vote of head h for position j = sum over the window's queries of the weight on j (arXiv:2404.14469, listing 1)",
		More:    "docs/METHODS.md",
	},
}

// Find returns the term of a name or an alias, in any case and with spaces, hyphens or
// underscores between words.
func Find(name string) (Term, bool) {
	want := plain(name)
	for _, t := range Terms {
		if plain(t.Name) == want || slices.ContainsFunc(t.Aliases, func(a string) bool { return plain(a) == want }) {
			return t, true
		}
	}
	return Term{}, false
}

// Names lists the names of all terms.
func Names() []string {
	list := make([]string, len(Terms))
	for i, t := range Terms {
		list[i] = t.Name
	}
	return list
}

// Words lists the names of all terms and their aliases.
func Words() []string {
	var list []string
	for _, t := range Terms {
		list = append(append(list, t.Name), t.Aliases...)
	}
	return list
}

// Mentioning lists the names of the terms whose explanation contains a word, in any case.
func Mentioning(word string) []string {
	want := lettersOf(word)
	if want == "" {
		return nil
	}
	var list []string
	for _, t := range Terms {
		if strings.Contains(" "+lettersOf(t.Text+" "+t.Formula)+" ", " "+want+" ") {
			list = append(list, t.Name)
		}
	}
	return list
}

// lettersOf returns a text in lower case, with one space for whatever is between its words.
func lettersOf(text string) string {
	other := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	return strings.Join(strings.FieldsFunc(strings.ToLower(text), other), " ")
}

// plain returns a name in lower case, with spaces between its words.
func plain(name string) string {
	return strings.NewReplacer("-", " ", "_", " ").Replace(strings.ToLower(strings.TrimSpace(name)))
}
