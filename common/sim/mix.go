package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// tick is what a tick takes on a clock that is right.
const tick = 10 * time.Millisecond

// A mix is what a seed draws: how large the cluster is, and what happens to it. What a probability or a mean is 0 for
// does not happen.
type mix struct {
	options Options
	// length is how long there are faults.
	length time.Duration

	// The network: how likely each message is lost, delivered twice, and very late; how long others take. In order:
	// none overtakes another on the same link.
	loss, twice, late     float64
	delay, lateness, disk span
	inOrder               bool

	// rates are how long a tick takes on each node, in tick.
	rates []float64
	// inbox is how much may wait on a node that is busy.
	inbox int

	// faultEvery is the mean time between faults, outage how long one lasts, weights how often each kind is drawn.
	faultEvery, outage time.Duration
	weights            [faults]int

	// callEvery is the mean time between calls of clients, batch the most commands in one.
	callEvery time.Duration
	batch     int
	// lookEvery is the mean time between looks of the operator, move how likely he then replaces a leader that works.
	lookEvery time.Duration
	move      float64
}

// A span is a time between two.
type span struct{ least, most time.Duration }

// How a cluster is that nothing is wrong with.
var swift = span{100 * time.Microsecond, 2 * time.Millisecond}

const roomy = 1 << 10

// A fault is a kind of what goes wrong.
type fault int

const (
	crash    fault = iota // of one node
	blackout              // of all nodes
	pause                 // of one node
	cut                   // one link, in one direction
	isolate               // all links of one node
	split                 // all links between two groups
	faults                // how many kinds there are
)

func (f fault) String() string {
	return [...]string{"crash", "blackout", "pause", "cut", "isolate", "split"}[f]
}

// draw draws a mix. Most of what may be is absent in half of all seeds: what is always there hides what happens without.
func draw(r *rand.Rand) mix {
	m := mix{
		options: Options{
			Nodes:          names([...]int{1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5, 6, 7}[r.IntN(15)]),
			HeartbeatTicks: 1 + r.IntN(8),
			MaxBatch:       1 << 20,
			MaxInflight:    64,
			MaxUncommitted: 1 << 20,
		},
		length:    between(r, span{time.Second, 4 * time.Second}),
		delay:     swift,
		disk:      swift,
		inbox:     roomy,
		batch:     1,
		callEvery: between(r, span{2 * time.Millisecond, 40 * time.Millisecond}),
		lookEvery: between(r, span{20 * time.Millisecond, 400 * time.Millisecond}),
	}
	half := func() bool { return r.IntN(2) == 0 }
	if half() { // a large cluster with little to carry finds what a small one with much does not
		m.options.MaxBatch = 1 + r.IntN(20)
	}
	if half() {
		m.options.MaxInflight = 1 + r.IntN(4)
	}
	if r.IntN(4) == 0 {
		m.options.MaxUncommitted = 10 + r.IntN(200)
	}
	if half() {
		m.loss = 0.3 * r.Float64() * r.Float64()
	}
	if half() {
		m.twice = 0.3 * r.Float64()
	}
	if half() {
		m.late, m.lateness = 0.1*r.Float64(), span{0, between(r, span{10 * time.Millisecond, time.Second})}
	}
	if half() {
		m.delay.most = between(r, span{time.Millisecond, 50 * time.Millisecond})
	}
	m.inOrder = r.IntN(3) == 0
	if half() {
		m.disk.most = between(r, span{time.Millisecond, 50 * time.Millisecond})
	}
	if r.IntN(4) == 0 {
		m.inbox = 2 + r.IntN(16)
	}
	uneven := half()
	for range m.options.Nodes {
		rate := 1.0
		if uneven {
			rate = 0.5 + 1.5*r.Float64()
		}
		m.rates = append(m.rates, rate)
	}
	if half() {
		m.batch = 1 + r.IntN(8)
	}
	if r.IntN(8) > 0 {
		m.faultEvery = between(r, span{10 * time.Millisecond, 500 * time.Millisecond})
		m.outage = between(r, span{10 * time.Millisecond, 800 * time.Millisecond})
		for f := range m.weights {
			if half() {
				m.weights[f] = 1 + r.IntN(4)
			}
		}
	}
	if half() {
		m.move = 0.3 * r.Float64()
	}
	return m
}

// String says it in a few lines.
func (m mix) String() string {
	var b strings.Builder
	o := m.options
	fmt.Fprintf(&b, "%d nodes, a heartbeat every %d ticks, at most %d bytes in a message, %d messages on their way, %d bytes uncommitted\n",
		len(o.Nodes), o.HeartbeatTicks, o.MaxBatch, o.MaxInflight, o.MaxUncommitted)
	fmt.Fprintf(&b, "network: %v, in order: %t, lost: %.3f, twice: %.3f, late by %v: %.3f\n", m.delay, m.inOrder, m.loss, m.twice, m.lateness, m.late)
	fmt.Fprintf(&b, "nodes: an inbox of %d, a disk that takes %v, ticks of %.2f times %v\n", m.inbox, m.disk, m.rates, tick)
	fmt.Fprintf(&b, "faults: for %v, one every %v for at most %v:", m.length, m.faultEvery, m.outage)
	for f, weight := range m.weights {
		if weight > 0 {
			fmt.Fprintf(&b, " %v %d", fault(f), weight)
		}
	}
	fmt.Fprintf(&b, "\nclients: a call every %v, at most %d commands in it\n", m.callEvery, m.batch)
	fmt.Fprintf(&b, "operator: looks every %v, and replaces a leader that works: %.3f", m.lookEvery, m.move)
	return b.String()
}

func (s span) String() string { return fmt.Sprintf("%v to %v", s.least, s.most) }

// fault draws the kind of a fault; faults if there are none.
func (m *mix) fault(r *rand.Rand) fault {
	sum := 0
	for _, weight := range m.weights {
		sum += weight
	}
	if sum == 0 {
		return faults
	}
	drawn := r.IntN(sum)
	for f, weight := range m.weights {
		if drawn -= weight; drawn < 0 {
			return fault(f)
		}
	}
	panic("unreachable")
}

// calm is what is left once all faults have ended. What was proposed is to be carried to all in a time that can be
// waited for, however little goes into a message.
func (m *mix) calm() {
	m.loss, m.twice, m.late, m.move = 0, 0, 0, 0
	m.delay, m.disk = swift, swift
	m.inbox = roomy
}

// between draws from a span, its ends included.
func between(r *rand.Rand, s span) time.Duration {
	return s.least + time.Duration(r.Int64N(int64(s.most-s.least)+1))
}

// about draws a time whose mean is mean: times between things that happen independently of each other.
func about(r *rand.Rand, mean time.Duration) time.Duration {
	return 1 + time.Duration(r.ExpFloat64()*float64(mean))
}
