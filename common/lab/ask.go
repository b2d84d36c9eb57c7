package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"raftworkbook/common/netfault"
	"raftworkbook/common/wire"
)

const (
	// defaultPatience is how long a command waits for its answer, unless "timeout" says otherwise.
	defaultPatience = 2 * time.Second

	// dialTime bounds one try to connect, so that a node out of reach leaves time to ask the next.
	dialTime = 500 * time.Millisecond

	// replyTime is what a node that waits leaves of that for its answer to arrive, but half at most.
	replyTime = 500 * time.Millisecond

	// roundPause lies between two rounds through all nodes when none takes a request.
	roundPause = 20 * time.Millisecond
)

// A client is the prompt's client: it holds one connection to each node that it has talked to.
type client struct {
	mu       sync.Mutex
	conns    map[string]*wire.Conn // by node
	leader   string                // who was it last; empty if not known
	patience time.Duration         // 0 means defaultPatience
	index    uint64                // the highest that an answer had
	wrote    *write                // the last write
	closed   bool

	// series holds that of the session, nil at first. Whoever takes it out puts one back.
	series chan *series
}

// send sends a request to one node or, with nil, to the cluster.
func (l *Lab) send(ctx context.Context, at *member, r wire.Request) (resp wire.Response, err error) {
	if at != nil {
		resp, err = l.askAt(ctx, at, r)
	} else {
		resp, err = l.ask(ctx, r)
	}
	l.client.saw(resp.Index)
	return resp, err
}

// read sends a request that changes nothing, and writes the answer with answer if there is one. From stage 4 on
// no answer may be older than what this client has seen; so a node may have to wait, but not for so long that
// its refusal comes too late, or that no other could be asked.
func (l *Lab) read(ctx context.Context, at *member, r wire.Request, answer func(wire.Response) string) (string, error) {
	if l.opt.Stage >= firstSession {
		limit := l.client.limit()
		limit -= min(replyTime, limit/2)
		if at == nil {
			limit /= time.Duration(max(1, len(l.current())))
		}
		r.MinIndex, r.TimeoutMS = l.client.seen(), limit.Milliseconds()
	}
	resp, err := l.send(ctx, at, r)
	return l.inWords(resp, err, answer), nil
}

// inWords writes an answer with answer, or the error there is in its place.
func (l *Lab) inWords(resp wire.Response, err error, answer func(wire.Response) string) string {
	if err != nil {
		return l.errorAnswer(err)
	}
	return answer(resp)
}

// ask sends a request to the cluster: to the leader as far as that is known, then wherever redirects
// lead, then to one node after the other; and from stage 3 on, where there may be a leader soon, round
// and round. What may have happened is never sent again.
func (l *Lab) ask(ctx context.Context, r wire.Request) (wire.Response, error) {
	if l.opt.Stage < firstCluster {
		return l.askAt(ctx, l.current()[0], r)
	}
	again := time.NewTicker(roundPause)
	defer again.Stop()
	patience := l.client.limit()
	for deadline := time.Now().Add(patience); ; {
		resp, err := l.askAround(ctx, r, patience)
		if !elsewhere(err) {
			return resp, err
		}
		// Nodes that refuse do so at once. A round that began just before the deadline has the time
		// for that, on a busy machine too, lest a refusal look like an outcome that is unknown.
		patience = max(time.Until(deadline), defaultPatience)
		if l.opt.Stage < firstDurable || time.Now().After(deadline) || ctx.Err() != nil {
			if hasCode(err, "stale") {
				return wire.Response{}, err
			}
			return wire.Response{}, &wire.Error{Code: "unavailable", Message: l.whyNoneTakesIt(ctx, err)}
		}
		<-again.C
	}
}

// whyNoneTakesIt says why all nodes have refused, one of them with err.
func (l *Lab) whyNoneTakesIt(ctx context.Context, err error) string {
	var running []*member
	if l.opt.Stage >= firstDurable {
		running = l.leaderless(ctx)
	}
	switch {
	case len(running) == 0:
		return "no node takes it: " + err.Error()
	case l.byOrder():
		return "nobody leads; lead " + running[0].ID + " would order it, if its log is the best"
	default:
		return "nobody leads"
	}
}

// askAround asks each node once at most, until one takes the request, and has patience with each. Otherwise the
// error is that of the node that was asked first, the most likely leader, or says that there is none to ask.
func (l *Lab) askAround(ctx context.Context, r wire.Request, patience time.Duration) (wire.Response, error) {
	todo := l.current()
	if len(todo) == 0 {
		return wire.Response{}, fmt.Errorf("%w: no node is a member", wire.ErrNotSent)
	}
	next := l.client.leaderNow()
	var first error
	for len(todo) > 0 {
		i := max(0, slices.IndexFunc(todo, func(m *member) bool { return m.ID == next }))
		m := todo[i]
		todo = slices.Delete(todo, i, i+1)
		resp, err := l.askFor(ctx, patience, m, r)
		if err == nil && !slices.Contains([]string{"get", "list", "members"}, r.Op) {
			l.client.follow(m.ID)
		}
		if !elsewhere(err) {
			return resp, err
		}
		if first == nil {
			first = fmt.Errorf("%s: %w", m.ID, err)
		}
		if next = l.redirect(err); next != "" {
			l.client.follow(next)
		} else {
			patience = max(patience, defaultPatience) // for a refusal, as above
		}
	}
	return wire.Response{}, first
}

// elsewhere reports whether nothing has happened and another node may take the request.
func elsewhere(err error) bool {
	return hasCode(err, "not_leader") || hasCode(err, "unavailable") || hasCode(err, "stale") ||
		errors.Is(err, wire.ErrNotSent)
}

