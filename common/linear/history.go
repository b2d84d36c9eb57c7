// Package linear records what the clients of a key-value store saw and judges it:
// is there one order of all operations, each placed between its beginning and its
// answer, in which a single register per key gives exactly these answers? That is
// linearizability. The search is porcupine's; this package adds the model of the
// store, the recorder, and a sentence that says what went wrong.
//
// # Unknown outcomes
//
// An operation whose outcome is unknown may take effect at any moment after it
// began, or never, so it stays open to the end of the history and can widen the search
// for all that comes later on its key. How much, for 500 operations on one key:
//
//   - forty open puts, deletes or compare-and-swaps, each of a value of its own: 10 ms;
//   - forty open appends, on a key that is only appended to and read: 10 ms, if a read
//     ends the history; without one, hopeless;
//   - open appends on a key that is also put to: ten take no time, forty are hopeless.
//
// Where there are only reads and puts, each of a value of its own, any number may be
// open, and reads may reach over seconds: 10 ms, to refute as well. Otherwise to refute
// takes longer than to confirm, and may not come to an end where there are open deletes
// or appends. So spread the operations over several keys, write a different
// value each time, and end with a read of every key. A check that runs out of time is
// not a pass, but what is plain without a search is still found and explained.
//
// # Answers that may be outdated
//
// A read whose answer says how outdated it may be need not be linearizable, and is held to its word instead: see
// [Call.ReturnStale].
//
// # What it does not see
//
// Keys are judged one by one, so an operation on many keys (a list) has no place
// here. Every key begins absent.
package linear

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Kind is what an operation does, by its name in the client protocol.
type Kind string

const (
	Get    Kind = "get"
	Put    Kind = "put"
	CAS    Kind = "cas"
	Append Kind = "append"
	Delete Kind = "delete"
)

// An Op is what a client asked for.
type Op struct {
	// Client names who asked, in sentences and pictures: client 2 is "c2". A client
	// may have several operations in flight.
	Client int
	Kind   Kind
	Key    string
	// Value is what a put, cas or append writes.
	Value string
	// Expect is the value that a cas replaces; nil means that it writes only if the
	// key is absent.
	Expect *string
}

// An Answer is what the client was told. Fields that the operation does not answer
// are ignored.
type Answer struct {
	// Found says whether there was a value: for get, delete, and a cas that did not
	// swap.
	Found bool
	// Value is that value: for get, and a cas that did not swap.
	Value string
	// Swapped says whether a cas wrote its value.
	Swapped bool
	// Length is the length of the value after an append, in bytes.
	Length int
}

// A History collects operations until it is checked. It holds all of them, so it
// is as large as the run that it records. Its methods may be called from many
// goroutines.
type History struct {
	now func() time.Duration

	mu      sync.Mutex
	moments int
	calls   []*Call
}

// NewHistory returns an empty history that begins now, in real time.
func NewHistory() *History {
	start := time.Now()
	return NewHistoryWithClock(func() time.Duration { return time.Since(start) })
}

// NewHistoryWithClock returns an empty history that takes its times from now, which
// is called by one goroutine at a time and must not go back.
//
// Times are only for the reader: what came before what is judged by the order of the
// calls of Begin and Return, so a clock may stand still.
func NewHistoryWithClock(now func() time.Duration) *History {
	return &History{now: now}
}

// A Call is an operation in flight. It ends with exactly one of Return, Failed and
// Unknown, and a second one panics; one that never ends counts as unknown.
type Call struct {
	history *History
	event
}

// An event is one operation as far as it is known.
type event struct {
	op      Op
	begin   moment
	end     moment // not of one in flight or unknown
	outcome outcome
	answer  Answer // of one that was answered
	// stale: the answer may be outdated, by age.
	stale bool
	age   time.Duration
}

// A moment is a place in the order of all that a history recorded, and its time.
type moment struct {
	order int
	at    time.Duration
}

type outcome int

const (
	inFlight outcome = iota
	answered
	failed
	unknown
)

// Begin records that op is about to be sent. It panics if op.Kind is not one of the
// kinds of this package.
func (h *History) Begin(op Op) *Call {
	if !slices.Contains([]Kind{Get, Put, CAS, Append, Delete}, op.Kind) {
		panic(fmt.Sprintf("linear: no such kind of operation: %q", op.Kind))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Call{history: h, event: event{op: op, begin: h.moment()}}
	h.calls = append(h.calls, c)
	return c
}

// Return records the answer that has just arrived.
func (c *Call) Return(a Answer) { c.end(answered, a) }

// Failed records a definite error: the operation did not happen and never will. It
// is left out of the judgement, and named if its value is seen nevertheless.
func (c *Call) Failed() { c.end(failed, Answer{}) }

// Unknown records that nobody knows: the operation may have happened, or may yet.
func (c *Call) Unknown() { c.end(unknown, Answer{}) }

func (c *Call) end(o outcome, a Answer) {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	if c.outcome != inFlight {
		panic("linear: an operation ended twice")
	}
	c.outcome = o
	c.answer = a.to(c.op.Kind)
	c.event.end = c.history.moment()
}

// to returns a with only the fields that answer an operation of kind k.
func (a Answer) to(k Kind) Answer {
	switch {
	case k == Get && a.Found, k == CAS && !a.Swapped && a.Found:
		return Answer{Found: true, Value: a.Value}
	case k == CAS:
		return Answer{Swapped: a.Swapped}
	case k == Append:
		return Answer{Length: a.Length}
	case k == Delete:
		return Answer{Found: a.Found}
	}
	return Answer{}
}

// moment returns the next moment. h.mu is held, so that order and time agree.
func (h *History) moment() moment {
	h.moments++
	return moment{order: h.moments, at: h.now()}
}

// byKey returns what is recorded so far, key by key, in the order of beginning.
func (h *History) byKey() map[string][]event {
	h.mu.Lock()
	defer h.mu.Unlock()
	var events []event
	for _, c := range h.calls {
		events = append(events, c.event)
	}
	moveBack(events)
	keys := make(map[string][]event)
	for _, e := range events {
		keys[e.op.Key] = append(keys[e.op.Key], e)
	}
	return keys
}
