package raft_test

import (
	"encoding/json"
	"fmt"

	"raftworkbook/stage6-compaction/raft"
)

// A counter is a state machine, and a host for the core in the fewest lines: what it commits are numbers, which are
// added up. Its disk and its network are variables.
type counter struct {
	core *raft.Raft
	sum  int

	term     raft.HardState // on disk
	snapshot raft.Snapshot  // on disk
	log      []raft.Entry   // on disk; the first is the place that the others follow
}

func newCounter(id string, nodes []string, term raft.HardState, snapshot raft.Snapshot, log []raft.Entry) *counter {
	c := &counter{term: term, core: raft.New(raft.Options{
		ID:             id,
		Nodes:          nodes,
		HeartbeatTicks: 1,
		MaxBatch:       64 << 10,
		MaxInflight:    16,
		MaxUncommitted: 1 << 20,
		ElectionTicks:  10,
		Random:         func(int) int { return 0 },
	}, term, snapshot, log)}
	c.restore(snapshot)
	c.log = c.core.Log()
	return c
}

// flush carries out what the core wants: in the order of Ready's fields, each finished before the next is begun, until
// there is nothing more.
func (c *counter) flush(send func(raft.Message)) {
	for rd, ok := c.core.Ready(); ok; rd, ok = c.core.Ready() {
		for _, m := range rd.Appends {
			send(m)
		}
		if rd.HardState != nil {
			c.term = *rd.HardState
		}
		if s := rd.Snapshot; s != nil {
			c.restore(*s)
			c.log = []raft.Entry{{Index: s.LastIncludedIndex, Term: s.LastIncludedTerm}}
		}
		if len(rd.Entries) > 0 {
			c.log = append(c.log[:rd.Entries[0].Index-c.log[0].Index], rd.Entries...)
		}
		// A host with a real disk waits here until it has all of that.
		for _, m := range rd.Messages {
			send(m)
		}
		for _, e := range rd.Committed {
			c.apply(e)
		}
	}
}

// apply adds a number. The entry with which a leader begins its term has none.
func (c *counter) apply(e raft.Entry) {
	if len(e.Command) == 0 {
		return
	}
	var n int
	if err := json.Unmarshal(e.Command, &n); err != nil {
		panic(err) // what is committed was proposed by add
	}
	c.sum += n
}

// compact saves the sum in place of the log that made it.
func (c *counter) compact() {
	index, term := c.core.Applied()
	c.snapshot = raft.Snapshot{LastIncludedIndex: index, LastIncludedTerm: term, Data: fmt.Append(nil, c.sum)}
	c.core.Compact(c.snapshot, 0)
	c.log = c.core.Log()
}

// restore takes the sum from a snapshot. The first one has none.
func (c *counter) restore(s raft.Snapshot) {
	c.snapshot, c.sum = s, 0
	fmt.Sscan(string(s.Data), &c.sum)
}

func (c *counter) add(n int) {
	if _, _, err := c.core.Propose(json.RawMessage(fmt.Sprint(n))); err != nil {
		fmt.Println(err)
	}
}

// One node is a majority of one.
func Example_oneNode() {
	node := newCounter("n1", []string{"n1"}, raft.HardState{}, raft.Snapshot{}, nil)
	node.core.Campaign()
	node.add(2)
	node.add(3)
	fmt.Println("before its log is saved:", node.sum)
	node.flush(func(raft.Message) {})
	fmt.Println("then:", node.sum)

	// The sum is not saved, and need not be: it is what the log makes of 0.
	node = newCounter("n1", []string{"n1"}, node.term, node.snapshot, node.log)
	fmt.Println("started again:", node.sum)
	node.core.Campaign()
	node.flush(func(raft.Message) {})
	fmt.Println("once it leads:", node.sum)
	// Output:
	// before its log is saved: 0
	// then: 5
	// started again: 0
	// once it leads: 5
}

// A snapshot takes the place of the log that made it.
func Example_snapshot() {
	node := newCounter("n1", []string{"n1"}, raft.HardState{}, raft.Snapshot{}, nil)
	node.core.Campaign()
	node.add(2)
	node.add(3)
	node.flush(func(raft.Message) {})
	fmt.Println(node.sum, "of", node.log[1:])
	node.compact()
	node.add(4)
	node.flush(func(raft.Message) {})
	fmt.Println(node.sum, "of", string(node.snapshot.Data), "and", node.log[1:])

	node = newCounter("n1", []string{"n1"}, node.term, node.snapshot, node.log)
	fmt.Println("started again:", node.sum)
	node.core.Campaign()
	node.flush(func(raft.Message) {})
	fmt.Println("once it leads:", node.sum)
	// Output:
	// 5 of [1@1 2@1 3@1]
	// 9 of 5 and [4@1]
	// started again: 5
	// once it leads: 9
}

// Three nodes go on while two of them live.
func Example_threeNodes() {
	names := []string{"n1", "n2", "n3"}
	nodes := map[string]*counter{}
	for _, id := range names {
		nodes[id] = newCounter(id, names, raft.HardState{}, raft.Snapshot{}, nil)
	}
	// run carries messages between the nodes that live, until there are none.
	run := func(living ...string) {
		network := []raft.Message{{}} // to nobody
		for len(network) > 0 {
			m := network[0]
			network = network[1:]
			for _, id := range living {
				if m.To == id {
					nodes[id].core.Step(m)
				}
				nodes[id].flush(func(m raft.Message) { network = append(network, m) })
			}
		}
	}
	sums := func(when string) { fmt.Println(nodes["n1"].sum, nodes["n2"].sum, nodes["n3"].sum, when) }

	nodes["n1"].core.Campaign()
	run("n1", "n2", "n3")
	nodes["n1"].add(2)
	run("n1", "n2", "n3")
	sums("committed, as only the leader knows")
	nodes["n1"].core.Tick()
	run("n1", "n2", "n3")
	sums("after a heartbeat")

	nodes["n1"].add(3)
	run("n1", "n2")
	sums("without n3")
	nodes["n2"].add(4)

	nodes["n3"].core.Campaign() // n1 is dead. n3 lacks what is committed, and n2 does not vote for it.
	run("n2", "n3")
	nodes["n2"].core.Campaign()
	run("n2", "n3")
	nodes["n2"].add(4)
	run("n2", "n3")
	nodes["n2"].core.Tick()
	run("n2", "n3")
	sums("without n1")
	// Output:
	// 2 0 0 committed, as only the leader knows
	// 2 2 2 after a heartbeat
	// 5 2 2 without n3
	// not the leader
	// 5 9 9 without n1
}
