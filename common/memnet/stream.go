package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// DefaultBuffer is how many bytes a direction holds unless told otherwise.
const DefaultBuffer = 64 << 10

// A stream is one direction of a connection: a bounded queue of bytes. Whoever waits does so
// on changed, never on mu, which is how synctest knows it to be idle.
type stream struct {
	limit int

	mu      sync.Mutex
	changed *sync.Cond
	// buf is what has been written and not read, at most limit bytes.
	buf []byte
	// writing: a write is under way; others wait their turn.
	writing bool
	// ended: nothing follows what is in buf.
	ended                      bool
	readerClosed, writerClosed bool
	readDeadline               deadline
	writeDeadline              deadline
}

// A deadline has passed, or has a timer that will say so, or is not set.
type deadline struct {
	passed bool
	timer  *time.Timer
}

func newStream(limit int) *stream {
	if limit <= 0 {
		limit = DefaultBuffer
	}
	s := &stream{limit: limit}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readerClosed:
			return 0, net.ErrClosed
		case s.readDeadline.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(s.buf) > 0:
			n := copy(p, s.buf)
			s.buf = append(s.buf[:0], s.buf[n:]...)
			s.changed.Broadcast()
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		if err := s.writeError(); err != nil {
			return 0, err
		}
		s.changed.Wait()
	}
	s.writing = true
	defer func() {
		s.writing = false
		s.changed.Broadcast()
	}()
	sent := 0
	for {
		if err := s.writeError(); err != nil {
			return sent, err
		}
		n := min(len(p)-sent, s.limit-len(s.buf))
		s.buf = append(s.buf, p[sent:sent+n]...)
		sent += n
		s.changed.Broadcast()
		if sent == len(p) {
			return sent, nil
		}
		s.changed.Wait()
	}
}

// writeError says why nothing can be written now, whatever room there is.
func (s *stream) writeError() error {
	switch {
	case s.writerClosed:
		return net.ErrClosed
	case s.writeDeadline.passed:
		return os.ErrDeadlineExceeded
	case s.ended || s.readerClosed:
		return syscall.EPIPE
	}
	return nil
}

// end is the writer's last word.
func (s *stream) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writerClosed {
		return net.ErrClosed
	}
	s.ended = true
	s.changed.Broadcast()
	return nil
}

func (s *stream) closeWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writerClosed, s.ended = true, true
	s.writeDeadline.stop()
	s.changed.Broadcast()
}

func (s *stream) closeReader() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readerClosed {
		return net.ErrClosed
	}
	s.readerClosed = true
	s.buf = nil
	s.readDeadline.stop()
	s.changed.Broadcast()
	return nil
}

func (s *stream) setReadDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readerClosed {
		return net.ErrClosed
	}
	s.set(&s.readDeadline, at)
	return nil
}

func (s *stream) setWriteDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writerClosed {
		return net.ErrClosed
	}
	s.set(&s.writeDeadline, at)
	return nil
}

// set replaces a deadline; the caller holds mu.
func (s *stream) set(d *deadline, at time.Time) {
	d.stop()
	wait := time.Until(at)
	d.passed = !at.IsZero() && wait <= 0
	if d.passed {
		s.changed.Broadcast()
	}
	if at.IsZero() || d.passed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.timer == timer { // else it was replaced as it went off
			d.passed = true
			s.changed.Broadcast()
		}
	})
	d.timer = timer
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer = nil
}
