package capture

import "time"

// pace predicts when a run ends. Reading and generating have speeds of their own,
// and prompts that an earlier run has done say nothing of either.
type pace struct {
	todo  [2]int64 // tokens to read, to generate
	done  [2]int64
	spent [2]time.Duration
	last  time.Time
}

const (
	reading = iota
	generating
)

// slower is how many times longer a token takes to generate than to read, until
// one is generated.
const slower = 12

func (p *pace) plan(read, generated int64) {
	p.todo[reading] += read
	p.todo[generating] += generated
}

// skip takes tokens off that will not be run.
func (p *pace) skip(read, generated int64) { p.plan(-read, -generated) }

func (p *pace) start() { p.last = time.Now() }

// step counts n tokens as run since the last step.
func (p *pace) step(how int, n int64) {
	now := time.Now()
	p.todo[how] -= n
	p.done[how] += n
	p.spent[how] += now.Sub(p.last)
	p.last = now
}

// left is the speed of all tokens so far, and the time to the end; negative where
// nothing is known yet.
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
