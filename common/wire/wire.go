// Package wire is a small client of the workbook's protocol: one JSON object a line, over TCP. The
// tools use it to drive every stage from outside, so it shares no code with the client that stage 1
// builds, and it knows the fields of all stages.
//
// It talks to one server over one connection, never dials again and never retries. What becomes of a
// request is reported as it is: by an answer, by an [Error] of the server, or by [ErrUnknown].
package wire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// MaxLine is the longest line of the protocol in bytes, its newline included.
const MaxLine = 1 << 20

// writeTimeout bounds a write that a server does not read.
const writeTimeout = 10 * time.Second

// ErrUnknown is wrapped by the error of a request that was sent and has no answer: it may have
// happened, or may yet.
var ErrUnknown = errors.New("outcome unknown")

// ErrNotSent is wrapped by the error of a request that never left: nothing happened.
var ErrNotSent = errors.New("not sent")

// A Request is one line to a server. ID is filled in by [Conn.Do].
type Request struct {
	ID        uint64  `json:"id"`
	Op        string  `json:"op"`
	Key       string  `json:"key,omitempty"`
	Value     *string `json:"value,omitempty"`
	Expect    *string `json:"expect,omitempty"`
	Prefix    string  `json:"prefix,omitempty"`
	Delimiter string  `json:"delimiter,omitempty"`
	After     string  `json:"after,omitempty"`
	Limit     int     `json:"limit,omitempty"`
	TimeoutMS int64   `json:"timeout_ms,omitempty"`

	Session        uint64  `json:"session,omitempty"`
	Seq            uint64  `json:"seq,omitempty"`
	Done           uint64  `json:"done,omitempty"`
	MinIndex       uint64  `json:"min_index,omitempty"`
	MaxStalenessMS *uint64 `json:"max_staleness_ms,omitempty"`
}

// A Response is one line from a server.
type Response struct {
	ID       uint64          `json:"id"`
	OK       bool            `json:"ok"`
	Error    *Error          `json:"error,omitempty"`
	Found    *bool           `json:"found,omitempty"`
	Value    *string         `json:"value,omitempty"`
	Swapped  *bool           `json:"swapped,omitempty"`
	Length   *int            `json:"length,omitempty"`
	Keys     []string        `json:"keys,omitempty"`
	Prefixes []string        `json:"prefixes,omitempty"`
	More     bool            `json:"more,omitempty"`
	Status   json.RawMessage `json:"status,omitempty"`
	Log      []string        `json:"log,omitempty"`

	Session     uint64  `json:"session,omitempty"`
	Index       uint64  `json:"index,omitempty"`
	StalenessMS *uint64 `json:"staleness_ms,omitempty"`

	Members []Member `json:"members,omitempty"`

	// Raw is the line as it came, without its newline.
	Raw []byte `json:"-"`
}

// A Member is a server of the cluster. State says whether it is one, is to be one, or is to be none.
type Member struct {
	ID     string `json:"id"`
	Peer   string `json:"peer"`
	Client string `json:"client"`
	State  string `json:"state"`
}

// An Error is what a server says in place of an answer. Every code but "timeout" is definite: nothing
// happened, and nothing will. Of "session_expired" that holds for this try alone, not for one before it.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Leader  string `json:"leader,omitempty"`
}

// Error says the code, then the words.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// A Conn is a connection to one server. It may be used by many goroutines at once.
type Conn struct {
	conn net.Conn

	sending sync.Mutex // held while a line is written

	mu      sync.Mutex
	nextID  uint64
	waiting map[uint64]chan Response
	err     error // why the connection ended; nil while it lives
	done    chan struct{}
}

// Dial connects to the server at addr. The error wraps [ErrNotSent].
func Dial(ctx context.Context, addr string) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return New(conn), nil
}

// New talks over conn, which it owns from now on.
func New(conn net.Conn) *Conn {
	c := &Conn{conn: conn, waiting: map[uint64]chan Response{}, done: make(chan struct{})}
	go c.read()
	return c
}

// Close ends the connection and all requests in flight. It returns once nothing of the connection runs.
func (c *Conn) Close() {
	c.conn.Close()
	<-c.done
}

// Do sends one request and waits for its answer. Its error is one of three: an [*Error], with which the
// server refused this very request, or one that wraps [ErrUnknown] or [ErrNotSent], and no *Error.
func (c *Conn) Do(ctx context.Context, r Request) (Response, error) {
	if err := ctx.Err(); err != nil {
		return Response{}, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	id, answer, err := c.expect()
	if err != nil {
		return Response{}, err
	}
	defer c.forget(id)
	r.ID = id
	if err := c.send(r); err != nil {
		return Response{}, err
	}
	select {
	case resp := <-answer:
		return resp, refusal(resp)
	case <-ctx.Done():
		return Response{}, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case <-c.done:
	}
	select {
	case resp := <-answer: // it came just before the end
		return resp, refusal(resp)
	default:
		return Response{}, fmt.Errorf("%w: connection lost: %w", ErrUnknown, c.err)
	}
}

// refusal is the error in a response, as an error.
func refusal(resp Response) error {
	if resp.OK {
		return nil
	}
	if resp.Error == nil {
		return fmt.Errorf("%w: an answer that is neither ok nor an error", ErrUnknown)
	}
	return resp.Error
}

func (c *Conn) expect() (uint64, chan Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, fmt.Errorf("%w: connection lost: %w", ErrNotSent, c.err)
	}
	c.nextID++
	answer := make(chan Response, 1)
	c.waiting[c.nextID] = answer
	return c.nextID, answer, nil
}

func (c *Conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *Conn) send(r Request) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		c.conn.Close() // a part of the line may have left
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

// read hands each answer to whoever waits for it, until the connection ends.
func (c *Conn) read() {
	defer close(c.done)
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, MaxLine)
	for lines.Scan() {
		resp := Response{Raw: append([]byte(nil), lines.Bytes()...)}
		if err := json.Unmarshal(resp.Raw, &resp); err != nil {
			c.end(fmt.Errorf("a line that is no answer: %w", err))
			return
		}
		c.deliver(resp)
	}
	err := lines.Err()
	if err == nil {
		err = errors.New("closed by the server")
	}
	c.end(err)
}

// deliver gives an answer to its request. One that nobody waits for any more is dropped; one with id 0
// says why the server is about to close.
func (c *Conn) deliver(resp Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.waiting[resp.ID]; ok {
		answer <- resp
		delete(c.waiting, resp.ID)
		return
	}
	if resp.ID == 0 && resp.Error != nil && c.err == nil {
		c.err = errors.New(resp.Error.Error()) // no *Error: it refuses no request, of which some may have happened
	}
}

func (c *Conn) end(err error) {
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}
