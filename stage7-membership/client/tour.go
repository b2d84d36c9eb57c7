package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftworkbook/stage7-membership/api"
)

const (
	// longestTry is how long one server may take at most, but for a change. It may not take more than its share either:
	// of half of the call's time each server gets the same.
	longestTry = time.Second
	// firstPause is how long a client waits at most after a round in which no server took its request, and
	// maxPause after many.
	firstPause = 20 * time.Millisecond
	maxPause   = 500 * time.Millisecond
)

// final are the codes of errors that are about a request itself or its session: every server would say the same.
var final = []string{api.BadRequest, api.UnknownOp, api.TooLarge, api.SessionExpired, api.NotLevel}

// A tour is a request on its way from server to server, in rounds: in each, it asks each server once at most. So
// redirects cannot lead it in a circle, and none can hold it up for longer than its share.
type tour struct {
	client  *Client
	request api.Request
	began   time.Time
	share   time.Duration // of the call's time, for one try

	asked   []string   // addresses, in the order in which they were asked first
	refused *api.Error // how a try ended that did nothing
	unsure  *api.Error // how a try ended of which nobody knows what it did
}

// read has a request answered by the leader or, if it may be outdated, by a server that is as new as all that this client
// has seen.
func (c *Client) read(ctx context.Context, r api.Request) (api.Response, *api.Error) {
	c.mu.Lock()
	r.MinIndex = max(r.MinIndex, c.index)
	c.mu.Unlock()
	if r.MaxStalenessMS == nil && c.MaxStaleness >= time.Millisecond {
		r.MaxStalenessMS = new(uint64(c.MaxStaleness.Milliseconds()))
	}
	return c.tour(ctx, r).ask(ctx)
}

// tour plans a tour that ends with ctx, which has a deadline.
func (c *Client) tour(ctx context.Context, r api.Request) *tour {
	deadline, _ := ctx.Deadline()
	share := min(longestTry, time.Until(deadline)/time.Duration(2*len(c.known())))
	if r.Op == api.Change {
		share = time.Until(deadline) / 2 // others refuse it at once, and the leader waits for new members
	}
	r.TimeoutMS = uint64(max(share, 0).Milliseconds()) * 9 / 10 // so that its word comes in time
	return &tour{client: c, request: r, began: time.Now(), share: share}
}

// ask goes round the servers until one takes the request or says what all would say, or until ctx ends.
func (t *tour) ask(ctx context.Context) (api.Response, *api.Error) {
	for round := 0; ; round++ {
		var asked []*node
		for n := t.next(asked); n != nil && ctx.Err() == nil; n = t.next(asked) {
			asked = append(asked, n)
			resp, err := t.try(ctx, n)
			if err == nil || slices.Contains(final, err.Code) {
				return resp, t.settled(err)
			}
			t.note(err)
		}
		if !t.client.pause(ctx, round) {
			return api.Response{}, t.failed(ctx)
		}
	}
}

// forLeader reports whether only the leader can answer: a write, a change, or a read of all that is committed.
func (t *tour) forLeader() bool {
	return t.request.Writes() || t.request.MaxStalenessMS == nil && t.request.Op != api.Members
}

// next is whom to ask, of those who were not asked in this round, nil if there is none. What is for the leader goes there,
// if there is one, and a read that may be outdated goes there last, unless chance picks it first: the others have less to do.
func (t *tour) next(asked []*node) *node {
	c := t.client
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return slices.Contains(asked, n) })
	leader := slices.Index(left, c.leader)
	switch {
	case len(left) == 0:
		return nil
	case leader >= 0 && t.forLeader():
		return c.leader
	case leader >= 0 && len(left) > 1 && len(asked) > 0:
		left = slices.Delete(left, leader, leader+1)
	}
	return left[c.intN(len(left))]
}

// try asks one server, and learns from its answer.
func (t *tour) try(ctx context.Context, n *node) (api.Response, *api.Error) {
	ctx, cancel := context.WithTimeout(ctx, t.share)
	defer cancel()
	if !slices.Contains(t.asked, n.addr) {
		t.asked = append(t.asked, n.addr)
	}
	resp, err := n.try(ctx, t.request)
	t.learn(n, resp, err)
	return resp, err
}

// learn keeps what the next request must know: how new an answer was, and who leads.
func (t *tour) learn(n *node, resp api.Response, err *api.Error) {
	c := t.client
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index = max(c.index, resp.Index)
	switch {
	case !t.forLeader():
	case err == nil:
		if slices.Contains(c.nodes, n) { // it may be no member any more
			c.leader = n
		}
	case err.Leader != "":
		c.leader = c.at(err.Leader)
	case c.leader == n && !slices.Contains(final, err.Code):
		c.leader = nil
	}
}

// changes reports whether the request may change something: the store, the members or who leads.
func (t *tour) changes() bool {
	return t.request.Writes() || t.request.Op == api.Change || t.request.Op == api.Transfer
}

// note keeps what says most of how the tries ended: the last error that a server sent, or else the first of the client's
// own. NotLeader says least, and takes the place of no other that a server sent.
func (t *tour) note(err *api.Error) {
	kept := &t.refused
	if t.changes() && !err.Definite() {
		kept = &t.unsure
	}
	if *kept == nil || err.Cause == nil && (err.Code != api.NotLeader || (*kept).Cause != nil) {
		*kept = err
	}
}

// settled is the error that ends the tour, or nil. It is about one try, and whatever is unknown of one before stays so.
func (t *tour) settled(err *api.Error) *api.Error {
	if err != nil && err.Definite() && t.unsure != nil {
		return api.Errorf(api.Timeout, "%s; what became of an earlier try, nobody knows", err.Message)
	}
	return err
}

// pause waits before the next round, for a random time up to a limit that doubles: clients that failed at the same
// moment do not come back at the same moment. It reports whether ctx goes on.
func (c *Client) pause(ctx context.Context, round int) bool {
	limit := min(firstPause<<min(round, 10), maxPause)
	select {
	case <-time.After(time.Duration(c.intN(int(limit)))):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// failed says what is known at the end of ctx: nothing, if a try may have been carried out, and otherwise that none
// was.
func (t *tour) failed(ctx context.Context) *api.Error {
	e := t.refused
	if t.unsure != nil {
		e = t.unsure
		e.Code = api.Timeout
	}
	if e == nil {
		return t.client.notSent(ctx, "")
	}
	e.Message += t.words(ctx)
	e.Cause = t.client.why(ctx)
	return e
}

// words says whom the tour has asked, for how long, and why it ended.
func (t *tour) words(ctx context.Context) string {
	return fmt.Sprintf(" (asked %s; after %s: %s)", strings.Join(t.asked, ", "),
		time.Since(t.began).Round(time.Millisecond), plainly(t.client.why(ctx)))
}

// notSent is the error of a request that never left, because ctx has ended. It is definite.
func (c *Client) notSent(ctx context.Context, while string) *api.Error {
	why := c.why(ctx)
	return &api.Error{Code: api.Unavailable, Message: "not sent: " + while + plainly(why), Cause: why}
}

// why is why ctx has ended.
func (c *Client) why(ctx context.Context) error {
	if c.life.Err() != nil {
		return errClosed
	}
	return ctx.Err()
}
