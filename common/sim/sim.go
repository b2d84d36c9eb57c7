package sim

import (
	"math/rand/v2"
	"runtime/debug"
	"time"

	"raftworkbook/common/trace"
)

const (
	// patience is for how long no command may be applied, once all faults have ended, until something new is committed and
	// all nodes have it.
	patience = 10 * time.Second
	// enough events of faults are in a run after these: another seed shows more than a longer one.
	enough = 10_000
)

// A simulation is one run of one seed.
type simulation struct {
	algorithm Algorithm
	mix       mix
	rand      *rand.Rand
	now       time.Duration
	queue     queue
	nodes     []*node
	network   network
	operator  operator
	clients   clients
	checker   checker
	// healed: there are no faults any more. A command was applied last at movedAt, or else it is when that began.
	healed            bool
	healedAt, movedAt time.Duration
	// restsFrom is since when all is well, for good, and in term restsIn.
	restsFrom time.Duration
	restsIn   uint64

	events int
	hash   uint64 // of all events
	keep   int    // how many of the last events are kept
	trace  []*trace.Event
}

// An outcome is what became of a run.
type outcome struct {
	seed uint64
	mix  mix
	// found are the violations, the first of each property; failed: the last one must not be.
	found  []violation
	failed bool
	events int
	hash   uint64
	trace  []*trace.Event
	// elections are, for each leader that stood once the faults had ended, how many terms that took.
	elections []int
}

// simulate runs a seed. With keep, the outcome has the last events, as many as that.
func simulate(a Algorithm, seed uint64, careless bool, keep int) outcome {
	s := newSimulation(a, seed, careless, keep)
	s.run()
	return outcome{seed, s.mix, s.checker.found, s.checker.over, s.events, s.hash, s.trace, s.checker.elections}
}

func newSimulation(a Algorithm, seed uint64, careless bool, keep int) *simulation {
	r := rand.New(rand.NewPCG(seed, 0))
	m := draw(r)
	if a.Elects {
		m.drawElection(r)
	}
	if a.Snapshot != nil {
		m.drawSnapshots(r)
	}
	if a.Bootstrap != nil {
		m.drawMembers(r)
	}
	s := &simulation{algorithm: a, rand: r, mix: m, keep: keep, hash: 14695981039346656037}
	for i, id := range names(len(m.rates)) {
		n := &node{host: host{id: id, watched: keep > 0}, number: i}
		s.nodes = append(s.nodes, n)
	}
	s.network = newNetwork(len(s.nodes))
	s.operator = operator{careless: careless, ordered: -1}
	s.checker = newChecker(s.nodes, careless)
	if a.Bootstrap != nil {
		s.bootstrap()
	}
	s.plan(calls, nil, about(r, m.callEvery))
	s.plan(looks, nil, about(r, m.lookEvery))
	if m.faultEvery > 0 {
		s.plan(fails, nil, about(r, m.faultEvery))
	}
	return s
}

// plan puts what is to happen after a while into the queue.
func (s *simulation) plan(k kind, n *node, after time.Duration) {
	e := event{at: s.now + after, kind: k, node: n}
	if n != nil {
		e.life = n.life
	}
	s.queue.push(e)
}

// run is the simulation: one thing after the other, until something is violated or all is well. A core that panics
// has violated something, and the seed that shows it must be told.
func (s *simulation) run() {
	defer func() {
		if p := recover(); p != nil {
			s.checker.violated(NoPanic, "%v\n%s", p, debug.Stack())
		}
	}()
	for _, n := range s.nodes {
		s.start(n)
	}
	for !s.checker.over && !s.settled() && (!s.healed || s.now < s.movedAt+s.patience()) {
		e := s.queue.pop()
		s.now = e.at
		s.happen(e)
		if s.now > s.mix.length || s.events > enough {
			s.heal()
		}
	}
	if !s.checker.over {
		s.end()
	}
}

// patience is how long all may take to settle. With somebody careless it may never.
func (s *simulation) patience() time.Duration {
	switch {
	case s.checker.careless:
		return patience / 10
	case s.algorithm.Bootstrap != nil: // a new member who does not exist has to be given up first
		return 3 * patience
	}
	return patience
}

// happen lets one event happen.
func (s *simulation) happen(e event) {
	n := e.node
	if n != nil {
		s.mark(uint64(e.kind), uint64(n.number), uint64(e.at))
		if e.kind != arrives && e.life != n.life {
			return // it was for another life of the node
		}
	}
	if e.kind != saved { // which is a part of what came before
		s.events++
	}
	switch e.kind {
	case arrives:
		s.mark(e.message.Term, e.message.Appended)
		s.arrive(n, arrival{message: e.message})
	case ticks:
		s.plan(ticks, n, tick*time.Duration(s.mix.rates[n.number])/100)
		s.arrive(n, arrival{tick: true})
	case saved:
		s.saved(n)
	case calls:
		s.call()
	case looks:
		s.look()
	case fails:
		s.fail()
	case resumes:
		s.resume(n)
	case restarts:
		s.start(n)
	case stores:
		s.stores(n, e.snapshot)
	}
}

// mark makes numbers part of the hash (FNV-1a, by words).
func (s *simulation) mark(numbers ...uint64) {
	for _, n := range numbers {
		s.hash = (s.hash ^ n) * 1099511628211
	}
}

// tell keeps an event, if there is one, and only the last ones.
func (s *simulation) tell(e *trace.Event) {
	if e == nil {
		return
	}
	e.Time = s.now.Round(time.Microsecond).String()
	if len(s.trace) == s.keep {
		s.trace = s.trace[1:]
	}
	s.trace = append(s.trace, e)
}

// tellOf keeps an event that is no step of a core.
func (s *simulation) tellOf(who, what, text string) {
	if s.keep > 0 {
		s.tell(&trace.Event{Node: who, Arrived: []trace.Arrival{{What: what, Text: text}}})
	}
}
