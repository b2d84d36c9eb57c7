package raft

// progress is what a leader knows of one follower's log.
type progress struct {
	nextIndex  Index // of the next entry to send
	matchIndex Index // up to here the follower's log is known to be the leader's
	// probing is set while it is not known where the logs agree. One message at a time is enough then; those behind a
	// message that is refused are refused too.
	probing bool
	// inflight has the last index of each message with entries that is on its way, oldest first.
	inflight []Index
	// round is the last that the follower has answered.
	round uint64
	// transfer is of a snapshot, for a follower that needs entries which are gone; nil otherwise.
	transfer *transfer
	learning learning
}

// replicate returns what is to be sent to the followers: entries that they lack, and to those for whom there are none
// a heartbeat if one is due. Entries do not wait for a heartbeat, nor for the answer to those before.
func (r *Raft) replicate() (appends []Message) {
	r.round++
	for _, id := range r.config.nodes {
		p := r.progress[id]
		if p == nil {
			continue // this node
		}
		if p.nextIndex <= r.log.base() {
			if m, ok := r.nextChunk(id, p); ok {
				appends = append(appends, m)
			}
			continue
		}
		idle := r.heartbeatDue
		for p.nextIndex <= r.log.lastIndex() && len(p.inflight) < r.window(p) {
			appends = append(appends, r.appendEntries(id, p, r.log.slice(p.nextIndex, r.log.lastIndex(), r.options.MaxBatch)))
			idle = false
		}
		if idle {
			appends = append(appends, r.appendEntries(id, p, nil))
		}
	}
	r.heartbeatDue = false
	return appends
}

// window is how many messages with entries may be on their way to a follower. A message may be lost and nobody says
// so; the next heartbeat finds out, since it names what comes before it.
func (r *Raft) window(p *progress) int {
	if p.probing {
		return 1
	}
	return r.options.MaxInflight
}

// appendEntries makes the message that takes entries, which begin at nextIndex, to a follower.
func (r *Raft) appendEntries(to string, p *progress, entries []Entry) Message {
	prev := p.nextIndex - 1
	prevTerm, _ := r.log.term(prev)
	a := AppendEntries{prev, prevTerm, entries, r.commitIndex, r.round}
	if len(entries) > 0 {
		p.nextIndex = a.last() + 1
		p.inflight = append(p.inflight, a.last())
	}
	return Message{From: r.options.ID, To: to, Term: r.currentTerm, AppendEntries: &a}
}

// handleAppendEntries is the receiver of AppendEntries in Figure 2.
func (r *Raft) handleAppendEntries(m Message, a AppendEntries) {
	// 1. Reply false if term < currentTerm (§5.1). The reply's term tells the old leader that it leads no more. If it
	// leads again by now, in this very term, the reply must not be taken for one to what it sends now: all agree at 0.
	if m.Term < r.currentTerm {
		r.because("1. (§5.1) term %d is over", m.Term)
		r.send(m.From, Message{AppendEntriesReply: &AppendEntriesReply{}})
		return
	}
	if r.role == Leader {
		r.because("ignored: a second leader of term %d", m.Term)
		return
	}
	r.becomeFollower(m.Term, m.From)

	// 2. Reply false if the log has no entry at prevLogIndex whose term is prevLogTerm (§5.3).
	if !r.log.has(a.PrevLogIndex, a.PrevLogTerm) {
		index, term := r.log.agreement(a.PrevLogIndex, a.PrevLogTerm)
		r.because("2. (§5.3) there is no %d@%d here; the logs may agree at %d@%d", a.PrevLogIndex, a.PrevLogTerm, index, term)
		r.send(m.From, Message{AppendEntriesReply: &AppendEntriesReply{Index: a.PrevLogIndex, HintIndex: index, HintTerm: term, Round: a.Round}})
		return
	}

	// 3. and 4. Entries that are there already stay, and so does what follows them: this message may be older than
	// one that brought more. Only if one conflicts it goes, and all that follow it. Then add those that are new.
	for i, e := range a.Entries {
		if r.log.has(e.Index, e.Term) {
			continue
		}
		if e.Index <= r.commitIndex {
			r.because("ignored: %v would take back what is committed", e)
			return
		}
		if e.Index <= r.log.lastIndex() {
			r.because("3. (§5.3) what is there conflicts with %v: dropped, and all from there on", e)
			r.retract(e.Index)
		}
		r.extend(a.Entries[i:]...)
		break
	}

	// 5. Only up to the last entry that this message vouches for: what we hold beyond it may yet prove to conflict.
	r.commitTo(min(a.LeaderCommit, a.last()))
	r.send(m.From, Message{AppendEntriesReply: &AppendEntriesReply{Success: true, Index: a.last(), Round: a.Round}})
}

