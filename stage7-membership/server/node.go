package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"raftworkbook/common/files"
	"raftworkbook/common/trace"
	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/kv"
	"raftworkbook/stage7-membership/raft"
)

const (
	// tick is the unit of time of the core. At each the node also looks for requests whose time is up.
	tick = 10 * time.Millisecond
	// writeLimit is how long a write may take unless its request says otherwise, and maxLimit at most.
	writeLimit = time.Second
	maxLimit   = 10 * time.Second
	// maxBatch is how many bytes of commands go into one message. With what JSON and one long command add, it
	// still fits a line between nodes.
	maxBatch = 64 << 10
	// maxInflight is how many messages with entries may be on their way to one follower. With maxBatch it bounds what
	// one that is far behind takes from the others: of the leader, and of the disks if they are one.
	maxInflight = 4
	// maxInbox is how many messages from peers may wait to be taken in. All of them fit one flush.
	maxInbox = 6
	// maxWaiting is how many requests may wait for other nodes at once, and maxUncommitted how many bytes of
	// commands, those included whose clients have been told that their time is up.
	maxWaiting     = 1024
	maxUncommitted = 64 << 20
	// keepPart is which part of the bytes after which a snapshot is taken stays in the log for followers that are merely
	// slow: a fourth.
	keepPart = 4
)

// errBusy refuses a write that finds no room.
var errBusy = api.Errorf(api.Unavailable, "too many requests are waiting already")

// A Config says who a node is, and among whom.
type Config struct {
	ID string
	// Peer is where other nodes reach this one, while no configuration says that.
	Peer string
	// Bootstrap are the first members of a new cluster, Join is the id of one to take part in. They count only while
	// there is nothing in the directory.
	Bootstrap []raft.Member
	Join      string
	// Data is the directory of what the node must not forget.
	Data string
	// Files is where that directory is.
	Files files.System
	// Heartbeat is how often a leader says that it is there, Election how long others wait for that: a random time from
	// it to twice it. What is less than a tick does not count.
	Heartbeat, Election time.Duration
	// SnapshotBytes is by how many bytes the log grows before a snapshot is taken; or by as many as the last one has, if
	// that is more.
	SnapshotBytes int64
	// Dial connects to a peer.
	Dial func(ctx context.Context, to, addr string) (net.Conn, error)
	// Log takes a line for the operator.
	Log func(format string, args ...any)
	// Explain takes what the node thinks, while a trace is on.
	Explain func(trace.Event)
}

// A Node hosts the consensus: one goroutine owns it, and does what it says with the disk, the network and the store.
// All others talk to that goroutine.
type Node struct {
	Config
	store *kv.Store
	core  *raft.Raft
	disk  *disk
	peers *Peers

	intake *intake     // of writes
	inbox  chan letter // from peers
	orders chan func() // to be carried out by run

	waiting map[raft.Index]write // for the entry with this index to be committed
	reign   raft.Status          // when writes were last let go
	parked  []write              // reads that wait for the store to be as far as their min_index
	reads   reads                // those that want all that is committed
	lists   chan struct{}        // places for lists that are to be made
	listing chan struct{}        // a lock: one list is made at a time
	fresh   freshness
	view    atomic.Pointer[view] // what a read needs to know
	wishes  []wish               // for a snapshot
	taking  bool                 // a snapshot
	taken   chan taken           // has room for it
	tracing bool
	event   trace.Event // what the next trace tells
	born    time.Time
	life    context.Context
	end     context.CancelFunc
	failed  error // of the disk; set before run ends
	running sync.WaitGroup
	writing sync.WaitGroup // of a snapshot

	config   atomic.Pointer[raft.Configuration] // who is in the cluster, as far as this node knows
	managing []write                            // orders about the members
}

// A write is a client's request that needs a majority; or a read that waits.
type write struct {
	request  api.Request
	command  json.RawMessage // the request, as it stands in the log
	term     raft.Term       // of its entry, once it has one
	next     []raft.Member   // who is to be a voter, if it is about that
	deadline time.Time
	// reply takes the response, once, and does not wait.
	reply func(api.Response)
}

