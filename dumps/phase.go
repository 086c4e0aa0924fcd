package dumps

import "fmt"

// Phase tells the recorded rows of the prompt from the rows of the reply.
type Phase uint8

// Prefill rows are the last rows of the prompt, Decode rows the rows of the reply:
// one per token of the reply, followed or generated.
const (
	Prefill Phase = iota
	Decode
)

// Phases are both phases, in the order of their rows.
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

// Shape returns how many rows of a phase the prompt has, how many keys each row
// spans, and the position of the first row's query.
func (p *Prompt) Shape(ph Phase) (rows, keys, pos0 int) {
	if ph == Decode {
		return p.ReplyTokens, p.PromptTokens + p.ReplyTokens, p.PromptTokens
	}
	return p.WindowRows, p.PromptTokens, p.PromptTokens - p.WindowRows
}
