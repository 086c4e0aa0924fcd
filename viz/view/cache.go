package view

import (
	"container/list"
	"runtime"
	"sync"
)

// cache keeps values under a bound of bytes and drops those that were not used
// for longest. Who asks for a value that is being made waits for it.
type cache struct {
	mu    sync.Mutex
	limit int
	bytes int
	used  *list.List // of *cached, most recent first
	items map[any]*list.Element
}

type cached struct {
	key   any
	ready chan struct{}
	value any
	bytes int // 0 while it is made
	err   error
}

func newCache(limit int) *cache {
	return &cache{limit: limit, used: list.New(), items: map[any]*list.Element{}}
}

// get returns the value of key, made once by build, which tells its size. need
// is about what the making takes: so much is dropped before. An error is not kept.
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
	if dropped > 16<<20 {
		runtime.GC() // before as much is allocated again
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
	it.bytes = bytes // until now it could not be dropped
	c.bytes += bytes
	c.shrink(c.limit, it)
	return it.value, nil
}

// peek returns a value that is there, made and no error.
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

// shrink drops what was not used for longest, but for it, until no more than
// limit bytes are left, and tells how much.
func (c *cache) shrink(limit int, it *cached) (dropped int) {
	for e := c.used.Back(); e != nil && c.bytes > limit; {
		before := e.Prev()
		if old := e.Value.(*cached); old != it && old.bytes > 0 {
			c.bytes -= old.bytes
			dropped += old.bytes
			c.drop(e)
		}
		e = before
	}
	return dropped
}

// last lets a value be the next that is dropped: it was needed only to make another.
func (c *cache) last(key any) {
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

// lookup is get with the type of the value.
func lookup[T any](c *cache, key any, need int, build func() (value T, bytes int, err error)) (T, error) {
	v, err := c.get(key, need, func() (any, int, error) { return build() })
	if err != nil {
		var none T
		return none, err
	}
	return v.(T), nil
}
