package raft

// A Snapshot stands for all entries up to one (§7): it is what the state machine was once that one was applied.
type Snapshot struct {
	// LastIncludedIndex and LastIncludedTerm are the place of that entry. The next one is checked against it.
	LastIncludedIndex Index
	LastIncludedTerm  Term
	// Config is what was in force there: its entry may be gone.
	Config Configuration
	// Data is the state machine's. Nobody may change it any more.
	Data []byte
}

func (s *Snapshot) place() Entry {
	return Entry{Index: s.LastIncludedIndex, Term: s.LastIncludedTerm}
}

// InstallSnapshot are the arguments of the RPC of this name in Figure 13: a chunk of a snapshot, or none, which only asks
// how far the receiver is. As with AppendEntries, that is a heartbeat.
type InstallSnapshot struct {
	LastIncludedIndex Index `json:"last_index"`
	LastIncludedTerm  Term  `json:"last_term"`
	// Config is as in Snapshot.
	Config Configuration `json:"config"`
	// Offset is where in the snapshot Data stands.
	Offset int    `json:"offset"`
	Data   []byte `json:"data,omitempty"`
	// Done is set with the last chunk.
	Done bool `json:"done,omitempty"`
	// Round is as in AppendEntries.
	Round uint64 `json:"round,omitempty"`
}

// InstallSnapshotReply answers InstallSnapshot. The paper's has a term, which is the message's. Since chunks here may be
// late, there twice, or lost, it also says what is there.
type InstallSnapshotReply struct {
	LastIncludedIndex Index `json:"last_index"`
	// Offset is up to where the sender has this snapshot.
	Offset int `json:"offset,omitempty"`
	// Done says that it has on its disk all that the snapshot stands for.
	Done bool `json:"done,omitempty"`
	// Round is that of the request.
	Round uint64 `json:"round,omitempty"`
}

// A transfer is how far a leader is with sending a snapshot to one follower.
type transfer struct {
	snapshot Snapshot
	offset   int    // up to here the follower has it
	sent     uint64 // the round in which the chunk from there on was sent; 0 if it was not
	moved    bool   // the follower has come further since the last Compact
}

// Compact takes a snapshot, which is on the disk, in place of the entries for which it stands. It drops them from the
// log, but for as many as make up keep bytes of commands: a follower that is merely slow needs no snapshot then. It returns
// false, with no effect, if there is a newer snapshot already.
func (r *Raft) Compact(s Snapshot, keep int) bool {
	if s.LastIncludedIndex <= r.snapshot.LastIncludedIndex {
		return false
	}
	r.snapshot = s
	base := r.log.tail(s.LastIncludedIndex, keep)
	for _, p := range r.progress {
		switch t := p.transfer; {
		case t == nil:
		case t.moved: // a snapshot is of no use without the entries that follow it
			base = min(base, t.snapshot.LastIncludedIndex)
			t.moved = false
		default: // nobody may keep the log from being cut for ever
			p.transfer = nil
		}
	}
	r.log.compact(base)
	return true
}

// Log returns what is left of the log: first the place that its entries follow, then these.
func (r *Raft) Log() []Entry { return r.log.entries[:len(r.log.entries):len(r.log.entries)] }

// Applied returns a snapshot without data: what one stands for that is taken once all that was handed out to be applied
// is.
func (r *Raft) Applied() Snapshot {
	term, _ := r.log.term(r.lastApplied)
	return Snapshot{LastIncludedIndex: r.lastApplied, LastIncludedTerm: term, Config: r.configAt(r.lastApplied).Configuration}
}

// nextChunk returns the message that takes the next chunk of a snapshot to a follower that needs entries which are gone.
// One chunk at a time is enough. While it is on its way there is a message only if a heartbeat is due: it has no data,
// and its answer says whether the chunk was lost.
func (r *Raft) nextChunk(to string, p *progress) (m Message, ok bool) {
	if p.transfer == nil {
		r.because("§7: next to %s is %d, and the log begins after %d", to, p.nextIndex, r.log.base())
		p.transfer = &transfer{snapshot: r.snapshot, moved: true}
	}
	t := p.transfer
	if t.sent != 0 && !r.heartbeatDue {
		return Message{}, false
	}
	s := InstallSnapshot{LastIncludedIndex: t.snapshot.LastIncludedIndex, LastIncludedTerm: t.snapshot.LastIncludedTerm,
		Config: t.snapshot.Config, Offset: t.offset, Round: r.round}
	if t.sent == 0 {
		t.sent = r.round
		end := min(t.offset+r.options.MaxBatch, len(t.snapshot.Data))
		s.Data, s.Done = t.snapshot.Data[t.offset:end:end], end == len(t.snapshot.Data)
	}
	return Message{From: r.options.ID, To: to, Term: r.currentTerm, InstallSnapshot: &s}, true
}

