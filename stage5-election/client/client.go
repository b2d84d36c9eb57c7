// Package client talks to a cluster on behalf of a program. One client serves many goroutines over one
// connection to each server, on which many requests are in flight at once.
//
// Every call ends: with an answer, with a definite error (nothing happened, and nothing will) or with an
// indefinite one (it may have happened, or may yet). Until its time is up it goes from server to server, and may
// be sent many times. That does a write no harm: it has a number in a session, by which the servers know it when
// it comes again, and then it gets the answer that it got the first time (§8).
package client

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"raftworkbook/stage5-election/api"
)

// callTimeout bounds a call whose context has no deadline.
const callTimeout = 10 * time.Second

// maxNodes is how many servers a client can know, those included that it hears of by redirects.
const maxNodes = 64

// A Client knows the servers of a cluster, and who of them leads.
type Client struct {
	// MaxStaleness is how outdated the answer to a read may be, in whole milliseconds; 0 means not at all: then only the
	// leader can give it. Set it before the first call.
	MaxStaleness time.Duration

	lastID atomic.Uint64
	// session holds the session, nil at first. Whoever takes it out puts one back.
	session chan *session
	// life ends with Close.
	life context.Context
	end  context.CancelFunc
	// dial is net.Dialer's, but in tests.
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// intN is that of rand, but in tests.
	intN func(n int) int

	mu     sync.Mutex
	nodes  []*node
	leader *node  // nil if not known
	index  uint64 // the highest that an answer had: no read may be answered from an older store
}

// A node is one server. The client connects to it when it must: for the first request, and for the first after a
// connection was lost.
type node struct {
	client *Client
	addr   string
	// current holds the connection, nil at first. Whoever takes it out puts one back.
	current chan *conn
}

// New returns a client of the cluster that has these servers, at least one. It does not connect yet.
func New(servers ...string) *Client {
	c := &Client{session: make(chan *session, 1), dial: new(net.Dialer).DialContext, intN: rand.IntN}
	c.life, c.end = context.WithCancel(context.Background())
	c.session <- nil
	for _, addr := range servers {
		c.at(addr)
	}
	return c
}

// at returns the server at an address, nil if that is one too many. The caller holds mu.
func (c *Client) at(addr string) *node {
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.addr == addr })
	switch {
	case i >= 0:
		return c.nodes[i]
	case len(c.nodes) == maxNodes:
		return nil
	}
	n := &node{client: c, addr: addr, current: make(chan *conn, 1)}
	n.current <- nil
	c.nodes = append(c.nodes, n)
	return n
}

// known returns the servers that the client knows.
func (c *Client) known() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// Close ends the connections and with them every call in flight. It returns when nothing of the client runs.
func (c *Client) Close() {
	c.end()
	for _, n := range c.known() {
		n.close()
	}
}

func (n *node) close() {
	conn := <-n.current
	if conn != nil {
		conn.close(errClosed)
		conn.running.Wait()
	}
	n.current <- conn
}

// Do sends a request, whose id, time and session it chooses, and returns the answer. A read that may be outdated
// goes to whoever can answer it, any other and a write to the leader, and all else is about one server: it goes to
// the first, once. The error, if any, is an [*api.Error]. It wraps that of ctx where that is why the call ended.
func (c *Client) Do(ctx context.Context, r api.Request) (api.Response, error) {
	if err := check(r); err != nil {
		return api.Response{}, err
	}
	if ctx.Err() != nil {
		return api.Response{}, c.notSent(ctx, "")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	if _, ok := ctx.Deadline(); !ok {
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	var resp api.Response
	var err *api.Error
	switch {
	case r.Writes():
		resp, err = c.write(ctx, r)
	case r.Op == api.Get || r.Op == api.List:
		resp, err = c.read(ctx, r)
	default:
		resp, err = c.known()[0].try(ctx, r)
	}
	if err != nil {
		return api.Response{}, err
	}
	return resp, nil
}

// try sends a request to this server, once.
func (n *node) try(ctx context.Context, r api.Request) (api.Response, *api.Error) {
	r.ID = n.client.lastID.Add(1) // never used again, on this connection or another: a late answer finds nobody
	conn, err := n.connect(ctx)
	if err != nil {
		return api.Response{}, err
	}
	resp, err := conn.call(ctx, r)
	if err == nil && !resp.Answers(r.Op) {
		err = api.Errorf(api.Timeout, "%v: it may have happened", errNoResponse)
	}
	if err != nil {
		return api.Response{}, err
	}
	return resp, nil
}

// check refuses what no server would take, or would take for something else: JSON has no place for bytes
// that are not UTF-8, and Go puts U+FFFD for them.
func check(r api.Request) *api.Error {
	for _, text := range []*string{&r.Op, &r.Key, r.Value, r.Expect, &r.Prefix, &r.Delimiter, &r.After} {
		if text != nil && !utf8.ValidString(*text) {
			return api.Errorf(api.BadRequest, "%.40q is not UTF-8", *text)
		}
	}
	r.ID = 1 // each try has its own
	return r.Check()
}

// connect returns the connection, a new one if need be. Of many callers one dials and the others wait.
func (n *node) connect(ctx context.Context) (*conn, *api.Error) {
	var current *conn
	select {
	case current = <-n.current:
	case <-ctx.Done():
		return nil, n.unreachable(ctx.Err())
	}
	defer func() { n.current <- current }()
	if n.client.life.Err() != nil {
		return nil, n.unreachable(errClosed)
	}
	if current != nil && current.alive() {
		return current, nil
	}
	fresh, err := n.client.dial(ctx, "tcp", n.addr)
	if err != nil {
		return nil, n.unreachable(err)
	}
	current = newConn(fresh)
	return current, nil
}

// unreachable is the error of a request for which there is no connection. It is definite.
func (n *node) unreachable(err error) *api.Error {
	e := api.Errorf(api.Unavailable, "no connection to %s: %v", n.addr, plainly(err))
	e.Cause = err
	return e
}

// Get returns the value of key, and whether there is one.
func (c *Client) Get(ctx context.Context, key string) (value string, found bool, err error) {
	resp, err := c.Do(ctx, api.Request{Op: api.Get, Key: key})
	if err != nil || resp.Value == nil {
		return "", false, err
	}
	return *resp.Value, true, nil
}

// Put sets the value of key.
func (c *Client) Put(ctx context.Context, key, value string) error {
	_, err := c.Do(ctx, api.Request{Op: api.Put, Key: key, Value: &value})
	return err
}

// CAS sets the value of key if it is *expect or, with nil, if there is none. Where it does not, current is
// what is there, nil if nothing.
func (c *Client) CAS(ctx context.Context, key string, expect *string, value string) (swapped bool, current *string, err error) {
	resp, err := c.Do(ctx, api.Request{Op: api.CAS, Key: key, Expect: expect, Value: &value})
	if err != nil {
		return false, nil, err
	}
	return *resp.Swapped, resp.Value, nil
}

// Append adds to the end of the value of key and returns its length in bytes. Where there is no value, it is
// a Put.
func (c *Client) Append(ctx context.Context, key, more string) (length int, err error) {
	resp, err := c.Do(ctx, api.Request{Op: api.Append, Key: key, Value: &more})
	if err != nil {
		return 0, err
	}
	return *resp.Length, nil
}

// Delete removes key and reports whether it was there.
func (c *Client) Delete(ctx context.Context, key string) (found bool, err error) {
	resp, err := c.Do(ctx, api.Request{Op: api.Delete, Key: key})
	if err != nil {
		return false, err
	}
	return *resp.Found, nil
}
