package capture

import "time"

// pace predicts when a run ends. Reading and generating tokens have speeds of their
// own. Prompts that an earlier run has recorded do not count.
type pace struct {
	todo  [2]int64 // tokens to read, and to generate
	done  [2]int64
	spent [2]time.Duration
	last  time.Time // of the last step
}

// The two kinds of work.
const (
	reading = iota
	generating
)

// slower is how many times as long a token is assumed to take to generate as to read,
// until one has been generated.
const slower = 12

// plan adds tokens that will be run.
func (p *pace) plan(read, generated int64) {
	p.todo[reading] += read
	p.todo[generating] += generated
}

// skip removes tokens that will not be run after all.
func (p *pace) skip(read, generated int64) { p.plan(-read, -generated) }

// start starts the clock.
func (p *pace) start() { p.last = time.Now() }

// step counts n tokens that have been run since the last step.
func (p *pace) step(kind int, n int64) {
	now := time.Now()
	p.todo[kind] -= n
	p.done[kind] += n
	p.spent[kind] += now.Sub(p.last)
	p.last = now
}

// left returns the tokens per second so far and the time that remains. That is
// negative before any token has been read.
func (p *pace) left() (rate float64, left time.Duration) {
	if p.done[reading] == 0 {
		return 0, -1
	}
	each := [2]float64{p.spent[reading].Seconds() / float64(p.done[reading])}
	each[generating] = slower * each[reading]
	if p.done[generating] > 0 {
		each[generating] = p.spent[generating].Seconds() / float64(p.done[generating])
	}
	s := each[reading]*float64(max(0, p.todo[reading])) + each[generating]*float64(max(0, p.todo[generating]))
	spent := (p.spent[reading] + p.spent[generating]).Seconds()
	return float64(p.done[reading]+p.done[generating]) / max(spent, 1e-9), time.Duration(s * float64(time.Second))
}
