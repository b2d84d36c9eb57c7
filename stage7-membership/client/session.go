package client

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"raftworkbook/stage7-membership/api"
)

// window is how many numbers there may be from the oldest write of a session that waits for its answer to the newest,
// both counted. So many answers a server has to keep at most, and it keeps no more: beyond that it would refuse the
// very write that all others wait for.
const window = 128

// A session is what lets servers know a write when it comes again. They keep its answer until they hear that the
// client waits for none as old as that.
type session struct {
	id      uint64
	expired atomic.Bool // the servers do not know it any more

	mu      sync.Mutex
	moved   *sync.Cond // a call is over, or has no more time
	last    uint64     // the number of the newest write; the first has 1
	waiting []uint64   // the numbers of those whose calls are not over, in order
}

func newSession(id uint64) *session {
	s := &session{id: id}
	s.moved = sync.NewCond(&s.mu)
	return s
}

// write has a request carried out once, however often it is sent.
func (c *Client) write(ctx context.Context, r api.Request) (api.Response, *api.Error) {
	for round := 0; ; round++ {
		s, err := c.opened(ctx)
		if err != nil {
			return api.Response{}, err
		}
		r.Session = s.id
		if r.Seq, r.Done = s.begin(ctx); r.Seq == 0 {
			return api.Response{}, c.notSent(ctx, "too many writes wait for their answers: ")
		}
		t := c.tour(ctx, r)
		resp, err := t.ask(ctx)
		s.finish(r.Seq)
		if err == nil || err.Code != api.SessionExpired {
			return resp, err
		}
		s.expired.Store(true)
		if t.unsure != nil {
			err.Message += "; whether an earlier one was, nobody knows"
			return resp, err
		}
		c.pause(ctx, round) // nothing has happened: once more, in a new session
	}
}

// opened returns the session, a new one if need be. Of many callers one opens it and the others wait. A session that
// was opened and got lost does no harm: whatever the error, the write was not sent.
func (c *Client) opened(ctx context.Context) (*session, *api.Error) {
	var s *session
	select {
	case s = <-c.session:
	case <-ctx.Done():
		return nil, c.notSent(ctx, "there was no session yet: ")
	}
	defer func() { c.session <- s }()
	if s != nil && !s.expired.Load() {
		return s, nil
	}
	t := c.tour(ctx, api.Request{Op: api.Register})
	resp, err := t.ask(ctx)
	if err != nil {
		if !err.Definite() {
			err.Message = "no answer" + t.words(ctx)
		}
		return nil, &api.Error{Code: api.Unavailable, Message: "not sent, for want of a session: " + err.Message, Cause: err.Cause}
	}
	s = newSession(resp.Session)
	return s, nil
}

// begin gives a new write its number, 0 if ctx ends before it may have one, and says which write is the oldest that
// waits.
func (s *session) begin(ctx context.Context) (seq, done uint64) {
	defer context.AfterFunc(ctx, s.wake)()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 && s.last-s.waiting[0]+1 >= window {
		if ctx.Err() != nil {
			return 0, 0
		}
		s.moved.Wait()
	}
	s.last++
	s.waiting = append(s.waiting, s.last)
	return s.last, s.waiting[0]
}

func (s *session) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved.Broadcast()
}

// finish is for a write whose call is over: it will not be sent again.
func (s *session) finish(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, seq)
	s.waiting = slices.Delete(s.waiting, i, i+1)
	s.moved.Broadcast()
}
