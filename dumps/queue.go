package dumps

import (
	"runtime"
	"sync"
	"time"
)

// maxPending bounds the values that wait to be encoded: 64 MB of float32.
const maxPending = 16 << 20

// syncEvery is how often finished prompts are made durable, so that a power cut costs
// little more work than that. A killed process loses no finished prompt.
const syncEvery = 5 * time.Second

// writeQueue writes blocks to a file in the order in which they were queued. One
// goroutine writes; up to one per processor encode the blocks that are queued before
// their payload is ready.
type writeQueue struct {
	file     *recordFile
	jobs     chan job
	stopped  chan struct{} // closed when all jobs are done
	pending  *budget       // values that wait to be encoded
	encoding chan struct{} // a slot per processor
	synced   time.Time

	mu  sync.Mutex
	err error // the first one; nothing is written after it
}

// job is one entry of a writeQueue: a block, a block that arrives on the channel late
// once it is encoded, or a barrier, whose channel is closed when everything before it
// is written.
type job struct {
	block   block
	late    chan block
	prompt  uint32 // of the block that arrives late: its number in the file
	order   int    // of a held block in its prompt
	barrier chan struct{}
}

func newWriteQueue(file *recordFile) *writeQueue {
	q := &writeQueue{
		file:     file,
		jobs:     make(chan job, 256),
		stopped:  make(chan struct{}),
		pending:  newBudget(maxPending),
		encoding: make(chan struct{}, runtime.GOMAXPROCS(0)),
		synced:   time.Now(),
	}
	go q.run()
	return q
}

// run does the jobs until stop closes the channel.
func (q *writeQueue) run() {
	defer close(q.stopped)
	for j := range q.jobs {
		switch {
		case j.barrier != nil:
			q.syncSometimes()
			close(j.barrier)
		case j.late != nil:
			b := <-j.late
			b.r.Prompt = j.prompt
			q.write(b)
		default:
			q.write(j.block)
		}
	}
}

func (q *writeQueue) write(b block) {
	if q.failed() == nil {
		q.fail(q.file.append(b))
	}
}

// syncSometimes makes the file durable if this was last done at least syncEvery ago.
func (q *writeQueue) syncSometimes() {
	if q.failed() != nil || time.Since(q.synced) < syncEvery {
		return
	}
	err := q.file.sync()
	q.fail(err)
	if err == nil {
		q.synced = time.Now()
	}
}

func (q *writeQueue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil && q.err == nil {
		q.err = err
	}
}

// failed returns the first error.
func (q *writeQueue) failed() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// send queues a job. It waits while too many jobs are queued.
func (q *writeQueue) send(j job) error {
	if err := q.failed(); err != nil {
		return err
	}
	q.jobs <- j
	return nil
}

// encodeLater returns the channel on which a block of n values arrives, which the caller
// has taken from the pending budget. Another goroutine calls encode to get the payload
// and then calls encoded.
func (q *writeQueue) encodeLater(r record, n int, encode func(r *record) []byte, encoded func()) chan block {
	late := make(chan block, 1)
	go func() {
		defer encoded()
		q.encoding <- struct{}{}
		raw := encode(&r)
		late <- seal(r, raw)
		<-q.encoding
		q.pending.give(int64(n))
	}()
	return late
}

// wait returns when everything that was queued is written, or has failed.
func (q *writeQueue) wait() error {
	written := make(chan struct{})
	if err := q.send(job{barrier: written}); err != nil {
		return err
	}
	<-written
	return q.failed()
}

// stop waits for the queued jobs, ends the goroutine and returns the first error.
func (q *writeQueue) stop() error {
	close(q.jobs)
	<-q.stopped
	return q.failed()
}
