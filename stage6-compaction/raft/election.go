package raft

// RequestVote are the arguments of the RPC of this name in Figure 2.
type RequestVote struct {
	// LastLogIndex and LastLogTerm are the last place in the candidate's log.
	LastLogIndex Index `json:"last_index"`
	LastLogTerm  Term  `json:"last_term"`
}

// RequestVoteReply answers RequestVote. Its term is the message's.
type RequestVoteReply struct {
	Granted bool `json:"granted"`
}

// Campaign makes this node a candidate of a new term, unless it leads (Figure 2, candidates, first rule). It happens
// when nothing is heard of a leader for as long as the election timeout, or when the operator orders it, and it can be
// lost.
func (r *Raft) Campaign() {
	if r.role == Leader {
		return
	}
	r.becomeFollower(r.currentTerm+1, None)
	r.role = Candidate
	r.votedFor = r.options.ID
	r.votes = map[string]bool{r.options.ID: true}
	r.resetElectionTimer()
	last := r.log.lastIndex()
	lastTerm, _ := r.log.term(last)
	for _, id := range r.config.nodes {
		if id != r.options.ID {
			r.send(id, Message{RequestVote: &RequestVote{last, lastTerm}})
		}
	}
	r.countVotes()
}

// handleRequestVote is the receiver of RequestVote in Figure 2.
func (r *Raft) handleRequestVote(m Message, v RequestVote) {
	granted := false
	switch {
	case m.Term < r.currentTerm:
		r.because("1. (§5.1) term %d is over", m.Term)
	case r.votedFor != None && r.votedFor != m.From:
		r.because("2. (§5.2) the vote of term %d is %s's", m.Term, r.votedFor)
	case !r.log.upToDate(v.LastLogIndex, v.LastLogTerm):
		r.because("2. (§5.4.1) a log that ends at %d@%d lacks what this one has", v.LastLogIndex, v.LastLogTerm)
	default:
		granted = true
		r.votedFor = m.From
		r.resetElectionTimer()
	}
	r.send(m.From, Message{RequestVoteReply: &RequestVoteReply{granted}})
}

// handleRequestVoteReply counts a vote, if it is for the term in which this node is a candidate now: an answer may be
// late, and to another campaign.
func (r *Raft) handleRequestVoteReply(m Message, reply RequestVoteReply) {
	if r.role != Candidate || m.Term != r.currentTerm || !reply.Granted {
		return
	}
	r.votes[m.From] = true // a set: an answer may come twice
	r.countVotes()
}

// countVotes makes a candidate the leader once a majority has voted for it (§5.2).
func (r *Raft) countVotes() {
	won := r.config.majority(func(id string) Index {
		if r.votes[id] {
			return 1
		}
		return 0
	})
	if won == 1 {
		r.because("§5.2: a majority votes for %s", r.options.ID)
		r.becomeLeader()
	}
}

// resetElectionTimer begins to wait anew for a sign of a leader: for a time that is drawn anew, so that nodes seldom
// begin to campaign at the same moment and split the vote (§5.2).
func (r *Raft) resetElectionTimer() {
	r.electionElapsed = 0
	r.electionTimeout = r.options.ElectionTicks + r.options.Random(r.options.ElectionTicks)
}

// checkQuorum makes a leader follow if no majority has answered anything that it sent since the check before. Its
// clients would wait for an answer that cannot come, and others may have chosen another leader by now (D§6.2).
func (r *Raft) checkQuorum() {
	if r.AnsweredRound() <= r.checkedRound {
		r.because("D§6.2: no majority has answered for %d ticks", r.options.ElectionTicks)
		r.becomeFollower(r.currentTerm, None)
		return
	}
	r.electionElapsed, r.checkedRound = 0, r.round
}
