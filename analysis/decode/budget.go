package decode

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// Budget is what a compressed cache may keep of a prompt: a number of positions per head, a
// share of the prompt, or the bytes that the prompt takes if its cache is not compressed but
// quantized. The zero Budget is that of the full cache.
type Budget struct {
	Positions int
	Percent   float64
	Bits      int // of the quantized cache, 2 to 8
}

// ParseBudget reads "512", "12.5%" or "4bit".
func ParseBudget(text string) (Budget, error) {
	fail := fmt.Errorf("budget %q: want a number of positions such as 512, a share of the prompt such as 25%%, "+
		"or 2bit to 8bit: the bytes of the quantized full cache", text)
	if bits, ok := strings.CutSuffix(text, "bit"); ok {
		n, err := strconv.Atoi(bits)
		if err != nil || n < 2 || n > 8 {
			return Budget{}, fail
		}
		return Budget{Bits: n}, nil
	}
	if share, ok := strings.CutSuffix(text, "%"); ok {
		v, err := strconv.ParseFloat(share, 64)
		if err != nil || !(v > 0 && v < 100) {
			return Budget{}, fail
		}
		return Budget{Percent: v}, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return Budget{}, fail
	}
	return Budget{Positions: n}, nil
}

// String returns the budget as ParseBudget reads it; that of the full cache is "all".
func (b Budget) String() string {
	switch {
	case b == Budget{}:
		return "all"
	case b.Percent > 0:
		return strconv.FormatFloat(b.Percent, 'g', -1, 64) + "%"
	case b.Bits > 0:
		return strconv.Itoa(b.Bits) + "bit"
	}
	return strconv.Itoa(b.Positions)
}

// Compare orders bits before shares, these before positions, and small budgets before large
// ones. The full cache is the last.
func (b Budget) Compare(o Budget) int {
	rank := func(b Budget) float64 {
		switch {
		case b == Budget{}:
			return math.Inf(1)
		case b.Bits > 0:
			return float64(b.Bits) - 200
		case b.Percent > 0:
			return b.Percent - 100
		}
		return float64(b.Positions)
	}
	return cmp.Compare(rank(b), rank(o))
}

// MarshalJSON writes the budget as text.
func (b Budget) MarshalJSON() ([]byte, error) { return json.Marshal(b.String()) }

// UnmarshalJSON reads the text of a budget.
func (b *Budget) UnmarshalJSON(text []byte) (err error) {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	if s == "all" {
		*b = Budget{}
		return nil
	}
	*b, err = ParseBudget(s)
	return err
}

// capacity returns the positions per head that a budget keeps of a cache of so many tokens,
// the window included.
func (c *Config) capacity(b Budget, tokens int, group snapkv.Group, m *model.Config) int {
	switch {
	case b.Bits > 0:
		full := cacheBytes(m, snapkv.GroupMean, c.budgetFormat(b), tokens)
		return fitting(m, group, model.CacheFormat{}, full)
	case b.Percent > 0:
		return int(math.Round(b.Percent / 100 * float64(tokens)))
	}
	return b.Positions
}

// budgetFormat returns the format of the full cache whose bytes a budget has.
func (c *Config) budgetFormat(b Budget) model.CacheFormat {
	return model.CacheFormat{Bits: b.Bits, Group: c.BudgetFormat.Group, Residual: c.BudgetFormat.Residual}
}
