package view

import (
	"container/list"
	"runtime"
	"sync"
)

// cache keeps values within a limit of bytes and drops the least recently used ones.
// Requests for a value that is being built wait for it.
type cache struct {
	mu    sync.Mutex
	limit int
	bytes int
	used  *list.List // of *cached, most recently used first
	items map[any]*list.Element
}

type cached struct {
	key   any
	ready chan struct{} // closed when the value is built
	value any
	bytes int // 0 while it is built
	err   error
}

// collectBytes is the number of dropped bytes after which the garbage collector runs,
// before as much is allocated again.
const collectBytes = 16 << 20

func newCache(limit int) *cache {
	return &cache{limit: limit, used: list.New(), items: map[any]*list.Element{}}
}

// get returns the value of key. If the cache does not have it, build makes it, once,
// and returns its size; need bytes are freed first. Errors are not kept.
func (c *cache) get(key any, need int, build func() (value any, bytes int, err error)) (any, error) {
	c.mu.Lock()
	if e, ok := c.items[key]; ok {
		c.used.MoveToFront(e)
		c.mu.Unlock()
		it := e.Value.(*cached)
		<-it.ready
		return it.value, it.err
	}
	it := &cached{key: key, ready: make(chan struct{})}
	e := c.used.PushFront(it)
	c.items[key] = e
	dropped := c.shrink(c.limit-need, it)
	c.mu.Unlock()
	if dropped > collectBytes {
		runtime.GC()
	}

	var bytes int
	it.value, bytes, it.err = build()
	close(it.ready)
	c.mu.Lock()
	defer c.mu.Unlock()
	if it.err != nil {
		c.drop(e)
		return nil, it.err
	}
	it.bytes = bytes // from now on it may be dropped
	c.bytes += bytes
	c.shrink(c.limit, it)
	return it.value, nil
}

// peek returns the value of key if the cache has it, built and without an error.
func (c *cache) peek(key any) (value any, ok bool) {
	c.mu.Lock()
	e, ok := c.items[key]
	if ok {
		c.used.MoveToFront(e)
	}
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	it := e.Value.(*cached)
	select {
	case <-it.ready:
		return it.value, it.err == nil
	default:
		return nil, false
	}
}

// shrink drops the least recently used values, except one, until at most limit bytes
// are left. It returns the number of bytes that were dropped.
func (c *cache) shrink(limit int, except *cached) (dropped int) {
	for e := c.used.Back(); e != nil && c.bytes > limit; {
		before := e.Prev()
		if it := e.Value.(*cached); it != except && it.bytes > 0 {
			c.bytes -= it.bytes
			dropped += it.bytes
			c.drop(e)
		}
		e = before
	}
	return dropped
}

// dropNext makes a value the first to be dropped, because it was needed only to build
// another one.
func (c *cache) dropNext(key any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.used.MoveToBack(e)
	}
}

func (c *cache) drop(e *list.Element) {
	c.used.Remove(e)
	delete(c.items, e.Value.(*cached).key)
}

// lookup is [cache.get] with a typed result.
func lookup[T any](c *cache, key any, need int, build func() (value T, bytes int, err error)) (T, error) {
	v, err := c.get(key, need, func() (any, int, error) { return build() })
	if err != nil {
		var none T
		return none, err
	}
	return v.(T), nil
}
