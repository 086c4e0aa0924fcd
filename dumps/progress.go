package dumps

// Progress receives how far [Verify], [Repair] or [Merge] has come: done of total bytes.
// What passes over the bytes twice counts them twice.
type Progress func(done, total int64)

// counter adds up the bytes that are done.
type counter struct {
	report Progress // may be nil
	done   int64
	total  int64
}

// add adds n bytes. A nil counter, of a caller without progress, counts nothing.
func (c *counter) add(n int64) {
	if c != nil {
		c.set(c.done + n)
	}
}

func (c *counter) set(done int64) {
	c.done = done
	if c.report != nil {
		c.report(done, c.total)
	}
}

// storedBytes returns the bytes of the blocks of a prompt.
func (r *Reader) storedBytes(prompt int) int64 {
	n := int64(0)
	for key := range r.blocks[prompt] {
		n += r.bytesOf(prompt, key)
	}
	return n
}

// layerBytes returns the bytes of the blocks of a layer of a prompt.
func (r *Reader) layerBytes(prompt, layer int) int64 {
	n := int64(0)
	for key := range r.blocks[prompt] {
		if int(key.layer) == layer {
			n += r.bytesOf(prompt, key)
		}
	}
	return n
}

func (r *Reader) bytesOf(prompt int, key blockKey) int64 {
	n := int64(0)
	for i := range r.blocks[prompt][key] {
		n += int64(r.blocks[prompt][key][i].Stored)
	}
	return n
}
