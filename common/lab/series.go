package lab

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"raftworkbook/common/wire"
)

// A write is a request that changes the store, as it was sent, so that it can be sent again.
type write struct {
	at      *member // nil for the cluster
	request wire.Request
	answer  func(wire.Response) string
	series  *series // nil before stage 4, and if no session could be opened
}

// A series is the writes of one session. They are numbered, so that the cluster knows one that comes again.
type series struct {
	session uint64

	mu      sync.Mutex
	expired bool
	last    uint64
	waiting []uint64 // the numbers of those that wait for their answers, in order
}

// write sends a new write, and writes the answer with answer if there is one. If the session has expired,
// nothing has happened, and it is sent in another.
func (l *Lab) write(ctx context.Context, at *member, r wire.Request, answer func(wire.Response) string) (string, error) {
	w := write{at: at, request: r, answer: answer}
	resp, err := l.sendNew(ctx, w)
	if hasCode(err, "session_expired") {
		resp, err = l.sendNew(ctx, w)
	}
	return l.inWords(resp, err, answer), nil
}

// sendNew sends a write that has not been sent: from stage 4 on in a session.
func (l *Lab) sendNew(ctx context.Context, w write) (wire.Response, error) {
	if l.opt.Stage >= firstSession {
		s, err := l.openSeries(ctx, w.at)
		if err != nil {
			l.client.remember(w)
			return wire.Response{}, err
		}
		w.series, w.request.Session = s, s.session
	}
	return l.sendWrite(ctx, w)
}

// sendWrite sends a write, be it for the first time or not.
func (l *Lab) sendWrite(ctx context.Context, w write) (wire.Response, error) {
	if w.series == nil {
		l.client.remember(w)
		return l.send(ctx, w.at, w.request)
	}
	w.request.Seq, w.request.Done = w.series.begin(w.request.Seq)
	defer w.series.finish(w.request.Seq)
	l.client.remember(w)
	resp, err := l.send(ctx, w.at, w.request)
	if hasCode(err, "session_expired") {
		w.series.expire()
	}
	return resp, err
}

// openSeries returns the series, a new one if need be: its session is opened where the write is to be sent.
// Whether one was opened that nobody uses does not matter, so an error says that nothing has happened.
func (l *Lab) openSeries(ctx context.Context, at *member) (*series, error) {
	var s *series
	select {
	case s = <-l.client.series:
	case <-ctx.Done():
		return nil, &wire.Error{Code: "unavailable", Message: "not sent: interrupted"}
	}
	defer func() { l.client.series <- s }()
	if s != nil && !s.over() {
		return s, nil
	}
	resp, err := l.send(ctx, at, wire.Request{Op: "register"})
	switch {
	case elsewhere(err):
		return nil, err
	case err != nil:
		why := strings.TrimPrefix(l.errorAnswer(err), "error ")
		return nil, &wire.Error{Code: "unavailable", Message: "not sent, since no session was opened: " + why}
	}
	s = &series{session: resp.Session}
	return s, nil
}

// runRetry sends the last write again, as a client does that has no answer: from stage 4 on in its session and
// with its number, by which the cluster knows it.
func runRetry(ctx context.Context, l *Lab, args []word) (string, error) {
	if len(args) > 0 {
		return "", tooMuch(args)
	}
	w := l.client.lastWrite()
	switch {
	case w == nil:
		return "", errors.New("there is no write yet that could be sent again")
	case w.series == nil:
		return l.write(ctx, w.at, w.request, w.answer)
	}
	resp, err := l.sendWrite(ctx, *w)
	return l.inWords(resp, err, w.answer), nil
}

// begin notes that a write waits for its answer, with a new number if it has none. The cluster may forget all
// whose numbers are below done.
func (s *series) begin(seq uint64) (number, done uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq == 0 {
		s.last++
		seq = s.last
	}
	s.waiting = append(s.waiting, seq)
	slices.Sort(s.waiting)
	return seq, s.waiting[0]
}

func (s *series) finish(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, seq)
	s.waiting = slices.Delete(s.waiting, i, i+1)
}

// expire notes that the cluster does not know the session any more.
func (s *series) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = true
}

func (s *series) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired
}

func (c *client) remember(w write) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrote = &w
}

func (c *client) lastWrite() *write {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrote
}
