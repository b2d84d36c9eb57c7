package sim

import (
	"fmt"
	"slices"

	"raftworkbook/common/trace"
)

// leader is the role of a leader.
const leader = "leader"

// A checker holds what must be true against what the nodes do. It knows a log as a chain of hashes, each of an entry and
// all before it: two logs are the same up to an index if they have the same link there.
type checker struct {
	nodes    []*node
	careless bool
	found    []violation
	// over: something is violated that must not be.
	over bool

	// seen are the links that any log ever had, by index, one a term.
	seen [][]link
	// committed are the links of what is committed, by index.
	committed []commit
	// applied is all that any node has applied.
	applied []Entry
	// configs are those in force, of the logs that have any, by their last link.
	configs map[link]Config
	// decided is up to where some leader has found the log committed, by the configuration in force.
	decided uint64
	// reigns are who led each term.
	reigns map[uint64]*node
	// last is the newest term that had a leader. Once watching is set, elections are how many terms each leader took.
	last      uint64
	watching  bool
	elections []int
}

// A link stands for a log up to an entry.
type link struct{ term, hash uint64 }

// A commit is a committed entry, and the term in which it was committed.
type commit struct {
	link
	in uint64
}

// A ledger is what the checker knows of one node.
type ledger struct {
	// state is the one after the last call.
	state trace.State
	// term and chain are what is on its disk.
	term  uint64
	chain []link
	// gone is up to where the log on its disk is cut off: a snapshot stands for that.
	gone uint64
	// held is up to where chain has all that is committed.
	held int
	// reign is the term that it leads, 0 for none.
	reign uint64
	// commitSeen is up to where it has committed in this life.
	commitSeen uint64
	// vote is the one it has promised last, in voteTerm.
	vote     string
	voteTerm uint64
}

func newChecker(nodes []*node, careless bool) checker {
	return checker{nodes: nodes, careless: careless, reigns: map[uint64]*node{}, configs: map[link]Config{}}
}

// violated notes a violation, the first of each property. If it is of one that nobody can keep, the run goes on.
func (c *checker) violated(p Property, format string, args ...any) {
	c.over = c.over || !c.careless || !slices.Contains(needCare, p)
	if !slices.ContainsFunc(c.found, func(v violation) bool { return v.property == p }) {
		c.found = append(c.found, violation{p, fmt.Sprintf(format, args...)})
	}
}

// started is when a node begins a life, with what is on its disk.
func (c *checker) started(n *node) {
	n.state, n.reign, n.commitSeen = n.core.State(), 0, 0
	if n.state.Term != n.term {
		c.violated(Memory, "%s starts in term %d, and has saved %d", n.id, n.state.Term, n.term)
	}
	if n.state.Role == leader {
		c.violated(ElectionSafety, "%s leads term %d as it starts", n.id, n.state.Term)
	}
	if n.state.AppliedIndex != n.machine.Index {
		c.violated(ApplyOrder, "%s starts as if it had applied %d, and has a snapshot up to %v", n.id, n.state.AppliedIndex, n.machine.Place)
	}
	c.remembers(n)
	c.counts(n)
}

// crashes is just before a node crashes.
func (c *checker) crashes(n *node) {
	if !n.busy || n.written {
		c.remembers(n)
	}
}

// remembers compares a log as a node has it in mind with what is on its disk. That takes time, and is not done often.
func (c *checker) remembers(n *node) {
	log := n.core.Log()
	if e, ok := n.saved(log); !ok {
		c.violated(Memory, "%s has %v in its log, which is not what it has saved there", n.id, place(e))
		return
	}
	if gone := n.state.LastIndex - uint64(len(log)); gone > n.snapshot.Index {
		c.violated(Memory, "%s has forgotten its log up to %d, and has a snapshot up to %d", n.id, gone, n.snapshot.Index)
	}
	c.remembersLast(n)
}

// saved reports whether entries follow each other and are on the node's disk, and which is not.
func (n *node) saved(log []Entry) (e Entry, ok bool) {
	for i, e := range log {
		before := link{}
		if e.Index > 1 && e.Index <= uint64(len(n.chain)) {
			before = n.chain[e.Index-2]
		}
		if e.Index != log[0].Index+uint64(i) || e.Index <= n.gone || e.Index > uint64(len(n.chain)) ||
			n.chain[e.Index-1] != (link{e.Term, chained(before.hash, e)}) {
			return e, false
		}
	}
	return e, true
}

