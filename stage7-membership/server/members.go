package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
)

// follow has links to the members, and tells clients of them.
func (n *Node) follow(c raft.Configuration) {
	n.config.Store(&c)
	maps.DeleteFunc(n.fresh.heard, func(id string, _ uint64) bool { return !takesPart(&c, id) })
	n.peers.Follow(c.Members())
}

// Members is what the node knows of who is in the cluster, committed or not.
func (n *Node) Members() []api.Member {
	c := n.config.Load()
	all := []api.Member{}
	for _, m := range c.Members() {
		state := api.Voter
		switch now, next := named(c.Voters, m.ID), c.Next == nil || named(c.Next, m.ID); {
		case !now:
			state = api.Joining
		case !next:
			state = api.Leaving
		}
		all = append(all, api.Member{ID: m.ID, Peer: m.Peer, Client: m.Client, State: state})
	}
	return all
}

// Applied is the last entry that the node has applied.
func (n *Node) Applied() uint64 { return uint64(n.view.Load().index) }

func takesPart(c *raft.Configuration, id string) bool {
	return named(c.Voters, id) || named(c.Next, id)
}

func named(members []raft.Member, id string) bool {
	return slices.ContainsFunc(members, func(m raft.Member) bool { return m.ID == id })
}

// manage takes in an order about the members.
func (n *Node) manage(w write) {
	if n.core.Status().Role != raft.Leader { // first: what is a good change the members say, and others may know old ones
		w.reply(api.Refuse(w.request.ID, n.notLeader()))
		return
	}
	var err error
	if w.request.Op == api.Transfer {
		err = n.core.Transfer(w.request.Key)
	} else {
		var refused *api.Error
		if w.next, refused = n.next(*w.request.Value); refused != nil {
			w.reply(api.Refuse(w.request.ID, refused))
			return
		}
		err = n.core.Change(w.next)
	}
	switch err {
	case nil:
		w.term = n.core.Status().Term
		n.managing = append(n.managing, w)
	case raft.ErrNoVoter:
		w.reply(api.Refuse(w.request.ID, api.Errorf(api.BadRequest, "%.40q cannot lead: %s", w.request.Key, n.config.Load())))
	case raft.ErrNoVoters:
		w.reply(api.Refuse(w.request.ID, api.Errorf(api.BadRequest, "nobody would be left")))
	default:
		w.reply(api.Refuse(w.request.ID, api.Errorf(api.Unavailable, "%v", err)))
	}
}

// next is who the voters will be after a change, such as "+n6=PEER/CLIENT -n2". It begins with those that are already to
// be: so the same change asked for twice is one. Nor is it an error to remove who is no member: a client that asks again
// may come when it is done.
func (n *Node) next(change string) ([]raft.Member, *api.Error) {
	c, _ := n.core.Configuration()
	next := slices.Clone(c.Voters)
	if c.Next != nil {
		next = slices.Clone(c.Next)
	}
	for _, word := range strings.Fields(change) {
		if id, ok := strings.CutPrefix(word, "-"); ok {
			next = slices.DeleteFunc(next, func(m raft.Member) bool { return m.ID == id })
			continue
		}
		added, err := ParseCluster(strings.TrimPrefix(word, "+"))
		if err != nil {
			return nil, api.Errorf(api.BadRequest, "%v", err)
		}
		for _, m := range added {
			if next, err = with(next, m); err != nil {
				return nil, api.Errorf(api.BadRequest, "%v", err)
			}
		}
	}
	if len(next) > max(maxMembers, len(c.Voters)) { // to remove some is never too much
		return nil, api.Errorf(api.TooLarge, "there would be %d members, at most %d are allowed", len(next), maxMembers)
	}
	// Who is a voter keeps his directory, even if he goes and comes in one change: or an empty one could take his place,
	// and forget at once what he promised.
	for i := range next {
		if j := slices.IndexFunc(c.Voters, func(m raft.Member) bool { return m.ID == next[i].ID }); j >= 0 {
			next[i].Directory = c.Voters[j].Directory
		}
	}
	slices.SortFunc(next, func(a, b raft.Member) int { return strings.Compare(a.ID, b.ID) })
	return next, nil
}

// with adds a member, unless it is there already.
func with(members []raft.Member, m raft.Member) ([]raft.Member, error) {
	for _, other := range members {
		switch {
		case other.ID == m.ID && other.Peer == m.Peer && other.Client == m.Client:
			return members, nil
		case other.ID == m.ID:
			return nil, fmt.Errorf("%s is a member already, at %s/%s", m.ID, other.Peer, other.Client)
		case other.Peer == m.Peer || other.Client == m.Client:
			return nil, fmt.Errorf("%s/%s is where %s is", m.Peer, m.Client, other.ID)
		}
	}
	return append(members, m), nil
}

// manageOn answers those whose orders are carried out, or will not be.
func (n *Node) manageOn(s raft.Status) {
	if len(n.managing) == 0 {
		return
	}
	c, committed := n.core.Configuration()
	n.managing = slices.DeleteFunc(n.managing, func(w write) bool {
		id := w.request.ID
		switch {
		case w.request.Op == api.Transfer:
			if s.Leader != w.request.Key {
				return false
			}
			w.reply(api.Response{ID: id, OK: true})
		case committed && c.Next == nil && same(c.Voters, w.next):
			w.reply(api.Response{ID: id, OK: true, Members: n.Members()})
		case s.Role != raft.Leader || s.Term != w.term: // cut off here, it may stand in the log of a later leader
			w.reply(api.Refuse(id, api.Errorf(api.Timeout, "leadership was lost: the change may go on, and asking for it again does no harm")))
		case committed && c.Next == nil:
			w.reply(api.Refuse(id, api.Errorf(api.NotLevel, "not all of the new members became level: the members are %s, as before", &c)))
		default:
			return false
		}
		return true
	})
}

// same reports whether two lists have the same nodes, at the same addresses.
func same(a, b []raft.Member) bool {
	return slices.EqualFunc(a, b, func(a, b raft.Member) bool {
		return a.ID == b.ID && a.Peer == b.Peer && a.Client == b.Client
	})
}

// identify records the directories of members of whom none is recorded, if this node leads.
func (n *Node) identify() {
	c, _ := n.core.Configuration()
	next := slices.Clone(c.Voters)
	for i, m := range next {
		switch {
		case m.Directory != "":
		case m.ID == n.ID:
			next[i].Directory = n.disk.head.Directory
		default:
			next[i].Directory = n.peers.Directory(m.ID)
		}
	}
	if !slices.Equal(next, c.Voters) && c.Next == nil {
		n.core.Change(next) // it can wait until the next tick
	}
}