// hasCode reports whether err is a refusal with this code.
func hasCode(err error, code string) bool {
	var refusal *wire.Error
	return errors.As(err, &refusal) && refusal.Code == code
}

// redirect is the node that a refusal names as the leader, or empty.
func (l *Lab) redirect(err error) string {
	var refusal *wire.Error
	if !errors.As(err, &refusal) {
		return ""
	}
	for _, m := range l.all() {
		if m.Client == refusal.Leader {
			return m.ID
		}
	}
	return ""
}

// askAt sends a request to one node, and reports whatever it answers.
func (l *Lab) askAt(ctx context.Context, m *member, r wire.Request) (wire.Response, error) {
	return l.askFor(ctx, l.client.limit(), m, r)
}

func (l *Lab) askFor(ctx context.Context, patience time.Duration, m *member, r wire.Request) (wire.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.askNode(ctx, m, r)
}

// askNode uses the connection that there is. Where that turns out to be lost before the request has
// left, it dials a new one, once.
func (l *Lab) askNode(ctx context.Context, m *member, r wire.Request) (wire.Response, error) {
	if c := l.client.conn(m.ID); c != nil {
		resp, err := do(ctx, c, r)
		if !errors.Is(err, wire.ErrNotSent) || ctx.Err() != nil {
			return resp, err
		}
		l.client.drop(m.ID, c)
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := l.dial(dialCtx, m)
	if err != nil {
		return wire.Response{}, fmt.Errorf("%w: %w", wire.ErrNotSent, err)
	}
	c, err := l.client.keep(m.ID, wire.New(conn))
	if err != nil {
		return wire.Response{}, err
	}
	return do(ctx, c, r)
}

// do sends a request over c. Where ctx was over before, the error says so in plain words.
func do(ctx context.Context, c *wire.Conn, r wire.Request) (wire.Response, error) {
	resp, err := c.Do(ctx, r)
	switch {
	case !errors.Is(err, wire.ErrNotSent):
	case errors.Is(err, context.Canceled):
		err = fmt.Errorf("%w: interrupted", wire.ErrNotSent)
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%w: the time was up", wire.ErrNotSent)
	}
	return resp, err
}

// dial connects the client to a node, through the forwarder if there is one. Its error is short.
func (l *Lab) dial(ctx context.Context, m *member) (conn net.Conn, err error) {
	if l.forwarder != nil {
		conn, err = netfault.Dial(ctx, l.forwarder.Addr().String(), clientName, m.Client)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", m.Client)
	}
	if err == nil {
		conn, err = l.authority.prove(ctx, conn, m.ID)
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, errors.New("connection refused")
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, errors.New("interrupted")
	case ctx.Err() != nil:
		return nil, errors.New("no connection in time")
	}
	return conn, err
}

// errorAnswer writes what became of a request that was not carried out, or not surely.
func (l *Lab) errorAnswer(err error) string {
	var refusal *wire.Error
	switch {
	case errors.As(err, &refusal):
		answer := "error " + refusal.Error()
		if leader := l.redirect(err); leader != "" {
			answer += " (the leader is " + leader + ")"
		}
		return oneLine(answer)
	case errors.Is(err, wire.ErrUnknown) && errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("error timeout: outcome unknown: no answer within %v", l.client.limit())
	case errors.Is(err, wire.ErrUnknown) && errors.Is(err, context.Canceled):
		return "error timeout: outcome unknown: interrupted"
	case errors.Is(err, wire.ErrUnknown) && errors.As(err, new(*net.OpError)):
		return "error timeout: outcome unknown: connection lost"
	case errors.Is(err, wire.ErrUnknown):
		return oneLine("error timeout: " + err.Error())
	default:
		return oneLine("error unavailable: " + err.Error())
	}
}

// oneLine keeps what came from outside from looking like more than one line, or moving the cursor.
func oneLine(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

func (c *client) limit() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.patience == 0 {
		return defaultPatience
	}
	return c.patience
}

func (c *client) setPatience(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patience = d
}

// saw notes how new an answer was.
func (c *client) saw(index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index = max(c.index, index)
}

func (c *client) seen() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index
}

func (c *client) leaderNow() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader
}

// follow remembers who leads.
func (c *client) follow(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = id
}

func (c *client) conn(id string) *wire.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conns[id]
}

// keep takes over a connection and returns it, or the one that someone else has made in the meantime.
func (c *client) keep(id string, conn *wire.Conn) (*wire.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch there := c.conns[id]; {
	case c.closed:
		conn.Close()
		return nil, fmt.Errorf("%w: %w", wire.ErrNotSent, errClosed)
	case there != nil:
		conn.Close()
		return there, nil
	}
	if c.conns == nil {
		c.conns = map[string]*wire.Conn{}
	}
	c.conns[id] = conn
	return conn, nil
}

// drop forgets a connection that turned out to be lost.
func (c *client) drop(id string, conn *wire.Conn) {
	c.mu.Lock()
	if c.conns[id] == conn {
		delete(c.conns, id)
	}
	c.mu.Unlock()
	conn.Close()
}

// hangUp drops the connection to a node. What waits for an answer on it learns that the outcome is
// unknown.
func (c *client) hangUp(id string) {
	c.mu.Lock()
	conn := c.conns[id]
	delete(c.conns, id)
	c.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

// close drops all connections, and lets no new ones be made.
func (c *client) close() {
	c.mu.Lock()
	conns := c.conns
	c.conns, c.closed = nil, true
	c.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
	}
}