// remembersLast compares only where the log ends.
func (c *checker) remembersLast(n *node) {
	var last trace.Place
	if len(n.chain) > 0 {
		last = trace.Place{Index: uint64(len(n.chain)), Term: n.chain[len(n.chain)-1].term}
	}
	if is := (trace.Place{Index: n.state.LastIndex, Term: n.state.LastTerm}); is != last {
		c.violated(Memory, "%s has a log that ends at %v, and has saved one that ends at %v", n.id, is, last)
	}
}

// stepped is after each call of a node's core.
func (c *checker) stepped(n *node) {
	was, is := &n.state, n.core.State()
	if is.Term < was.Term || is.CommitIndex < was.CommitIndex || is.AppliedIndex < was.AppliedIndex {
		c.violated(Monotony, "%s was in term %d, had committed %d and applied %d, and now it is %d, %d and %d",
			n.id, was.Term, was.CommitIndex, was.AppliedIndex, is.Term, is.CommitIndex, is.AppliedIndex)
	}
	if _, ok := n.core.(Changer); ok && was.Role == leader && is.Term == was.Term && is.CommitIndex > was.CommitIndex {
		c.decides(n, is.CommitIndex)
	}
	n.state = is
}

// saves is when something is on a node's disk.
func (c *checker) saves(n *node, s *Save) {
	if s.Term != 0 && s.Term < n.term {
		c.violated(Monotony, "%s saves term %d after %d", n.id, s.Term, n.term)
	}
	heard := n.term
	n.term = max(n.term, s.Term)
	if n.term > n.reign { // it may be some time until it does anything with that
		n.reign = 0
	}
	if s.Cut {
		c.cuts(n, s.Entries)
		return
	}
	if s.Snapshot != nil {
		c.replaces(n, s.Snapshot, heard)
	}
	if len(s.Entries) == 0 {
		return
	}
	first := s.Entries[0].Index
	if first <= n.gone || first > uint64(len(n.chain))+1 {
		c.violated(Memory, "%s saves %v, and has nothing before it", n.id, place(s.Entries[0]))
		return
	}
	if n.reign != 0 && n.state.Role == leader && n.state.Term == n.reign && first <= uint64(len(n.chain)) {
		c.violated(LeaderAppendOnly, "%s leads term %d, and saves %v in place of what it had there", n.id, n.reign, place(s.Entries[0]))
	}
	n.chain = n.chain[:first-1]
	for _, e := range s.Entries {
		c.adds(n, e)
	}
	c.holds(n, heard)
}

// cuts is when a node has written its log anew, without its beginning.
func (c *checker) cuts(n *node, log []Entry) {
	if e, ok := n.saved(log); !ok {
		c.violated(Memory, "%s writes %v as it cuts its log, which is not what was there", n.id, place(e))
		return
	}
	if len(log) > 0 && log[len(log)-1].Index < uint64(len(n.chain)) {
		c.violated(Memory, "%s cuts its log off after %v, and it went on to %d", n.id, place(log[len(log)-1]), len(n.chain))
	}
	if n.gone = uint64(len(n.chain) - len(log)); n.gone > n.snapshot.Index {
		c.violated(Durability, "%s drops its log up to %d, and has a snapshot up to %d", n.id, n.gone, n.snapshot.Index)
	}
}

// replaces is when a node has saved a snapshot in place of its log.
func (c *checker) replaces(n *node, s *Snapshot, heard uint64) {
	if s.Index > uint64(len(c.committed)) {
		c.violated(StateMachineSafety, "%s saves %s, and only %d entries are committed", n.id, upTo(*s), len(c.committed))
		return
	}
	n.chain, n.gone = nil, s.Index
	for _, c := range c.committed[:s.Index] {
		n.chain = append(n.chain, c.link)
	}
	c.holds(n, heard)
}

// snaps is when a node takes a snapshot.
func (c *checker) snaps(n *node, s Snapshot) {
	if is := (trace.Place{Index: s.Index, Term: s.Term}); is != n.machine.Place {
		c.violated(StateMachineSafety, "%s takes %s, having applied %v", n.id, upTo(s), n.machine.Place)
		return
	}
	if want := c.configs[n.chain[s.Index-1]]; !s.Config.equal(want) {
		c.violated(Configuration, "%s takes %s with the configuration %q, and there it was %q", n.id, upTo(s), s.Config, want)
	}
}

