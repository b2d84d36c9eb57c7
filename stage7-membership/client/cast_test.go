package client

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/memnet"
	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/kv"
)

// A cast is a client in a bubble of virtual time, and a cluster of five, n1 to n5, in which each server plays a part.
type cast struct {
	*Client
	network memnet.Network
	t       *testing.T
	began   time.Time
	running sync.WaitGroup

	mu    sync.Mutex
	parts map[string]part
	ends  map[string][]func() error // what closes the listener and the connections of a server
	heard []heard                   // in the order in which it came
}

// A heard is a request that reached a server.
type heard struct {
	api.Request
	at   string
	when time.Duration // since the play began
}

// A part is what a server answers to a request: nil for nothing.
type part func(r api.Request) *api.Response

var names = []string{"n1", "n2", "n3", "n4", "n5"}

// play has the part of n1 in parts played by n1, and so on: those beyond the parts play the last.
func play(t *testing.T, parts []part, test func(t *testing.T, c *cast)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cast{Client: New(names...), t: t, began: time.Now(), parts: map[string]part{},
			ends: map[string][]func() error{}}
		c.dial, c.intN, c.greet = c.network.DialContext, inOrder, func(*node) {}
		t.Cleanup(func() {
			c.Close()
			for _, name := range names {
				c.cast(name, nil)
			}
			c.running.Wait()
		})
		for i, name := range names {
			c.cast(name, parts[min(i, len(parts)-1)])
		}
		test(t, c)
	})
}

// cast gives a server another part; nil is that of the dead.
func (c *cast) cast(name string, p part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.parts[name] == nil && p != nil:
		l, err := c.network.Listen(name)
		require.NoError(c.t, err)
		c.ends[name] = append(c.ends[name], l.Close)
		c.running.Go(func() { c.accept(name, l) })
	case p == nil:
		for _, end := range c.ends[name] {
			end()
		}
		delete(c.ends, name)
	}
	c.parts[name] = p
}

func (c *cast) accept(name string, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.ends[name] = append(c.ends[name], conn.Close)
		c.mu.Unlock()
		c.running.Go(func() { c.serve(name, conn) })
	}
}

func (c *cast) serve(name string, conn net.Conn) {
	defer conn.Close()
	lines := api.NewLineReader(conn)
	for {
		line, err := lines.Next()
		if err != nil {
			return
		}
		r, refused := api.DecodeRequest(line)
		if refused != nil {
			c.t.Errorf("%s: %v", line, refused)
			return
		}
		c.mu.Lock()
		c.heard = append(c.heard, heard{r, name, time.Since(c.began)})
		p := c.parts[name]
		c.mu.Unlock()
		if p == nil {
			return // it died meanwhile
		}
		c.running.Go(func() { answer(conn, r, p) })
	}
}

func answer(conn net.Conn, r api.Request, p part) {
	resp := p(r)
	switch resp {
	case nil:
		return
	case hangsUp:
		conn.Close()
		return
	}
	resp.ID, resp.OK = r.ID, resp.Error == nil
	line, err := json.Marshal(resp)
	if err != nil {
		panic(err)
	}
	conn.Write(append(line, '\n'))
}

// hangsUp is the answer of a server that closes the connection.
var hangsUp = new(api.Response)

// leads takes everything.
func leads(r api.Request) *api.Response {
	switch r.Op {
	case api.Register:
		return &api.Response{Session: 7}
	case api.Get:
		return &api.Response{Found: new(true), Value: new("v")}
	case api.List:
		return &api.Response{Keys: []string{"k"}}
	case api.CAS:
		return &api.Response{Swapped: new(true)}
	case api.Append:
		return &api.Response{Length: new(1)}
	case api.Delete:
		return &api.Response{Found: new(true)}
	case api.Status, api.Lead:
		return &api.Response{Status: &api.NodeStatus{}}
	case api.Log:
		return &api.Response{Log: []string{}}
	}
	return &api.Response{}
}

// silent hears and says nothing. So does a process that is stopped, and a machine that was cut off.
func silent(api.Request) *api.Response { return nil }

func hungUp(api.Request) *api.Response { return hangsUp }

// refuses says no to everything.
func refuses(code string) part {
	return func(api.Request) *api.Response {
		return &api.Response{Error: api.Errorf(code, "as the play has it")}
	}
}

// follows takes reads that may be outdated, and sends all else to a leader.
func follows(leader string) part {
	return func(r api.Request) *api.Response {
		if !r.Writes() && r.MaxStalenessMS != nil {
			return leads(r)
		}
		return &api.Response{Error: &api.Error{Code: api.NotLeader, Message: "ask " + leader, Leader: leader}}
	}
}

// late plays a part a little later.
func late(d time.Duration, p part) part {
	return func(r api.Request) *api.Response {
		time.Sleep(d)
		return p(r)
	}
}

// inTurn plays a part for each request, the last again and again. Sessions it opens at once.
func inTurn(parts ...part) part {
	var mu sync.Mutex
	return func(r api.Request) *api.Response {
		mu.Lock()
		if r.Op == api.Register {
			defer mu.Unlock()
			return leads(r)
		}
		p := parts[0]
		parts = parts[min(1, len(parts)-1):]
		mu.Unlock()
		return p(r)
	}
}

// A machine is the state that the servers of a play share: it carries out what is in the log.
type machine struct {
	mu    sync.Mutex
	index uint64
	store *kv.Store
}

func newMachine() *machine { return &machine{store: kv.New()} }

// leads carries a write out, as the leader does when it is committed, and reads as any node does.
func (m *machine) leads(r api.Request) *api.Response {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !r.Writes() {
		return new(m.store.Do(r))
	}
	m.index++
	return new(m.store.Apply(m.index, r))
}

// loses carries a write out, and then its answer is lost.
func (m *machine) loses(r api.Request) *api.Response {
	m.leads(r)
	return nil
}

// follows is for a machine that gets everything later than the leader: a read waits until it is as far as it must be.
func (m *machine) follows(r api.Request) *api.Response {
	if r.Writes() || r.MaxStalenessMS == nil {
		return follows("n1")(r)
	}
	for range r.TimeoutMS {
		m.mu.Lock()
		index := m.index
		m.mu.Unlock()
		if index >= r.MinIndex {
			return m.leads(r)
		}
		time.Sleep(time.Millisecond)
	}
	return refuses(api.Timeout)(r)
}

// value is what is at a key.
func (m *machine) value(key string) string {
	resp := m.leads(api.Request{Op: api.Get, Key: key})
	if resp.Value == nil {
		return ""
	}
	return *resp.Value
}

// inOrder makes chance pick the first server, and the longest pause.
func inOrder(n int) int {
	if n <= maxNodes {
		return 0
	}
	return n - 1
}

func seeded(seed uint64) func(n int) int {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0))
	return func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
}

// all returns what was heard so far, of an op if one is given.
func (c *cast) all(op string) (all []heard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.heard {
		if op == "" || h.Op == op {
			all = append(all, h)
		}
	}
	return all
}

// told returns who heard an op, in order.
func (c *cast) told(op string) (at []string) {
	for _, h := range c.all(op) {
		at = append(at, h.at)
	}
	return at
}

// putting calls Put in the background.
func (c *cast) putting(t *testing.T, key string) <-chan result {
	return background(func() (string, error) { return "", c.Put(t.Context(), key, "v") })
}
