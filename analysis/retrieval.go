package analysis

// Copying says which tokens of a reply a head could copy from the prompt. All heads
// and layers share it.
type Copying struct {
	prompt, reply []int32
	copyable      []bool // of each reply token: the prompt holds the same token
}

// NewCopying returns the Copying of a prompt and its reply, given as token ids.
func NewCopying(prompt, reply []int32) *Copying {
	inPrompt := make(map[int32]bool, len(prompt))
	for _, id := range prompt {
		inPrompt[id] = true
	}
	c := &Copying{prompt: prompt, reply: reply, copyable: make([]bool, len(reply))}
	for i, id := range reply {
		c.copyable[i] = inPrompt[id]
	}
	return c
}

// Score returns the retrieval score of a head after Wu et al., "Retrieval head
// mechanistically explains long-context factuality", arXiv:2404.15574: of the tokens
// that could be copied from the prompt, the share that the head copies. In the paper,
// these are the tokens of a marked needle; here they are the reply's tokens that the
// prompt also holds. The head copies a token when the row that predicts it, which is
// the row of the token before, has its largest weight on a prompt position that holds
// the same token. The score is NaN if the prompt holds no token of the reply.
//
//	best    for each reply token, the key with the largest weight of the row that
//	        predicts it; -1: that row was not examined, and the token is not counted
func (c *Copying) Score(best []int) float64 {
	copied := 0
	copyable := 0
	for i, at := range best[:min(len(best), len(c.reply))] {
		if at < 0 || !c.copyable[i] {
			continue
		}
		copyable++
		if at < len(c.prompt) && c.prompt[at] == c.reply[i] {
			copied++
		}
	}
	return ratio(float64(copied), float64(copyable))
}
