package sim

import (
	"fmt"
	"time"
)

// fail lets a fault begin, and plans the next one.
func (s *simulation) fail() {
	if s.healed {
		return
	}
	s.plan(fails, nil, about(s.rand, s.mix.faultEvery))
	n := s.any(2) // what befalls a leader shows most
	until := s.now + between(s.rand, span{1, s.mix.outage})
	switch s.mix.fault(s.rand) {
	case crash:
		s.crash(n)
	case blackout:
		for _, n := range s.nodes {
			s.crash(n)
		}
	case pause:
		s.pause(n)
	case cut:
		if to := s.nodes[s.rand.IntN(len(s.nodes))]; to != n {
			s.tellOf("net", "cuts", n.id+">"+to.id)
			s.network.cut(n, to, until)
		}
	case isolate:
		s.tellOf("net", "isolates", n.id)
		s.split(until, func(number int) bool { return number == n.number })
	case split:
		sides := s.rand.Uint64()
		s.tellOf("net", "splits", fmt.Sprintf("into %b and the rest", sides&(1<<len(s.nodes)-1)))
		s.split(until, func(number int) bool { return sides>>number&1 == 1 })
	}
}

// any draws a node; in leader of 8 times it is the one that was ordered last.
func (s *simulation) any(leader int) *node {
	if s.operator.ordered >= 0 && s.rand.IntN(8) < leader {
		return s.nodes[s.operator.ordered]
	}
	return s.nodes[s.rand.IntN(len(s.nodes))]
}

// split cuts all links between one side and the other.
func (s *simulation) split(until time.Duration, side func(number int) bool) {
	for _, a := range s.nodes {
		for _, b := range s.nodes {
			if side(a.number) != side(b.number) {
				s.network.cut(a, b, until)
			}
		}
	}
}

// crash ends a node's life, for a while. Of what is being saved all is on the disk then, or nothing: a record that is
// torn is none.
func (s *simulation) crash(n *node) {
	if n.core == nil {
		return
	}
	how := ""
	switch {
	case n.busy && !n.written && s.rand.IntN(2) == 0:
		how = "what was being saved is lost"
	case n.busy && !n.written:
		how = "what was being saved is there"
		s.write(n)
	}
	s.tellOf(n.id, "crashes", how)
	s.checker.crashes(n)
	n.host.crash()
	n.life++
	n.paused, n.ordered, n.more, n.busy, n.written = false, false, false, false, false
	n.storing, n.stored = false, nil
	n.inbox, n.waiting, n.doing, n.told = nil, nil, Ready{}, nil
	s.plan(restarts, n, between(s.rand, span{1, max(s.mix.outage, tick)}))
}

// pause stops a node for a while. What comes meanwhile waits.
func (s *simulation) pause(n *node) {
	if n.core == nil || n.paused {
		return
	}
	n.paused = true
	s.tellOf(n.id, "pauses", "")
	s.plan(resumes, n, between(s.rand, span{1, s.mix.outage}))
}

func (s *simulation) resume(n *node) {
	n.paused = false
	s.tellOf(n.id, "resumes", "")
	if n.written {
		s.finish(n)
	}
	s.work(n)
}

// heal ends all faults, for good. From here on the operator is careful, whatever he was.
func (s *simulation) heal() {
	if s.healed {
		return
	}
	s.healed, s.healedAt, s.movedAt = true, s.now, s.now
	s.checker.watchElections()
	s.clients.late = len(s.clients.commands)
	s.tellOf("all", "heals", "")
	s.mix.calm()
	s.network = newNetwork(len(s.nodes))
	s.operator.careless = false
	for _, n := range s.nodes {
		if n.paused {
			s.resume(n)
		}
		if !s.algorithm.Elects && n.number != s.operator.ordered && n.leads() {
			s.crash(n)
		}
		if n.core == nil {
			s.start(n)
		}
	}
}
