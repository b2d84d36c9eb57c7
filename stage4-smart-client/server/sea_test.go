package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files/crash"
	"raftworkbook/common/linear"
	"raftworkbook/stage4-smart-client/api"
	"raftworkbook/stage4-smart-client/raft"
)

// A sea is a fleet whose links can be hurt, in one direction each, and whose nodes can die at any moment.
type sea struct {
	*fleet
	size int
	term raft.Term // of the last reign that was ordered

	mu     sync.Mutex
	random *rand.Rand
	alive  map[string]*Node
	alone  map[string]bool          // nodes that reach nobody, and whom nobody reaches
	torn   map[string]bool          // links ("n1>n2") that lose what goes over them
	slow   map[string]time.Duration // how long what goes over a link takes, at most
	again  float64                  // how much of it comes once more, and late
	fuses  map[string]*atomic.Int32 // how many operations a disk has left before the power fails; 0 for any number
}

// embark starts a cluster of which nobody leads, lets its nodes connect, and runs a test.
func embark(t *testing.T, size int, seed uint64, test func(t *testing.T, s *sea)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &sea{fleet: &fleet{t: t, nodes: map[string]*Node{}, disks: map[string]*crash.Disk{}, cut: map[string]bool{}},
			size: size, random: rand.New(rand.NewPCG(seed, 0)), alive: map[string]*Node{}, alone: map[string]bool{},
			torn: map[string]bool{}, slow: map[string]time.Duration{}, fuses: map[string]*atomic.Int32{}}
		for i := range size {
			id := fmt.Sprintf("n%d", i+1)
			s.members = append(s.members, Member{ID: id, Peer: "peer " + id, Client: "client " + id})
			s.disks[id] = crash.New(seed)
			s.fuses[id] = new(atomic.Int32)
		}
		for _, m := range s.members {
			s.launch(m.ID)
		}
		time.Sleep(2 * maxPause)
		test(t, s)
	})
}

// launch starts a node, with what is on its disk.
func (s *sea) launch(id string) *Node {
	s.t.Helper()
	fuse := s.fuses[id]
	s.disks[id].Fault = func(op crash.Op, _ string) error {
		if (op == crash.Write || op == crash.Sync) && fuse.Load() > 0 && fuse.Add(-1) == 0 {
			return crash.ErrPowerFailure
		}
		return nil
	}
	n, err := NewNode(Config{ID: id, Members: s.members, Data: "data", Files: s.disks[id], Log: func(string, ...any) {},
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			to := strings.TrimPrefix(addr, "peer ")
			if s.fate(id, to).lost {
				return nil, errors.New("cut")
			}
			conn, err := s.DialContext(ctx, "mem", addr)
			return &rough{Conn: conn, sea: s, from: id, to: to}, err
		}})
	require.NoError(s.t, err)
	l, err := s.Listen("peer " + id)
	require.NoError(s.t, err)
	served := make(chan struct{})
	go func() { n.ServePeers(l); close(served) }()
	s.t.Cleanup(func() { <-served })
	s.t.Cleanup(func() { n.Close() })
	s.nodes[id] = n
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive[id] = n
	delete(s.alone, id)
	return n
}

// sink ends a node: in order, or as it is when the power has failed.
func (s *sea) sink(id string) {
	s.mu.Lock()
	delete(s.alive, id)
	s.mu.Unlock()
	s.nodes[id].Close()
	s.fuses[id].Store(0)
	s.disks[id].Restart(crash.Some)
}

// at is the node of that name, nil if it is down.
func (s *sea) at(id string) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alive[id]
}

