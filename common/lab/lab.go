// Package lab runs a stage's whole cluster on this machine, hurts it, and talks to it.
//
// Each node is a child process of the stage's own binary. Links between nodes, and between the prompt
// and a node, run through a forwarder that can cut, delay and stall them. Commands come from a prompt, a
// pipe or a scene: a file of commands with the outcome that must follow each. See the table in
// commands.go for what can be said, and line.go for how outcomes are written.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"raftworkbook/common/netfault"
)

// The stages from which a node takes more flags, and the lab more commands.
const (
	firstClient   = 1 // commands for a shell
	firstCluster  = 2 // nodes that talk to each other
	firstDurable  = 3 // data on disk, and a leader by order
	firstSession  = 4 // writes that are known when they come again, and reads that say how old they are
	firstElection = 5 // a leader that the nodes choose
	firstSnapshot = 6 // a log that is cut
	firstMembers  = 7 // members that come and go, and TLS
)

// Options say what to run.
type Options struct {
	// Stage decides the nodes' flags, the commands there are, and which outcome a scene expects.
	Stage int

	// Bin is the binary whose "node" command is a node; if empty, the one that runs now.
	Bin string

	// Nodes is how many there are, n1 and up; if 0, one.
	Nodes int

	// Dir holds the nodes' data, from stage 3 on, and in a file which ports it is of. If empty it is a temporary one,
	// gone after Close.
	Dir string

	// Direct lets nodes and clients connect without the forwarder, for benchmarks. No link can be hurt.
	Direct bool

	// Flags are more of the flags of every node, as its stage knows them.
	Flags []string
	// Order has the first node told to lead also where nodes choose for themselves, which takes an election timeout.
	Order bool

	// TLS has nodes and clients prove who they are, from stage 7 on, with certificates that nobody knows after Close.
	TLS bool

	// Out takes what nodes write, each line after the node's name, and the news of their end. The lab
	// writes whole lines and never two at once, until Close; nothing else waits for a write to Out, and so
	// lines that come faster than it takes them are lost. If nil, all are.
	Out io.Writer
}

// A Node is one member of the cluster, alive or not.
type Node struct {
	// ID is its name: n1.
	ID string

	// Client is the address where it serves clients, Peer where it hears other nodes.
	Client, Peer string

	// Dir holds its data; empty before stage 3.
	Dir string
}

// A Lab is a running cluster. Its methods may be called from many goroutines at once.
type Lab struct {
	opt       Options
	block     block
	forwarder *netfault.Forwarder // owns the block's listener; nil if links are direct
	tempDir   string
	fresh     bool       // no node had data when the lab started
	first     []Node     // those that it started with
	authority *authority // nil without TLS

	client  client
	session session
	news    *news
	later   later

	// enlisting is held while a new node is looked for, and made if there is none.
	enlisting sync.Mutex

	life  context.Context // ends with Close, which waits for all tasks
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu      sync.Mutex
	members []*member // all that there ever were, by name
	closed  bool
	crashes []error
}

// A member is a node and the process that is it at the moment.
type member struct {
	Node

	// removed means that it is no member of the cluster any more, or could not become one. The lab's mu guards it.
	removed bool

	// changing is held while a process is started or ended, so that a node has one at most.
	changing sync.Mutex

	mu     sync.Mutex
	join   string   // the cluster that it is to take part in; empty for those that begin one
	proc   *process // the last one; nil before the first
	paused bool
}

