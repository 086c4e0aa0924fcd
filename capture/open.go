package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// Options says how a model is found and run.
type Options struct {
	Revision string // of a hub id; empty: main
	Offline  bool   // never use the network
	Device   string // as for model.FindDevice; empty: cpu
	Compute  string // arithmetic, as in model.Options; empty: f32
	Threads  int    // 0: one per core
	// WeightMemory is the most memory in bytes that weights may take, as in
	// model.Options; 0: no limit.
	WeightMemory int64
	Log          func(line string) // receives messages for the user; may be nil
	// IgnoreConfig names keys of the model's configuration that are not understood and
	// are ignored. Open fails if the model has no such key.
	IgnoreConfig []string
	// Fetching is called before files are fetched from the hub, as in
	// checkpoint.ResolveOptions. It may be nil.
	Fetching func() (progress func(done, total int64), end func())
	// HeadersOnly says that neither Fetch nor Load will be called.
	HeadersOnly bool
	// AnyTensors opens a model on the hub although its tensors are not those of its
	// configuration.
	AnyTensors bool
}

func (o *Options) log(format string, args ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, args...))
	}
}

// resolve returns the options of finding the model.
func (o *Options) resolve() checkpoint.ResolveOptions {
	return checkpoint.ResolveOptions{
		Revision: o.Revision, Offline: o.Offline, Log: o.Log, Fetching: o.Fetching, HeadersOnly: o.HeadersOnly,
	}
}

// A Source is an opened model that can be captured: its checkpoint, the
// configuration and tokenizer read from it, and the device that runs it. If the model
// is on the hub, the checkpoint has only headers until Fetch. The weights are in memory
// after Load.
type Source struct {
	Name       string                 // as the user gave it
	Checkpoint *checkpoint.Checkpoint // replaced by Fetch
	Config     model.Config
	Tokenizer  *tokenizer.Tokenizer // nil if the checkpoint has none
	// NoTokenizer wraps tokenizer.ErrNoTokenizer and says what is missing; it is nil
	// if there is a Tokenizer.
	NoTokenizer error
	Device      model.Device
	Model       *model.Model // nil before Load

	place   *checkpoint.Place
	options Options
}

// Open finds the device and the model. The model is a folder in the hub's layout, a
// .gguf file, the name of the default model, or a hub id. Open reads the configuration,
// the tokenizer and the names and shapes of the weights. It fails if the model is not
// supported. If the model is on the hub and not in the cache, Open fetches nothing else.
func Open(ctx context.Context, name string, o Options) (*Source, error) {
	device, err := model.FindDevice(o.Device, o.Log)
	if err != nil {
		return nil, err
	}
	place, err := checkpoint.Locate(ctx, name, o.resolve())
	if err != nil {
		return nil, err
	}
	s := &Source{Name: name, Device: device, place: place, options: o}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the checkpoint. Of a model that is still on the hub it checks the tensors,
// too, so that nothing is fetched in vain.
func (s *Source) open(ctx context.Context) error {
	ck, err := s.place.Open(ctx)
	if err != nil {
		return err
	}
	s.Checkpoint = ck
	err = s.read()
	if err == nil && ck.HeadersOnly() && !s.options.AnyTensors {
		err = model.CheckTensors(ck, s.Config)
	}
	if err != nil {
		ck.Close()
	}
	return err
}

// Path returns the folder or file of the model, or where it will be after Fetch.
func (s *Source) Path() string { return s.place.Path() }

// Fetch fetches the weights if they are not on this machine, and opens them.
func (s *Source) Fetch(ctx context.Context) error {
	if !s.Checkpoint.HeadersOnly() {
		return nil
	}
	if err := s.place.Fetch(ctx); err != nil {
		return err
	}
	return s.open(ctx)
}

// read reads the configuration and the tokenizer.
func (s *Source) read() error {
	var err error
	ignore := s.options.IgnoreConfig
	if s.Config, err = model.ReadConfig(s.Checkpoint, ignore...); err != nil {
		return err
	}
	s.Tokenizer, err = tokenizer.Of(s.Checkpoint, tokenizer.Options{IgnoreConfig: ignore})
	s.NoTokenizer = nil
	if errors.Is(err, tokenizer.ErrNoTokenizer) {
		s.NoTokenizer = err
		err = nil
	}
	if err != nil {
		return err
	}
	left := s.Ignored()
	for _, key := range ignore {
		if !slices.Contains(left, key) {
			return fmt.Errorf("%s: no configuration key %s to ignore", s.Checkpoint.Path(), key)
		}
	}
	return nil
}

// Ignored returns the configuration keys that were set and were ignored at the user's
// request, sorted.
func (s *Source) Ignored() []string {
	left := slices.Clone(s.Config.Ignored)
	if s.Tokenizer != nil {
		left = append(left, s.Tokenizer.Ignored()...)
	}
	slices.Sort(left)
	return slices.Compact(left)
}

// Load fetches the weights, if need be, and loads them into the memory of the device. If
// the device was chosen automatically and cannot run the model, Load says so and uses
// the processor.
func (s *Source) Load(ctx context.Context) error {
	err := s.Fetch(ctx)
	if err != nil {
		return err
	}
	s.Model, err = s.load(s.options.Compute)
	var unsupported *cuda.UnsupportedError
	if errors.As(err, &unsupported) && s.Device.Auto {
		s.UseProcessor(err)
		s.Model, err = s.load(s.options.Compute)
	}
	return err
}

// LoadAs loads the weights again, for an arithmetic other than the source's. The
// caller must close the model.
func (s *Source) LoadAs(compute string) (*model.Model, error) { return s.load(compute) }

func (s *Source) load(compute string) (*model.Model, error) {
	return model.Load(s.Checkpoint, model.Options{
		Threads: s.options.Threads, Compute: compute, Device: s.Device.Name, Log: s.options.Log,
		IgnoreConfig: s.options.IgnoreConfig, WeightMemory: s.options.WeightMemory,
	})
}

// UseProcessor switches from an automatically chosen card to the processor and logs
// the reason. It must be called before Load.
func (s *Source) UseProcessor(reason error) {
	s.options.log("%v: running on the processor", reason)
	s.Device = model.Device{Name: "cpu", Auto: true}
}

// LimitWeights sets the memory that the weights of the next Load may take, as
// Options.WeightMemory does.
func (s *Source) LimitWeights(bytes int64) { s.options.WeightMemory = bytes }

// Close releases the model and the checkpoint.
func (s *Source) Close() {
	if s.Model != nil {
		s.Model.Close()
	}
	s.Checkpoint.Close()
}
