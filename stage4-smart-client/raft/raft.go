// Package raft is the consensus algorithm, and nothing else: it keeps one log on many nodes the same, as far as a
// majority has it.
//
// A [Raft] is one node's part. It does nothing by itself: it has no clock, no network, no disk, no goroutine and no
// lock. Calls change it, and [Raft.Ready] says what its caller must now do. The same calls have the same outcome,
// always.
//
//	r.Tick()             a unit of time has passed
//	r.Step(m)            a message has come from another node
//	r.Propose(command)   a client wants this in the log
//	r.Lead()             the operator wants this node to lead
//	r.Ready()            what must be saved, sent and applied
//
// Names are those of Figure 2 of the paper, and each handler is one of its boxes:
//
//	state                raft.go, HardState and Raft
//	AppendEntries RPC    replication.go, handleAppendEntries
//	rules for leaders    replication.go, replicate, handleAppendEntriesReply, advanceCommit
//	rules for all        raft.go, Step; ready.go, Ready
//
// Elections are missing: who leads a term is the operator's choice (lead.go).
package raft

import (
	"encoding/json"
	"errors"
	"fmt"
)

// An Index is a place in the log. The first entry has index 1; 0 is the place before it.
type Index uint64

// A Term is a reign: it has one leader at most. The first is 1; 0 is the time before it.
type Term uint64

// None is no node.
const None = ""

// ErrNotLeader is returned by a node that does not lead, for what only a leader can do.
var ErrNotLeader = errors.New("not the leader")

// ErrTooMuch is returned by Propose while Options.MaxUncommitted bytes wait for a majority.
var ErrTooMuch = errors.New("too much waits for a majority")

// An Entry is one command in the log.
type Entry struct {
	Index Index `json:"index"`
	// Term is that of the leader who made the entry.
	Term Term `json:"term"`
	// Command is for the state machine: any JSON, which nobody may change any more. It is empty in the entry with
	// which a leader begins its term.
	Command json.RawMessage `json:"command,omitempty"`
}

// String is the entry's place: 7@2, index 7 of term 2.
func (e Entry) String() string { return fmt.Sprintf("%d@%d", e.Index, e.Term) }

// A Role is what a node does in its current term.
type Role int

const (
	Follower Role = iota
	Leader
)

func (r Role) String() string { return [...]string{"follower", "leader"}[r] }

// HardState is what must not be forgotten, beside the log (Figure 2, persistent state).
type HardState struct {
	// Term is the latest term that this node has seen.
	Term Term `json:"term"`
}

// Options say who a node is, and how it works. All but Explain must be set.
type Options struct {
	// ID is this node's name.
	ID string
	// Nodes are the names of all nodes, this one included.
	Nodes []string
	// HeartbeatTicks is how many ticks a leader lets pass before it sends a message without entries.
	HeartbeatTicks int
	// MaxBatch is how many bytes of commands go into one message, or are to be applied at once; a longer command
	// goes alone.
	MaxBatch int
	// MaxInflight is how many messages with entries may be on their way to one follower.
	MaxInflight int
	// MaxUncommitted is how many bytes of commands may wait for a majority before Propose takes no more.
	MaxUncommitted int
	// Explain makes the core say why it does what it does, in Ready.Because.
	Explain bool
}

// A Raft is one node's part in the consensus.
type Raft struct {
	options Options
	config  config

	// Persistent state on all servers.
	currentTerm Term
	log         log

	// Volatile state on all servers.
	commitIndex Index
	lastApplied Index
	role        Role
	leader      string // who leads the current term, as far as this node knows

	// Volatile state on leaders, made anew with each term.
	progress         map[string]*progress // of each other node
	heartbeatElapsed int                  // ticks since the last heartbeat
	heartbeatDue     bool
	uncommitted      int // bytes of commands
	round            uint64

	// What the next Ready says.
	saved    HardState
	messages []Message
	reasons  []string
}

