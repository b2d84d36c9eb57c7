// Package memnet is a network in memory, for tests under testing/synctest, where a wait on
// a real socket stops the clock for good and net.Pipe, which holds nothing, hangs whoever
// writes before the other end reads.
//
// Its connections are byte streams as TCP's are: what is written at once may be read in
// pieces, a writer runs ahead of its reader by a bounded number of bytes, closing one end is
// noticed at the other. It has no faults and no delays; package netfault makes those, over this
// network too. All waits are on sync.Cond, channels or timers, so a bubble's clock moves on.
package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// backlog is how many connections may wait to be accepted.
const backlog = 128

// Addr is an address on a Network: any string.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the address.
func (a Addr) String() string { return string(a) }

// A Network is a set of addresses that are listened on. The zero value is ready to use.
type Network struct {
	// Buffer is how many bytes each direction of a connection holds; 0: DefaultBuffer.
	Buffer int

	mu        sync.Mutex
	listeners map[string]*Listener
	// dialled numbers the diallers' addresses.
	dialled int
}

// Listen returns a listener, or syscall.EADDRINUSE while another has that address.
func (n *Network) Listen(address string) (*Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, n.wrap("listen", address, syscall.EADDRINUSE)
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*Listener)
	}
	l := &Listener{
		network: n,
		addr:    Addr(address),
		waiting: make(chan *Conn, backlog),
		failure: make(chan error, 1),
		closed:  make(chan struct{}),
	}
	n.listeners[address] = l
	return l, nil
}

// DialContext has the form of net.Dialer's. It returns as soon as the connection waits to
// be accepted; syscall.ECONNREFUSED if nobody listens there, ctx's error if ctx ends first.
func (n *Network) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.dialled++
	local := Addr(fmt.Sprintf("dialler:%d", n.dialled))
	n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, n.wrap("dial", address, err)
	}
	if l == nil {
		return nil, n.wrap("dial", address, syscall.ECONNREFUSED)
	}
	here, there := pipe(n.Buffer, local, l.addr)
	select {
	case l.waiting <- there:
	case <-l.closed:
		return nil, n.wrap("dial", address, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, n.wrap("dial", address, ctx.Err())
	}
	select {
	case <-l.closed: // perhaps after Close had emptied the backlog
		there.Close()
		return nil, n.wrap("dial", address, syscall.ECONNREFUSED)
	default:
		return here, nil
	}
}

func (n *Network) wrap(op, address string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Addr: Addr(address), Err: err}
}

// A Listener accepts what is dialled to its address.
type Listener struct {
	network *Network
	addr    Addr
	waiting chan *Conn
	failure chan error
	closed  chan struct{}
}

// Accept returns the next connection; net.ErrClosed once the listener is closed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, l.network.wrap("accept", string(l.addr), net.ErrClosed)
	default:
	}
	select {
	case c := <-l.waiting:
		return c, nil
	case err := <-l.failure:
		return nil, l.network.wrap("accept", string(l.addr), err)
	case <-l.closed:
		return nil, l.network.wrap("accept", string(l.addr), net.ErrClosed)
	}
}

// FailAccept makes one Accept return err, as when the process is out of file descriptors.
// It waits while an earlier failure has not been returned.
func (l *Listener) FailAccept(err error) { l.failure <- err }

// Close frees the address and closes the connections that nobody has accepted.
func (l *Listener) Close() error {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if l.network.listeners[string(l.addr)] != l {
		return l.network.wrap("close", string(l.addr), net.ErrClosed)
	}
	delete(l.network.listeners, string(l.addr))
	close(l.closed)
	for {
		select {
		case c := <-l.waiting:
			c.Close()
		default:
			return nil
		}
	}
}

// Addr returns the address listened on.
func (l *Listener) Addr() net.Addr { return l.addr }
