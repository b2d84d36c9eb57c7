package memnet

import (
	"errors"
	"io"
	"net"
	"time"
)

// A Conn is one end of a connection. Its errors are those of a *net.TCPConn: io.EOF bare,
// all others in a *net.OpError: net.ErrClosed (this end is closed), syscall.EPIPE (it may
// send no more, or the other end is closed) and os.ErrDeadlineExceeded.
type Conn struct {
	in, out       *stream
	local, remote Addr
}

// Pipe returns the two ends of a connection that holds at most buffer bytes each way;
// 0 means DefaultBuffer.
func Pipe(buffer int) (*Conn, *Conn) {
	return pipe(buffer, "a", "b")
}

func pipe(buffer int, a, b Addr) (*Conn, *Conn) {
	ab, ba := newStream(buffer), newStream(buffer)
	return &Conn{in: ba, out: ab, local: a, remote: b}, &Conn{in: ab, out: ba, local: b, remote: a}
}

// Read returns what has arrived, at most len(p) bytes, and waits while that is nothing.
// It returns io.EOF once the other end has ended its side and all it sent is read.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write returns once all of p is in the buffer, and waits while that is full. Writes made
// at once do not mix. With an error come the number of bytes that were sent all the same.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// CloseWrite ends what this end sends; it still receives.
func (c *Conn) CloseWrite() error { return c.wrap("close", c.out.end()) }

// Close ends both directions. What this end has sent can still be read at the other; what
// it has not read is lost.
func (c *Conn) Close() error {
	err := c.in.closeReader()
	c.out.closeWriter()
	return c.wrap("close", err)
}

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline says from when on reads fail, those that wait included; zero: never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.wrap("set", c.in.setReadDeadline(t))
}

// SetWriteDeadline says from when on writes fail, those that wait included; zero: never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.wrap("set", c.out.setWriteDeadline(t))
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}
