package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	"raftworkbook/stage2-naive-replication/api"
	"raftworkbook/stage2-naive-replication/kv"
	"raftworkbook/stage2-naive-replication/naive"
)

const (
	// tick is how often a node looks for requests whose time is up.
	tick = 10 * time.Millisecond
	// writeLimit is how long a write may take unless its request says otherwise, and maxLimit at most.
	writeLimit = time.Second
	maxLimit   = 10 * time.Second
	// maxWaiting is how many writes may wait for their majority at once.
	maxWaiting = 1024
)

// A Config says who a node is, and among whom.
type Config struct {
	ID      string
	Members []Member
	Leader  string // the id of the one node that takes writes
	// Dial connects to a peer.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Log takes a line for the operator.
	Log func(format string, args ...any)
}

// A Node hosts the replication: one goroutine owns it, and does what it says with the network, the clock and the
// store. All others talk to that goroutine.
type Node struct {
	Config
	store *kv.Store
	core  *naive.Naive
	peers *Peers

	// writes and inbox hold nothing: what has been handed over has been taken in.
	writes chan write
	inbox  chan naive.Message

	waiting map[uint64]write // by the number that the core gave them
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup
}

// A write is a client's request that needs a majority.
type write struct {
	request  api.Request
	deadline time.Time
	// reply takes the response, once, and does not wait.
	reply func(api.Response)
}

// NewNode returns a running node.
func NewNode(c Config) *Node {
	n := &Node{Config: c, store: kv.New(), writes: make(chan write), inbox: make(chan naive.Message),
		waiting: map[uint64]write{}}
	n.life, n.end = context.WithCancel(context.Background())
	var ids []string
	others := map[string]string{}
	for _, m := range c.Members {
		ids = append(ids, m.ID)
		if m.ID != c.ID {
			others[m.ID] = m.Peer
		}
	}
	n.core = naive.New(c.ID, c.Leader, ids)
	n.peers = NewPeers(clusterID(c.Members), c.ID, others, c.Dial, n.deliver, c.Log)
	n.running.Go(n.run)
	return n
}

// ServePeers takes what peers send through l, until Close. It closes l.
func (n *Node) ServePeers(l net.Listener) { n.peers.Serve(l) }

// Close ends the node. Whoever waits for a write is told that nobody knows what became of it.
func (n *Node) Close() {
	n.end()
	n.peers.Close()
	n.running.Wait()
}

// Write hands over a request that changes the store. Its response goes to reply.
func (n *Node) Write(r api.Request, reply func(api.Response)) {
	limit := writeLimit
	if r.TimeoutMS > 0 {
		limit = time.Duration(min(r.TimeoutMS, uint64(maxLimit.Milliseconds()))) * time.Millisecond
	}
	select {
	case n.writes <- write{r, time.Now().Add(limit), reply}:
	case <-n.life.Done():
		reply(api.Refuse(r.ID, api.Errorf(api.Unavailable, "%s is shutting down", n.ID)))
	}
}

// status is what the node says of itself.
func (n *Node) status() *api.NodeStatus {
	role := "follower"
	if n.ID == n.Leader {
		role = "leader"
	}
	return &api.NodeStatus{Node: n.ID, Role: role, Leader: n.Leader, Peers: n.peers.Up(), Keys: n.store.Len()}
}

// deliver takes a line from a peer. An error means that the peer makes no sense.
func (n *Node) deliver(from string, line []byte) error {
	var m naive.Message
	if err := json.Unmarshal(line, &m); err != nil || m.From != from || m.To != n.ID {
		return fmt.Errorf("no message: %.100q", line)
	}
	select {
	case n.inbox <- m:
	case <-n.life.Done():
	}
	return nil
}

// run is the one goroutine that touches the core.
func (n *Node) run() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case w := <-n.writes:
			n.propose(w)
		case m := <-n.inbox:
			n.core.Step(m)
		case now := <-ticker.C:
			n.expire(now)
		case <-n.life.Done():
			n.leave()
			return
		}
		n.flush()
	}
}

// propose starts the replication of a write.
func (n *Node) propose(w write) {
	if len(n.waiting) >= maxWaiting {
		w.reply(api.Refuse(w.request.ID, api.Errorf(api.Unavailable, "%d writes are waiting already", maxWaiting)))
		return
	}
	command, err := json.Marshal(w.request)
	if err != nil {
		panic(err) // it came as JSON
	}
	number, err := n.core.Propose(command)
	if err != nil {
		w.reply(api.Refuse(w.request.ID, n.notLeader()))
		return
	}
	n.waiting[number] = w
}

// notLeader sends a client to the leader.
func (n *Node) notLeader() *api.Error {
	e := api.Errorf(api.NotLeader, "%s does not lead: ask %s", n.ID, n.Leader)
	for _, m := range n.Members {
		if m.ID == n.Leader {
			e.Leader = m.Client
		}
	}
	return e
}

// flush does what the core wants done.
func (n *Node) flush() {
	rd, ok := n.core.Ready()
	if !ok {
		return
	}
	for _, e := range rd.Committed {
		n.apply(e)
	}
	for _, m := range rd.Messages {
		line, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		n.peers.Send(m.To, append(line, '\n'))
	}
}

// apply carries an entry out, and answers the client if it waits here.
func (n *Node) apply(e naive.Entry) {
	r, err := api.DecodeRequest(e.Command)
	if err != nil || !r.Writes() {
		n.Log("a command that is no write: %.100q", e.Command)
		return
	}
	resp := n.store.Do(r)
	if w, ok := n.waiting[e.Number]; ok {
		delete(n.waiting, e.Number)
		w.reply(resp)
	}
}

// expire answers the clients whose time is up.
func (n *Node) expire(now time.Time) {
	for number, w := range n.waiting {
		if now.After(w.deadline) {
			n.giveUp(number, w, "no majority of the cluster answered in time")
		}
	}
}

// leave answers all clients that wait.
func (n *Node) leave() {
	for number, w := range n.waiting {
		n.giveUp(number, w, n.ID+" is shutting down")
	}
}

// giveUp answers a client whose write some nodes may have carried out, and others not.
func (n *Node) giveUp(number uint64, w write, why string) {
	delete(n.waiting, number)
	n.core.Abandon(number)
	w.reply(api.Refuse(w.request.ID, api.Errorf(api.Timeout, "%s: it may have happened, or may yet", why)))
}
