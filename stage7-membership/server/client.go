package server

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
)

const (
	// idleTimeout is how long a client may say nothing. One that is gone without a word, as when its
	// machine loses power, is found out by this too.
	idleTimeout = 5 * time.Minute
	// lineTimeout is how long a line may take from its first byte to its last.
	lineTimeout = 10 * time.Second
	// writeTimeout is how long a client may take to make room for an answer.
	writeTimeout = 10 * time.Second
	// lingerTimeout is how long a connection that we end waits for the other end to close it too.
	lingerTimeout = 500 * time.Millisecond
)

// maxOwed is how many requests of one client may wait for other nodes.
const maxOwed = 128

// A client is one connection. One goroutine reads requests, and answers what needs no other node. The other answers
// come later, from the node, and in any order: a second goroutine sends those. A client that does not read its answers
// is not read from either, so it costs no memory beyond its buffers and what it is owed.
type client struct {
	server  *Server
	conn    net.Conn
	lines   *api.LineReader
	stopped atomic.Bool
	// owed has an element for each request that waits, and replies has room for all of them, so that
	// the node never waits for a client.
	owed    chan struct{}
	replies chan api.Response

	sending chan struct{} // a lock, held while out is used: who has it may wait long for the client
	out     *bufio.Writer
	encoder *json.Encoder       // into out
	told    *raft.Configuration // who the members are, as this client knows it; nil if it has not asked
}

func newClient(s *Server, conn net.Conn) *client {
	out := bufio.NewWriter(patient{conn})
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return &client{server: s, conn: conn, lines: api.NewLineReader(conn), out: out, encoder: encoder,
		sending: make(chan struct{}, 1), owed: make(chan struct{}, maxOwed), replies: make(chan api.Response, maxOwed)}
}

// patient writes to a connection for at most writeTimeout at a time.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	p.SetWriteDeadline(time.Now().Add(writeTimeout))
	return p.Conn.Write(b)
}

// serve answers requests until the client leaves or must.
func (c *client) serve() {
	c.server.running.Go(c.sendReplies)
	defer close(c.replies)
	for {
		line, err := c.next()
		if err != nil {
			c.settle()
			c.part(err)
			return
		}
		if c.server.take(line, c) != nil {
			c.settle()
			return // it does not read, or is gone
		}
	}
}

// answer queues a response, to leave together with others. Whoever has once heard who the members are hears it again
// when they are others, but not with a list: that may fill its line, and the next answer will do.
func (c *client) answer(r api.Response) error {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	n := c.server.node
	if config := n.config.Load(); r.OK && r.Keys == nil && r.Log == nil && (r.Members != nil || c.told != nil && c.told != config) {
		r.Index = max(r.Index, n.Applied()) // first: the members may be newer than that, never older
		r.Members, c.told = n.Members(), config
	}
	return c.encoder.Encode(r)
}

func (c *client) flush() error {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	return c.out.Flush()
}

// owe makes room for an answer that comes later. Before it waits for that it sends the answers so far.
func (c *client) owe() error {
	select {
	case c.owed <- struct{}{}:
		return nil
	default:
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.owed <- struct{}{}
	return nil
}

// reply takes an answer that comes later. It never waits.
func (c *client) reply(r api.Response) { c.replies <- r }

// sendReplies sends what comes to reply. Those that come together leave together.
func (c *client) sendReplies() {
	for r := range c.replies {
		c.answer(r) // an error shows at the next request
		if len(c.replies) == 0 {
			c.flush()
		}
		<-c.owed
	}
}

// settle waits until every request has its answer.
func (c *client) settle() {
	for range maxOwed {
		c.owed <- struct{}{}
	}
}

// turnAway is for a client too many.
func (c *client) turnAway() {
	c.refuse(api.Errorf(api.Unavailable, "there are %d clients already", maxClients))
}

// next returns the next line. Only when no whole line is there does it send the answers so far, and wait:
// that way many requests that arrive together are answered with one write.
func (c *client) next() ([]byte, error) {
	if c.lines.Ready() {
		return c.lines.Next()
	}
	if err := c.flush(); err != nil {
		return nil, err
	}
	if err := c.await(idleTimeout); err != nil {
		return nil, err
	}
	if err := c.lines.Wait(); err != nil {
		return nil, err
	}
	if !c.lines.Ready() {
		if err := c.await(lineTimeout); err != nil {
			return nil, err
		}
	}
	return c.lines.Next()
}

// await bounds the wait for what the client sends next.
func (c *client) await(d time.Duration) error {
	c.conn.SetReadDeadline(time.Now().Add(d))
	if c.stopped.Load() { // asked only now, so that the deadline of stop is not put off
		return net.ErrClosed
	}
	return nil
}

// stop makes the client leave as soon as it would wait for a request. If that takes long the connection is
// closed all the same: there may be many answers left, each with a writeTimeout of its own.
func (c *client) stop() {
	c.stopped.Store(true)
	c.conn.SetReadDeadline(time.Unix(1, 0))
	conn := c.conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn() // the other would first wait for room to say that it is closed
	}
	time.AfterFunc(writeTimeout+lingerTimeout, func() { conn.Close() })
}

// part tells the client why the connection ends, if it can still hear it.
func (c *client) part(err error) {
	switch {
	case c.stopped.Load():
		c.refuse(api.Errorf(api.Unavailable, "%s is shutting down", c.server.node.ID))
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.refuse(api.Errorf(api.Unavailable,
			"nothing came for %s, or not the rest of a line for %s", idleTimeout, lineTimeout))
	case errors.Is(err, api.ErrLineTooLong):
		c.refuse(api.Errorf(api.TooLarge, "the line has more than %d bytes", api.MaxLine))
	case errors.Is(err, io.ErrUnexpectedEOF):
		c.refuse(api.Errorf(api.BadRequest, "the last line does not end: nothing was done"))
	}
}

// refuse sends an error about the connection as a whole, and waits a little for the client to close it.
// If we closed it first while bytes of the client are unread, TCP would reset it, and a reset can overtake
// the answers.
func (c *client) refuse(err *api.Error) {
	c.answer(api.Refuse(0, err))
	if c.flush() != nil {
		return
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	c.conn.SetReadDeadline(time.Now().Add(lingerTimeout))
	io.Copy(io.Discard, c.conn)
}