// up are the nodes that live and reach others, in order.
func (s *sea) up() (ids []string) {
	for _, m := range s.members {
		if s.at(m.ID) != nil && !s.alone[m.ID] {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// change changes how links are.
func (s *sea) change(f func()) {
	s.mu.Lock()
	f()
	s.mu.Unlock()
	synctest.Wait()
}

// isolate lets a node reach nobody, and nobody reach it.
func (s *sea) isolate(ids ...string) {
	s.change(func() {
		for _, id := range ids {
			s.alone[id] = true
		}
	})
}

// part cuts all links between nodes and all others.
func (s *sea) part(ids ...string) {
	s.change(func() {
		for _, a := range s.members {
			for _, b := range s.members {
				if slices.Contains(ids, a.ID) != slices.Contains(ids, b.ID) {
					s.torn[a.ID+">"+b.ID] = true
				}
			}
		}
	})
}

// calm lets all links be whole.
func (s *sea) calm() { s.change(func() { clear(s.alone); clear(s.torn); clear(s.slow) }) }

// A fate is what becomes of what goes over a link now.
type fate struct {
	lost bool
	// late is how long it takes, and again how long until it comes once more; 0 if it does not.
	late, again time.Duration
}

func (s *sea) fate(from, to string) (f fate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	link := from + ">" + to
	f.lost = s.alone[from] || s.alone[to] || s.torn[link]
	if d := s.slow[link]; d > 0 {
		f.late = time.Duration(s.random.Int64N(int64(d)))
	}
	if s.random.Float64() < s.again {
		f.again = time.Duration(s.random.Int64N(int64(2 * time.Second)))
	}
	return f
}

// chance is true with a probability.
func (s *sea) chance(p float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() < p
}

func (s *sea) intN(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

// rough is a connection over which lines are late, lost, or there once more.
type rough struct {
	net.Conn
	sea      *sea
	from, to string
	greeted  bool
}

func (r *rough) Write(b []byte) (int, error) {
	if !r.greeted {
		r.greeted = true
		return r.Conn.Write(b)
	}
	f := r.sea.fate(r.from, r.to)
	time.Sleep(f.late)
	if r.sea.fate(r.from, r.to).lost { // by now
		return len(b), nil
	}
	if f.again > 0 {
		lines := bytes.Clone(b)
		time.AfterFunc(f.again, func() { r.repeat(lines) })
	}
	return r.Conn.Write(b)
}

// repeat brings lines once more, to the same node, in this life or the next.
func (r *rough) repeat(lines []byte) {
	n := r.sea.at(r.to)
	if n == nil || r.sea.fate(r.from, r.to).lost {
		return
	}
	for line := range bytes.Lines(lines) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			n.deliver(r.from, line)
		}
	}
}

// status is how things are at a node.
func (s *sea) status(id string) (status raft.Status) {
	n := s.at(id)
	n.do(func() { status = n.core.Status() })
	return status
}

// lead orders a node to lead a term that is newer than all before. One that dies of it may have carried the order out:
// terms go round, so it leads one of the next at most, and whoever is ordered after it must lead a newer one.
func (s *sea) lead(id string) {
	for n := s.at(id); n.Life().Err() == nil; {
		before := s.status(id).Term
		n.Lead()
		switch after := s.status(id).Term; {
		case after == 0: // it is dead
			s.term = max(s.term, before+raft.Term(s.size))
		case after > s.term:
			s.term = after
			return
		}
	}
}

// succeed puts a leader in place of any other, as an operator does who is careful: whoever leads is dead or cut off from
// all others, and the new one has the best log of a living majority. It reports whether there is such a majority.
func (s *sea) succeed() bool {
	for _, id := range s.up() {
		if s.status(id).Role != raft.Leader {
			continue
		}
		if s.chance(0.5) {
			s.isolate(id)
		} else {
			s.sink(id)
		}
	}
	synctest.Wait()
	living := s.up()
	if len(living) <= s.size/2 {
		return false
	}
	s.lead(slices.MaxFunc(living, func(a, b string) int {
		one, other := s.status(a), s.status(b)
		return cmp.Or(cmp.Compare(one.LastTerm, other.LastTerm), cmp.Compare(one.LastIndex, other.LastIndex))
	}))
	return true
}

// settled reports whether somebody leads the last reign that was ordered, and a majority has heard of it: then no leader
// before can do any harm.
func (s *sea) settled() bool {
	return slices.ContainsFunc(s.up(), func(id string) bool {
		status := s.status(id)
		return status.Role == raft.Leader && status.Term == s.term && status.CommitTerm == s.term
	})
}

// ask sends a request to a node as a client's connection does, and returns the answer, if there is one in time.
func (s *sea) ask(id string, r api.Request, patience time.Duration) (api.Response, bool) {
	n := s.at(id)
	if n == nil {
		return api.Refuse(r.ID, api.Errorf(api.Unavailable, "nobody listens there")), true
	}
	answer := make(chan api.Response, 1)
	reply := func(resp api.Response) { answer <- resp }
	switch {
	case r.Writes():
		n.Write(r, reply)
	case n.Behind(r):
		n.Await(r, reply)
	default:
		reply(n.Read(r))
	}
	select {
	case resp := <-answer:
		return resp, true
	case <-time.After(patience):
		return api.Response{}, false
	}
}

// pause lets a node do nothing for some time.
func (s *sea) pause(id string, long time.Duration) {
	go s.at(id).do(func() { time.Sleep(long) })
	synctest.Wait()
}

// bury ends the nodes whose disks have lost their power.
func (s *sea) bury() {
	for _, m := range s.members {
		if n := s.at(m.ID); n != nil && n.Life().Err() != nil {
			s.sink(m.ID)
		}
	}
}

// storm lets things go wrong for some time. In the end nothing is wrong, and somebody leads.
func (s *sea) storm(long time.Duration) {
	s.change(func() { s.again = 0.1 })
	for begin := time.Now(); time.Since(begin) < long; {
		time.Sleep(time.Duration(s.intN(int(150 * time.Millisecond))))
		s.bury()
		id := s.members[s.intN(s.size)].ID
		link := id + ">" + s.members[s.intN(s.size)].ID
		switch n := s.at(id); s.intN(9) {
		case 0:
			s.change(func() { s.torn[link] = !s.torn[link] })
		case 1:
			s.change(func() { s.slow[link] = time.Duration(s.random.Int64N(int64(300 * time.Millisecond))) })
		case 2:
			if len(s.up()) > s.size/2+1 {
				s.isolate(id)
			}
		case 3:
			if n != nil {
				s.fuses[id].Store(int32(1 + s.intN(10)))
			}
		case 4:
			if n != nil && s.alone[id] {
				s.sink(id)
			}
			if s.at(id) == nil {
				s.launch(id)
			}
		case 5:
			if n != nil {
				s.pause(id, time.Duration(s.intN(int(300*time.Millisecond))))
			}
		case 6, 7:
			if !s.settled() {
				s.succeed()
			}
		case 8:
			if s.settled() {
				s.calm()
			}
		}
	}
	s.change(func() { s.again = 0 })
	for _, m := range s.members {
		s.fuses[m.ID].Store(0)
	}
	s.bury()
	for tries := 0; !s.settled(); tries++ {
		require.Less(s.t, tries, 5)
		for _, m := range s.members { // who leads, or may, ends; so links that heal do no harm
			if s.at(m.ID) != nil && (s.alone[m.ID] || s.status(m.ID).Role == raft.Leader) {
				s.sink(m.ID)
			}
			if s.at(m.ID) == nil {
				s.launch(m.ID)
			}
		}
		s.calm()
		s.succeed()
		time.Sleep(2 * maxPause)
	}
	for _, m := range s.members {
		if s.at(m.ID) == nil {
			s.launch(m.ID)
		}
	}
	s.calm()
	time.Sleep(2 * maxPause)
}

// keys are what clients read and write.
var keys = []string{"a", "b", "c", "d"}

// history is an empty one, in the time of the sea.
func (s *sea) history() *linear.History {
	begin := time.Now()
	return linear.NewHistoryWithClock(func() time.Duration { return time.Since(begin) })
}

// A sailor is a client of a cluster at sea.
type sailor struct {
	*sea
	history *linear.History
	number  int
	session uint64
	seq     uint64
	index   uint64 // the highest that an answer had
}

func (s *sea) sailor(h *linear.History, number int) *sailor {
	return &sailor{sea: s, history: h, number: number}
}

// anyone is a node, be it up or not.
func (c *sailor) anyone() string { return c.members[c.intN(c.size)].ID }

// insist sends a write to one node after the other, until one has an answer or time is up. Then sure says whether it is
// known that nothing has happened.
func (c *sailor) insist(r api.Request, patience time.Duration) (resp api.Response, done, sure bool) {
	to, sure := c.anyone(), true
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(time.Duration(c.intN(int(50 * time.Millisecond)))) {
		r.ID, r.TimeoutMS = r.ID+1, 150
		if c.session > 0 && c.chance(0.1) { // the network brings it once more, and late
			late, there := r, c.anyone()
			time.AfterFunc(time.Duration(c.intN(int(2*time.Second))), func() { c.ask(there, late, time.Second) })
			sure = false
		}
		resp, ok := c.ask(to, r, 200*time.Millisecond)
		to = c.anyone()
		switch {
		case !ok || c.chance(0.2): // the answer gets lost
			sure = false
		case resp.OK:
			return resp, true, true
		case resp.Error.Code == api.NotLeader:
			to = strings.TrimPrefix(resp.Error.Leader, "client ")
		case resp.Error.Code != api.Unavailable:
			require.Equal(c.t, api.Timeout, resp.Error.Code, resp.Error.Message)
			sure = false
		}
	}
	return api.Response{}, false, sure
}

// register opens a session.
func (c *sailor) register() {
	for c.session == 0 {
		resp, _, _ := c.insist(api.Request{Op: api.Register}, time.Second)
		c.session = resp.Session
	}
}

// write carries out a put or an append, in the session if there is one, and then more than once if need be. It returns
// what it wrote, which is there once only, and whether that was acknowledged.
func (c *sailor) write(kind linear.Kind, key string) (piece string, done bool) {
	c.seq++
	piece = fmt.Sprintf("%d.%d,", c.number, c.seq)
	call := c.history.Begin(linear.Op{Client: c.number, Kind: kind, Key: key, Value: piece})
	r := api.Request{Op: string(kind), Key: key, Value: &piece}
	patience := time.Nanosecond // for one try
	if c.session > 0 {
		r.Session, r.Seq, r.Done = c.session, c.seq, c.seq
		patience = time.Second
	}
	resp, done, sure := c.insist(r, patience)
	switch {
	case done && kind == linear.Append:
		c.index = max(c.index, resp.Index)
		call.Return(linear.Answer{Length: *resp.Length})
	case done:
		c.index = max(c.index, resp.Index)
		call.Return(linear.Answer{})
	case sure:
		call.Failed()
	default:
		call.Unknown()
	}
	return piece, done
}

// read reads a key at any node, whose store must be as new as all that this client has seen. It returns the answer, if
// there was one.
func (c *sailor) read(key string) (api.Response, bool) {
	call := c.history.Begin(linear.Op{Client: c.number, Kind: linear.Get, Key: key})
	resp, ok := c.ask(c.anyone(), api.Request{ID: 1, Op: api.Get, Key: key, MinIndex: c.index, TimeoutMS: 50}, time.Second)
	switch {
	case !ok || !resp.OK:
		call.Failed()
		return resp, false
	case resp.StalenessMS == nil:
		call.Unknown() // it promises nothing
	default:
		call.ReturnStale(answerOf(resp), time.Duration(*resp.StalenessMS)*time.Millisecond)
	}
	c.index = max(c.index, resp.Index)
	return resp, true
}

func answerOf(resp api.Response) linear.Answer {
	answer := linear.Answer{Found: *resp.Found}
	if resp.Value != nil {
		answer.Value = *resp.Value
	}
	return answer
}

// sail lets clients do what they do until the storm is over, and judges what they saw. In the end one more reads all
// keys at each node.
func (s *sea) sail(long time.Duration, h *linear.History, crew ...func(c *sailor)) {
	var clients sync.WaitGroup
	over := make(chan struct{})
	for n, work := range crew {
		c := s.sailor(h, n+1)
		clients.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Duration(c.intN(int(100 * time.Millisecond)))):
					work(c)
				}
			}
		})
	}
	s.storm(long)
	close(over)
	clients.Wait()
	last := s.sailor(h, len(crew)+1)
	for _, m := range s.members { // nobody has seen more than the leader
		last.index = max(last.index, uint64(s.status(m.ID).AppliedIndex))
	}
	for _, m := range s.members {
		for _, key := range keys {
			call := h.Begin(linear.Op{Client: last.number, Kind: linear.Get, Key: key})
			resp, _ := s.ask(m.ID, api.Request{ID: 1, Op: api.Get, Key: key, MinIndex: last.index}, 5*time.Second)
			require.True(s.t, resp.OK, "%+v", resp)
			call.Return(answerOf(resp))
		}
	}
}
