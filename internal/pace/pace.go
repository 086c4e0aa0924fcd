// Package pace predicts when a run over many tokens ends.
package pace

import "time"

// Pace measures the speed of a run. It measures reading and generating tokens
// separately. Tokens that an earlier run has done must not be planned or must be
// skipped. The zero value is ready.
type Pace struct {
	todo  [2]int64 // by Kind
	done  [2]int64
	spent [2]time.Duration
	last  time.Time // of the last step
}

// Kind is one of the two kinds of work.
type Kind int

// Tokens are read many at a time and generated one at a time.
const (
	Reading Kind = iota
	Generating
)

// slower is the assumed ratio of the time to generate a token to the time to read one,
// used until a token has been generated.
const slower = 12

// Plan adds tokens that will be run.
func (p *Pace) Plan(read, generated int64) {
	p.todo[Reading] += read
	p.todo[Generating] += generated
}

// Skip removes tokens that will not be run after all.
func (p *Pace) Skip(read, generated int64) { p.Plan(-read, -generated) }

// Start starts the clock.
func (p *Pace) Start() { p.last = time.Now() }

// Step counts n tokens that have been run since the last step.
func (p *Pace) Step(kind Kind, n int64) {
	now := time.Now()
	p.todo[kind] -= n
	p.done[kind] += n
	p.spent[kind] += now.Sub(p.last)
	p.last = now
}

// Left returns the tokens per second so far and the remaining time, which is negative
// before any token has been read.
func (p *Pace) Left() (rate float64, left time.Duration) {
	if p.done[Reading] == 0 {
		return 0, -1
	}
	each := [2]float64{p.spent[Reading].Seconds() / float64(p.done[Reading])}
	each[Generating] = slower * each[Reading]
	if p.done[Generating] > 0 {
		each[Generating] = p.spent[Generating].Seconds() / float64(p.done[Generating])
	}
	s := each[Reading]*float64(max(0, p.todo[Reading])) + each[Generating]*float64(max(0, p.todo[Generating]))
	spent := (p.spent[Reading] + p.spent[Generating]).Seconds()
	return float64(p.done[Reading]+p.done[Generating]) / max(spent, 1e-9), time.Duration(s * float64(time.Second))
}
