package dumps

import "fmt"

// Phase distinguishes the recorded rows of the prompt from the rows of the reply.
type Phase uint8

// Prefill rows are the last rows of the prompt, Decode rows the rows of the reply:
// one per token of the reply, followed or generated.
const (
	Prefill Phase = iota
	Decode
)

// Phases lists both phases in the order of their rows.
var Phases = [2]Phase{Prefill, Decode}

// String names the text whose rows the phase holds: "prompt" or "reply".
func (ph Phase) String() string {
	switch ph {
	case Prefill:
		return "prompt"
	case Decode:
		return "reply"
	}
	return fmt.Sprintf("phase %d", uint8(ph))
}