// handleAppendEntriesReply is what a leader learns from an answer (Figure 2, leaders, third rule). Answers may be
// late: one of another term is about messages of another leader, or of this one in another life.
func (r *Raft) handleAppendEntriesReply(m Message, reply AppendEntriesReply) {
	if r.role != Leader || m.Term != r.currentTerm || r.progress[m.From] == nil || reply.Index > r.log.lastIndex() {
		r.because("ignored: not an answer to this leader of term %d", r.currentTerm)
		return
	}
	p := r.progress[m.From]
	p.round = max(p.round, min(reply.Round, r.round))
	if !reply.Success {
		r.backOff(m.From, p, reply)
		return
	}
	// What the request vouched for, not what the log holds by now.
	r.matched(m.From, p, reply.Index)
}

// matched notes that a follower has this leader's log up to index. It never goes back, since an older answer may come
// after a newer one.
func (r *Raft) matched(from string, p *progress, index Index) {
	if index > p.matchIndex {
		r.because("%s has the log up to %d", from, index)
	}
	p.matchIndex = max(p.matchIndex, index)
	p.nextIndex = max(p.nextIndex, p.matchIndex+1)
	p.probing = false
	if p.nextIndex > r.log.base() {
		p.transfer = nil
	}
	for len(p.inflight) > 0 && p.inflight[0] <= p.matchIndex {
		p.inflight = p.inflight[1:]
	}
}

// backOff goes back to where the logs may agree. The paper goes back by one entry a refusal, or by one term (end of
// §5.3); here each side skips all that cannot agree.
func (r *Raft) backOff(from string, p *progress, reply AppendEntriesReply) {
	if reply.Index <= p.matchIndex || reply.Index >= p.nextIndex {
		r.because("ignored: this refusal has been overtaken")
		return
	}
	index, _ := r.log.agreement(reply.HintIndex, reply.HintTerm)
	p.nextIndex = max(index, p.matchIndex) + 1
	p.probing, p.inflight = true, nil
	r.because("§5.3: next to %s is %d", from, p.nextIndex)
}

// advanceCommit is the last rule for leaders in Figure 2: an entry is committed once a majority has it and it is of
// this leader's term. One of an older term may be on a majority and be replaced all the same (Figure 8); it is
// committed with the first of this term that follows it (§5.4.2).
func (r *Raft) advanceCommit() {
	index := r.config.majority(func(id string) Index {
		if id == r.options.ID {
			return r.log.saved
		}
		return r.progress[id].matchIndex
	})
	if index <= r.commitIndex {
		return
	}
	if term, _ := r.log.term(index); term != r.currentTerm {
		r.because("§5.4.2: a majority has %d@%d, which is not of term %d", index, term, r.currentTerm)
		return
	}
	r.commitTo(index)
	r.uncommitted = r.log.size(index)
}

// AnsweredRound is the last round of this leader that a majority has answered, this node among it: when that was sent,
// nobody led a newer term. It is 0 on any other node.
func (r *Raft) AnsweredRound() uint64 {
	if r.role != Leader {
		return 0
	}
	return uint64(r.config.majority(r.answered))
}

// answered is the last round of this leader that a node has answered.
func (r *Raft) answered(id string) Index {
	if id == r.options.ID {
		return Index(r.round)
	}
	return Index(r.progress[id].round)
}
