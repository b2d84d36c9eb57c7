// Package sim puts a consensus algorithm through everything that can happen to it: messages that are lost, late, twice
// or overtaken, links that are cut in one direction, clocks that differ, nodes that stop for a while or crash and forget
// what they had not saved. It checks after every step that nothing went wrong.
//
// A whole cluster runs in one goroutine, in time that is only a number. A seed decides all that happens, and draws the
// faults that there are: a fixed mix of faults misses what a particular one finds. The same seed is the same run.
//
// [Careful] and [Careless] run many seeds as a test. [Golden] plays scripts against the same cores, and keeps what they said.
package sim

import "raftworkbook/common/trace"

// An Algorithm is what is simulated, as an adapter shows it. The simulator knows terms, logs, leaders and messages
// between nodes, and nothing of what is in a message or on a disk.
type Algorithm struct {
	// Start returns the core of a node that finds on its disk what was saved there, oldest first.
	Start func(o Options, disk []any) Core
	// Record returns what a node would have saved that is in term and has a log of entries.
	Record func(term uint64, entries []Entry) any
	// Message returns the message that a text says, as nodes write it on the wire.
	Message func(text string) (Message, error)
	// Elects: who leads is for the nodes to decide. The operator's order is to try, he may give it to any node at any
	// time, and every property must hold. The cores are Readers.
	Elects bool
	// Snapshot returns what a node saves that has taken a snapshot; nil if none does. The cores are Snapshotters.
	Snapshot func(s Snapshot) any
	// Bootstrap returns what is on the disk of each of the first members; nil if there are no others ever. The cores are
	// Changers, and Options name no nodes.
	Bootstrap func(members []string) Save
}

// Options are those of one node.
type Options struct {
	ID    string
	Nodes []string
	// HeartbeatTicks, MaxBatch, MaxInflight and MaxUncommitted are as the core has them.
	HeartbeatTicks, MaxBatch, MaxInflight, MaxUncommitted int
	// Explain: the core is to say why.
	Explain bool
	// ElectionTicks and Random are for those that elect.
	ElectionTicks int
	Random        func(n int) int
	// KeepBytes is for those that take snapshots.
	KeepBytes int
}

// A Core is one node's part of the algorithm. Whoever takes a Ready carries it out before the next call.
type Core interface {
	Tick()
	Step(m Message)
	// Propose appends a command, and returns where, or an error if nothing has happened.
	Propose(command []byte) (index, term uint64, err error)
	// Lead is the operator's order: to lead a term that is later than after, or to try.
	Lead(after uint64)
	Ready() (rd Ready, ok bool)
	State() trace.State
	// Log is all of the log, or what is left of it.
	Log() []Entry
}

// A Reader is a Core that says when its state machine may be read by whoever wants to see all that was done before: once
// it has applied the entry at index, and AnsweredRound is round or later in the term of the call.
type Reader interface {
	Read() (round, index uint64, err error)
	AnsweredRound() uint64
}

// A Snapshotter is a Core that takes a snapshot of its state machine in place of the entries that made it.
type Snapshotter interface {
	// Applied is the place of the last entry that was to be applied.
	Applied() (index, term uint64)
	// Compact says that a snapshot is on the disk. It returns what is to be saved then, which is Cut; nil if there is a
	// newer one. All that the core wanted done before has been done.
	Compact(s Snapshot) *Save
}

// A Changer is a Core whose cluster gets other members.
type Changer interface {
	// Change begins to make these the voters. An error means that nothing has happened.
	Change(voters []string) error
	// Transfer hands leadership over to another node.
	Transfer(to string) error
	// Configs are the configuration that is in force, and the one that was when the last entry was made that was to be
	// applied.
	Configs() (now, applied Config)
}

// A Config says whose majority decides: that of Voters, and if it is joint that of Next too. Those of Next are to be the
// voters; nil if there is no change under way.
type Config struct {
	Voters, Next []string
	Joint        bool
}

// A Snapshot is of a state machine that has applied all entries up to one.
type Snapshot struct {
	Index, Term uint64
	Data        []byte
	// Config is for Changers.
	Config Config
}

// A Ready is what a core wants done, in this order.
type Ready struct {
	Appends   []Message // leave at once
	Save      *Save     // nil if there is nothing to save
	Messages  []Message // leave once that is saved
	Committed []Entry   // are applied then
	Because   []string
}

// A Save is what is written to the disk at once: all of it is there after a crash, or none.
type Save struct {
	// Record is for Start. It prints as what a trace says of it.
	Record any
	// Term and Entries are what it says, as far as the simulator checks it: the current term, 0 if unchanged, and
	// entries that replace those from the first on.
	Term    uint64
	Entries []Entry
	// Snapshot, if there is one, takes the place of the one before and of all entries that were there, and becomes the
	// state machine.
	Snapshot *Snapshot
	// Cut: Entries are the end of the log, and all that is left of it.
	Cut bool
}

// An Entry is one of the log.
type Entry struct {
	Index, Term uint64
	Command     []byte
	// Config is in force from here on; nil for that before.
	Config *Config
}

// A Message is one from a node to another.
type Message struct {
	From, To string
	// Body is for Step. It prints as what a trace says of it.
	Body any
	// Term is the sender's current term.
	Term uint64
	// Appended, if not 0, is a promise to the leader of Term: the sender has saved that leader's log up to here.
	Appended uint64
	// Vote, if not empty, is a promise too: the sender votes for this node in Term, and for no other.
	Vote string
}
