//go:build !cuda

package cuda

// Built reports whether this binary includes the backend.
const Built = false

// address is a place in a card's memory.
type address = uintptr

const notBuilt = "this program was built without the tag cuda; `make cuda` builds one with it"

// Devices lists the cards. If there are none, why says why.
func Devices() (list []Device, why string) { return nil, notBuilt }

// Load returns an error: this binary has no backend for cards.
func Load(int, *Decoder, Options) (Model, error) { return nil, &NoDeviceError{notBuilt} }
