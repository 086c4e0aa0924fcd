//go:build !cuda

package cuda

// Built tells whether this binary has the backend.
const Built = false

// address is a place in a card's memory.
type address = uintptr

const notBuilt = "this program was built without the tag cuda; `make cuda` builds one with it"

// Devices lists the cards; without any, why says the reason.
func Devices() (list []Device, why string) { return nil, notBuilt }

// Load says that there is no card.
func Load(int, *Decoder, Options) (Model, error) { return nil, &NoDeviceError{notBuilt} }
