package analysis

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// HitRateConfig says which hit rates [HitRates] computes: one for every combination of
// the lists. Start from a copy of [Paper].
type HitRateConfig struct {
	Windows    []int     // observation windows, in rows
	Tops       []float64 // shares of the prefix that are kept
	Budgets    []int     // positions that are kept, in addition to Tops or instead of it
	Thetas     []float64 // a weight strictly above theta is significant
	Span       int       // reply rows that are rated together if By has BySpan
	By         []By      // keys whose values have their own rows in the result
	Average    Average
	Generation Generation
	SkipFirst  int            // first positions that are left out
	Kernel     int            // positions over which votes are pooled, odd; 1: no pooling, as in the paper
	Pooling    snapkv.Pooling // used if Kernel is above 1
	// TopOfPrompt takes the share Tops of the whole prompt, window included, as
	// the authors' code does.
	TopOfPrompt bool
	// SamePrefix rates all windows on the prefix of the largest one. Otherwise a smaller
	// window has a longer prefix, and rates of two windows are not of the same positions.
	SamePrefix bool
	// Against is the window with which the others are compared, prompt by prompt; 0: none.
	// It is one of Windows, and SamePrefix is set.
	Against int
	// Exact also copies the authors' prev_len = start - 1: the last row of the
	// prompt counts as the first row of the reply.
	Exact bool
	Seed  uint64 // of the bootstrap
	// Progress is called, if it is not nil, after each layer of a prompt.
	Progress func(Progress)
}

// Paper is the setting of arXiv:2404.14469v1, section 3. The window is the one of
// [snapkv.Default]. Votes are not pooled: a hit rate measures the votes of the window,
// not a selection method.
var Paper = HitRateConfig{
	Windows:    []int{snapkv.Default.Window},
	Tops:       []float64{hitrate.PaperTop},
	Thetas:     []float64{hitrate.PaperTheta},
	Span:       128,
	By:         []By{ByLayer},
	Average:    AveragePooled,
	Generation: GenerationRows,
	Kernel:     1,
	Pooling:    snapkv.AvgPool,
}

// HitRatePresets lists the names that [HitRatePreset] knows.
var HitRatePresets = []string{"paper", "code", "code-exact"}

// HitRatePreset returns a config by its name. paper is [Paper]. code has a window of
// 128 and a share of the whole prompt, as in the authors' scripts. code-exact also
// copies their prev_len = start - 1.
func HitRatePreset(name string) (HitRateConfig, error) {
	cfg := Paper
	switch name {
	case "paper":
	case "code", "code-exact":
		cfg.Windows = []int{128}
		cfg.TopOfPrompt = true
		cfg.Exact = name == "code-exact"
	default:
		return cfg, words.Check("preset", name, HitRatePresets)
	}
	return cfg, nil
}

// Check returns an error for invalid settings. It begins with the name of the setting
// as the command line spells it, without dashes.
func (cfg *HitRateConfig) Check() error {
	for _, w := range cfg.Windows {
		if w < 1 {
			return fmt.Errorf("window %d: want 1 or more", w)
		}
	}
	for _, p := range cfg.Tops {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("top %g: want a share between 0 and 1", p)
		}
	}
	for _, k := range cfg.Budgets {
		if k < 0 {
			return fmt.Errorf("budget %d: want 0 or more", k)
		}
	}
	if err := CheckThetas(cfg.Thetas); err != nil {
		return err
	}
	for _, key := range cfg.By {
		if err := key.Check(); err != nil {
			return err
		}
	}
	switch {
	case cfg.Span < 1:
		return fmt.Errorf("span %d: want 1 or more", cfg.Span)
	case cfg.Against != 0 && !slices.Contains(cfg.Windows, cfg.Against):
		return fmt.Errorf("against %d: is none of the windows", cfg.Against)
	case cfg.Against != 0 && !cfg.SamePrefix:
		return fmt.Errorf("against %d: windows can be compared only on the same prefix", cfg.Against)
	case cfg.SkipFirst < 0:
		return fmt.Errorf("skip-first %d: want 0 or more", cfg.SkipFirst)
	case cfg.Kernel < 1 || cfg.Kernel%2 == 0:
		return fmt.Errorf("kernel %d: want an odd number", cfg.Kernel)
	}
	if err := cfg.Pooling.Check(); err != nil {
		return err
	}
	if err := cfg.Average.Check(); err != nil {
		return err
	}
	return cfg.Generation.Check()
}

// CheckThetas returns an error if a threshold is not a weight between 0 and 1.
func CheckThetas(list []float64) error {
	for _, theta := range list {
		if !(theta >= 0 && theta <= 1) {
			return fmt.Errorf("theta %g: want a weight between 0 and 1", theta)
		}
	}
	return nil
}

// Average says how the hit rate of a prompt is averaged over reply rows and
// heads.
type Average string

// The averages, as the command line spells them.
const (
	AveragePooled Average = "pooled" // ratio of the sums over rows and heads
	AverageRows   Average = "rows"   // mean over rows of each row's rate
	AverageHeads  Average = "heads"  // mean over heads of each head's mean over rows
)

// Check returns an error if a is not one of the averages.
func (a Average) Check() error {
	return words.Check("average", a, []Average{AveragePooled, AverageRows, AverageHeads})
}

// of returns the hit rate of a prompt. counts holds the sums over its heads and rows,
// heads the mean over rows of each head.
func (a Average) of(counts hitrate.Counts, heads []float64) float64 {
	switch a {
	case AverageRows:
		return counts.RowMean()
	case AverageHeads:
		return Mean(heads)
	}
	return counts.Rate()
}

// Generation says which weights of the reply are compared with theta.
type Generation string

// The choices, as the command line spells them.
const (
	GenerationRows Generation = "rows" // the weights of each reply row
	GenerationMean Generation = "mean" // the mean of the rows
)

// Check returns an error if g is not one of the choices.
func (g Generation) Check() error {
	return words.Check("generation", g, []Generation{GenerationRows, GenerationMean})
}

// Setting is one combination of window, budget and theta.
type Setting struct {
	Window int
	Budget int     // positions kept; ignored if Top is given
	Top    float64 // share of the prefix that is kept; NaN if the budget was given
	Theta  float64 // weights above it are significant
}

// Settings lists all combinations of windows, thetas and budgets, in the order of
// the rows of [HitRates].
func (cfg *HitRateConfig) Settings() []Setting {
	var list []Setting
	for _, window := range cfg.Windows {
		for _, theta := range cfg.Thetas {
			for _, top := range cfg.Tops {
				list = append(list, Setting{Window: window, Top: top, Theta: theta})
			}
			for _, budget := range cfg.Budgets {
				list = append(list, Setting{Window: window, Budget: budget, Top: math.NaN(), Theta: theta})
			}
		}
	}
	return list
}

// Prefix returns the number of first positions that are rated under s in a prompt of
// length tokens. It is below 1 if the window leaves none.
func (cfg *HitRateConfig) Prefix(s Setting, length int) int {
	if cfg.SamePrefix {
		return length - slices.Max(cfg.Windows)
	}
	return length - s.Window
}

// Kept returns the number of positions that a vote under s keeps in a prompt of length
// tokens.
func (cfg *HitRateConfig) Kept(s Setting, length int) int {
	prefix := cfg.Prefix(s, length)
	if math.IsNaN(s.Top) {
		return min(s.Budget, prefix)
	}
	if cfg.TopOfPrompt {
		return min(hitrate.Budget(s.Top, length), prefix)
	}
	return min(hitrate.Budget(s.Top, prefix), prefix)
}
