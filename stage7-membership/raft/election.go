package raft

// RequestVote are the arguments of the RPC of this name in Figure 2.
type RequestVote struct {
	// LastLogIndex and LastLogTerm are the last place in the candidate's log.
	LastLogIndex Index `json:"last_index"`
	LastLogTerm  Term  `json:"last_term"`
	// PreVote only asks whether there would be a vote in the next term (D§9.6).
	PreVote bool `json:"pre_vote,omitempty"`
	// Transfer asks those too who hear a leader: it is by his order, or by the operator's (D§4.2.3).
	Transfer bool `json:"transfer,omitempty"`
}

// RequestVoteReply answers RequestVote. Its term is the message's.
type RequestVoteReply struct {
	Granted bool `json:"granted"`
	// PreVote is that of the request.
	PreVote bool `json:"pre_vote,omitempty"`
}

// preCampaign asks, when nothing is heard of a leader for as long as the election timeout, whether this node would be
// elected (D§9.6). That changes nothing on any node. So one that was cut off and cannot win has no newer term when it
// comes back, by which it would depose a leader that all others hear.
func (r *Raft) preCampaign() {
	r.resetElectionTimer()
	r.becomeFollower(r.currentTerm, None)
	if r.electable() {
		r.role = PreCandidate
		r.askForVotes(RequestVote{PreVote: true})
	}
}

// Campaign makes this node a candidate of a new term, unless it leads or may not lead (Figure 2, candidates, first rule).
// It happens when a majority would vote for it, when the leader hands over to it, or when the operator orders it, and it
// can be lost.
func (r *Raft) Campaign() { r.campaign(RequestVote{Transfer: true}) }

func (r *Raft) campaign(v RequestVote) {
	if r.role == Leader || !r.electable() {
		return
	}
	r.becomeFollower(r.currentTerm+1, None)
	r.role = Candidate
	r.votedFor = r.options.ID
	r.resetElectionTimer()
	r.askForVotes(v)
}

func (r *Raft) askForVotes(v RequestVote) {
	v.LastLogIndex = r.log.lastIndex()
	v.LastLogTerm, _ = r.log.term(v.LastLogIndex)
	r.votes = map[string]bool{r.options.ID: true}
	for _, id := range r.config.nodes {
		if id != r.options.ID && r.config.votes(id) {
			r.send(id, Message{RequestVote: &v})
		}
	}
	r.countVotes()
}

// hearsLeader reports whether this node has had a sign of a leader for less than an election timeout. Then nobody else is
// wanted, and who asks for votes all the same was cut off or is no member any more.
func (r *Raft) hearsLeader() bool {
	return r.leader != None && r.electionElapsed < r.options.ElectionTicks
}

// handleRequestVote is the receiver of RequestVote in Figure 2.
func (r *Raft) handleRequestVote(m Message, v RequestVote) {
	granted := false
	switch {
	case m.Term < r.currentTerm:
		r.because("1. (§5.1) term %d is over", m.Term)
	case !v.PreVote && r.votedFor != None && r.votedFor != m.From:
		r.because("2. (§5.2) the vote of term %d is %s's", m.Term, r.votedFor)
	case !r.log.upToDate(v.LastLogIndex, v.LastLogTerm):
		r.because("2. (§5.4.1) a log that ends at %d@%d lacks what this one has", v.LastLogIndex, v.LastLogTerm)
	default:
		granted = true
		if !v.PreVote {
			r.votedFor = m.From
			r.resetElectionTimer()
		}
	}
	r.send(m.From, Message{RequestVoteReply: &RequestVoteReply{granted, v.PreVote}})
}

// handleRequestVoteReply counts a vote, if it is for the term in which this node is a candidate now: an answer may be
// late, and to another campaign.
func (r *Raft) handleRequestVoteReply(m Message, reply RequestVoteReply) {
	asked := r.role == Candidate && !reply.PreVote || r.role == PreCandidate && reply.PreVote
	if !asked || m.Term != r.currentTerm || !reply.Granted {
		return
	}
	r.votes[m.From] = true // a set: an answer may come twice
	r.countVotes()
}

// countVotes makes a candidate the leader once a majority has voted for it (§5.2), and one who has only asked a candidate.
func (r *Raft) countVotes() {
	won := r.config.majority(func(id string) Index {
		if r.votes[id] {
			return 1
		}
		return 0
	})
	switch {
	case won == 0:
	case r.role == PreCandidate:
		r.because("D§9.6: a majority would vote for %s", r.options.ID)
		r.campaign(RequestVote{})
	default:
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
