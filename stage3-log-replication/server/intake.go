package server

import (
	"sync"

	"raftworkbook/stage3-log-replication/api"
)

const (
	// maxArrived is how many bytes of commands may lie in an intake.
	maxArrived = 64 << 20
	// maxTaken is about how many bytes of commands are taken out at once: what one flush has to write.
	maxTaken = 1 << 20
)

// An intake is where requests lie until the node takes them in, all that are there by then.
type intake struct {
	arrived chan struct{} // has room for one: there are some

	mu     sync.Mutex
	writes []write
	bytes  int
	closed bool
}

func newIntake() *intake { return &intake{arrived: make(chan struct{}, 1)} }

// put leaves a write, or says why not.
func (in *intake) put(w write) *api.Error {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed:
		return api.Errorf(api.Unavailable, "the node is shutting down")
	case len(in.writes) == maxWaiting || in.bytes+len(w.command) > maxArrived:
		return errBusy
	}
	in.writes = append(in.writes, w)
	in.bytes += len(w.command)
	in.ring()
	return nil
}

// take returns writes in the order in which they came, and leaves those that would be too much for one flush.
func (in *intake) take() []write {
	in.mu.Lock()
	defer in.mu.Unlock()
	taken, size := in.writes, 0
	for i, w := range in.writes {
		if size += len(w.command); size > maxTaken && i > 0 {
			taken = in.writes[:i:i]
			in.ring()
			break
		}
	}
	in.writes = in.writes[len(taken):]
	for _, w := range taken {
		in.bytes -= len(w.command)
	}
	return taken
}

// close lets no more writes in, and returns those that nobody will take.
func (in *intake) close() []write {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	return in.writes
}

func (in *intake) ring() {
	select {
	case in.arrived <- struct{}{}:
	default:
	}
}