// restores is when a snapshot becomes the state machine of a node.
func (c *checker) restores(n *node, s *Snapshot) {
	if s.Index <= n.machine.Index {
		c.violated(Monotony, "%s goes back to %s, having applied %v", n.id, upTo(*s), n.machine.Place)
	}
	m, ok := restored(*s)
	if !ok || s.Index == 0 || s.Index > uint64(len(c.committed)) || c.committed[s.Index-1].link != (link{m.Term, m.hash}) {
		c.violated(StateMachineSafety, "%s restores %s, which is not what the committed entries make", n.id, upTo(*s))
	}
}

// adds puts one entry on a node's chain.
func (c *checker) adds(n *node, e Entry) {
	last := link{}
	if len(n.chain) > 0 {
		last = n.chain[len(n.chain)-1]
	}
	if e.Index != uint64(len(n.chain))+1 || e.Term < last.term || e.Term > n.term {
		c.violated(LogMatching, "%s saves %v in term %d, after %d@%d", n.id, place(e), n.term, len(n.chain), last.term)
		return
	}
	l := link{e.Term, chained(last.hash, e)}
	n.chain = append(n.chain, l)
	if len(c.seen) < len(n.chain) {
		c.seen = append(c.seen, nil)
	}
	same := &c.seen[e.Index-1]
	for _, other := range *same {
		if other.term == l.term {
			if other.hash != l.hash {
				c.violated(LogMatching, "%s has %v as another node has, and not the same log up to there", n.id, place(e))
			}
			return
		}
	}
	*same = append(*same, l)
	if e.Config != nil {
		c.configs[l] = *e.Config
	} else if config, ok := c.configs[last]; ok {
		c.configs[l] = config
	}
}

// holds brings up to date how much of what is committed is on a node's disk. What was committed in a term of which it
// had not heard it may drop: then nobody has counted on its disk.
func (c *checker) holds(n *node, heard uint64) {
	held := n.held
	for n.held > 0 && (n.held > len(n.chain) || n.chain[n.held-1] != c.committed[n.held-1].link) {
		n.held--
	}
	if n.held < held && c.committed[n.held].in <= heard {
		c.violated(Durability, "%s drops %d@%d, which is committed", n.id, n.held+1, c.committed[n.held].term)
	}
	for n.held < len(n.chain) && n.held < len(c.committed) && n.chain[n.held] == c.committed[n.held].link {
		n.held++
	}
}

// carriedOut is when a node has saved what a Ready says: its memory and its disk are the same now, and who leads does so
// for all to hear.
func (c *checker) carriedOut(n *node) {
	c.remembersLast(n)
	if n.state.Role == leader {
		c.leads(n, n.state.Term)
	} else {
		n.reign = 0
	}
	c.counts(n)
	c.commits(n)
}

// leads is about a node that leads a term.
func (c *checker) leads(n *node, term uint64) {
	if n.reign == term {
		return
	}
	n.reign = term
	if before, ok := c.reigns[term]; ok {
		c.violated(ElectionSafety, "%s leads term %d, as %s has done", n.id, term, before.id)
		return
	}
	c.reigns[term] = n
	if c.watching && term > c.last {
		c.elections = append(c.elections, int(term-c.last))
	}
	c.last = max(c.last, term)
	before := len(c.committed)
	for before > 0 && c.committed[before-1].in >= term {
		before--
	}
	if n.held < before {
		missing := c.committed[n.held]
		c.violated(LeaderCompleteness, "%s leads term %d without %d@%d, which was committed in term %d",
			n.id, term, n.held+1, missing.term, missing.in)
	}
}

// watchElections counts, from the newest term of any node on, how many terms it takes until somebody leads.
func (c *checker) watchElections() {
	c.watching = true
	for _, n := range c.nodes {
		c.last = max(c.last, n.state.Term)
	}
}

