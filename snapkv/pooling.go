package snapkv

import "fmt"

// Pooling says how votes are pooled over neighboring positions: [Pool] has the
// formulas.
type Pooling string

// The poolings, as the command line and result files spell them.
const (
	AvgPool Pooling = "avgpool" // mean over the kernel, the border divided by the full kernel
	MaxPool Pooling = "maxpool" // maximum over the kernel
)

// Poolings lists the poolings in the order in which help shows them.
func Poolings() []Pooling { return []Pooling{AvgPool, MaxPool} }

// ParsePooling reads the name of a pooling.
func ParsePooling(text string) (Pooling, error) {
	p := Pooling(text)
	return p, p.Check()
}

// Check returns an error if p is not one of [Poolings].
func (p Pooling) Check() error {
	if p != AvgPool && p != MaxPool {
		return fmt.Errorf("pooling %q: want avgpool or maxpool", string(p))
	}
	return nil
}

// String returns the name of the pooling.
func (p Pooling) String() string { return string(p) }
