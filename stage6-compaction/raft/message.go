package raft

import (
	"fmt"
	"strings"
)

// A Message goes from one node to another. It has exactly one body.
type Message struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Term is the sender's current term.
	Term Term `json:"term"`

	AppendEntries      *AppendEntries      `json:"append,omitempty"`
	AppendEntriesReply *AppendEntriesReply `json:"appended,omitempty"`
	RequestVote        *RequestVote        `json:"request_vote,omitempty"`
	RequestVoteReply   *RequestVoteReply   `json:"voted,omitempty"`

	InstallSnapshot      *InstallSnapshot      `json:"snapshot,omitempty"`
	InstallSnapshotReply *InstallSnapshotReply `json:"installed,omitempty"`
}

// Round is that of a leader's message, 0 of any other.
func (m *Message) Round() uint64 {
	switch {
	case m.AppendEntries != nil:
		return m.AppendEntries.Round
	case m.InstallSnapshot != nil:
		return m.InstallSnapshot.Round
	}
	return 0
}

// AppendEntries are the arguments of the RPC of this name in Figure 2. Without entries it is a heartbeat, and is
// treated no differently.
type AppendEntries struct {
	// PrevLogIndex and PrevLogTerm are the place that the entries follow.
	PrevLogIndex Index   `json:"prev_index"`
	PrevLogTerm  Term    `json:"prev_term"`
	Entries      []Entry `json:"entries,omitempty"`
	LeaderCommit Index   `json:"commit"`
	// Round counts the leader's sendings in its term. The answer repeats it: who answers has not heard of a newer term
	// by then.
	Round uint64 `json:"round,omitempty"`
}

// last is the index up to which the sender vouches for the receiver's log.
func (a *AppendEntries) last() Index { return a.PrevLogIndex + Index(len(a.Entries)) }

// AppendEntriesReply answers AppendEntries. The paper's has a term, which is the message's, and success. Since
// messages here may be late, there twice, or many on the way, it also says what it is about.
type AppendEntriesReply struct {
	Success bool `json:"success"`
	// Index is, on success, up to where the request vouched for this log. Otherwise it is its PrevLogIndex, or 0 if
	// the request's term is over.
	Index Index `json:"index"`
	// HintIndex and HintTerm go with a refusal: the last place where the two logs may agree.
	HintIndex Index `json:"hint_index,omitempty"`
	HintTerm  Term  `json:"hint_term,omitempty"`
	// Round is that of the request.
	Round uint64 `json:"round,omitempty"`
}

// maxTerm is more than there will ever be. Far beyond it terms would begin again at 0.
const maxTerm = 1 << 62

// wrong says what no node would send, or nothing. Whoever can connect can send anything.
func (m *Message) wrong() string {
	if m.Term > maxTerm {
		return fmt.Sprintf("(no term is %d)", m.Term)
	}
	bodies := 0
	for _, there := range []bool{m.AppendEntries != nil, m.AppendEntriesReply != nil, m.RequestVote != nil, m.RequestVoteReply != nil,
		m.InstallSnapshot != nil, m.InstallSnapshotReply != nil} {
		if there {
			bodies++
		}
	}
	if bodies != 1 {
		return fmt.Sprintf("(%d bodies)", bodies)
	}
	if s := m.InstallSnapshot; s != nil && s.LastIncludedTerm > m.Term {
		return fmt.Sprintf("(a snapshot of term %d in a message of term %d)", s.LastIncludedTerm, m.Term)
	}
	if m.AppendEntries == nil {
		return ""
	}
	index, term := m.AppendEntries.PrevLogIndex, m.AppendEntries.PrevLogTerm
	for _, e := range m.AppendEntries.Entries {
		if e.Index != index+1 || e.Term < term {
			return fmt.Sprintf("(%v after %d@%d)", e, index, term)
		}
		index, term = e.Index, e.Term
	}
	if term > m.Term {
		return fmt.Sprintf("(an entry of term %d in a message of term %d)", term, m.Term)
	}
	return ""
}

// String is the message in one line, without its ends: t2 append prev=3@1 [4@2] commit=3.
func (m Message) String() string {
	text := "nothing"
	if a := m.AppendEntries; a != nil {
		text = fmt.Sprintf("append prev=%d@%d [%s] commit=%d", a.PrevLogIndex, a.PrevLogTerm, places(a.Entries), a.LeaderCommit)
	}
	if reply := m.AppendEntriesReply; reply != nil {
		text = fmt.Sprintf("appended %d", reply.Index)
		if !reply.Success {
			text = fmt.Sprintf("refused prev=%d, try %d@%d", reply.Index, reply.HintIndex, reply.HintTerm)
		}
	}
	if v := m.RequestVote; v != nil {
		text = fmt.Sprintf("asks for a vote, log=%d@%d", v.LastLogIndex, v.LastLogTerm)
	}
	if reply := m.RequestVoteReply; reply != nil {
		text = "does not vote for it"
		if reply.Granted {
			text = "votes for it"
		}
	}
	if s := m.InstallSnapshot; s != nil {
		text = fmt.Sprintf("snapshot %d@%d, %d bytes from %d", s.LastIncludedIndex, s.LastIncludedTerm, len(s.Data), s.Offset)
		if s.Done {
			text += ", the last"
		}
	}
	if reply := m.InstallSnapshotReply; reply != nil {
		text = fmt.Sprintf("has %d bytes of snapshot %d", reply.Offset, reply.LastIncludedIndex)
		if reply.Done {
			text = fmt.Sprintf("has all that snapshot %d stands for", reply.LastIncludedIndex)
		}
	}
	return fmt.Sprintf("t%d %s", m.Term, text)
}

// places names entries: all, or the first and the last of many.
func places(entries []Entry) string {
	if n := len(entries); n > 8 {
		return fmt.Sprintf("%v ... %v", entries[0], entries[n-1])
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.String())
	}
	return strings.Join(names, " ")
}
