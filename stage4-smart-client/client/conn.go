package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"raftworkbook/stage4-smart-client/api"
)

const (
	// queueLength is how many requests may wait to be sent. More wait outside, and are not sent if their
	// time is up before.
	queueLength = 256
	// writeTimeout is how long the server may take to make room for what is sent.
	writeTimeout = 10 * time.Second
	// silence is how long a server may say nothing while it owes answers. After that the connection is
	// given up: its other end is gone, and no packet says so.
	silence = 15 * time.Second
)

var (
	errClosed     = errors.New("the client is closed")
	errHungUp     = errors.New("the server closed it")
	errSilence    = fmt.Errorf("the server was silent for %s", silence)
	errNoResponse = errors.New("the server sent something that is no response")
)

// A conn is one connection, with a goroutine that writes and one that reads. It ends once, for whatever
// reason comes first, and then fails all calls at once.
type conn struct {
	net.Conn
	queue   chan *call
	running sync.WaitGroup
	ended   chan struct{}

	mu      sync.Mutex
	waiting map[uint64]*call // by id
	owed    int              // answers to what was sent; while there are any, silence is measured
	err     error            // why it ended; set before ended is closed
}

// A call is a request on its way.
type call struct {
	id     uint64
	line   []byte
	answer chan api.Response // has room for one
	sent   bool              // it may have reached the server; guarded by conn.mu
}

func newConn(c net.Conn) *conn {
	conn := &conn{Conn: c, queue: make(chan *call, queueLength), ended: make(chan struct{}), waiting: map[uint64]*call{}}
	conn.running.Go(conn.write)
	conn.running.Go(conn.read)
	return conn
}

// close ends the connection, unless it has ended.
func (c *conn) close(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = why
		close(c.ended)
		c.Conn.Close()
	}
}

func (c *conn) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil
}

// call sends a request and waits for its answer, the end of ctx or that of the connection.
func (c *conn) call(ctx context.Context, r api.Request) (api.Response, *api.Error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	// After a longer line the server hangs up, and no other call would get its answer either.
	if err := encoder.Encode(r); err != nil || line.Len() > api.MaxLine {
		return api.Response{}, api.Errorf(api.TooLarge, "as JSON the request has %d bytes, a line at most %d", line.Len(), api.MaxLine)
	}
	k := &call{id: r.ID, line: line.Bytes(), answer: make(chan api.Response, 1)}
	c.expect(k)
	select {
	case c.queue <- k:
		return c.wait(ctx, k)
	case <-ctx.Done():
		return api.Response{}, c.abandon(k, ctx.Err())
	case <-c.ended:
		return api.Response{}, c.abandon(k, c.err)
	}
}

func (c *conn) wait(ctx context.Context, k *call) (api.Response, *api.Error) {
	var why error
	select {
	case resp := <-k.answer:
		return resp, resp.Error
	case <-ctx.Done():
		why = ctx.Err()
	case <-c.ended:
		why = c.err
	}
	select {
	case resp := <-k.answer: // it came at the same moment
		return resp, resp.Error
	default:
		return api.Response{}, c.abandon(k, why)
	}
}

func (c *conn) expect(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[k.id] = k
}

// abandon gives a call up and says what that means: what was not sent did not happen, and of what was nobody
// knows.
func (c *conn) abandon(k *call, why error) *api.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, k.id)
	var e *api.Error
	if k.sent {
		e = api.Errorf(api.Timeout, "no answer: %v: it may have happened, or may yet", plainly(why))
	} else {
		e = api.Errorf(api.Unavailable, "not sent: %v", plainly(why))
	}
	e.Cause = why
	return e
}

// write sends what is queued. What is there at once leaves at once, in as few writes as can be.
func (c *conn) write() {
	out := bufio.NewWriter(c.Conn)
	for {
		select {
		case k := <-c.queue:
			if err := c.put(out, k); err != nil {
				c.close(err)
			}
		case <-c.ended:
			return
		}
	}
}

func (c *conn) put(out *bufio.Writer, k *call) error {
	if c.leaves(k) {
		c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := out.Write(k.line); err != nil {
			return err
		}
	}
	if len(c.queue) > 0 {
		return nil
	}
	return out.Flush()
}

// leaves marks a call as sent, unless its caller has given it up or the connection has ended.
func (c *conn) leaves(k *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[k.id] != k || c.err != nil {
		return false
	}
	k.sent = true
	if c.owed == 0 {
		c.SetReadDeadline(time.Now().Add(silence))
	}
	c.owed++
	return true
}

// read hands out answers until the connection ends.
func (c *conn) read() {
	lines := api.NewLineReader(c.Conn)
	for {
		line, err := lines.Next()
		if err == nil {
			err = c.deliver(line)
		}
		if err != nil {
			c.close(reason(err))
			return
		}
	}
}

// deliver hands an answer to the call with its id. If there is none, it comes too late and is dropped.
func (c *conn) deliver(line []byte) error {
	var resp api.Response
	if json.Unmarshal(line, &resp) != nil || resp.OK == (resp.Error != nil) {
		return errNoResponse
	}
	if resp.ID == 0 && resp.Error != nil {
		return resp.Error // it is about the connection, and the last that comes
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.waiting[resp.ID]; k != nil && k.sent {
		delete(c.waiting, resp.ID)
		k.answer <- resp
	}
	c.owed = max(c.owed-1, 0) // late answers count too: they were owed
	if c.owed > 0 {
		c.SetReadDeadline(time.Now().Add(silence))
	} else {
		c.SetReadDeadline(time.Time{})
	}
	return nil
}

// reason says what an error of reading means.
func reason(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errHungUp
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilence
	case errors.Is(err, api.ErrLineTooLong):
		return errNoResponse
	default:
		return err
	}
}

// plainly says why a call ended, in words for a person also where its context did it.
func plainly(why error) string {
	switch {
	case errors.Is(why, context.DeadlineExceeded):
		return "the time was up"
	case errors.Is(why, context.Canceled):
		return "interrupted"
	default:
		return why.Error()
	}
}
