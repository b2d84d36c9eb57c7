package server

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"raftworkbook/stage0-kvserver/api"
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

// A client is one connection and its goroutine. Requests are answered one after the other; a client that
// does not read its answers is not read from either, so it costs no memory beyond its buffers.
type client struct {
	server  *Server
	conn    net.Conn
	lines   *api.LineReader
	out     *bufio.Writer
	encoder *json.Encoder // into out
	stopped atomic.Bool
}

func newClient(s *Server, conn net.Conn) *client {
	out := bufio.NewWriter(patient{conn})
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return &client{server: s, conn: conn, lines: api.NewLineReader(conn), out: out, encoder: encoder}
}

// patient writes to a connection for at most writeTimeout at a time.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	p.SetWriteDeadline(time.Now().Add(writeTimeout))
	return p.Conn.Write(b)
}

// serve answers requests until the client leaves or must.
func (c *client) serve() {
	for {
		line, err := c.next()
		if err != nil {
			c.part(err)
			return
		}
		if c.encoder.Encode(c.server.answer(line)) != nil {
			return // it does not read, or is gone
		}
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
	if err := c.out.Flush(); err != nil {
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
	time.AfterFunc(writeTimeout+lingerTimeout, func() { c.conn.Close() })
}

// part tells the client why the connection ends, if it can still hear it.
func (c *client) part(err error) {
	switch {
	case c.stopped.Load():
		c.refuse(api.Errorf(api.Unavailable, "%s is shutting down", c.server.node))
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
	c.encoder.Encode(api.Refuse(0, err))
	if c.out.Flush() != nil {
		return
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	c.conn.SetReadDeadline(time.Now().Add(lingerTimeout))
	io.Copy(io.Discard, c.conn)
}
