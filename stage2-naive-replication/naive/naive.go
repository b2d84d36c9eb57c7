// Package naive replicates writes the way one would at first. The leader sends each write to all followers.
// A follower carries it out as it comes and says so. When a majority of the cluster has, the leader carries it
// out too.
//
// That is all there is: no log, no order, no second try, no recovery. It is wrong on purpose, and the tests of
// this stage show how.
//
// The package does nothing by itself. Calls change it, and Ready says what the caller must now do.
package naive

import (
	"encoding/json"
	"errors"
	"slices"
)

// ErrNotLeader is returned by Propose on every node but one.
var ErrNotLeader = errors.New("not the leader")

// A Message goes from one node to another. It has exactly one body.
type Message struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Write asks a follower to carry out an entry.
	Write *Entry `json:"write,omitempty"`
	// Done tells the leader that the entry of this number was carried out.
	Done uint64 `json:"done,omitempty"`
}

// An Entry is a write on its way. The leader numbers them from 1.
type Entry struct {
	Number  uint64          `json:"number"`
	Command json.RawMessage `json:"command"`
}

// A Ready is what must now be done, in the order of its fields.
type Ready struct {
	Committed []Entry   // carry out
	Messages  []Message // send
}

// Naive is one node's part in the replication.
type Naive struct {
	id      string
	leader  string
	cluster []string

	number uint64           // of the last entry proposed
	open   map[uint64]*open // the leader's entries that no majority has carried out
	ready  Ready
}

// An open entry waits for its majority.
type open struct {
	entry Entry
	by    []string // who has carried it out, or will: the leader
}

// New returns node id of a cluster whose leader is given once and for all.
func New(id, leader string, cluster []string) *Naive {
	return &Naive{id: id, leader: leader, cluster: cluster, open: map[uint64]*open{}}
}

// Propose sends a command to all followers and returns its number. It is done once an entry of this number is
// in Ready.Committed. On any node but the leader it returns ErrNotLeader, and has no effect.
func (n *Naive) Propose(command json.RawMessage) (number uint64, err error) {
	if n.id != n.leader {
		return 0, ErrNotLeader
	}
	n.number++
	e := Entry{n.number, command}
	for _, to := range n.cluster {
		if to != n.id {
			n.send(Message{To: to, Write: &e})
		}
	}
	n.open[e.Number] = &open{entry: e}
	n.count(e.Number, n.id)
	return e.Number, nil
}

// Abandon gives an entry up. Followers that have carried it out keep it all the same.
func (n *Naive) Abandon(number uint64) { delete(n.open, number) }

// Step takes in a message from another node.
func (n *Naive) Step(m Message) {
	switch {
	case m.Write != nil && m.From == n.leader:
		n.ready.Committed = append(n.ready.Committed, *m.Write)
		n.send(Message{To: m.From, Done: m.Write.Number})
	case m.Done != 0 && slices.Contains(n.cluster, m.From):
		n.count(m.Done, m.From)
	}
}

// count notes that a node has carried an entry out, and commits it if that makes a majority of the cluster.
func (n *Naive) count(number uint64, by string) {
	o := n.open[number]
	if o == nil || slices.Contains(o.by, by) {
		return
	}
	o.by = append(o.by, by)
	if len(o.by) > len(n.cluster)/2 {
		delete(n.open, number)
		n.ready.Committed = append(n.ready.Committed, o.entry)
	}
}

func (n *Naive) send(m Message) {
	m.From = n.id
	n.ready.Messages = append(n.ready.Messages, m)
}

// Ready returns what is to be done, and whether there is anything. The caller carries it out before it calls
// again.
func (n *Naive) Ready() (rd Ready, ok bool) {
	rd, n.ready = n.ready, Ready{}
	return rd, len(rd.Committed)+len(rd.Messages) > 0
}
