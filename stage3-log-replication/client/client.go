// Package client talks to a server on behalf of a program. One client serves many goroutines over one
// connection, on which many requests are in flight at once.
//
// Every call ends: with an answer, with a definite error (nothing happened, and nothing will) or with an
// indefinite one (it may have happened, or may yet). The client never sends a request twice: whether to try
// again after an indefinite error is for the caller to decide, who knows what doing it twice would mean.
package client

import (
	"context"
	"net"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"raftworkbook/stage3-log-replication/api"
)

// callTimeout bounds a call whose context has no deadline.
const callTimeout = 10 * time.Second

// A Client talks to one server. It connects when it must: for the first call, and for the first after a
// connection was lost.
type Client struct {
	addr   string
	lastID atomic.Uint64
	// current holds the connection, nil at first. Whoever takes it out puts one back.
	current chan *conn
	// life ends with Close.
	life context.Context
	end  context.CancelFunc
	// dial is net.Dialer's, but in tests.
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// New returns a client of the server at addr. It does not connect yet.
func New(addr string) *Client {
	c := &Client{addr: addr, current: make(chan *conn, 1), dial: new(net.Dialer).DialContext}
	c.life, c.end = context.WithCancel(context.Background())
	c.current <- nil
	return c
}

// Close ends the connection and with it every call in flight. It returns when nothing of the client runs.
func (c *Client) Close() {
	c.end()
	conn := <-c.current
	if conn != nil {
		conn.close(errClosed)
		conn.running.Wait()
	}
	c.current <- conn
}

// Do sends a request, whose id it chooses, and returns the answer. The error, if any, is an [*api.Error]. It
// wraps that of ctx where that is why the call ended.
func (c *Client) Do(ctx context.Context, r api.Request) (api.Response, error) {
	r.ID = c.lastID.Add(1) // never used again, on this connection or another: a late answer finds nobody
	if err := check(r); err != nil {
		return api.Response{}, err
	}
	if err := ctx.Err(); err != nil {
		return api.Response{}, &api.Error{Code: api.Unavailable, Message: "not sent: " + plainly(err), Cause: err}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	conn, err := c.connect(ctx)
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
	return r.Check()
}

// connect returns the connection, a new one if need be. Of many callers one dials and the others wait.
func (c *Client) connect(ctx context.Context) (*conn, *api.Error) {
	var current *conn
	select {
	case current = <-c.current:
	case <-ctx.Done():
		return nil, c.unreachable(ctx.Err())
	}
	defer func() { c.current <- current }()
	if c.life.Err() != nil {
		return nil, c.unreachable(errClosed)
	}
	if current != nil && current.alive() {
		return current, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	fresh, err := c.dial(ctx, "tcp", c.addr)
	if err != nil {
		return nil, c.unreachable(err)
	}
	current = newConn(fresh)
	return current, nil
}

// unreachable is the error of a request for which there is no connection. It is definite.
func (c *Client) unreachable(err error) *api.Error {
	e := api.Errorf(api.Unavailable, "no connection to %s: %v", c.addr, plainly(err))
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
