package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
)

const (
	// maxPeerLine is the longest line between nodes in bytes, its newline included.
	maxPeerLine = 2 << 20
	// maxQueued is how many bytes may wait to be sent to one peer. What is more is dropped.
	maxQueued = 8 << 20
	// maxLines is how many lines may.
	maxLines = 4096
	// maxInbound is how many connections from peers are served at once, and of how many more nobody knows yet whose they are.
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
	// Directory is the identity of the sender's disk.
	Directory string `json:"directory"`
	// Peer is where the sender is to be reached: a node may not have heard yet that it is a member.
	Peer string `json:"peer"`
}

// welcome answers a hello. Refused says why not, and is empty if all is well.
type welcome struct {
	Refused   string `json:"refused,omitempty"`
	Directory string `json:"directory,omitempty"`
}

// Peers carries lines between this node and the others. A connection carries them one way, from the node that
// dialled it; only the answer to the hello and to pings goes back. Nothing is promised: a line may be lost, with
// the connection or for want of one, and what arrives late is older than it looks.
type Peers struct {
	// self is how this node introduces itself, without To.
	self hello
	// dial connects to a node.
	dial func(ctx context.Context, to, addr string) (net.Conn, error)
	// deliver takes what peers send. Each link calls it from a goroutine of its own, and waits for it. An error
	// ends the connection.
	deliver func(from string, line []byte) error
	log     func(format string, args ...any)

	mu      sync.Mutex
	links   map[string]*link
	members []raft.Member     // those that are configured
	callers map[string]int    // how many connections a node has made to this one
	seen    map[string]string // the directory with which each node came last
	// strangers are connections to this node of which it does not know yet whose they are, the oldest first.
	strangers []net.Conn

	inbound atomic.Int32 // connections to this node of which it knows

	closing sync.Mutex // held while life ends, and while somebody joins running
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup
}

// A link is the way to one peer.
type link struct {
	to, addr string
	said     string // where the peer itself said that it is, if it has; guarded by Peers.mu
	tried    int    // how often
	queue    chan []byte
	queued   atomic.Int64 // bytes in queue
	up       atomic.Bool
	back     chan struct{} // has room for the news that the peer is there, for it has dialled us
	life     context.Context
	end      context.CancelFunc
}

// NewPeers returns the links of a node, which has none yet.
func NewPeers(self hello, dial func(ctx context.Context, to, addr string) (net.Conn, error),
	deliver func(from string, line []byte) error, log func(format string, args ...any)) *Peers {
	p := &Peers{self: self, dial: dial, deliver: deliver, log: log, links: map[string]*link{}, callers: map[string]int{}, seen: map[string]string{}}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// Follow has links to all members, and to nobody else but those who have connected to this node: one of us may lag, and
// not know yet that the other is a member. None of them needs to be there.
func (p *Peers) Follow(members []raft.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := p.members
	p.members = members
	for _, m := range members {
		p.link(m.ID, m.Peer)
	}
	for _, m := range gone {
		p.forget(m.ID)
	}
}

// link has a link to a node at an address. The caller holds mu.
func (p *Peers) link(to, addr string) *link {
	l := p.links[to]
	if to == p.self.From || l != nil && l.addr == addr {
		return l
	}
	said := ""
	if l != nil {
		said = l.said
		l.end()
	}
	l = &link{to: to, addr: addr, said: said, queue: make(chan []byte, maxLines), back: make(chan struct{}, 1)}
	l.life, l.end = context.WithCancel(p.life)
	p.links[to] = l
	if p.join() {
		go func() {
			defer p.running.Done()
			p.keep(l)
		}()
	}
	return l
}

// forget ends the link to a node that is no member and has hung up. The caller holds mu.
func (p *Peers) forget(id string) {
	if l := p.links[id]; l != nil && p.member(id) == nil && p.callers[id] == 0 {
		l.end()
		delete(p.links, id)
		delete(p.seen, id)
	}
}

// member returns what is configured of a node, nil if it is none. The caller holds mu.
func (p *Peers) member(id string) *raft.Member {
	for i := range p.members {
		if p.members[i].ID == id {
			return &p.members[i]
		}
	}
	return nil
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
		p.admit(conn)
		p.running.Go(func() { p.receive(conn) })
	})
}

// admit counts a connection among those of which nobody knows yet whose they are. If there are many, the oldest makes
// room: so those who say nothing keep nobody out.
func (p *Peers) admit(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.strangers) == maxInbound {
		p.strangers[0].Close()
		p.strangers = slices.Delete(p.strangers, 0, 1)
	}
	p.strangers = append(p.strangers, conn)
}

// known counts a connection there no more.
func (p *Peers) known(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strangers = slices.DeleteFunc(p.strangers, func(c net.Conn) bool { return c == conn })
}

