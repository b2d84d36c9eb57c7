package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"raftworkbook/stage5-election/api"
)

const (
	// maxPeerLine is the longest line between nodes in bytes, its newline included.
	maxPeerLine = 2 << 20
	// maxQueued is how many bytes may wait to be sent to one peer. What is more is dropped.
	maxQueued = 8 << 20
	// maxLines is how many lines may.
	maxLines = 4096
	// maxInbound is how many connections from peers are served at once.
	maxInbound = 64
	// helloTimeout is how long connecting may take, the hello and its answer included.
	helloTimeout = 3 * time.Second
	// pingEvery is how often an empty line goes over a link and back.
	pingEvery = 2 * time.Second
	// peerSilence is how long nothing may come before a connection is taken for dead: the other end is
	// gone, and no packet says so.
	peerSilence = 10 * time.Second
	// minPause and maxPause bound the wait before connecting again. It doubles with each try, and a random
	// part of it is left out, so that nodes do not knock in step.
	minPause = 20 * time.Millisecond
	maxPause = time.Second
)

// protocol is the version of what nodes say to each other.
const protocol = 1

// A hello is the first line of a connection between nodes, from the one that dialled.
type hello struct {
	Protocol int    `json:"protocol"`
	Cluster  string `json:"cluster"`
	From     string `json:"from"`
	To       string `json:"to"`
}

// welcome answers a hello. Refused says why not, and is empty if all is well.
type welcome struct {
	Refused string `json:"refused,omitempty"`
}

// Peers carries lines between this node and the others. A connection carries them one way, from the node that
// dialled it; only the answer to the hello and to pings goes back. Nothing is promised: a line may be lost, with
// the connection or for want of one, and what arrives late is older than it looks.
type Peers struct {
	cluster string
	self    string
	dial    func(ctx context.Context, addr string) (net.Conn, error)
	// deliver takes what peers send. Each link calls it from a goroutine of its own, and waits for it. An error
	// ends the connection.
	deliver func(from string, line []byte) error
	log     func(format string, args ...any)

	links   map[string]*link
	inbound atomic.Int32
	closing sync.Mutex // held while life ends, and while Serve joins running
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup
}

// A link is the way to one peer.
type link struct {
	to, addr string
	queue    chan []byte
	queued   atomic.Int64 // bytes in queue
	up       atomic.Bool
	back     chan struct{} // has room for the news that the peer is there, for it has dialled us
}

// NewPeers returns the links of node self to the nodes of addrs, by id, and starts them. None of them needs to
// be there.
func NewPeers(cluster, self string, addrs map[string]string, dial func(ctx context.Context, addr string) (net.Conn, error),
	deliver func(from string, line []byte) error, log func(format string, args ...any)) *Peers {
	p := &Peers{cluster: cluster, self: self, dial: dial, deliver: deliver, log: log, links: map[string]*link{}}
	p.life, p.end = context.WithCancel(context.Background())
	for id, addr := range addrs {
		l := &link{to: id, addr: addr, queue: make(chan []byte, maxLines), back: make(chan struct{}, 1)}
		p.links[id] = l
		p.running.Go(func() { p.keep(l) })
	}
	return p
}

// Serve takes what peers send from the connections that they make to l, until Close. It closes l.
func (p *Peers) Serve(l net.Listener) {
	if !p.join() {
		l.Close()
		return
	}
	defer p.running.Done()
	defer context.AfterFunc(p.life, func() { l.Close() })()
	accept(l, func(conn net.Conn) {
		if p.inbound.Add(1) > maxInbound {
			p.inbound.Add(-1)
			conn.Close()
			return
		}
		p.running.Go(func() {
			p.receive(conn)
			p.inbound.Add(-1)
		})
	})
}

// join counts Serve among what Close waits for, unless it comes after Close.
func (p *Peers) join() bool {
	p.closing.Lock()
	defer p.closing.Unlock()
	if p.life.Err() != nil {
		return false
	}
	p.running.Add(1)
	return true
}

// Close ends all links, and Serve. It returns when nothing of them runs.
func (p *Peers) Close() {
	p.closing.Lock()
	p.end()
	p.closing.Unlock()
	p.running.Wait()
}

// Send sends a line, which ends with a newline and is not changed afterwards, to a peer. It never waits: if the
// peer cannot be reached, or does not keep up, the line is dropped.
func (p *Peers) Send(to string, line []byte) {
	l := p.links[to]
	if l == nil || !l.up.Load() {
		return
	}
	if l.queued.Add(int64(len(line))) <= maxQueued {
		select {
		case l.queue <- line:
			return
		default:
		}
	}
	l.queued.Add(-int64(len(line)))
}

