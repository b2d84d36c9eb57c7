package netfault

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A session is one connection through the forwarder: two flows. It ends when either end is
// gone and the other may know, or when both have said all.
type session struct {
	there, back *flow
	finished    atomic.Int32
	once        sync.Once
	done        chan struct{}
}

func newSession(l link, dialler, target net.Conn, raw bool, random func() *rand.Rand) *session {
	s := &session{done: make(chan struct{})}
	s.there = newFlow(s, l, dialler, target, raw, random())
	s.back = newFlow(s, l.reverse(), target, dialler, raw, random())
	return s
}

// run forwards until the session ends, in four goroutines: in each direction one must take in,
// and lose, what arrives while the other waits for a delay or for a receiver that does not read.
func (s *session) run() {
	var flows sync.WaitGroup
	flows.Go(s.there.write)
	flows.Go(s.back.read)
	flows.Go(s.back.write)
	s.there.read()
	flows.Wait()
}

// close ends the session and both connections.
func (s *session) close() {
	s.once.Do(func() {
		close(s.done)
		s.there.from.Close()
		s.back.from.Close()
	})
}

// set changes the faults of the flows on link l.
func (s *session) set(l link, x faults) {
	for _, f := range []*flow{s.there, s.back} {
		if f.link == l {
			f.update(func(q *queue, now time.Time) { q.set(x, now) })
		}
	}
}

// A flow is one direction of a session.
type flow struct {
	session  *session
	link     link
	from, to net.Conn

	mu    sync.Mutex
	queue queue
	// taken and changed tell the flow's reader and writer to look at the queue again.
	taken, changed chan struct{}
}

func newFlow(s *session, l link, from, to net.Conn, raw bool, random *rand.Rand) *flow {
	return &flow{
		session: s, link: l, from: from, to: to,
		queue:   queue{raw: raw, random: random},
		taken:   make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
	}
}

// update changes the queue and wakes both who wait for it.
func (f *flow) update(edit func(q *queue, now time.Time)) {
	f.mu.Lock()
	edit(&f.queue, time.Now())
	f.mu.Unlock()
	wake(f.taken)
	wake(f.changed)
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will look anyway
	}
}

// read fills the queue until the sender ends.
func (f *flow) read() {
	buf := make([]byte, chunkSize)
	for f.waitForRoom() {
		n, err := f.from.Read(buf)
		var tooLong error
		f.update(func(q *queue, now time.Time) {
			tooLong = q.arrive(buf[:n], now)
			switch {
			case err == io.EOF:
				q.finish(finished, now)
			case err != nil:
				q.finish(broken, now)
			}
		})
		if tooLong != nil {
			f.session.close()
		}
		if err != nil {
			return
		}
	}
}

// waitForRoom returns false once the session is over.
func (f *flow) waitForRoom() bool {
	for {
		f.mu.Lock()
		room := f.queue.cost < maxQueue
		f.mu.Unlock()
		if room {
			return true
		}
		select {
		case <-f.taken:
		case <-f.session.done:
			return false
		}
	}
}

// write empties the queue until the session ends.
func (f *flow) write() {
	var gone bool // the receiver is; what would go to it is dropped
	for {
		s, ok := f.next()
		switch {
		case !ok:
			return
		case s.end == broken:
			f.session.close()
		case s.end == finished:
			if !gone {
				closeWrite(f.to)
			}
			if f.session.finished.Add(1) == 2 {
				f.session.close()
			}
		case !gone:
			if _, err := f.to.Write(s.data); err != nil {
				gone = true
				f.session.other(f).update(func(q *queue, now time.Time) { q.finish(broken, now) })
			}
		}
	}
}

// next waits for what leaves next, and returns false once the session is over.
func (f *flow) next() (segment, bool) {
	for {
		f.mu.Lock()
		s, wait, ok := f.queue.take(time.Now())
		f.mu.Unlock()
		if ok {
			wake(f.taken)
			return s, true
		}
		if !f.sleep(wait) {
			return segment{}, false
		}
	}
}

// sleep waits for a change of the queue, and no longer than wait unless that is 0. It returns
// false once the session is over.
func (f *flow) sleep(wait time.Duration) bool {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-f.changed:
	case <-over:
	case <-f.session.done:
		return false
	}
	return true
}

func (s *session) other(f *flow) *flow {
	if f == s.there {
		return s.back
	}
	return s.there
}

// closeWrite passes on that no more will be sent; all is closed where that cannot be said.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	} else {
		c.Close()
	}
}
