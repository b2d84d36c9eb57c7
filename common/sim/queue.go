package sim

import "time"

// An event is something that happens at a time.
type event struct {
	at time.Duration // since the beginning
	// order tells apart what happens at the same time: what was planned first is first.
	order uint64
	kind  kind
	node  *node
	// life is the node's for which the event is planned.
	life    int
	message *Message
	// snapshot is on the node's disk.
	snapshot *Snapshot
}

// A kind is one of event.
type kind int

const (
	arrives  kind = iota // message comes to node
	ticks                // node's clock
	saved                // node's disk has done what it had to
	calls                // clients propose
	looks                // the operator looks at the cluster
	fails                // the next fault begins
	resumes              // node's pause ends
	restarts             // node comes back
	stores               // node's disk has a snapshot
)

// A queue holds what is to happen, as a binary heap.
type queue struct {
	events  []event
	planned uint64
}

func (q *queue) push(e event) {
	e.order = q.planned
	q.planned++
	q.events = append(q.events, e)
	i := len(q.events) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(&q.events[parent]) {
			break
		}
		q.events[i] = q.events[parent]
		i = parent
	}
	q.events[i] = e
}

// pop takes off what is next. There must be something.
func (q *queue) pop() event {
	first, n := q.events[0], len(q.events)-1
	last := q.events[n]
	q.events[n] = event{} // it may hold a message
	q.events = q.events[:n]
	if n == 0 {
		return first
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && q.events[child+1].before(&q.events[child]) {
			child++
		}
		if !q.events[child].before(&last) {
			break
		}
		q.events[i] = q.events[child]
		i = child
	}
	q.events[i] = last
	return first
}

func (e *event) before(other *event) bool {
	return e.at < other.at || e.at == other.at && e.order < other.order
}
