package sim

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"time"
)

// tick is what a tick takes on a clock that is right.
const tick = 10 * time.Millisecond

// A mix is what a seed draws: how large the cluster is, and what happens to it. What a chance or a time is 0 for does not
// happen. All are whole numbers, so that a seed is the same run on every machine.
type mix struct {
	options Options
	// length is how long there are faults at most.
	length time.Duration

	// The network: how likely each message is lost, delivered twice, and very late; how long others take, and how much
	// more those that are late. In order: none overtakes another on the same link.
	loss, twice, late chance
	delay, lateness   span
	inOrder           bool

	// disk is how long a disk takes, rates how long a tick does on each node, in hundredths of tick, inbox how much may
	// wait on a node that is busy.
	disk  span
	rates []int
	inbox int

	// faultEvery is the mean time between faults, outage how long one lasts at most, weights how often each kind is
	// drawn.
	faultEvery, outage time.Duration
	weights            [faults]int

	// callEvery is the mean time between calls of clients, batch the most commands in one.
	callEvery time.Duration
	batch     int
	// lookEvery is the mean time between looks of the operator, move how likely he then replaces a leader that works.
	lookEvery time.Duration
	move      chance

	// snapshots is how likely a node takes a snapshot once it has applied something, snapshotSize by how many bytes at most
	// one is longer than it has to be, snapshotDisk how long a disk takes for it.
	snapshots    chance
	snapshotSize int
	snapshotDisk span

	// change is how likely the operator wants other members when he looks, transfer how likely another leader.
	change, transfer chance
}

// A chance is a probability in thousandths.
type chance int

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
// Times are drawn by their magnitude: what goes wrong is often a matter of which of two is the shorter.
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
		callEvery: magnitude(r, span{2 * time.Millisecond, 50 * time.Millisecond}),
		lookEvery: magnitude(r, span{5 * time.Millisecond, 500 * time.Millisecond}),
	}
	half := func() bool { return r.IntN(2) == 0 }
	if half() {
		m.options.MaxBatch = 1 + r.IntN(20)
	}
	if half() {
		m.options.MaxInflight = 1 + r.IntN(4)
	}
	if r.IntN(4) == 0 {
		m.options.MaxUncommitted = 10 + r.IntN(200)
	}
	if half() {
		m.loss = chance(r.IntN(300))
	}
	if half() {
		m.twice = chance(r.IntN(300))
	}
	if half() {
		m.late, m.lateness = chance(r.IntN(200)), span{0, magnitude(r, span{10 * time.Millisecond, 2 * time.Second})}
	}
	if half() {
		m.delay.most = magnitude(r, span{time.Millisecond, 50 * time.Millisecond})
	}
	m.inOrder = r.IntN(3) == 0
	if half() {
		m.disk.most = magnitude(r, span{time.Millisecond, 50 * time.Millisecond})
	}
	if r.IntN(4) == 0 {
		m.inbox = 2 + r.IntN(16)
	}
	uneven := half()
	for range m.options.Nodes {
		rate := 100
		if uneven {
			rate = 50 + r.IntN(150)
		}
		m.rates = append(m.rates, rate)
	}
	if half() {
		m.batch = 1 + r.IntN(8)
	}
	if r.IntN(8) > 0 {
		m.faultEvery = magnitude(r, span{5 * time.Millisecond, 500 * time.Millisecond})
		m.outage = magnitude(r, span{5 * time.Millisecond, 500 * time.Millisecond})
		for f := range m.weights {
			if half() {
				m.weights[f] = 1 + r.IntN(4)
			}
		}
	}
	if half() {
		m.move = chance(r.IntN(500))
	}
	return m
}

// drawElection draws how long nodes wait for a sign of a leader. However much their clocks differ it is longer than what
// is between two heartbeats.
func (m *mix) drawElection(r *rand.Rand) {
	m.options.ElectionTicks = 5*m.options.HeartbeatTicks + 5 + r.IntN(25)
}

// drawSnapshots draws how often there are snapshots: never, after all that is applied, or now and then.
func (m *mix) drawSnapshots(r *rand.Rand) {
	m.snapshots = [...]chance{0, 1000, chance(1 + r.IntN(300)), chance(1 + r.IntN(300))}[r.IntN(4)]
	m.snapshotSize = r.IntN(100)
	m.snapshotDisk = span{100 * time.Microsecond, magnitude(r, span{time.Millisecond, 500 * time.Millisecond})}
	m.options.KeepBytes = [...]int{0, r.IntN(20), 1 << 20}[r.IntN(3)]
}

// String says it in a few lines.
func (m mix) String() string {
	var b strings.Builder
	o := m.options
	fmt.Fprintf(&b, "%d nodes, a heartbeat every %d ticks, at most %d bytes in a message, %d messages on their way, %d bytes uncommitted\n",
		len(o.Nodes), o.HeartbeatTicks, o.MaxBatch, o.MaxInflight, o.MaxUncommitted)
	if o.ElectionTicks > 0 {
		fmt.Fprintf(&b, "elections after %d ticks or more; the operator orders any node\n", o.ElectionTicks)
	}
	fmt.Fprintf(&b, "network: %v, in order: %t; of 1000 messages %d lost, %d twice, %d late by %v\n", m.delay, m.inOrder, m.loss, m.twice, m.late, m.lateness)
	fmt.Fprintf(&b, "nodes: an inbox of %d, a disk that takes %v, ticks of %d hundredths of %v\n", m.inbox, m.disk, m.rates, tick)
	fmt.Fprintf(&b, "faults: for %v, one every %v for at most %v; by weight", m.length, m.faultEvery, m.outage)
	for f, weight := range m.weights {
		fmt.Fprintf(&b, " %v %d", fault(f), weight)
	}
	fmt.Fprintf(&b, "\nclients: a call every %v, at most %d commands in it\n", m.callEvery, m.batch)
	if m.snapshots > 0 {
		fmt.Fprintf(&b, "snapshots: after %d of 1000 things that are applied, of at most %d bytes more than need be, a disk that takes %v; %d bytes are kept\n",
			m.snapshots, m.snapshotSize, m.snapshotDisk, o.KeepBytes)
	}
	if outside := len(m.rates) - len(o.Nodes); outside > 0 || m.change > 0 {
		fmt.Fprintf(&b, "members: %d nodes more; in %d of 1000 looks the operator wants others, in %d another leader\n", outside, m.change, m.transfer)
	}
	fmt.Fprintf(&b, "operator: looks every %v, and then in %d of 1000 times replaces a leader that works", m.lookEvery, m.move)
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
	m.loss, m.twice, m.late, m.move, m.change, m.transfer = 0, 0, 0, 0, 0, 0
	m.delay, m.inOrder = swift, true
	m.disk, m.inbox, m.snapshotDisk = swift, roomy, swift
}

// between draws from a span, its ends included.
func between(r *rand.Rand, s span) time.Duration {
	return s.least + time.Duration(r.Int64N(int64(s.most-s.least)+1))
}

// magnitude draws from a span, and what is of one magnitude as often as what is of another.
func magnitude(r *rand.Rand, s span) time.Duration {
	doublings := bits.Len64(uint64(s.most / s.least))
	least := s.least << r.IntN(doublings)
	return between(r, span{least, min(2*least, s.most)})
}

// about draws a time whose mean is mean.
func about(r *rand.Rand, mean time.Duration) time.Duration { return between(r, span{1, 2 * mean}) }

// happens draws whether something does.
func (c chance) happens(r *rand.Rand) bool { return c > 0 && r.IntN(1000) < int(c) }
