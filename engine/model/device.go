package model

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/internal/words"
)

// computes lists the arithmetics of the processor and of cards.
var computes = []string{"f32", "bf16", "f16"}

// CheckCompute returns an error unless a device, named as in Device.Name, supports an
// arithmetic.
func CheckCompute(compute, device string) error {
	if err := words.Check("compute", compute, computes); err != nil {
		return err
	}
	if compute == "f16" && !strings.HasPrefix(device, "cuda") {
		return errors.New("compute f16 is a card's arithmetic: the processor has f32 and bf16")
	}
	return nil
}

// A Device is the processor or a card.
type Device struct {
	Name string       // cpu, or cuda:i
	Card *cuda.Device // nil: the processor
	Auto bool         // chosen by FindDevice: a model that does not fit the card runs on the processor
}

// DeviceError says why the device that was asked for cannot be used.
type DeviceError struct{ Name, Why string }

func (e *DeviceError) Error() string { return fmt.Sprintf("--device %s: %s", e.Name, e.Why) }

// Hint tells the user what to do.
func (e *DeviceError) Hint() string {
	return "--device cpu runs on the processor; attnscope info --devices lists the devices"
}

// CheckDevice returns an error unless FindDevice knows the name.
func CheckDevice(name string) error {
	if name == "auto" {
		return nil
	}
	_, _, err := parseDevice(name)
	return err
}

// parseDevice reads the name of a device: cpu or an empty string, cuda (the first
// card), or cuda:i.
func parseDevice(name string) (card int, onCard bool, err error) {
	if name == "cpu" || name == "" {
		return 0, false, nil
	}
	kind, number, numbered := strings.Cut(name, ":")
	if numbered {
		card, err = strconv.Atoi(number)
	}
	if kind != "cuda" || err != nil || card < 0 || numbered && strconv.Itoa(card) != number {
		return 0, false, unknownDevice(name)
	}
	return card, true, nil
}

// unknownDevice returns the error of a name that no device has. Many programs call a card
// gpu, which differs from cpu by one letter.
func unknownDevice(name string) error {
	err := &words.UnknownError{What: "device", Word: name, Want: []string{"auto", "cpu", "cuda", "cuda:i"}}
	lower := strings.ToLower(name)
	switch {
	case strings.HasPrefix(lower, "gpu"):
		err.Meant = "cuda"
	case strings.HasPrefix(lower, "cuda:"):
		err.Meant = "cuda:0"
	}
	return err
}

// FindDevice finds a device by its name: cpu, cuda (the first card), cuda:i, or auto,
// which is the first card that can be used, else the processor. An empty name is the
// processor. log, which may be nil, receives the reason why auto found no card. If a
// card cannot be used, the error is a *DeviceError.
func FindDevice(name string, log func(line string)) (Device, error) {
	if err := CheckDevice(name); err != nil {
		return Device{}, err
	}
	if name == "auto" {
		return findAny(log), nil
	}
	i, onCard, _ := parseDevice(name)
	if !onCard {
		return Device{Name: "cpu"}, nil
	}
	list, why := cuda.Devices()
	switch {
	case why != "":
	case i >= len(list):
		why = fmt.Sprintf("there is no card %d: the driver has %d cards, numbered from 0", i, len(list))
	case list[i].Why != "":
		why = whyNot(&list[i])
	default:
		return Device{Name: fmt.Sprintf("cuda:%d", i), Card: &list[i]}, nil
	}
	return Device{}, &DeviceError{name, why}
}

// findAny returns the first card that can be used, else the processor.
func findAny(log func(line string)) Device {
	list, why := cuda.Devices()
	for i := range list {
		if list[i].Why == "" {
			return Device{Name: fmt.Sprintf("cuda:%d", list[i].Index), Card: &list[i], Auto: true}
		}
		why = whyNot(&list[i])
	}
	if cuda.Built && log != nil {
		log(fmt.Sprintf("no card is used (%s): running on the processor", why))
	}
	return Device{Name: "cpu", Auto: true}
}

func whyNot(d *cuda.Device) string { return fmt.Sprintf("card %d (%s): %s", d.Index, d.Name, d.Why) }

// Host names the processor and, if there is one, the card.
func (d *Device) Host() string {
	if d.Card == nil {
		return Processor()
	}
	return fmt.Sprintf("%s; %s, CUDA %d.%d", Processor(), d.Card.Name, d.Card.Driver[0], d.Card.Driver[1])
}

// Processor is the name that the system gives the processor, or its architecture.
func Processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // only Linux has it
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