// handleInstallSnapshot is the receiver of InstallSnapshot in Figure 13.
func (r *Raft) handleInstallSnapshot(m Message, s InstallSnapshot) {
	// 1. Reply immediately if term < currentTerm.
	if m.Term < r.currentTerm {
		r.because("1. (§5.1) term %d is over", m.Term)
		r.send(m.From, Message{InstallSnapshotReply: &InstallSnapshotReply{}})
		return
	}
	if r.role == Leader {
		r.because("ignored: a second leader of term %d", m.Term)
		return
	}
	r.becomeFollower(m.Term, m.From)

	// 6. If the log has the snapshot's last entry, it and what follows stay. Here this comes first: no data is needed
	// then, and a snapshot that is late never takes the state machine back.
	if r.log.has(s.LastIncludedIndex, s.LastIncludedTerm) {
		r.commitTo(s.LastIncludedIndex)
		r.send(m.From, Message{InstallSnapshotReply: &InstallSnapshotReply{LastIncludedIndex: s.LastIncludedIndex, Done: true, Round: s.Round}})
		return
	}
	if s.LastIncludedIndex <= r.commitIndex || s.LastIncludedIndex < r.incoming.LastIncludedIndex {
		r.because("ignored: there is something newer here")
		return
	}

	// 2. and 5. A newer one takes the place of what there is of an older.
	if s.LastIncludedIndex > r.incoming.LastIncludedIndex {
		r.incoming = Snapshot{LastIncludedIndex: s.LastIncludedIndex, LastIncludedTerm: s.LastIncludedTerm, Config: s.Config}
	}
	// 3. and 4. Take the chunk that follows what is there, and say how far it is.
	next := s.Offset == len(r.incoming.Data)
	if next {
		r.incoming.Data = append(r.incoming.Data, s.Data...)
	}
	reply := InstallSnapshotReply{LastIncludedIndex: s.LastIncludedIndex, Offset: len(r.incoming.Data), Done: next && s.Done, Round: s.Round}
	if reply.Done {
		r.install(r.incoming)
	}
	r.send(m.From, Message{InstallSnapshotReply: &reply})
}

// install puts a snapshot in the place of the whole log, which conflicts with it or is shorter, and of the state machine
// (7. and 8.).
func (r *Raft) install(s Snapshot) {
	r.because("7. 8. (§7) all that is here gives way to a snapshot of %v", s.place())
	r.log.restart(s.place())
	r.commitTo(s.LastIncludedIndex)
	r.lastApplied = s.LastIncludedIndex
	r.snapshot, r.incoming = s, Snapshot{}
	r.use(newConfig(s.Config, s.LastIncludedIndex))
	r.installed = &s
}

// handleInstallSnapshotReply is what a leader learns from an answer. One that is late says nothing about a newer transfer.
func (r *Raft) handleInstallSnapshotReply(m Message, reply InstallSnapshotReply) {
	if r.role != Leader || m.Term != r.currentTerm || r.progress[m.From] == nil || reply.LastIncludedIndex > r.snapshot.LastIncludedIndex {
		r.because("ignored: not an answer to this leader of term %d", r.currentTerm)
		return
	}
	p := r.progress[m.From]
	p.round = max(p.round, min(reply.Round, r.round))
	if reply.Done {
		r.matched(m.From, p, reply.LastIncludedIndex)
		return
	}
	t := p.transfer
	if t == nil || reply.LastIncludedIndex != t.snapshot.LastIncludedIndex || reply.Offset < 0 || reply.Offset > len(t.snapshot.Data) {
		r.because("ignored: it is about no transfer that goes on")
		return
	}
	// Either the follower has come further; or it answers what was sent after the chunk, and has not got that.
	further := reply.Offset > t.offset
	if further || t.sent != 0 && reply.Round > t.sent {
		t.offset, t.sent = reply.Offset, 0
		t.moved = t.moved || further
	}
}
