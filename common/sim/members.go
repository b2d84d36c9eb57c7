package sim

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	// nobody is a name that no node has: it is a member who never answers.
	nobody = "n0"
	// quiet is for how long nothing may happen in the end: nodes that were removed could disturb the others.
	quiet = time.Second
	// most is how many voters there are at most.
	most = 7
)

func (c Config) String() string {
	text := strings.Join(c.Voters, " ")
	switch {
	case c.Joint:
		text += ", and " + strings.Join(c.Next, " ")
	case c.Next != nil:
		text += ", and then " + strings.Join(c.Next, " ")
	}
	return text
}

func (c Config) equal(other Config) bool {
	return slices.Equal(c.Voters, other.Voters) && slices.Equal(c.Next, other.Next) && c.Joint == other.Joint
}

// quorums are those of whom a majority each is needed.
func (c Config) quorums() [][]string {
	if c.Joint {
		return [][]string{c.Voters, c.Next}
	}
	return [][]string{c.Voters}
}

// drawMembers draws how many nodes there are beside the first members, and how often the operator wants others.
func (m *mix) drawMembers(r *rand.Rand) {
	for n := r.IntN(most + 2 - len(m.options.Nodes)); n > 0; n-- {
		m.rates = append(m.rates, m.rates[r.IntN(len(m.rates))])
	}
	m.change = [...]chance{0, 1000, chance(1 + r.IntN(300)), chance(1 + r.IntN(300))}[r.IntN(4)]
	if r.IntN(2) == 0 {
		m.transfer = chance(r.IntN(300))
	}
}

// bootstrap gives the first members their disks.
func (s *simulation) bootstrap() {
	for _, n := range s.nodes[:len(s.mix.options.Nodes)] {
		save := s.algorithm.Bootstrap(s.mix.options.Nodes)
		n.save(&save)
		s.checker.saves(n, &save)
	}
}

// manage is a look of the operator at who is in the cluster, and who leads.
func (s *simulation) manage() {
	if s.mix.change.happens(s.rand) {
		s.arrive(s.any(7), arrival{change: s.wish()})
	}
	if s.mix.transfer.happens(s.rand) {
		s.arrive(s.any(7), arrival{transfer: s.nodes[s.rand.IntN(len(s.nodes))].id})
	}
}

// wish draws who are to be the voters: any, or those that are but for one or two; without the leader; or with somebody who
// does not exist.
func (s *simulation) wish() (voters []string) {
	want := map[string]bool{}
	for _, id := range s.checker.inForce(s.nodes[max(s.operator.ordered, 0)]).Voters {
		want[id] = true
	}
	toggle := func() {
		id := s.any(0).id
		want[id] = !want[id]
	}
	switch s.rand.IntN(6) {
	case 0:
		for _, n := range s.nodes {
			want[n.id] = s.rand.IntN(2) == 0
		}
	case 1, 2:
		toggle()
	case 3:
		toggle()
		toggle()
	case 4:
		want[s.any(8).id] = false
	case 5:
		want[nobody] = s.rand.IntN(4) == 0
	}
	for _, n := range s.nodes {
		if want[n.id] && len(voters) < most {
			voters = append(voters, n.id)
		}
	}
	if want[nobody] || len(voters) == 0 {
		voters = append([]string{nobody}, voters...)
	}
	return voters
}

// rests reports whether, once the nodes are all the same and what was late has come, nothing happens for a while.
func (s *simulation) rests() bool {
	leads := s.nodes[s.operator.ordered].state
	switch {
	case s.now < s.healedAt+s.mix.lateness.most+quiet:
		return false
	case s.restsFrom == 0:
		s.restsFrom, s.restsIn = s.now, leads.Term
	case leads.Role != leader || leads.Term != s.restsIn:
		s.checker.violated(Calm, "%s is %s of term %d, and all was well in term %d", leads.Node, leads.Role, leads.Term, s.restsIn)
	}
	return s.now > s.restsFrom+quiet
}

// voters are the nodes that must be the same in the end. It returns false if it is not clear who they are: the leader is
// none of them, or a change is under way.
func (s *simulation) voters(best *node) ([]*node, bool) {
	if s.algorithm.Bootstrap == nil {
		return s.nodes, true
	}
	config := s.checker.inForce(best)
	voters := s.checker.quorums(config)[0]
	return voters, config.Next == nil && best.state.Role == leader && slices.Contains(voters, best)
}

// inForce returns the last configuration in a node's log.
func (c *checker) inForce(n *node) Config {
	if len(n.chain) == 0 {
		return Config{}
	}
	return c.configs[n.chain[len(n.chain)-1]]
}

// decides is when a leader finds something committed: a majority of each quorum has it on its disk. Followers hear of it
// when they may not have heard yet by which configuration.
func (c *checker) decides(by *node, index uint64) {
	c.decided = max(c.decided, index)
	for _, nodes := range c.quorums(c.inForce(by)) {
		have := 0
		for _, n := range nodes {
			if index <= uint64(min(len(n.chain), len(by.chain))) && n.chain[index-1] == by.chain[index-1] {
				have++
			}
		}
		if have <= len(nodes)/2 {
			c.violated(Durability, "%s commits %d in term %d, which %d of %d nodes have on their disks", by.id, index, by.state.Term, have, len(nodes))
		}
	}
}

// counts is about by which configuration a node counts.
func (c *checker) counts(n *node) {
	core, ok := n.core.(Changer)
	if !ok {
		return
	}
	want := c.inForce(n)
	if is, _ := core.Configs(); !is.equal(want) {
		c.violated(Configuration, "%s counts by %q, and the last in its log is %q", n.id, is, want)
	}
}

// quorums are the nodes of whom a majority each is needed.
func (c *checker) quorums(config Config) (quorums [][]*node) {
	for _, ids := range config.quorums() {
		var nodes []*node
		for _, id := range ids {
			i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.id == id })
			if i < 0 { // it is nobody
				nodes = append(nodes, &node{})
				continue
			}
			nodes = append(nodes, c.nodes[i])
		}
		quorums = append(quorums, nodes)
	}
	return quorums
}
