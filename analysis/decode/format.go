package decode

import (
	"errors"
	"fmt"
	"math"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// Form is a cache to make of each prompt: an entry, and the format in which its cache is
// held. If the method ignores the capacity, it is the full cache, quantized.
type Form struct {
	snapkv.Entry
	Format model.CacheFormat
}

// formats returns Formats, or the format that quantizes nothing.
func (c *Config) formats() []model.CacheFormat {
	if c.Formats == nil {
		return []model.CacheFormat{{}}
	}
	return c.Formats
}

// checkFormats returns an error for formats that the caches of a model cannot have.
func (c *Config) checkFormats(cfg *model.Config) error {
	for _, f := range c.Formats {
		if err := f.Check(); err != nil {
			return err
		}
		switch {
		case f.Bits == 0:
		case cfg.Latent != nil:
			return model.ErrLatentFormat
		case c.DecodeEvery > 0:
			return errors.New("a quantized cache cannot drop positions while it decodes: " +
				"its groups would have to be quantized again")
		}
	}
	return nil
}

// Forms lists the caches to make of each prompt besides the full one: the full cache in
// every format that quantizes it, then every method under every config in every format.
func (c *Config) Forms(cfg *model.Config) []Form {
	var list []Form
	for _, f := range c.formats() {
		if f.Bits > 0 {
			all := snapkv.Default
			all.Capacity = math.MaxInt32
			all.Group = snapkv.GroupMean
			all.Window = 1
			list = append(list, Form{snapkv.Entry{Method: &keepsAll, Config: all}, f})
		}
	}
	for i := range c.Methods {
		if c.Methods[i].IgnoresCapacity { // this is the full cache, which is always measured
			continue
		}
		for _, config := range c.Configs {
			for _, f := range c.formats() {
				sized := config
				if c.EqualBytes && f.Bits > 0 {
					sized.Capacity = equalCapacity(cfg, f, config.Capacity)
				}
				list = append(list, Form{snapkv.Entry{Method: &c.Methods[i], Config: sized}, f})
			}
		}
	}
	return list
}

// keepsAll is the method of the full cache.
var keepsAll, _ = snapkv.FindMethod(snapkv.Full)

// equalCapacity returns how many positions of a quantized cache fit into the bytes that
// capacity positions take without quantization.
func equalCapacity(cfg *model.Config, f model.CacheFormat, capacity int) int {
	about := capture.ModelInfo("", cfg)
	bytes := func(f model.CacheFormat, n int) int {
		sum := 0
		for _, l := range about.Caches() {
			s := about.Layer(l)
			sum += s.KVHeads * f.Bytes(n, s.KeyDim, s.ValueDim)
		}
		return sum
	}
	most := bytes(model.CacheFormat{}, capacity)
	n := capacity
	for bytes(f, n+1) <= most {
		n++
	}
	return n
}

// FormatText describes formats for the notes of a table.
func FormatText(f model.CacheFormat) string {
	return fmt.Sprintf("%d bits in groups of %d, the last %d positions not quantized", f.Bits, f.Group, f.Residual)
}
