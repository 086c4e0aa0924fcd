package decode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// Form is a cache to make of a prompt: an entry, and the format in which its cache is held.
// If the method ignores the capacity, it is the full cache, quantized.
type Form struct {
	snapkv.Entry
	Format model.CacheFormat
	Budget Budget // that gave the entry its capacity, if Config.Budgets has it
}

// DefaultFormat has the groups and the residual that caches have unless a flag gives others.
var DefaultFormat = model.CacheFormat{Group: 32, Residual: 128}

// formats returns Formats, or the format that quantizes nothing.
func (c *Config) formats() []model.CacheFormat {
	if c.Formats == nil {
		return []model.CacheFormat{{}}
	}
	return c.Formats
}

// FullFormats returns the formats in which the full cache is quantized: those of all caches,
// and those whose bytes a budget has.
func (c *Config) FullFormats() []model.CacheFormat {
	var list []model.CacheFormat
	for _, f := range c.Formats {
		if f.Bits > 0 {
			list = append(list, f)
		}
	}
	for _, b := range c.Budgets {
		if f := c.budgetFormat(b); b.Bits > 0 && !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}

// checkFormats returns an error for formats that the caches of a model cannot have.
func (c *Config) checkFormats(cfg *model.Config) error {
	for _, f := range c.FullFormats() {
		if err := f.Check(); err != nil {
			return err
		}
		if cfg.Latent != nil {
			return model.ErrLatentFormat
		}
	}
	quantized := func(f model.CacheFormat) bool { return f.Bits > 0 }
	if c.DecodeEvery > 0 && slices.ContainsFunc(c.Formats, quantized) {
		return errors.New("a quantized cache cannot drop positions while it decodes: " +
			"its groups would have to be quantized again")
	}
	return nil
}

// Forms lists the caches to make of a prompt besides the full one: the full cache in every
// format that quantizes it, then every method under every config and budget in every format.
func (c *Config) Forms(cfg *model.Config, p *prompts.Prompt) []Form {
	var list []Form
	for _, f := range c.FullFormats() {
		all := snapkv.Default
		all.Capacity = math.MaxInt32
		all.Group = snapkv.GroupMean
		all.Window = 1
		list = append(list, Form{Entry: snapkv.Entry{Method: &keepsAll, Config: all}, Format: f})
	}
	for i := range c.Methods {
		if c.Methods[i].IgnoresCapacity { // this is the full cache, which is always measured
			continue
		}
		for _, form := range c.sized(cfg, p) {
			form.Method = &c.Methods[i]
			capacity := form.Config.Capacity
			for _, f := range c.formats() {
				form.Format = f
				form.Config.Capacity = capacity
				if c.EqualBytes && f.Bits > 0 {
					most := cacheBytes(cfg, form.Config.Group, model.CacheFormat{}, capacity)
					form.Config.Capacity = fitting(cfg, form.Config.Group, f, most)
				}
				list = append(list, form)
			}
		}
	}
	return list
}

// sized lists the configs of a prompt, with the capacity of each budget if there are budgets.
// The forms have no method yet.
func (c *Config) sized(cfg *model.Config, p *prompts.Prompt) []Form {
	var list []Form
	for _, config := range c.Configs {
		form := Form{Entry: snapkv.Entry{Config: config}}
		if len(c.Budgets) == 0 {
			list = append(list, form)
		}
		for _, b := range c.Budgets {
			form.Budget = b
			form.Config.Capacity = c.capacity(b, c.compressed(p), config.Group, cfg)
			list = append(list, form)
		}
	}
	return list
}

// checkBudgets returns an error for a budget that is no larger than the window of a config.
func (c *Config) checkBudgets(cfg *model.Config) error {
	if len(c.Budgets) == 0 {
		return nil
	}
	for i := range c.Prompts {
		p := &c.Prompts[i]
		for _, form := range c.sized(cfg, p) {
			if err := form.Config.Check(); err != nil {
				return fmt.Errorf("prompt %q, budget %s: %w", p.ID, form.Budget, err)
			}
		}
	}
	return nil
}

// keepsAll is the method of the full cache.
var keepsAll, _ = snapkv.FindMethod(snapkv.Full)

// cacheBytes returns the bytes of a cache of n positions in a format.
func cacheBytes(cfg *model.Config, group snapkv.Group, f model.CacheFormat, n int) int {
	about := capture.ModelInfo("", cfg)
	sum := 0
	for _, l := range about.Caches() {
		s := about.Layer(l)
		sum += s.KVHeads * Copies(&about, l, group) * f.Bytes(n, s.KeyDim, s.ValueDim)
	}
	return sum
}

// fitting returns the largest number of positions of a cache in a format whose bytes are at
// most so many. A quantized cache takes fewer bytes than one with a position less when its
// last keys have just been quantized.
func fitting(cfg *model.Config, group snapkv.Group, f model.CacheFormat, most int) int {
	position := cacheBytes(cfg, group, model.CacheFormat{}, 1)
	n := most * 16 / (cmp.Or(f.Bits, 16) * position) // no number has fewer bits
	for n > 0 && cacheBytes(cfg, group, f, n) > most {
		n--
	}
	return n
}

// Copies returns the number of stores that each kv head of a layer has in a compressed cache:
// one for each of its query heads if these select for themselves.
func Copies(about *dumps.ModelInfo, layer int, group snapkv.Group) int {
	shape := about.Layer(layer)
	if group.For(shape.Latent || about.SharedCache(layer)).Merges() {
		return 1
	}
	return shape.Heads / shape.KVHeads
}

// FormatText describes formats for the notes of a table.
func FormatText(f model.CacheFormat) string {
	return fmt.Sprintf("%d bits in groups of %d, the last %d positions not quantized", f.Bits, f.Group, f.Residual)
}
