package sim

import (
	"raftworkbook/common/trace"
)

// A node is one of the cluster, dead or alive. It works as a real one does: it takes in all that has come, asks the core
// what is to be done, carries that out in order, and asks again until there is nothing. While its disk is at work what
// comes has to wait.
type node struct {
	host
	ledger
	number int
	// life changes whenever it starts or crashes.
	life   int
	paused bool
	inbox  []arrival
	// ordered: it is to lead, and has not come to it yet.
	ordered bool
	// more: there was something to do, so there may be more.
	more bool
	// doing is what is being carried out, told what there is to tell of it.
	doing Ready
	told  *trace.Event
	// busy: it waits for its disk. written: the disk is done, and the node is paused.
	busy, written bool
	// storing: a snapshot is on its way to the disk. stored is one that is there, and of which the core has not heard.
	storing bool
	stored  *Snapshot
	// waiting are the commands in its log whose clients wait here, by index.
	waiting map[uint64]wait
}

// An arrival is what came to a node: one of these.
type arrival struct {
	message *Message
	tick    bool
	lead    bool // a term later than after
	after   uint64
	read    *read
	call    []int // commands of a client, by number; in a script they are words
	words   []string
	// change are to be the voters, transfer is to lead.
	change   []string
	transfer string
}

// arrive puts something into a node's inbox, if it lives and there is room.
func (s *simulation) arrive(n *node, a arrival) (taken bool) {
	if n.core == nil || len(n.inbox) >= s.mix.inbox {
		return false
	}
	n.inbox = append(n.inbox, a)
	s.work(n)
	return true
}

// endless is how often in a row, at one moment, no core has a reason to want something.
const endless = 100_000

// work lets a node do what it can do now.
func (s *simulation) work(n *node) {
	for times := 0; n.core != nil && !n.busy && !n.paused && (n.more || n.stored != nil || len(n.inbox) > 0); times++ {
		if times == endless {
			panic(n.id + " always has more to do")
		}
		if !n.more && n.stored != nil {
			n.doing, n.more, n.told = n.compact(*n.stored)
			n.stored = nil
		} else {
			if !n.more {
				s.takeIn(n)
			}
			n.doing, n.more, n.told = n.ready()
		}
		s.tell(n.told)
		s.checker.stepped(n)
		s.mark(n.state.Term, n.state.LastIndex, n.state.LastTerm, n.state.CommitIndex)
		if n.more {
			s.carryOut(n)
		} else {
			s.answerReads(n)
		}
	}
}

// takeIn hands the core all that has come.
func (s *simulation) takeIn(n *node) {
	for _, a := range n.inbox {
		switch {
		case a.message != nil:
			n.hear(a.message)
		case a.tick:
			n.tick()
		case a.lead:
			n.ordered = false
			n.lead(a.after)
		case a.read != nil:
			n.read(a.read.floor)
		case a.change != nil:
			n.change(a.change)
		case a.transfer != "":
			n.transfer(a.transfer)
		default:
			s.propose(n, a.call)
		}
		s.checker.stepped(n)
	}
	n.inbox = n.inbox[:0]
}

// carryOut begins to do what a Ready says.
func (s *simulation) carryOut(n *node) {
	s.checker.leaves(n, n.doing.Appends)
	s.send(n, n.doing.Appends)
	if n.doing.Save != nil {
		n.busy = true
		s.plan(saved, n, between(s.rand, s.mix.disk))
		return
	}
	s.finish(n)
}

// saved is when a node's disk has done what it had to.
func (s *simulation) saved(n *node) {
	s.write(n)
	if n.paused {
		n.written = true
		return
	}
	s.finish(n)
	s.work(n)
}

// write puts on the disk what is being saved.
func (s *simulation) write(n *node) {
	n.save(n.doing.Save)
	s.checker.saves(n, n.doing.Save)
}

// snap takes a snapshot of a node's state machine, if there is none on its way to the disk. It gets there beside what
// the node does.
func (s *simulation) snap(n *node) {
	if n.storing || !s.mix.snapshots.happens(s.rand) {
		return
	}
	n.storing = true
	snapshot := n.host.snap(s.rand.IntN(s.mix.snapshotSize + 1))
	s.checker.snaps(n, snapshot)
	s.queue.push(event{at: s.now + between(s.rand, s.mix.snapshotDisk), kind: stores, node: n, life: n.life, snapshot: &snapshot})
}

// stores is when a snapshot is on a node's disk.
func (s *simulation) stores(n *node, snapshot *Snapshot) {
	n.store(s.algorithm, *snapshot)
	s.tellOf(n.id, "saves", upTo(*snapshot))
	n.storing, n.stored = false, snapshot
	s.work(n)
}

// finish does what a Ready says once it is saved.
func (s *simulation) finish(n *node) {
	n.busy, n.written = false, false
	s.checker.carriedOut(n)
	s.checker.leaves(n, n.doing.Messages)
	s.send(n, n.doing.Messages)
	if save := n.doing.Save; save != nil && save.Snapshot != nil {
		s.checker.restores(n, save.Snapshot)
		n.machine, _ = restored(*save.Snapshot)
	}
	for _, e := range n.doing.Committed {
		s.checker.applies(n, e)
		n.machine.apply(e)
		s.answer(n, e)
		if len(e.Command) > 0 { // of those there is an end
			s.movedAt = s.now
		}
	}
	if len(n.doing.Committed) > 0 {
		s.snap(n)
	}
	n.doing, n.told = Ready{}, nil
}

// start gives a node a life.
func (s *simulation) start(n *node) {
	n.life++
	o := s.mix.options
	o.Random = s.rand.IntN
	if s.algorithm.Bootstrap != nil {
		o.Nodes = nil // they are on its disk
	}
	n.host.start(s.algorithm, o)
	n.waiting = map[uint64]wait{}
	s.checker.started(n)
	s.plan(ticks, n, about(s.rand, tick))
	if n.watched {
		e := n.starts()
		s.tell(&e)
	}
}
