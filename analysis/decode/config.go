package decode

import (
	"fmt"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// Config says what is decoded: every prompt from the full cache and from the
// compressed cache of every method under every config. Functions may be nil.
type Config struct {
	Model   *model.Model
	Prompts []prompts.Prompt
	Methods []snapkv.Method
	Configs []snapkv.Config
	// Budgets are what caches keep of each prompt, or of its context if that is compressed, in
	// place of the capacities of Configs. nil: the capacities of Configs hold.
	Budgets      []Budget
	MaxNewTokens int
	IgnoreEOS    bool   // decode MaxNewTokens tokens even if the model ends its reply
	FollowWhole  bool   // score whole given replies, not only their first MaxNewTokens tokens
	Score        string // the score of an answer, one of Scores
	// Lenient leaves out, with a warning, methods that cannot select. Otherwise such
	// methods are an error.
	Lenient bool
	// Skip reports whether a method is left out under a config.
	Skip func(method string, c snapkv.Config) bool
	// Place is where caches are compressed: at the end of the prompt, or at that of its
	// context.
	Place Place
	// DecodeEvery is the number of reply tokens after which every method selects again, so
	// that its cache stays within the capacity while the reply grows. 0: what the reply adds
	// is never dropped.
	DecodeEvery int
	// Formats are the formats in which every cache is held, the full one included. nil: as
	// it is, without quantization, as the zero format says.
	Formats []model.CacheFormat
	// EqualBytes gives every quantized cache as many positions as fit into the bytes that
	// the capacity takes without quantization.
	EqualBytes bool
	// BudgetFormat has the group and the residual of the quantized full caches whose bytes
	// budgets have. Its bits are not used.
	BudgetFormat model.CacheFormat
	// Batch is the largest number of caches that are decoded together, full and
	// compressed ones of one prompt or of several. Results do not depend on it, except
	// that above 1 the speed and the memory of a single cache are not known and are NaN.
	Batch  int
	Encode func(text string) []int32 // tokens of an answer; nil: answers are not scored by probability
	Decode func(ids []int32) string  // text of a reply; nil: no text and no answer scores
	Warn   func(text string)         // receives each warning once

	Progress func(capture.Progress)
}

// FullCaches returns the largest number of full caches that are in memory at once: those
// of the prompts whose caches fill the batch, and the one of the next prompt.
func (c *Config) FullCaches() int {
	configs := len(c.Configs) * max(1, len(c.Budgets))
	caches := 1 + len(c.FullFormats()) + len(c.Methods)*configs*len(c.formats()) // of a prompt
	batch := max(1, c.Batch)
	return max(1, min(batch, len(c.Prompts), (batch+caches-1)/caches+1))
}

// checkMethod returns an error if the method cannot select in the model, whatever the
// prompt.
func (c *Config) checkMethod(m *snapkv.Method, cfg *model.Config) error {
	if err := m.CheckDecoding(); err != nil && c.DecodeEvery > 0 {
		return err
	}
	for _, config := range c.Configs {
		if err := m.CheckModel(cfg.Latent != nil, config); err != nil {
			return err
		}
	}
	return nil
}

// WithoutUnusable returns the config without the methods that cannot select in a model of
// this configuration, whatever the prompt, if Lenient leaves these out. Each has a
// warning.
func (c *Config) WithoutUnusable(cfg *model.Config) Config {
	out := *c
	if !c.Lenient {
		return out
	}
	out.Methods = nil
	for i := range c.Methods {
		if err := c.checkMethod(&c.Methods[i], cfg); err == nil {
			out.Methods = append(out.Methods, c.Methods[i])
		} else if c.Warn != nil {
			c.Warn(fmt.Sprintf("%s is left out: %v", c.Methods[i].Name, err))
		}
	}
	return out
}

// Check returns an error for settings that a model of this configuration cannot run, and
// a [capture.TooLongError] for a prompt that is too long for it with its reply. The model
// need not be loaded.
func (c *Config) Check(cfg *model.Config) error {
	if _, err := snapkv.Entries(c.Methods, c.Configs); err != nil {
		return err
	}
	if err := c.checkFormats(cfg); err != nil {
		return err
	}
	if err := c.checkPlace(); err != nil {
		return err
	}
	if err := c.checkBudgets(cfg); err != nil {
		return err
	}
	for i := range c.Methods {
		if err := c.checkMethod(&c.Methods[i], cfg); err != nil && !c.Lenient {
			return err
		}
	}
	run := capture.Config{Prompts: c.Prompts, FollowWhole: c.FollowWhole}
	run.Header.Plan.MaxNewTokens = c.MaxNewTokens
	if err := run.Check(cfg); err != nil {
		return err
	}
	most := cfg.MaxPositions
	if most == 0 {
		return nil
	}
	for i := range c.Prompts { // every cache decodes its own reply, even if a reply is given
		if p := &c.Prompts[i]; len(p.Tokens)+c.MaxNewTokens > most {
			return &capture.TooLongError{ID: p.ID, Tokens: len(p.Tokens), Reply: c.MaxNewTokens, Max: most}
		}
	}
	return nil
}