// NewNode returns a running node, with all that it has on its disk.
func NewNode(c Config) (*Node, error) {
	if c.Heartbeat < tick || c.Election < 2*c.Heartbeat {
		return nil, fmt.Errorf("a heartbeat every %v does not go with an election after %v: at least %v, and twice as long",
			c.Heartbeat, c.Election, tick)
	}
	n := &Node{Config: c, store: kv.New(), intake: newIntake(), inbox: make(chan letter, maxInbox),
		orders: make(chan func()), waiting: map[raft.Index]write{}, born: time.Now(), fresh: newFreshness(),
		lists: make(chan struct{}, maxWaiting), listing: make(chan struct{}, 1), taken: make(chan taken, 1)}
	n.view.Store(&view{})
	n.config.Store(&raft.Configuration{})
	b := beginning{cluster: c.Join}
	if len(c.Bootstrap) > 0 {
		b.cluster = clusterID(c.Bootstrap)
		b.hard, b.entries = raft.Bootstrap(c.Bootstrap)
	}
	disk, m, err := openDisk(c.Files, c.Data, c.ID, b)
	if err != nil {
		return nil, err
	}
	n.disk = disk
	if err := n.store.Restore(uint64(m.snapshot.LastIncludedIndex), m.snapshot.Data); err != nil {
		return nil, errors.Join(err, disk.close())
	}
	n.core = raft.New(raft.Options{ID: c.ID, HeartbeatTicks: int(c.Heartbeat / tick), ElectionTicks: int(c.Election / tick),
		Random: rand.IntN, MaxBatch: maxBatch, MaxInflight: maxInflight, MaxUncommitted: maxUncommitted},
		m.hard, m.snapshot, m.entries)
	n.reign = n.core.Status()
	n.life, n.end = context.WithCancel(context.Background())
	n.peers = NewPeers(hello{Protocol: protocol, Cluster: disk.head.Cluster, From: c.ID, Directory: disk.head.Directory, Peer: c.Peer},
		c.Dial, n.deliver, c.Log)
	n.running.Go(n.run)
	return n, nil
}

// ServePeers takes what peers send through l, until Close. It closes l.
func (n *Node) ServePeers(l net.Listener) { n.peers.Serve(l) }

// Life ends when the node does, be it by itself.
func (n *Node) Life() context.Context { return n.life }

// Close ends the node. Whoever waits for a write is told that nobody knows what became of it. An error is why the
// node had ended by itself.
func (n *Node) Close() error {
	n.end()
	n.peers.Close()
	n.running.Wait()
	return n.failed
}

// Write hands over a request that changes the store. Its response goes to reply.
func (n *Node) Write(r api.Request, reply func(api.Response)) {
	command, err := json.Marshal(r)
	if err != nil {
		panic(err) // it came as JSON
	}
	n.submit(write{request: r, command: command, reply: reply})
}

// submit has the node take in a request that it will answer within its time.
func (n *Node) submit(w write) {
	limit := writeLimit
	if ms := w.request.TimeoutMS; ms > 0 {
		limit = time.Duration(min(ms, uint64(maxLimit.Milliseconds()))) * time.Millisecond
	}
	w.deadline = time.Now().Add(limit)
	if err := n.intake.put(w); err != nil {
		w.reply(api.Refuse(w.request.ID, err))
	}
}

// Lead orders the node to campaign, and returns when that is saved. It may lose.
func (n *Node) Lead() {
	n.do(func() {
		n.arrives("ordered", "", "to campaign")
		n.core.Campaign()
	})
	n.do(func() {}) // comes after the flush
}

// Status is what the node says of itself.
func (n *Node) Status() *api.NodeStatus {
	var s raft.Status
	var logBytes int64
	n.do(func() { s, logBytes = n.core.Status(), n.disk.end })
	return &api.NodeStatus{Node: n.ID, Cluster: n.disk.head.Cluster, Role: s.Role.String(), Term: uint64(s.Term), Leader: s.Leader,
		LastIndex: uint64(s.LastIndex), CommitIndex: uint64(s.CommitIndex), AppliedIndex: uint64(s.AppliedIndex),
		SnapshotIndex: uint64(s.SnapshotIndex), LogBytes: logBytes,
		Peers: n.peers.Up(), Keys: n.store.Len()}
}

// do has run call f, and returns when it has, or when the node has ended.
func (n *Node) do(f func()) {
	done := make(chan struct{})
	select {
	case n.orders <- func() { f(); close(done) }:
		<-done
	case <-n.life.Done():
	}
}

// deliver takes a line from a peer. An error means that the peer makes no sense.
func (n *Node) deliver(from string, line []byte) error {
	var l letter
	if err := json.Unmarshal(line, &l); err != nil || l.From != from || l.To != n.ID {
		return fmt.Errorf("no message: %.100q", line)
	}
	select {
	case n.inbox <- l:
	case <-n.life.Done():
	}
	return nil
}

// run is the one goroutine that touches the core, the disk and, to change it, the store; but for a snapshot, which another
// writes.
func (n *Node) run() {
	defer n.disk.close()
	defer n.writing.Wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n.failed == nil {
		select {
		case <-n.intake.arrived:
		case l := <-n.inbox:
			n.step(l)
		case order := <-n.orders:
			order()
		case t := <-n.taken:
			n.failed = n.compact(t)
		case now := <-ticker.C:
			n.core.Tick()
			n.identify()
			n.expire(now)
		case <-n.life.Done():
			n.leave()
			return
		}
		if n.failed != nil {
			break
		}
		n.takeIn()
		n.failed = n.flush()
		n.beginSnapshot()
	}
	n.Log("the node ends: %v", n.failed)
	n.end()
	n.leave()
}

// takeIn gives the core all that has arrived, before it is asked what to do: so many clients share one flush.
func (n *Node) takeIn() {
	runtime.Gosched() // who has something to hand over does it first
	for range len(n.inbox) {
		n.step(<-n.inbox)
	}
	for _, w := range n.intake.take() {
		if n.tracing {
			n.arrives("is asked", "", words(w.request))
		}
		n.propose(w)
	}
}

