package leaderboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Budget is what a compressed cache may keep of a prompt: a number of positions per head, or
// a share of the prompt. The zero Budget is that of the full cache.
type Budget struct {
	Positions int
	Percent   float64
}

// ParseBudget reads "512" or "12.5%".
func ParseBudget(text string) (Budget, error) {
	fail := fmt.Errorf("budget %q: want a number of positions such as 512, or a share of the prompt such as 25%%", text)
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
	}
	return strconv.Itoa(b.Positions)
}

// Capacity returns the positions per head that are kept of a prompt, the window included.
func (b Budget) Capacity(tokens int) int {
	if b.Percent > 0 {
		return int(math.Round(b.Percent / 100 * float64(tokens)))
	}
	return b.Positions
}

// compare orders shares before positions, and small budgets before large ones. The full
// cache is the last.
func (b Budget) compare(o Budget) int {
	rank := func(b Budget) float64 {
		switch {
		case b == Budget{}:
			return math.Inf(1)
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
