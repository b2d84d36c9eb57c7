package sim

import (
	"fmt"
	"strconv"
)

// clients are all clients of the cluster. Each of their commands is another number.
type clients struct {
	commands []command
	// late is the number of the first one that was proposed after the faults ended; done: such a one is acknowledged.
	late int
	done bool
	// seen is up to where somebody has been told that something is done, or has read.
	seen uint64
}

// A command is what is known of one. Times are counted in events.
type command struct {
	fate     fate
	proposed int
	answered int
}

// A fate is what a client knows of its command.
type fate int

const (
	unknown      fate = iota
	refused           // it was not taken
	overwritten       // it was taken, and another is committed in its place
	acknowledged      // it is committed
)

// A wait is for the answer to a command.
type wait struct {
	command int
	term    uint64
}

// call is when a client proposes something: to the leader, if it knows who leads.
func (s *simulation) call() {
	if s.healed {
		return
	}
	s.plan(calls, nil, about(s.rand, s.mix.callEvery))
	if s.algorithm.Elects && s.rand.IntN(2) == 0 {
		s.arrive(s.any(6), arrival{read: &read{floor: s.clients.seen}})
		return
	}
	s.hand(s.any(6), 1+s.rand.IntN(s.mix.batch))
}

// callLeader proposes one command to the leader, after the faults.
func (s *simulation) callLeader() {
	if s.operator.ordered >= 0 {
		s.hand(s.nodes[s.operator.ordered], 1)
	}
}

// hand gives commands to a node.
func (s *simulation) hand(n *node, count int) {
	var numbers []int
	for range count {
		numbers = append(numbers, len(s.clients.commands))
		s.clients.commands = append(s.clients.commands, command{proposed: s.events})
	}
	if !s.arrive(n, arrival{call: numbers}) {
		s.refuse(numbers)
	}
}

func (s *simulation) refuse(numbers []int) {
	for _, number := range numbers {
		s.clients.commands[number].fate = refused
	}
}

// propose hands commands to a node's core.
func (s *simulation) propose(n *node, numbers []int) {
	for _, number := range numbers {
		index, term, err := n.propose(strconv.AppendInt(nil, int64(number), 10))
		if err != nil {
			s.clients.commands[number].fate = refused
			continue
		}
		n.waiting[index] = wait{number, term}
	}
}

// answer answers the client that waits for an entry, if one does.
func (s *simulation) answer(n *node, e Entry) {
	w, ok := n.waiting[e.Index]
	if !ok {
		return
	}
	delete(n.waiting, e.Index)
	c := &s.clients.commands[w.command]
	if w.term != e.Term {
		c.fate = overwritten
		return
	}
	c.fate, c.answered = acknowledged, s.events
	s.clients.seen = max(s.clients.seen, e.Index)
	if w.command >= s.clients.late && s.healed {
		s.clients.done = true
	}
}

// answerReads answers those who want to read and need wait no more.
func (s *simulation) answerReads(n *node) {
	n.answered(func(r read, applied uint64, lost bool) {
		if lost {
			return
		}
		if s.tellOf(n.id, "reads", fmt.Sprintf("what is done up to %d", applied)); applied < r.floor {
			s.checker.violated(Linearizability, "%s reads what is done up to %d, and before it was asked somebody knew of %d", n.id, applied, r.floor)
		}
		s.clients.seen = max(s.clients.seen, applied)
	})
}
