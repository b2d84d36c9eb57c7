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
}

// AppendEntries are the arguments of the RPC of this name in Figure 2. Without entries it is a heartbeat, and is
// treated no differently.
type AppendEntries struct {
	// PrevLogIndex and PrevLogTerm are the place that the entries follow.
	PrevLogIndex Index   `json:"prev_index"`
	PrevLogTerm  Term    `json:"prev_term"`
	Entries      []Entry `json:"entries,omitempty"`
	LeaderCommit Index   `json:"commit"`
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
}

// wrong says what no node would send, or nothing. Whoever can connect can send anything.
func (m *Message) wrong() string {
	a := m.AppendEntries
	if (a != nil) == (m.AppendEntriesReply != nil) {
		return "(not one body)"
	}
	if a == nil {
		return ""
	}
	index, term := a.PrevLogIndex, a.PrevLogTerm
	for _, e := range a.Entries {
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
	switch a, reply := m.AppendEntries, m.AppendEntriesReply; {
	case a != nil:
		return fmt.Sprintf("t%d append prev=%d@%d [%s] commit=%d", m.Term, a.PrevLogIndex, a.PrevLogTerm, places(a.Entries), a.LeaderCommit)
	case reply == nil:
		return fmt.Sprintf("t%d nothing", m.Term)
	case reply.Success:
		return fmt.Sprintf("t%d appended %d", m.Term, reply.Index)
	default:
		return fmt.Sprintf("t%d refused prev=%d, try %d@%d", m.Term, reply.Index, reply.HintIndex, reply.HintTerm)
	}
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
