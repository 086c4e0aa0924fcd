package model

import "context"

// A Reply is a sequence that Replies appends tokens to.
type Reply interface {
	Session() *Session
	// Next returns the token that is appended next, and what its pass hands over.
	Next() (token int32, p Pass, err error)
	// Appended follows the pass of that token. more is false after the last token of the
	// reply; the Reply then may close its session.
	Appended() (more bool, err error)
}

// Replies decodes several replies of a model together, one token of each per step.
// Replies join and leave between steps. The numbers of a reply do not depend on the
// others.
type Replies struct {
	m    *Model
	most int
	list []Reply
}

// NewReplies returns an empty batch for at most most replies, at least 1.
func (m *Model) NewReplies(most int) *Replies { return &Replies{m: m, most: max(1, most)} }

// Len returns the number of replies that have not ended.
func (b *Replies) Len() int { return len(b.list) }

// Full reports whether there is no room for another reply.
func (b *Replies) Full() bool { return len(b.list) >= b.most }

// Add adds a reply of at least one token. The batch must not be full.
func (b *Replies) Add(r Reply) { b.list = append(b.list, r) }

// Step appends a token to each reply. Replies that end leave the batch. After an error
// the batch cannot be used any more.
func (b *Replies) Step(ctx context.Context) error {
	sessions := make([]*Session, len(b.list))
	tokens := make([]int32, len(b.list))
	passes := make([]Pass, len(b.list))
	for i, r := range b.list {
		sessions[i] = r.Session()
		var err error
		if tokens[i], passes[i], err = r.Next(); err != nil {
			return err
		}
	}
	if err := b.m.Step(ctx, sessions, tokens, passes); err != nil {
		return err
	}
	going := make([]Reply, 0, len(b.list))
	for _, r := range b.list {
		more, err := r.Appended()
		if err != nil {
			return err
		}
		if more {
			going = append(going, r)
		}
	}
	b.list = going
	return nil
}

// List returns the replies that have not ended, in the order in which they were added.
func (b *Replies) List() []Reply { return b.list }
