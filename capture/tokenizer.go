package capture

import (
	"context"
	"os"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// OpenTokenizer reads the tokenizer of a model, even of one that Open does not support. It
// fetches no weights, except those of the default model. Of the options, it uses Revision,
// Offline, Log, IgnoreConfig and Fetching.
func OpenTokenizer(ctx context.Context, name string, o Options) (*tokenizer.Tokenizer, error) {
	place, err := checkpoint.Locate(ctx, name, o.resolve())
	if err != nil {
		return nil, err
	}
	options := tokenizer.Options{IgnoreConfig: o.IgnoreConfig}
	if _, err := os.Stat(place.Path()); err == nil {
		return tokenizer.LoadWith(place.Path(), options)
	}
	ck, err := place.Open(ctx) // a GGUF file on the hub, whose header holds the tokenizer
	if err != nil {
		return nil, err
	}
	defer ck.Close()
	return tokenizer.Of(ck, options)
}
