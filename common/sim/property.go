package sim

// A Property is what must always be true.
type Property string

// The properties of Figure 3 of the paper.
const (
	// ElectionSafety: a term has one leader at most.
	ElectionSafety Property = "Election Safety"
	// LeaderAppendOnly: a leader never changes or removes entries of its log.
	LeaderAppendOnly Property = "Leader Append-Only"
	// LogMatching: two logs that have an entry with the same index and term are the same up to there.
	LogMatching Property = "Log Matching"
	// LeaderCompleteness: what is committed in a term is in the logs of the leaders of all later terms.
	LeaderCompleteness Property = "Leader Completeness"
	// StateMachineSafety: no two nodes commit or apply different entries with the same index.
	StateMachineSafety Property = "State Machine Safety"
)

// What they rest on, and what a client may expect.
const (
	// Durability: what is committed is on the disks of a majority, and stays on those that have heard of the term in
	// which it was.
	Durability Property = "Durability"
	// SavedFirst: a message says nothing that a crash could take back.
	SavedFirst Property = "Saved First"
	// Memory: once a node has saved what it had to, it remembers its log as it is on its disk.
	Memory Property = "Memory"
	// Monotony: a node's term and what it has committed and applied never fall.
	Monotony Property = "Monotony"
	// ApplyOrder: a node applies each committed entry of its log once, in order.
	ApplyOrder Property = "Apply Order"
	// Honesty: what is acknowledged is in the log once, in an order that agrees with time; what was refused is not;
	// what is unknown is there at most once.
	Honesty Property = "Honesty"
	// Linearizability: whoever reads sees all that was acknowledged, or read, before it asked.
	Linearizability Property = "Linearizability"
	// Configuration: a node counts by the last configuration in its log, committed or not.
	Configuration Property = "Configuration"
	// Calm: once all is well, the leader leads on. Nodes that were removed do not disturb it.
	Calm Property = "Calm"
	// Agreement: once faults have ended, all logs are the same in the end.
	Agreement Property = "Agreement"
	// Liveness: once faults have ended, something new is committed.
	Liveness Property = "Liveness"
	// NoPanic: whatever comes, no node ends by itself.
	NoPanic Property = "No Panic"
	// Determinism: the same seed is the same run.
	Determinism Property = "Determinism"
)

// needCare are the properties that no algorithm can keep whose leaders are ordered by somebody careless.
var needCare = []Property{LeaderCompleteness, StateMachineSafety, Durability, Honesty, Agreement, Liveness}

// A violation is what went wrong.
type violation struct {
	property Property
	text     string
}

func (v violation) String() string { return string(v.property) + ": " + v.text }
