package cpu

// A Conv is a causal convolution over positions, separate for each channel. Its state
// holds the inputs of the last Kernel-1 positions, [kernel-1, channels], which are zero
// at the beginning of a sequence.
type Conv struct {
	Channels int
	Kernel   int       // positions that an output depends on
	Weights  []float32 // [kernel, channels]; the last row belongs to the output's own position
	Bias     []float32 // nil: none
}

// StateSize returns the number of elements of a state.
func (c *Conv) StateSize() int { return (c.Kernel - 1) * c.Channels }

// Run writes the outputs of channels lo to hi-1 of the rows x, which are the positions
// that follow those of the state, to dst, and updates the state to that after the last
// row. dst must not overlap x.
func (c *Conv) Run(dst, x Mat, state []float32, lo, hi int) {
	for i := range x.Rows {
		out := dst.Data[i*dst.Stride:][lo:hi]
		if c.Bias == nil {
			clear(out)
		} else {
			copy(out, c.Bias[lo:hi])
		}
		for t := range c.Kernel {
			in := c.input(x, state, i+t, lo, hi)
			for j, w := range c.Weights[t*c.Channels:][lo:hi] {
				out[j] += float32(w * in[j])
			}
		}
	}
	for t := range c.Kernel - 1 {
		copy(state[t*c.Channels:][lo:hi], c.input(x, state, x.Rows+t, lo, hi))
	}
}

// input returns channels lo to hi-1 of the state's rows followed by those of x.
func (c *Conv) input(x Mat, state []float32, row, lo, hi int) []float32 {
	if row < c.Kernel-1 {
		return state[row*c.Channels:][lo:hi]
	}
	return x.Data[(row-c.Kernel+1)*x.Stride:][lo:hi]
}
