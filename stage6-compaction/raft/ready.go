package raft

import "math"

// A Ready is what the core wants done. Its fields stand in the order in which they are carried out, each finished
// before the next is begun. Whoever takes a Ready carries all of it out before calling the core again, or stops.
type Ready struct {
	// Appends are messages to send at once: a leader's entries may reach its followers before they are on its own
	// disk (D§10.2.1), since its own copy counts only once it is saved.
	Appends []Message
	// HardState is to be saved; nil if it is as it was.
	HardState *HardState
	// Snapshot is to be saved, in place of the one before and of all entries, and to become the state machine; nil if
	// none has come.
	Snapshot *Snapshot
	// Entries are to be saved, in place of any saved entry at or after the index of the first.
	Entries []Entry
	// Messages are to be sent. They promise what has been saved.
	Messages []Message
	// Committed are to be applied. Each entry of the log is here once in the life of a Raft, unless a snapshot stands for
	// it.
	Committed []Entry
	// Because says why, for whoever wants to know. It is nothing to do, and may be there without anything that is.
	Because []string
}

// empty reports whether there is nothing to do.
func (rd *Ready) empty() bool {
	return rd.HardState == nil && rd.Snapshot == nil && len(rd.Appends)+len(rd.Entries)+len(rd.Messages)+len(rd.Committed) == 0
}

// Ready returns what is to be done, and whether there is anything. Many calls may come before it: what they want is
// done together. After it has been carried out there may be more, so it is called until there is nothing.
func (r *Raft) Ready() (rd Ready, ok bool) {
	if r.role == Leader {
		r.advanceCommit()
	}
	if hard := (HardState{r.currentTerm, r.votedFor}); hard != r.saved {
		r.saved = hard
		rd.HardState = &hard
	}
	if r.role == Leader {
		appends := r.replicate()
		if rd.HardState == nil {
			rd.Appends = appends
		} else { // nobody may hear of a term that its leader could forget
			r.messages = append(r.messages, appends...)
		}
	}
	rd.Snapshot, r.installed = r.installed, nil
	rd.Entries = r.log.takeUnsaved()
	rd.Messages, r.messages = r.messages, nil
	rd.Committed = r.log.slice(r.lastApplied+1, r.commitIndex, r.options.MaxBatch)
	if n := len(rd.Committed); n > 0 {
		r.lastApplied = rd.Committed[n-1].Index
	}
	rd.Because, r.reasons = r.reasons, nil
	return rd, !rd.empty()
}

// Status is what a node says of itself.
type Status struct {
	ID     string
	Role   Role
	Term   Term
	Leader string // None if not known

	LastIndex   Index
	LastTerm    Term
	CommitIndex Index
	// CommitTerm is the term of the last committed entry. A leader has all that is committed, but knows that it is
	// only once this is its own term (§8).
	CommitTerm   Term
	AppliedIndex Index
	// SnapshotIndex is up to where the last snapshot stands for the log.
	SnapshotIndex Index
}

// Status returns how things are.
func (r *Raft) Status() Status {
	lastTerm, _ := r.log.term(r.log.lastIndex())
	commitTerm, _ := r.log.term(r.commitIndex)
	return Status{
		ID: r.options.ID, Role: r.role, Term: r.currentTerm, Leader: r.leader,
		LastIndex: r.log.lastIndex(), LastTerm: lastTerm,
		CommitIndex: r.commitIndex, CommitTerm: commitTerm, AppliedIndex: r.lastApplied,
		SnapshotIndex: r.snapshot.LastIncludedIndex,
	}
}

// Entries returns the log's entries after index, as far as they are there.
func (r *Raft) Entries(after Index) []Entry {
	return r.log.slice(max(after, r.log.base())+1, r.log.lastIndex(), math.MaxInt)
}