// Start starts a cluster and waits until every node listens, and from stage 3 on until one leads; ctx bounds
// that wait, no more. The caller must call Close.
func Start(ctx context.Context, opt Options) (*Lab, error) {
	opt.Nodes = max(opt.Nodes, 1)
	if err := opt.check(); err != nil {
		return nil, err
	}
	if opt.Bin == "" {
		bin, err := os.Executable()
		if err != nil {
			return nil, err
		}
		opt.Bin = bin
	}
	if opt.Out == nil {
		opt.Out = io.Discard
	}
	l := &Lab{opt: opt, news: startNews(opt.Out)}
	l.client.series = make(chan *series, 1)
	l.client.series <- nil
	l.later.slots = make(chan struct{}, maxLater)
	l.life, l.end = context.WithCancel(context.Background())
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (o Options) check() error {
	switch {
	case o.Nodes > maxNodes:
		return fmt.Errorf("a lab has at most %d nodes, not %d", maxNodes, o.Nodes)
	case o.Nodes > 1 && o.Stage < firstCluster:
		return fmt.Errorf("stage %d has one node, not %d: clusters begin with stage %d", o.Stage, o.Nodes, firstCluster)
	case o.Dir != "" && o.Stage < firstDurable:
		return fmt.Errorf("stage %d keeps nothing on disk: data directories begin with stage %d", o.Stage, firstDurable)
	case o.TLS && o.Stage < firstMembers:
		return fmt.Errorf("stage %d knows no TLS: it begins with stage %d", o.Stage, firstMembers)
	}
	return nil
}

func (l *Lab) start(ctx context.Context) (err error) {
	dir, err := l.dataDir()
	if err != nil {
		return err
	}
	if l.opt.Dir != "" {
		l.block, err = claimFor(dir, l.opt.Nodes)
	} else {
		l.block, err = claim(l.opt.Nodes)
	}
	if err != nil {
		return err
	}
	if !l.opt.Direct {
		l.forwarder = netfault.New(l.block, netfault.Options{Raw: l.opt.TLS})
	}
	if l.opt.TLS {
		if err := l.useTLS(); err != nil {
			return err
		}
	}
	for i := 1; i <= l.opt.Nodes; i++ {
		if _, err := l.newMember(i, dir); err != nil {
			return err
		}
	}
	l.first = l.Nodes()
	l.fresh = !slices.ContainsFunc(l.first, func(n Node) bool { return !isEmpty(n.Dir) })
	if err := each(l.all(), func(m *member) error { return l.startNode(ctx, m, l.first) }); err != nil {
		return err
	}
	l.meet(ctx)
	return l.firstLeader(ctx)
}

// newMember adds node number i to those that there are. Its process is still to be started.
func (l *Lab) newMember(i int, dir string) (*member, error) {
	m := &member{Node: Node{ID: "n" + strconv.Itoa(i), Client: l.block.client(i), Peer: l.block.peer(i)}}
	if dir != "" {
		m.Dir = filepath.Join(dir, m.ID)
	}
	if l.forwarder != nil {
		l.forwarder.Name(m.Client, m.ID)
		l.forwarder.Name(m.Peer, m.ID)
	}
	if l.authority != nil {
		if err := l.authority.issue(m.ID, nodeUnit); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members = append(l.members, m)
	return m, nil
}

// meet waits until the nodes that run are connected to each other, as far as they tell to how many others
// they are. What is asked of a cluster before that may find no majority. It gives up after a while, and where
// links are hurt, since there they may never be.
func (l *Lab) meet(ctx context.Context) { until(ctx, meetTime, l.met) }

func (l *Lab) met(ctx context.Context) bool {
	if l.forwarder != nil && len(l.forwarder.Faults()) > 0 {
		return true
	}
	running := slices.DeleteFunc(l.current(), func(m *member) bool { return m.state() != "running" })
	return each(running, func(m *member) error {
		peers, told := l.askStatus(ctx, m)["peers"].(json.Number)
		if n, _ := peers.Int64(); told && int(n) < len(running)-1 {
			return errors.New("not yet")
		}
		return nil
	}) == nil
}

// statusPause is how often all nodes are asked how they are: seldom, since each answer costs them more than a
// heartbeat does.
const statusPause = 40 * time.Millisecond

// until waits for something to hold, for the time most.
func until(ctx context.Context, most time.Duration, holds func(context.Context) bool) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	again := time.NewTicker(statusPause)
	defer again.Stop()
	for !holds(ctx) {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// dataDir makes the directory that holds the nodes' data, absolute so that their logs can name it.
func (l *Lab) dataDir() (string, error) {
	if l.opt.Stage < firstDurable {
		return "", nil
	}
	if l.opt.Dir == "" {
		return l.temporary()
	}
	dir, err := filepath.Abs(l.opt.Dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// temporary makes a directory that is gone after Close, once.
func (l *Lab) temporary() (dir string, err error) {
	if l.tempDir == "" {
		l.tempDir, err = os.MkdirTemp("", "raftworkbook-")
	}
	return l.tempDir, err
}

// isEmpty reports whether there is nothing in a directory, or no directory.
func isEmpty(dir string) bool {
	found, err := os.ReadDir(dir)
	return len(found) == 0 && (err == nil || errors.Is(err, os.ErrNotExist))
}

// all are the members, dead or alive, and those that are none any more, as long as their processes run.
func (l *Lab) all() []*member {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.members), func(m *member) bool { return m.removed && m.state() == "dead" })
}

// current are the members, dead or alive, as far as the lab knows.
func (l *Lab) current() []*member {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.members), func(m *member) bool { return m.removed })
}

// Nodes lists the nodes in the order in which they came.
func (l *Lab) Nodes() []Node {
	var ns []Node
	for _, m := range l.all() {
		ns = append(ns, m.Node)
	}
	return ns
}

// Close ends the cluster and gives back processes, ports and temporary files. It is done within seconds,
// and may be called again, with no effect. The error names the nodes that ended by themselves during the
// lab's life, and not well.
//
// Nodes are killed, not asked to end: a node must survive a kill at any moment, and so the end of a lab
// takes no longer when one does not listen.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	l.end()
	l.tasks.Wait()

	err := each(l.all(), l.killNode)
	l.client.close()
	switch {
	case l.forwarder != nil:
		err = errors.Join(err, l.forwarder.Close())
	case l.block.Listener != nil:
		err = errors.Join(err, l.block.Close())
	}
	if l.tempDir != "" {
		err = errors.Join(err, os.RemoveAll(l.tempDir))
	}
	l.news.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(append(l.crashes, err)...)
}

// begin notes a task that Close will end, by the lab's life, and wait for. It refuses once the lab is closed.
func (l *Lab) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	l.tasks.Add(1)
	return nil
}

