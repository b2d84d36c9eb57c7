package raft

import (
	"slices"
	"strings"
)

// A Member is a node as all know it. The core knows it by its ID alone; the rest is for who hosts it.
type Member struct {
	ID string `json:"id"`
	// Peer is where it listens to other nodes, Client where to clients.
	Peer   string `json:"peer,omitempty"`
	Client string `json:"client,omitempty"`
	// Directory is the identity of its disk: a node that has lost what it promised is another. Empty if not known yet.
	Directory string `json:"directory,omitempty"`
}

// A Configuration says whose majority decides (§6). It stands in the log. While it is changed it goes through three states:
//
//	Voters, Next         those of Next who are no voters are sent the log, and count nowhere (D§4.2.1)
//	Voters, Next, Joint  a majority of each is needed: C-old,new of the paper
//	Voters               what was Next
type Configuration struct {
	Voters []Member `json:"voters"`
	Next   []Member `json:"next,omitempty"`
	Joint  bool     `json:"joint,omitempty"`
}

// String names the voters: n1 n2 n3, with n4 to come; or n1 n2 n3 and n1 n2 n4.
func (c *Configuration) String() string {
	text := ids(c.Voters)
	switch {
	case c.Joint:
		text += ", and " + ids(c.Next)
	case c.Next != nil:
		text += ", and then " + ids(c.Next)
	}
	return text
}

// size is about how many bytes a configuration takes.
func (c *Configuration) size() (n int) {
	for _, m := range slices.Concat(c.Voters, c.Next) {
		n += len(m.ID) + len(m.Peer) + len(m.Client) + len(m.Directory) + 64
	}
	return n
}

func ids(members []Member) string {
	var all []string
	for _, m := range members {
		all = append(all, m.ID)
	}
	return strings.Join(all, " ")
}

func byID(a, b Member) int { return strings.Compare(a.ID, b.ID) }

// Members are all that are sent the log, in order.
func (c *Configuration) Members() []Member {
	all := slices.SortedStableFunc(slices.Values(slices.Concat(c.Next, c.Voters)), byID)
	return slices.CompactFunc(all, func(a, b Member) bool { return a.ID == b.ID })
}

// votes reports whether a node counts.
func (c *Configuration) votes(id string) bool {
	return has(c.Voters, id) || c.Joint && has(c.Next, id)
}

func has(members []Member, id string) bool {
	return slices.ContainsFunc(members, func(m Member) bool { return m.ID == id })
}

// A config is the configuration in force: the last in the log, committed or not (§6). Heads are counted here and nowhere
// else.
type config struct {
	Configuration
	index Index    // of its entry, or of the snapshot that has it
	nodes []string // all its members, sorted
}

func newConfig(c Configuration, index Index) config {
	var nodes []string
	for _, m := range c.Members() {
		nodes = append(nodes, m.ID)
	}
	return config{c, index, nodes}
}

// majority returns the highest index that more than half of the voters have reached; in the joint state, of both.
func (c *config) majority(reached func(id string) Index) Index {
	index := middle(c.Voters, reached)
	if c.Joint {
		index = min(index, middle(c.Next, reached))
	}
	return index
}

// middle returns the highest index that more than half of members have reached: with the indices in falling order, the
// one in the middle, or the later of two. Of 4 nodes it takes 3: two halves have nobody in common.
func middle(members []Member, reached func(id string) Index) Index {
	indices := make([]Index, 0, 8)
	for _, m := range members {
		indices = append(indices, reached(m.ID))
	}
	if len(indices) == 0 {
		return 0 // nobody decides
	}
	slices.Sort(indices)
	slices.Reverse(indices)
	return indices[len(indices)/2]
}
