package sim

import (
	"slices"
	"strconv"
)

// settled reports whether, after the faults, something new is committed and all nodes are the same.
func (s *simulation) settled() bool {
	return s.restsFrom > 0 && s.rests() ||
		s.restsFrom == 0 && s.clients.done && s.differing() == nil && (s.algorithm.Bootstrap == nil || s.rests())
}

// differing returns a node that has not all that the last leader has, committed and applied.
func (s *simulation) differing() *node {
	best := s.nodes[s.operator.ordered]
	nodes, ok := s.voters(best)
	if !ok {
		return best
	}
	for _, n := range nodes {
		last := uint64(len(best.chain))
		if n.core == nil || uint64(len(n.chain)) != last || n.chain[last-1] != best.chain[last-1] ||
			n.state.CommitIndex != last || n.machine.Index != last {
			return n
		}
	}
	return nil
}

// end is what must be true once the faults have been over for a while.
func (s *simulation) end() {
	c := &s.checker
	if !s.clients.done {
		c.violated(Liveness, "%v after all faults nothing new is committed", s.patience())
	} else if n := s.differing(); n == s.nodes[s.operator.ordered] && s.algorithm.Bootstrap != nil {
		c.violated(Liveness, "%v after all faults %s is %s of %q", s.patience(), n.id, n.state.Role, c.inForce(n))
	} else if n != nil {
		c.violated(Agreement, "%v after all faults %s is not as its leader %s", s.patience(), n.id, s.nodes[s.operator.ordered].id)
	}
	for _, n := range s.nodes {
		c.crashes(n)
	}
	if s.operator.ordered >= 0 {
		s.honest(s.whole(s.nodes[s.operator.ordered].core.Log()))
	}
}

// whole returns a log with what is gone of it, which was applied.
func (s *simulation) whole(log []Entry) []Entry {
	if len(log) == 0 {
		return s.checker.applied
	}
	return slices.Concat(s.checker.applied[:log[0].Index-1], log)
}

// honest compares what clients were told with the log in the end.
func (s *simulation) honest(log []Entry) {
	c, commands := &s.checker, s.clients.commands
	times := make([]int, len(commands))
	latest, number := 0, 0 // the command before in the log that was proposed last
	for _, e := range log {
		if len(e.Command) == 0 {
			continue
		}
		n, err := strconv.Atoi(string(e.Command))
		if err != nil || n < 0 || n >= len(commands) {
			c.violated(Honesty, "the log has %q at %v, which nobody proposed", e.Command, place(e))
			continue
		}
		times[n]++
		if commands[n].fate == acknowledged && commands[n].answered < latest {
			c.violated(Honesty, "%d was acknowledged before %d was proposed, and comes after it in the log", n, number)
		}
		if commands[n].proposed > latest {
			latest, number = commands[n].proposed, n
		}
	}
	for n, command := range commands {
		switch {
		case command.fate == acknowledged && times[n] == 0:
			c.violated(Honesty, "%d was acknowledged and is lost: the log does not have it", n)
		case command.fate != acknowledged && command.fate != unknown && times[n] > 0:
			c.violated(Honesty, "%d is in the log, though its client was told that it is not", n)
		case times[n] > 1:
			c.violated(Honesty, "%d was proposed once, and is in the log %d times", n, times[n])
		}
	}
}
