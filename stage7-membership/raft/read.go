package raft

import "errors"

// ErrNotReady is returned by a leader that does not know yet what is committed.
var ErrNotReady = errors.New("nothing of this term is committed yet")

// Read says when the state machine may be read, so that whoever asks sees all that was committed before (§8, D§6.4): once
// AnsweredRound is at least round, and the entry at index has been applied. The round is the next, so it begins after the
// call: who answers it has not voted for a newer leader until then, and what such a leader commits comes later. Many
// reads may share one. All that wait are lost when this node leads no more, even if it leads again. It returns
// ErrNotLeader or ErrNotReady where it cannot say.
func (r *Raft) Read() (round uint64, index Index, err error) {
	if r.role != Leader {
		return 0, 0, ErrNotLeader
	}
	if term, _ := r.log.term(r.commitIndex); term != r.currentTerm {
		return 0, 0, ErrNotReady
	}
	r.heartbeatDue = true
	return r.round + 1, r.commitIndex, nil
}
