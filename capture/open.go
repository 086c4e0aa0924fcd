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
	Revision string            // of a hub id; empty: main
	Offline  bool              // never use the network
	Device   string            // as for model.FindDevice; empty: cpu
	Compute  string            // arithmetic, as in model.Options; empty: f32
	Threads  int               // 0: one per core
	Log      func(line string) // receives messages for the user; may be nil
	// IgnoreConfig names keys of the model's configuration that are not understood and
	// are ignored. Open fails if the model has no such key.
	IgnoreConfig []string
	// Fetched receives the bytes fetched so far and the total while the hub sends the
	// model; may be nil.
	Fetched func(done, total int64)
}

func (o *Options) log(format string, args ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, args...))
	}
}

// A Source is an opened model that can be captured: its checkpoint, the
// configuration and tokenizer read from it, and the device that runs it. The
// weights are in memory after Load.
type Source struct {
	Name       string // as the user gave it
	Checkpoint *checkpoint.Checkpoint
	Config     model.Config
	Tokenizer  *tokenizer.Tokenizer // nil if the checkpoint has none
	// NoTokenizer wraps tokenizer.ErrNoTokenizer and says what is missing; it is nil
	// if there is a Tokenizer.
	NoTokenizer error
	Device      model.Device
	Model       *model.Model // nil before Load

	options Options
}

// Open finds the device and the model. The model is a folder in the hub's layout, a
// .gguf file, the name of the default model, or a hub id, which is fetched if it is
// not in the cache. It reads the configuration and the tokenizer, but no weights.
func Open(ctx context.Context, name string, o Options) (*Source, error) {
	device, err := model.FindDevice(o.Device, o.Log)
	if err != nil {
		return nil, err
	}
	path, err := checkpoint.Resolve(ctx, name, checkpoint.ResolveOptions{
		Revision: o.Revision, Offline: o.Offline, Log: o.Log, Progress: o.Fetched,
	})
	if err != nil {
		return nil, err
	}
	ck, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Source{Name: name, Checkpoint: ck, Device: device, options: o}
	if err := s.read(path); err != nil {
		ck.Close()
		return nil, err
	}
	return s, nil
}

// read reads the configuration and the tokenizer.
func (s *Source) read(path string) error {
	var err error
	ignore := s.options.IgnoreConfig
	if s.Config, err = model.ReadConfig(s.Checkpoint, ignore...); err != nil {
		return err
	}
	s.Tokenizer, err = tokenizer.LoadWith(path, tokenizer.Options{IgnoreConfig: ignore})
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
			return fmt.Errorf("%s: no configuration key %s to ignore", path, key)
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

// Load loads the weights into the memory of the device. If the device was chosen
// automatically and cannot run the model, Load says so and uses the processor.
func (s *Source) Load() error {
	var err error
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
		IgnoreConfig: s.options.IgnoreConfig,
	})
}

// UseProcessor switches from an automatically chosen card to the processor and logs
// the reason. It must be called before Load.
func (s *Source) UseProcessor(reason error) {
	s.options.log("%v: running on the processor", reason)
	s.Device = model.Device{Name: "cpu", Auto: true}
}

// Close releases the model and the checkpoint.
func (s *Source) Close() {
	if s.Model != nil {
		s.Model.Close()
	}
	s.Checkpoint.Close()
}
