// Package netfault is the forwarder that all links of a lab run through, and that hurts them
// on demand: it cuts, delays, stalls and reorders, in one direction or both.
//
// It is an HTTP CONNECT proxy: whoever dials names itself and the address it wants, and
// then has a connection as though it had dialled that. Faults are set between names; the
// forwarder is told which node an address belongs to. So links can be hurt whatever addresses
// the nodes learn, and a node needs to know no more than one address (see Dial).
//
// What passes is taken to be lines, of at most 2 MiB: each is lost whole or arrives whole, which is
// what makes a cut link look like lost messages and not like damaged ones. A connection with a
// longer line is closed. In raw mode, meant for TLS, bytes are bytes; a connection that has lost
// some is closed when its link is healed.
//
// When an end closes or dies the other is told by the same way and under the same faults as
// the bytes before: a node that is killed behind a cut link is missed only when the link is
// healed. No connection is made over a link that is cut or stalled in either direction; the
// dialler gets no answer until that is over or 30 s have passed. A delay does not touch the
// making of a connection.
package netfault

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// connectTimeout is how long a connection may take to be made, a cut included.
	connectTimeout = 30 * time.Second
	// headTimeout is how long a dialler may take to say what it wants.
	headTimeout = 10 * time.Second
	// maxSessions is how many connections there may be at once, made or being made.
	maxSessions = 1024
	// acceptPause is how long to wait after Accept has failed, as it does without free
	// file descriptors.
	acceptPause = 10 * time.Millisecond
)

// Options say how a Forwarder works. The zero value is in order.
type Options struct {
	// Dial reaches the targets; nil means that of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Raw says that what passes is not lines.
	Raw bool
	// Seed decides how lines are reordered.
	Seed uint64
}

// A Forwarder passes connections on. Its methods may be called from any goroutine; a fault is
// in force when the call that sets it returns.
type Forwarder struct {
	listener net.Listener
	options  Options
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	slots    chan struct{}

	mu sync.Mutex
	// nodes maps an address to the node it belongs to.
	nodes    map[string]string
	faults   map[link]faults
	sessions map[*session]struct{}
	// made counts sessions; it tells their randomness apart.
	made uint64
	// changed is closed, and replaced, when faults change.
	changed chan struct{}
}

// New starts a forwarder on a listener, which is then its own. Close ends it.
func New(l net.Listener, o Options) *Forwarder {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	f := &Forwarder{
		listener: l,
		options:  o,
		slots:    make(chan struct{}, maxSessions),
		nodes:    make(map[string]string),
		faults:   make(map[link]faults),
		sessions: make(map[*session]struct{}),
		changed:  make(chan struct{}),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.running.Go(f.accept)
	return f
}

// Addr returns the address to dial, as Dial's via.
func (f *Forwarder) Addr() net.Addr { return f.listener.Addr() }

// Name says that address belongs to node. A node may have many; an address that was never named
// is a node of its own, by that name.
func (f *Forwarder) Name(address, node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[address] = node
}

// Close ends all connections and waits until nothing of the forwarder is left.
func (f *Forwarder) Close() error {
	f.cancel()
	err := f.listener.Close()
	f.running.Wait()
	return err
}

func (f *Forwarder) accept() {
	for {
		conn, err := f.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			f.pause(acceptPause)
			continue
		}
		select {
		case f.slots <- struct{}{}:
			f.running.Go(func() {
				defer func() { <-f.slots }()
				f.serve(conn)
			})
		default:
			conn.Close()
		}
	}
}

func (f *Forwarder) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-f.ctx.Done():
	}
}

// serve makes one connection and forwards it to its end.
func (f *Forwarder) serve(dialler net.Conn) {
	defer dialler.Close()
	defer context.AfterFunc(f.ctx, func() { dialler.Close() })()
	s, err := f.open(dialler)
	if err != nil {
		return
	}
	defer context.AfterFunc(f.ctx, s.close)()
	defer f.forget(s)
	if answerOK(dialler) != nil {
		s.close()
	}
	s.run()
}

// open answers a dialler's request, unless with success, and returns the session that it
// asks for, under the faults of its links.
func (f *Forwarder) open(dialler net.Conn) (*session, error) {
	dialler.SetReadDeadline(time.Now().Add(headTimeout))
	self, address, err := readConnect(dialler)
	if err != nil {
		answerError(dialler, "400 Bad Request", err)
		return nil, err
	}
	ctx, cancel := context.WithTimeout(f.ctx, connectTimeout)
	defer cancel()
	unwatch := watch(dialler, cancel)
	l := f.link(self, address)
	target, err := f.reach(ctx, l, address)
	unwatch()
	if ctx.Err() != nil { // too late, or the dialler is gone: no answer
		if target != nil {
			target.Close()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		answerError(dialler, "502 Bad Gateway", err)
		return nil, err
	}
	return f.remember(l, dialler, target), nil
}

// watch calls hungUp if the dialler goes away while it has no answer, or speaks before it
// has one, which it must not. The returned function ends that and leaves no deadline.
func watch(dialler net.Conn, hungUp func()) (unwatch func()) {
	dialler.SetReadDeadline(time.Time{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := dialler.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			hungUp()
		}
	}()
	return func() {
		dialler.SetReadDeadline(time.Unix(1, 0))
		<-ended
		dialler.SetReadDeadline(time.Time{})
	}
}

// reach dials an address once nothing on the way is cut or stalled, there or back.
func (f *Forwarder) reach(ctx context.Context, l link, address string) (net.Conn, error) {
	for {
		f.mu.Lock()
		shut := f.faults[l].shut() || f.faults[l.reverse()].shut()
		changed := f.changed
		f.mu.Unlock()
		if !shut {
			return f.options.Dial(ctx, "tcp", address)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *Forwarder) link(self, address string) link {
	f.mu.Lock()
	defer f.mu.Unlock()
	if node, ok := f.nodes[address]; ok {
		return link{self, node}
	}
	return link{self, address}
}

func (f *Forwarder) remember(l link, dialler, target net.Conn) *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := newSession(l, dialler, target, f.options.Raw, func() *rand.Rand {
		f.made++
		return rand.New(rand.NewPCG(f.options.Seed, f.made))
	})
	s.set(l, f.faults[l])
	s.set(l.reverse(), f.faults[l.reverse()])
	f.sessions[s] = struct{}{}
	return s
}

func (f *Forwarder) forget(s *session) {
	s.close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, s)
}
