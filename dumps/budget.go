package dumps

import "sync"

// maxPending bounds the values that wait to be encoded: 64 MB of float32.
const maxPending = 16 << 20

// budget holds callers back while more than its limit is under way.
type budget struct {
	mu    sync.Mutex
	freed *sync.Cond
	used  int
	limit int
}

func newBudget(limit int) *budget {
	b := &budget{limit: limit}
	b.freed = sync.NewCond(&b.mu)
	return b
}

// take waits for room for n; more than the limit must be alone.
func (b *budget) take(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.used > 0 && b.used+n > b.limit {
		b.freed.Wait()
	}
	b.used += n
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.freed.Broadcast()
}
