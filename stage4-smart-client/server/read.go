package server

import (
	"slices"
	"time"

	"raftworkbook/stage4-smart-client/api"
	"raftworkbook/stage4-smart-client/raft"
)

// A view is how the node's store is to be read.
type view struct {
	fit   bool // to be read
	index raft.Index
	asOf  time.Time // see freshness
}

// age is how many milliseconds what is read now is outdated at most, if that is known.
func (v *view) age() (ms uint64, known bool) {
	return uint64((time.Since(v.asOf) + time.Millisecond - 1).Milliseconds()), !v.asOf.IsZero()
}

// look settles how the store is to be read. A leader has all that is committed, but knows how far only once an entry of
// its own term is (§8). A follower has an old answer at best; one that has heard of no commit has none.
func (n *Node) look(s raft.Status) {
	fit := s.CommitIndex > 0
	if s.Role == raft.Leader {
		fit = s.CommitTerm == s.Term && s.AppliedIndex == s.CommitIndex
	}
	if v := (view{fit, s.AppliedIndex, n.fresh.asOf}); v != *n.view.Load() {
		n.view.Store(&v)
	}
	n.parked = slices.DeleteFunc(n.parked, func(w write) bool {
		ready := raft.Index(w.request.MinIndex) <= s.AppliedIndex
		if ready {
			w.reply(n.Read(w.request))
		}
		return ready
	})
}

// Behind reports whether a read must wait until this node has applied more.
func (n *Node) Behind(r api.Request) bool { return raft.Index(r.MinIndex) > n.view.Load().index }

// Await takes in a request that is no write. It is answered through reply, as soon as it need not wait any more.
func (n *Node) Await(r api.Request, reply func(api.Response)) {
	n.submit(write{request: r, reply: reply})
}

// Read answers a request that changes nothing from what this node has applied, or refuses it.
func (n *Node) Read(r api.Request) api.Response {
	v := n.view.Load()
	if !v.fit {
		return api.Refuse(r.ID, api.Errorf(api.Unavailable, "%s has not heard yet what is committed", n.ID))
	}
	age, known := v.age() // before it reads: what comes in between is newer
	switch limit := r.MaxStalenessMS; {
	case limit != nil && !known:
		return api.Refuse(r.ID, api.Errorf(api.Stale, "%s does not know how outdated it is", n.ID))
	case limit != nil && age > *limit:
		return api.Refuse(r.ID, api.Errorf(api.Stale, "%s may be outdated by %d ms, and %d are allowed", n.ID, age, *limit))
	}
	resp := n.store.Do(r)
	if known {
		resp.StalenessMS = &age
	}
	return resp
}