// commits is about what a node knows to be committed.
func (c *checker) commits(n *node) {
	index := n.state.CommitIndex
	if index > uint64(len(n.chain)) {
		c.violated(StateMachineSafety, "%s has committed up to %d, and has only %d entries", n.id, index, len(n.chain))
		return
	}
	if n.commitSeen == index {
		return
	}
	n.commitSeen = index
	if same := min(index, uint64(len(c.committed))); same > 0 && n.chain[same-1] != c.committed[same-1].link {
		c.violated(StateMachineSafety, "%s has committed up to %d, and not the same entries as were committed before", n.id, same)
		return
	}
	for i := uint64(len(c.committed)); i < index; i++ {
		c.committed = append(c.committed, commit{n.chain[i], n.state.Term})
		c.commit(n, int(i)+1)
	}
}

// commit is about an entry that was not committed before.
func (c *checker) commit(by *node, index int) {
	have := 0
	for _, n := range c.nodes {
		if c.holds(n, n.term); n.held >= index {
			have++
		}
		if n.core != nil && n.reign > by.state.Term && n.held < index {
			c.violated(LeaderCompleteness, "%s leads term %d without %d@%d, which %s commits in term %d",
				n.id, n.reign, index, c.committed[index-1].term, by.id, by.state.Term)
		}
	}
	if _, ok := by.core.(Changer); ok {
		if uint64(index) > c.decided {
			c.violated(Durability, "%s commits %d@%d, which no leader has found committed", by.id, index, c.committed[index-1].term)
		}
		return
	}
	if have <= len(c.nodes)/2 {
		c.violated(Durability, "%s commits %d@%d, which %d of %d nodes have on their disks",
			by.id, index, c.committed[index-1].term, have, len(c.nodes))
	}
}

// leaves is when messages leave a node.
func (c *checker) leaves(n *node, messages []Message) {
	for i := range messages {
		m := &messages[i]
		if m.Term > n.term {
			c.violated(SavedFirst, "%s sends %v to %s, and has saved term %d only", n.id, m.Body, m.To, n.term)
		}
		if m.Vote != "" {
			c.votes(n, m)
		}
		if m.Term < n.term || m.Appended == 0 {
			continue // what it promises to the leader of a term that is over, it has done and undone
		}
		if m.Appended > uint64(len(n.chain)) {
			c.violated(SavedFirst, "%s sends %v to %s, and has saved %d entries only", n.id, m.Body, m.To, len(n.chain))
			continue
		}
		to := c.reigns[m.Term]
		if to != nil && to.core != nil && to.reign == m.Term && m.Appended <= uint64(len(to.chain)) &&
			to.chain[m.Appended-1] != n.chain[m.Appended-1] {
			c.violated(SavedFirst, "%s sends %v to %s, and does not have the same log up to there", n.id, m.Body, m.To)
		}
	}
}

// votes is when a vote leaves a node. What it promised in an earlier life still holds.
func (c *checker) votes(n *node, m *Message) {
	if m.Term == n.voteTerm && m.Vote != n.vote {
		c.violated(SavedFirst, "%s votes for %s in term %d, and has voted for %s", n.id, m.Vote, m.Term, n.vote)
	}
	if m.Term >= n.voteTerm {
		n.voteTerm, n.vote = m.Term, m.Vote
	}
}

// applies is when a node applies an entry.
func (c *checker) applies(n *node, e Entry) {
	if e.Index != n.machine.Index+1 || e.Index > n.state.CommitIndex {
		c.violated(ApplyOrder, "%s applies %v, after %d, having committed %d", n.id, place(e), n.machine.Index, n.state.CommitIndex)
		return
	}
	before := link{}
	if e.Index > 1 {
		before = n.chain[e.Index-2]
	}
	if n.chain[e.Index-1] != (link{e.Term, chained(before.hash, e)}) {
		c.violated(StateMachineSafety, "%s applies %v, which is not what its log has there", n.id, place(e))
	}
	if e.Index > uint64(len(c.applied)) {
		c.applied = append(c.applied, e)
	}
}

// chained is the hash of a log that ends with e, and has the hash prev before it (FNV-1a).
func chained(prev uint64, e Entry) uint64 {
	const prime = 1099511628211
	hash := (prev ^ e.Term) * prime
	hash = (hash ^ uint64(len(e.Command))) * prime
	for _, b := range e.Command {
		hash = (hash ^ uint64(b)) * prime
	}
	if e.Config != nil {
		for _, b := range []byte(e.Config.String()) {
			hash = (hash ^ uint64(b)) * prime
		}
	}
	return hash
}

func place(e Entry) trace.Place { return trace.Place{Index: e.Index, Term: e.Term} }