// join counts a goroutine among what Close waits for, unless it comes after Close.
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
	p.mu.Lock()
	l := p.links[to]
	p.mu.Unlock()
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
	p.mu.Lock()
	defer p.mu.Unlock()
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
	for l.life.Err() == nil {
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
		case <-l.life.Done():
		}
		pause = min(2*pause, maxPause)
	}
}

// A refusal is a peer's answer to a hello that does not fit.
type refusal struct{ why string }

func (r *refusal) Error() string { return "it refuses this node: " + r.why }

// connect dials a peer and introduces this node.
func (p *Peers) connect(l *link) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.life, helloTimeout)
	defer cancel()
	conn, err := p.dial(ctx, l.to, p.address(l))
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := json.NewEncoder(conn).Encode(p.introduce(l.to)); err != nil {
		conn.Close()
		return nil, err
	}
	var w welcome
	if err := readJSON(api.NewLineReader(conn), &w); err != nil {
		conn.Close()
		return nil, err
	}
	if w.Refused == "" {
		w.Refused = p.another(l.to, w.Directory)
	}
	if w.Refused != "" {
		conn.Close()
		return nil, &refusal{w.Refused}
	}
	return conn, nil
}

// address is where to look for a peer: where the members know it, and in turn where it says that it is. One of us may lag,
// and not know where it has moved to.
func (p *Peers) address(l *link) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.tried++; l.tried%2 == 0 && l.said != "" {
		return l.said
	}
	return l.addr
}

// introduce is this node's hello to another. Where it listens it says as the members know it, if it is one: what it was told
// to listen on may be any address of its machine (0.0.0.0), which is another node elsewhere.
func (p *Peers) introduce(to string) hello {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.self
	h.To = to
	if m := p.member(h.From); m != nil {
		h.Peer = m.Peer
	}
	return h
}

// carry sends over conn what is queued from now on, until the connection ends.
func (p *Peers) carry(l *link, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(l.life, func() { conn.Close() })()
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
	defer p.known(conn)
	name, err := api.Prove(conn, helloTimeout, welcome{Refused: "it speaks TLS alone"})
	if err != nil {
		p.log("%s is no node: %v", conn.RemoteAddr(), err)
		return
	}
	conn.SetDeadline(time.Now().Add(helloTimeout))
	lines := api.NewLineReader(conn)
	lines.Limit = maxPeerLine
	var h hello
	if err := readJSON(lines, &h); err != nil {
		p.log("%s is no node: %v", conn.RemoteAddr(), err)
		return
	}
	refused := p.unfit(h)
	if name != "" && name != h.From {
		refused = fmt.Sprintf("its certificate is that of %.40q", name)
	}
	if refused != "" {
		p.log("refused %s, who says it is %.40q: %s", conn.RemoteAddr(), h.From, refused)
	}
	if json.NewEncoder(conn).Encode(welcome{refused, p.self.Directory}) != nil || refused != "" {
		return
	}
	p.known(conn)
	defer p.inbound.Add(-1)
	if p.inbound.Add(1) > maxInbound {
		return
	}
	p.greet(h)
	defer p.part(h)
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

// greet has a link to a node that has connected to this one, and tells it that the node is there.
func (p *Peers) greet(h hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.callers[h.From]++
	p.seen[h.From] = h.Directory
	l := p.links[h.From]
	if l == nil {
		l = p.link(h.From, h.Peer)
	}
	l.said = h.Peer
	select {
	case l.back <- struct{}{}:
	default:
	}
}

func (p *Peers) part(h hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.callers[h.From]--; p.callers[h.From] == 0 {
		delete(p.callers, h.From)
	}
	p.forget(h.From)
}

// unfit says what is wrong with a hello; nothing if it is empty.
func (p *Peers) unfit(h hello) string {
	switch {
	case h.Protocol != protocol:
		return fmt.Sprintf("it speaks version %d, this node version %d", h.Protocol, protocol)
	case h.Cluster != p.self.Cluster:
		return "it belongs to another cluster"
	case h.To != p.self.From:
		return fmt.Sprintf("it looks for %.40q, this is %s", h.To, p.self.From)
	case h.From == p.self.From:
		return fmt.Sprintf("this is %s itself", p.self.From)
	}
	return p.another(h.From, h.Directory)
}

// Directory is that of a node, as it says itself; empty if it has not.
func (p *Peers) Directory(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[id]
}

// another says that a member has come back without its disk, and with that without what it promised; nothing if it has
// not. Its old name is of no more use: it must be replaced.
func (p *Peers) another(id, directory string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.member(id)
	if m == nil || m.Directory == "" || m.Directory == directory {
		return ""
	}
	return fmt.Sprintf("%s is known with the directory %s, and this is %.40q: a node that has lost its disk must be replaced by one of another name",
		id, m.Directory, directory)
}

// readJSON reads one line into v.
func readJSON(lines *api.LineReader, v any) error {
	line, err := lines.Next()
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}
