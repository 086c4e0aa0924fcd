package dumps

import "sync"

// budget bounds the memory that several goroutines hold together.
type budget struct {
	mu    sync.Mutex
	freed *sync.Cond
	left  int64
	limit int64
}

func newBudget(limit int64) *budget {
	b := &budget{left: limit, limit: limit}
	b.freed = sync.NewCond(&b.mu)
	return b
}

// take waits until n is available and takes it. If n exceeds the limit, it waits until
// the whole budget is available.
func (b *budget) take(n int64) {
	n = min(n, b.limit)
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.left < n {
		b.freed.Wait()
	}
	b.left -= n
}

// give returns what take(n) took.
func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += min(n, b.limit)
	b.freed.Broadcast()
}
