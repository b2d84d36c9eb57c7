package raft

// Lead makes this node the leader of the next term that belongs to it. Each term belongs to one node, in turn, so no
// two ever lead the same one.
//
// It is the operator's order, and stands in for an election. The node obeys without a question: nobody has looked
// whether its log has all that is committed. An operator is careful who gives the order only when the leader before is
// dead, or leads no more, and to the node with the best log (last term, then last index) of a living majority, and
// gives it again until the term is later than any that was ever led, be it unheard. With a careless one, what is
// committed can be lost.
func (r *Raft) Lead() {
	term := r.currentTerm + 1
	for r.config.owner(term) != r.options.ID {
		term++
	}
	r.because("the operator's order: term %d is the next that belongs to %s", term, r.options.ID)
	r.becomeFollower(term, None)
	r.becomeLeader()
}

// owner is the node to which a term belongs: of n1, n2 and n3, terms 1, 4 and 7 are n1's.
func (c config) owner(t Term) string { return c.nodes[(t-1)%Term(len(c.nodes))] }