// New returns a node that has on its disk what hard and entries say: for a new node, nothing. It follows, and has
// not heard of anything that is committed. It panics if entries are not the beginning of a log.
func New(o Options, hard HardState, entries []Entry) *Raft {
	return &Raft{options: o, config: newConfig(o.Nodes), currentTerm: hard.Term, saved: hard, log: newLog(entries)}
}

// Tick says that a unit of time has passed.
func (r *Raft) Tick() {
	if r.role != Leader {
		return
	}
	r.heartbeatElapsed++
	if r.heartbeatElapsed >= r.options.HeartbeatTicks {
		r.heartbeatElapsed, r.heartbeatDue = 0, true
	}
}

// Step takes in a message from another node. It returns nothing: a message can be wrong, but it cannot fail. It
// may be lost, late, or there twice.
func (r *Raft) Step(m Message) {
	if why := m.wrong(); why != "" || m.To != r.options.ID || m.From == m.To || !r.config.has(m.From) {
		r.because("ignored: it is no message to this node from another of the cluster %s", why)
		return
	}
	if m.Term > r.currentTerm { // all servers, second rule (§5.1)
		r.because("§5.1: term %d is newer than %d", m.Term, r.currentTerm)
		r.becomeFollower(m.Term, None)
	}
	switch {
	case m.AppendEntries != nil:
		r.handleAppendEntries(m, *m.AppendEntries)
	case m.AppendEntriesReply != nil:
		r.handleAppendEntriesReply(m, *m.AppendEntriesReply)
	}
}

// Propose appends command to the leader's log and returns where. It is not committed yet; it is once an entry with
// this index and this term is in Ready.Committed. If another one is there with this index, command is lost. It
// returns ErrNotLeader or ErrTooMuch, with no effect, where it cannot.
func (r *Raft) Propose(command json.RawMessage) (Index, Term, error) {
	if r.role != Leader {
		return 0, 0, ErrNotLeader
	}
	if r.uncommitted+len(command) > r.options.MaxUncommitted {
		return 0, 0, ErrTooMuch
	}
	e := r.appendOwn(command)
	return e.Index, e.Term, nil
}

// appendOwn appends an entry of this leader's term. A leader only ever adds to its log (§5.3).
func (r *Raft) appendOwn(command json.RawMessage) Entry {
	e := Entry{r.log.lastIndex() + 1, r.currentTerm, command}
	r.log.append(e)
	r.uncommitted += len(command)
	return e
}

// becomeFollower follows leader in term, which is not older than the current one: None where that is not known.
func (r *Raft) becomeFollower(term Term, leader string) {
	r.currentTerm = term
	r.role = Follower
	r.leader = leader
	r.progress = nil
}

// becomeLeader begins the reign of this node over the current term. Its first entry is empty: entries of terms before
// are committed only together with one of this term (§5.4.2), and nobody else may come to write one (§8).
func (r *Raft) becomeLeader() {
	r.role = Leader
	r.leader = r.options.ID
	r.progress = map[string]*progress{}
	for _, id := range r.config.nodes {
		if id != r.options.ID {
			r.progress[id] = &progress{nextIndex: r.log.lastIndex() + 1, probing: true}
		}
	}
	r.heartbeatElapsed, r.heartbeatDue = 0, true
	r.round = 0
	r.uncommitted = r.log.size(r.commitIndex)
	r.appendOwn(nil)
}

// commitTo notes that entries are committed up to index. It never goes back: what is committed stays so, and an old
// message says less than a new one.
func (r *Raft) commitTo(index Index) {
	if index > r.commitIndex {
		r.because("committed up to %d, after %d", index, r.commitIndex)
		r.commitIndex = index
	}
}

// send puts a message among those of the next Ready.
func (r *Raft) send(to string, m Message) {
	m.From, m.To, m.Term = r.options.ID, to, r.currentTerm
	r.messages = append(r.messages, m)
}

// Explain makes the core say why it does what it does, in Ready.Because, or no longer.
func (r *Raft) Explain(on bool) { r.options.Explain = on }

// because says why something is done, or not done, if anybody wants to know.
func (r *Raft) because(format string, args ...any) {
	if r.options.Explain {
		r.reasons = append(r.reasons, fmt.Sprintf(format, args...))
	}
}
