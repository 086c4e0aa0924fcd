package capture

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/sizes"
)

// maxOverview is the largest side of a pooled picture.
const maxOverview = 4096

// computes are the arithmetics of the processor and of cards.
var computes = []string{"f32", "bf16", "f16", "int8"}

// CheckPlan reports the first setting of a plan that cannot be recorded on a
// device, as Device.Name names it; an empty device is not checked. Its errors
// begin with the name of the command line's flag.
func CheckPlan(p *dumps.Plan, device string) error {
	if !slices.Contains(computes, p.Compute) {
		return fmt.Errorf("compute %q: want %s", p.Compute, strings.Join(computes, ", "))
	}
	if p.Compute == "f16" && device != "" && !strings.HasPrefix(device, "cuda") {
		return errors.New("compute f16 is a card's arithmetic: the processor has f32, bf16 and int8")
	}
	for _, count := range []struct {
		name  string
		value int
	}{
		{"window-rows", p.WindowRows},
		{"max-new-tokens", p.MaxNewTokens},
		{"overview", p.Overview},
	} {
		if count.value < 0 {
			return fmt.Errorf("%s %d: want 0 or more", count.name, count.value)
		}
	}
	if p.Overview > maxOverview {
		return fmt.Errorf("overview %d: at most %d", p.Overview, maxOverview)
	}
	if bytes := 4 * p.Overview * p.Overview * len(p.Heads); bytes > dumps.MaxBlock {
		return fmt.Errorf("overview %d: with %d heads a picture takes %s, a block of a dump at most %s: ask for a smaller side or fewer heads",
			p.Overview, len(p.Heads), sizes.Text(int64(bytes)), sizes.Text(dumps.MaxBlock))
	}
	if !(p.Temperature >= 0) || math.IsInf(p.Temperature, 0) {
		return fmt.Errorf("temperature %g: want 0 or more", p.Temperature)
	}
	return nil
}