var errClosed = errors.New("the lab is closed")

func (l *Lab) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// member finds a node by its name.
func (l *Lab) member(id string) (*member, error) {
	for _, m := range l.all() {
		if m.ID == id {
			return m, nil
		}
	}
	return nil, fmt.Errorf("there is no node %q; there is %s", cut(id, maxWord), strings.Join(l.ids(), ", "))
}

// running are the nodes whose process runs.
func (l *Lab) running() []*member {
	var ms []*member
	for _, m := range l.all() {
		if m.state() == "running" {
			ms = append(ms, m)
		}
	}
	return ms
}

func (l *Lab) ids() []string {
	var ids []string
	for _, m := range l.all() {
		ids = append(ids, m.ID)
	}
	return ids
}

// flags are a node's command line after its name, as far as the stage has them. The cluster that it may begin is that
// of some nodes.
func (l *Lab) flags(m *member, among []Node) []string {
	flags := []string{"-listen", m.Client, "-leash"}
	if l.opt.Stage >= firstCluster {
		flags = append(flags, "-peer", m.Peer)
		switch join := m.joins(); {
		case join != "":
			flags = append(flags, "-join", join)
		case l.opt.Stage >= firstMembers:
			flags = append(flags, "-bootstrap", "-cluster", list(among))
		default:
			flags = append(flags, "-cluster", list(among))
		}
		if !l.opt.Direct {
			flags = append(flags, "-via", l.block.Addr().String())
		}
	}
	if l.opt.Stage == firstCluster {
		flags = append(flags, "-leader", "n1") // named by flag in this stage alone
	}
	if m.Dir != "" {
		flags = append(flags, "-data", m.Dir)
	}
	if l.authority != nil {
		flags = append(flags, l.authority.flags(m.ID)...)
	}
	return append(flags, l.opt.Flags...)
}

// list writes nodes as flags and orders do: n1=PEER/CLIENT,n2=PEER/CLIENT.
func list(nodes []Node) string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.ID+"="+n.Peer+"/"+n.Client)
	}
	return strings.Join(all, ",")
}

// startNode starts a node's process, after killing the one that may run, and waits until it listens.
func (l *Lab) startNode(ctx context.Context, m *member, among []Node, more ...string) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	if l.isClosed() {
		return errClosed
	}
	if p := m.process(); p != nil {
		if err := p.kill(); err != nil {
			return fmt.Errorf("%s: %w", m.ID, err)
		}
	}
	p, err := launch(l.opt.Bin, m.ID, append(l.flags(m, among), more...),
		func(lines []string) {
			for i, line := range lines {
				lines[i] = m.ID + " | " + line
			}
			l.news.say(lines...)
		},
		func(p *process) { l.bury(m, p) })
	if err != nil {
		return fmt.Errorf("%s does not start: %w", m.ID, err)
	}
	m.mu.Lock()
	m.proc, m.paused = p, false
	m.mu.Unlock()
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		err = errors.New(p.epitaph())
	case <-time.After(readyTime):
		err = errors.Join(fmt.Errorf("it does not listen after %v", readyTime), p.kill())
	case <-ctx.Done():
		err = errors.Join(ctx.Err(), p.kill())
	}
	return fmt.Errorf("%s does not start: %w", m.ID, err)
}

// bury notes the end of a process, and tells of it if it came by itself.
func (l *Lab) bury(m *member, p *process) {
	l.client.hangUp(m.ID)
	byItself := p.listens() && !p.killed.Load()
	if byItself {
		l.news.say(m.ID + " ended by itself: " + p.epitaph())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if byItself && p.crashed() {
		l.crashes = append(l.crashes, fmt.Errorf("%s ended by itself: %s", m.ID, p.epitaph()))
	}
}

// killNode ends the process of a node as a crash would, if there is one.
func (l *Lab) killNode(m *member) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	p := m.process()
	if p == nil {
		return nil
	}
	if err := p.kill(); err != nil {
		return fmt.Errorf("%s: %w", m.ID, err)
	}
	return nil
}

func (m *member) process() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc
}

// joins is the cluster that it is to take part in, if it begins none.
func (m *member) joins() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.join
}

// state is the process's state in one word.
func (m *member) state() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.proc == nil || m.proc.gone():
		return "dead"
	case m.paused:
		return "paused"
	default:
		return "running"
	}
}

// pause stops or continues a node's process.
func (m *member) pause(on bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == nil || m.proc.gone() {
		return fmt.Errorf("%s is dead; restart %s starts it", m.ID, m.ID)
	}
	change := m.proc.resume
	if on {
		change = m.proc.pause
	}
	if err := change(); err != nil {
		return fmt.Errorf("%s: %w", m.ID, err)
	}
	m.paused = on
	return nil
}

// each does the same to all members at once, and joins the errors in their order.
func each(ms []*member, do func(*member) error) error {
	errs := make([]error, len(ms))
	var wg sync.WaitGroup
	for i, m := range ms {
		wg.Go(func() { errs[i] = do(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