func (n *Node) step(l letter) {
	if n.tracing {
		n.arrives("hears", l.From, l.String())
	}
	n.core.Step(l.Message)
	if takesPart(n.config.Load(), l.From) { // there are names without end
		n.fresh.open(l, time.Now())
	}
}

// propose brings a write into the log, if this node leads. A read waits, and what is about members does too.
func (n *Node) propose(w write) {
	if len(n.waiting)+n.reads.len()+len(n.managing) >= maxWaiting {
		w.reply(api.Refuse(w.request.ID, errBusy))
		return
	}
	if w.request.Op == api.Change || w.request.Op == api.Transfer {
		n.manage(w)
		return
	}
	if !w.request.Writes() {
		n.park(w)
		return
	}
	index, term, err := n.core.Propose(w.command)
	switch err {
	case nil:
		w.term = term
		n.waiting[index] = w
	case raft.ErrNotLeader:
		w.reply(api.Refuse(w.request.ID, n.notLeader()))
	case raft.ErrTransfer:
		w.reply(api.Refuse(w.request.ID, api.Errorf(api.Unavailable, "%v", err)))
	default:
		w.reply(api.Refuse(w.request.ID, errBusy))
	}
}

// notLeader sends a client to the leader, if this node knows one.
func (n *Node) notLeader() *api.Error {
	leader := n.core.Status().Leader
	for _, m := range n.config.Load().Members() {
		if m.ID == leader {
			e := api.Errorf(api.NotLeader, "%s does not lead: ask %s", n.ID, leader)
			e.Leader = m.Client
			return e
		}
	}
	return api.Errorf(api.Unavailable, "%s does not lead, and knows of nobody who does", n.ID)
}

// flush does what the core wants done, in the order in which it wants it, until there is nothing. An error is the
// disk's: then nothing that depends on it has been sent or applied.
func (n *Node) flush() error {
	for {
		rd, ok := n.core.Ready()
		n.does(rd)
		if !ok && n.readOn() {
			continue // the core has more to do now
		}
		if !ok {
			break
		}
		if rd.Config != nil {
			n.follow(*rd.Config)
		}
		n.send(rd.Appends)
		if err := n.save(rd); err != nil {
			return err
		}
		n.send(rd.Messages)
		for _, e := range rd.Committed {
			n.apply(e)
		}
	}
	n.settle(n.core.Status())
	return nil
}

func (n *Node) send(messages []raft.Message) {
	for _, m := range messages {
		line, err := json.Marshal(n.fresh.seal(m, time.Now()))
		if err != nil {
			panic(err)
		}
		n.peers.Send(m.To, append(line, '\n'))
	}
}

// apply carries an entry out, and answers the client if it waits here for this entry: another leader may have put
// another one in its place.
func (n *Node) apply(e raft.Entry) {
	if len(e.Command) == 0 {
		return // a leader's first, or a configuration
	}
	r, err := api.DecodeRequest(e.Command)
	if err != nil || !r.Writes() {
		n.Log("a command that is no write: %.100q", e.Command)
		return
	}
	resp := n.store.Apply(uint64(e.Index), r)
	if w, ok := n.waiting[e.Index]; ok && w.term == e.Term {
		delete(n.waiting, e.Index)
		w.reply(resp)
	}
}

// settle lets all writes go that wait for a reign that is over, and says how the store is to be read now.
func (n *Node) settle(s raft.Status) {
	if n.reign.Role == raft.Leader && (s.Role != raft.Leader || s.Term != n.reign.Term) {
		n.giveUp("leadership was lost", func(write) bool { return true })
		n.dropReads(n.notLeader())
	}
	n.manageOn(s)
	n.tell(n.reign, s)
	n.reign = s
	n.fresh.settle(s, n.core.AnsweredRound(), time.Now())
	n.look(s)
}

// expire answers the clients whose time is up.
func (n *Node) expire(now time.Time) {
	n.giveUp("no majority of the cluster answered in time", func(w write) bool { return now.After(w.deadline) })
	n.expireReads(now)
	n.managing = inTime(n.managing, now, api.Timeout, "it is not done yet, but may be later: asking for it again does no harm")
}

// leave answers all clients that wait.
func (n *Node) leave() {
	for _, w := range slices.Concat(n.intake.close(), n.parked, n.reads.all()) {
		w.reply(api.Refuse(w.request.ID, api.Errorf(api.Unavailable, "%s is shutting down", n.ID)))
	}
	for _, w := range n.managing {
		w.reply(api.Refuse(w.request.ID, api.Errorf(api.Timeout, "%s is shutting down: it may go on", n.ID)))
	}
	n.giveUp(n.ID+" is shutting down", func(write) bool { return true })
}

// giveUp answers clients whose writes are in the log, and may be committed yet, here or by another leader.
func (n *Node) giveUp(why string, which func(write) bool) {
	for index, w := range n.waiting {
		if which(w) {
			delete(n.waiting, index)
			w.reply(api.Refuse(w.request.ID, api.Errorf(api.Timeout, "%s: it may have happened, or may yet", why)))
		}
	}
}
