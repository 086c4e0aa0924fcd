package snapkv

import "fmt"

// Config says how many positions are kept and how votes become scores. Each field
// below Group is used by few methods.
type Config struct {
	Window   int     // last queries of the prompt: they vote, and are always kept
	Capacity int     // positions kept per head, the window included
	Kernel   int     // positions that votes are pooled over, odd; 1 turns pooling off
	Pooling  Pooling // mean or maximum over the kernel
	Group    Group   // merging of the query heads of a kv head

	Seed       uint64      // methods with BySeed: seed of the generator
	HeadScores [][]float64 // methods with ByHeadScores: importance [layer][head], not negative
	Sinks      int         // methods with BySinks: first positions kept; 0 means 4
	Chunk      int         // chunkkv: positions per chunk; 0 means 20
}

// defaultSinks is the number of first positions that are kept if Config.Sinks is 0, as in
// StreamingLLM's paper and in kvpress.
const defaultSinks = 4

// sinks returns Sinks or its default.
func (c Config) sinks() int {
	if c.Sinks == 0 {
		return defaultSinks
	}
	return c.Sinks
}

// Budget returns the number of prefix positions kept per head.
func (c Config) Budget() int { return c.Capacity - c.Window }

// Check returns an error for settings that make no sense: a window below 1, a
// capacity that is not larger than the window, an even kernel, or an unknown
// pooling or group.
func (c Config) Check() error {
	switch {
	case c.Window < 1:
		return fmt.Errorf("window %d: want 1 or more", c.Window)
	case c.Capacity <= c.Window:
		return fmt.Errorf("capacity %d with window %d: the capacity includes the window, so it must be larger",
			c.Capacity, c.Window)
	case c.Kernel < 1 || c.Kernel%2 == 0:
		return fmt.Errorf("kernel %d: want an odd number", c.Kernel)
	}
	if err := c.Pooling.Check(); err != nil {
		return err
	}
	return c.Group.Check()
}

// Passthrough reports whether a prompt of length tokens is shorter than the capacity,
// so that nothing is selected and everything is kept. A prompt of exactly the capacity
// goes through selection. A prompt that is no longer than the window always passes
// through.
func (c Config) Passthrough(length int) bool { return length < c.Capacity }

// RanksLike reports whether two configs differ at most in Capacity and HeadScores.
// Scores depend on neither, except for methods with Method.ByCapacity.
func (c Config) RanksLike(o Config) bool {
	return c.Window == o.Window && c.Kernel == o.Kernel && c.Pooling == o.Pooling && c.Group == o.Group &&
		c.Seed == o.Seed && c.Sinks == o.Sinks && c.Chunk == o.Chunk
}
