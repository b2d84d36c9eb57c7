package server

import (
	"slices"
	"time"

	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
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
			n.carryOut(w, n.Read)
		}
		return ready
	})
}

// Behind reports whether a read must wait: until this node has applied more, or knows what is committed; a list, for its
// turn.
func (n *Node) Behind(r api.Request) bool {
	return r.Op == api.List || r.MaxStalenessMS == nil || raft.Index(r.MinIndex) > n.view.Load().index
}

// Await takes in a request that is no write. It is answered through reply, as soon as it need not wait any more.
func (n *Node) Await(r api.Request, reply func(api.Response)) {
	n.submit(write{request: r, reply: reply})
}

// Read answers a read that may be outdated from what this node has applied, or refuses it.
func (n *Node) Read(r api.Request) api.Response {
	v := n.view.Load()
	if !v.fit {
		return api.Refuse(r.ID, api.Errorf(api.Unavailable, "%s has not heard yet what is committed", n.ID))
	}
	age, known := v.age() // before it reads: what comes in between is newer
	switch limit := *r.MaxStalenessMS; {
	case !known:
		return api.Refuse(r.ID, api.Errorf(api.Stale, "%s does not know how outdated it is", n.ID))
	case age > limit:
		return api.Refuse(r.ID, api.Errorf(api.Stale, "%s may be outdated by %d ms, and %d are allowed", n.ID, age, limit))
	}
	resp := n.store.Do(r)
	resp.StalenessMS = &age
	return resp
}

// reads are those that want all that was committed before they came (§8). Those that come while a round is on its way
// share the next.
type reads struct {
	arrived []write
	begun   []write
	round   uint64     // those that have begun wait for its answer from a majority,
	index   raft.Index // and for this entry to be applied
}

func (r *reads) len() int { return len(r.arrived) + len(r.begun) }

func (r *reads) all() []write { return slices.Concat(r.arrived, r.begun) }

// park takes in a read that must wait.
func (n *Node) park(w write) {
	switch {
	case w.request.MaxStalenessMS == nil:
		n.reads.arrived = append(n.reads.arrived, w)
	case len(n.parked) >= maxWaiting: // whom nothing may ever reach: they keep nobody else from waiting
		w.reply(api.Refuse(w.request.ID, errBusy))
	default:
		n.parked = append(n.parked, w)
	}
}

// readOn answers the reads that may be answered, and begins those that have come since. It reports whether the core has
// something to do for that.
func (n *Node) readOn() bool {
	r := &n.reads
	if len(r.begun) > 0 && n.core.AnsweredRound() >= r.round && n.core.Status().AppliedIndex >= r.index {
		for _, w := range r.begun {
			n.carryOut(w, n.store.Do)
		}
		r.begun = nil
	}
	if len(r.begun) > 0 || len(r.arrived) == 0 {
		return false
	}
	round, index, err := n.core.Read()
	switch err {
	case nil:
		r.round, r.index = round, index
		r.begun, r.arrived = r.arrived, nil
		return true
	case raft.ErrNotLeader:
		n.dropReads(n.notLeader())
	}
	return false
}

// carryOut answers a read that need not wait any more. A list looks at every key, and the node has other things to do
// meanwhile: lists are made beside it, one at a time.
func (n *Node) carryOut(w write, read func(api.Request) api.Response) {
	if w.request.Op != api.List {
		w.reply(read(w.request))
		return
	}
	select {
	case n.lists <- struct{}{}:
	default:
		w.reply(api.Refuse(w.request.ID, errBusy))
		return
	}
	n.running.Go(func() {
		defer func() { <-n.lists }()
		select {
		case n.listing <- struct{}{}:
			defer func() { <-n.listing }()
		case <-time.After(time.Until(w.deadline)):
		case <-n.life.Done():
		}
		if n.life.Err() != nil || !time.Now().Before(w.deadline) {
			w.reply(api.Refuse(w.request.ID, api.Errorf(api.Unavailable, "%s does not come to it in time", n.ID)))
			return
		}
		w.reply(read(w.request))
	})
}

// dropReads refuses all reads that wait for this node as a leader. A read that is not answered did nothing.
func (n *Node) dropReads(why *api.Error) {
	for _, w := range n.reads.all() {
		w.reply(api.Refuse(w.request.ID, why))
	}
	n.reads = reads{}
}

// expireReads refuses the reads whose time is up.
func (n *Node) expireReads(now time.Time) {
	n.parked = inTime(n.parked, now, api.Stale, n.ID+" is not as far in time as the read wants")
	n.reads.arrived = inTime(n.reads.arrived, now, api.Unavailable, n.ID+" does not know in time what is committed")
	n.reads.begun = inTime(n.reads.begun, now, api.Unavailable, n.ID+" does not know in time whether it still leads")
}

// inTime refuses the requests whose time is up, and returns the others.
func inTime(waiting []write, now time.Time, code, why string) []write {
	return slices.DeleteFunc(waiting, func(w write) bool {
		late := now.After(w.deadline)
		if late {
			w.reply(api.Refuse(w.request.ID, api.Errorf(code, "%s", why)))
		}
		return late
	})
}