// Up is to how many peers there is a connection now.
func (p *Peers) Up() (n int) {
	for _, l := range p.links {
		if l.up.Load() {
			n++
		}
	}
	return n
}

// keep connects a link, again and again.
func (p *Peers) keep(l *link) {
	pause, since, said := minPause, time.Now(), false // said is whether the log knows that there is no link
	for p.life.Err() == nil {
		conn, err := p.connect(l)
		if err == nil {
			begin := time.Now()
			p.carry(l, conn)
			if time.Since(begin) > maxPause { // not for a peer that hangs up at once
				pause, since, said = minPause, time.Now(), false
			}
		} else if refused := new(refusal); !said && (errors.As(err, &refused) || time.Since(since) > peerSilence) {
			p.log("no link to %s at %s: %v", l.to, l.addr, err)
			said = true
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-l.back:
		case <-p.life.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// A refusal is a peer's answer to a hello that does not fit.
type refusal struct{ why string }

func (r *refusal) Error() string { return "it refuses this node: " + r.why }

// connect dials a peer and introduces this node.
func (p *Peers) connect(l *link) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(p.life, helloTimeout)
	defer cancel()
	conn, err := p.dial(ctx, l.addr)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := json.NewEncoder(conn).Encode(hello{protocol, p.cluster, p.self, l.to}); err != nil {
		conn.Close()
		return nil, err
	}
	var w welcome
	if err := readJSON(api.NewLineReader(conn), &w); err != nil {
		conn.Close()
		return nil, err
	}
	if w.Refused != "" {
		conn.Close()
		return nil, &refusal{w.Refused}
	}
	return conn, nil
}

// carry sends over conn what is queued from now on, until the connection ends.
func (p *Peers) carry(l *link, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(p.life, func() { conn.Close() })()
	ended := make(chan struct{})
	p.running.Go(func() {
		defer close(ended)
		for err := error(nil); err == nil; { // an empty line for each of ours
			conn.SetReadDeadline(time.Now().Add(peerSilence))
			_, err = conn.Read(make([]byte, 16))
		}
	})
	l.clear() // what was meant for the connection before
	l.up.Store(true)
	defer l.up.Store(false)
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	out := bufio.NewWriterSize(patient{conn}, 64<<10)
	for {
		var err error
		select {
		case line := <-l.queue:
			l.queued.Add(-int64(len(line)))
			_, err = out.Write(line)
			if err == nil && len(l.queue) > 0 {
				continue
			}
		case <-ping.C:
			err = out.WriteByte('\n')
		case <-ended:
			return
		}
		if err != nil || out.Flush() != nil {
			return
		}
	}
}

func (l *link) clear() {
	for {
		select {
		case line := <-l.queue:
			l.queued.Add(-int64(len(line)))
		default:
			return
		}
	}
}

// receive serves a connection that was made to this node.
func (p *Peers) receive(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(p.life, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(helloTimeout))
	lines := api.NewLineReader(conn)
	lines.Limit = maxPeerLine
	var h hello
	if err := readJSON(lines, &h); err != nil {
		p.log("%s is no node: %v", conn.RemoteAddr(), err)
		return
	}
	refused := p.unfit(h)
	if refused != "" {
		p.log("refused %s, who says it is %.40q: %s", conn.RemoteAddr(), h.From, refused)
	}
	if json.NewEncoder(conn).Encode(welcome{refused}) != nil || refused != "" {
		return
	}
	select {
	case p.links[h.From].back <- struct{}{}:
	default:
	}
	for {
		if !lines.Ready() {
			conn.SetReadDeadline(time.Now().Add(peerSilence))
		}
		line, err := lines.Next()
		if err != nil {
			return
		}
		if len(line) > 0 {
			if err := p.deliver(h.From, line); err != nil {
				p.log("hung up on %s: %v", h.From, err)
				return
			}
			continue
		}
		conn.SetWriteDeadline(time.Now().Add(peerSilence))
		if _, err := conn.Write([]byte{'\n'}); err != nil {
			return
		}
	}
}

// unfit says what is wrong with a hello; nothing if it is empty.
func (p *Peers) unfit(h hello) string {
	switch {
	case h.Protocol != protocol:
		return fmt.Sprintf("it speaks version %d, this node version %d", h.Protocol, protocol)
	case h.Cluster != p.cluster:
		return "it belongs to another cluster"
	case h.To != p.self:
		return fmt.Sprintf("it looks for %.40q, this is %s", h.To, p.self)
	case p.links[h.From] == nil:
		return fmt.Sprintf("there is no node %.40q in the cluster", h.From)
	}
	return ""
}

// readJSON reads one line into v.
func readJSON(lines *api.LineReader, v any) error {
	line, err := lines.Next()
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}
