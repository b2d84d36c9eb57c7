package sim

import (
	"cmp"
	"slices"
)

// An operator orders nodes to lead. One who is careful orders only when the leader before is dead or leads no more, only
// the node with the best log (last term, then last index) of a living majority, and only to a term that is later than
// all before: a node may have led a later one and died before anybody heard of it, and then its entries would seem
// better than those that are committed since. One who is careless orders any living node, at any time.
type operator struct {
	careless bool
	// ordered is the number of the node that was ordered last, or elected, as far as he has seen; -1 for none.
	ordered int
	// term is one that no node is beyond.
	term uint64
}

// look is when the operator looks at the cluster.
func (s *simulation) look() {
	s.plan(looks, nil, about(s.rand, s.mix.lookEvery))
	if s.healed && !s.clients.done {
		s.callLeader()
	}
	if s.algorithm.Elects {
		s.watch()
		return
	}
	if s.operator.careless {
		if n := s.nodes[s.rand.IntN(len(s.nodes))]; n.core != nil {
			s.order(n)
		}
		return
	}
	if s.operator.ordered >= 0 {
		if n := s.nodes[s.operator.ordered]; n.leads() {
			if !s.mix.move.happens(s.rand) {
				return
			}
			s.crash(n)
		}
	}
	if best := s.best(); best != nil {
		s.order(best)
	}
}

// watch is a look at nodes that elect who leads. None needs an order, and any may get one: it can only cost time.
func (s *simulation) watch() {
	last := uint64(0)
	for _, n := range s.nodes {
		if n.core != nil && n.state.Role == leader && n.state.Term > last {
			s.operator.ordered, last = n.number, n.state.Term
		}
	}
	if s.mix.move.happens(s.rand) {
		s.arrive(s.nodes[s.rand.IntN(len(s.nodes))], arrival{lead: true})
	}
	s.manage()
}

// leads reports whether a node leads, or is about to: it has been ordered.
func (n *node) leads() bool {
	return n.core != nil && (n.ordered || n.state.Role == leader)
}

// order tells a node to lead. It obeys once it gets to it.
func (s *simulation) order(n *node) {
	o := &s.operator
	a := arrival{lead: true}
	if !o.careless {
		a.after = o.term
	}
	o.ordered, o.term = n.number, o.term+uint64(len(s.nodes)) // of which one is the node's
	n.ordered = true
	n.ordered = s.arrive(n, a) && n.ordered
}

// best returns the node with the best log, or nil if fewer than a majority live. Among equals any will do.
func (s *simulation) best() *node {
	var living []*node
	for _, n := range s.nodes {
		if n.core != nil && !n.paused {
			living = append(living, n)
		}
	}
	if len(living) <= len(s.nodes)/2 {
		return nil
	}
	s.rand.Shuffle(len(living), func(i, j int) { living[i], living[j] = living[j], living[i] })
	return slices.MaxFunc(living, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.state.LastTerm, b.state.LastTerm), cmp.Compare(a.state.LastIndex, b.state.LastIndex))
	})
}
