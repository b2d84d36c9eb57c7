package client

import (
	"context"
	"errors"
	"slices"

	"raftworkbook/stage7-membership/api"
)

var errNoMember = errors.New("the server is no member any more")

// inquire asks a server, to which there is a new connection, who the servers are. It answers that now, and again beside
// another answer when it has changed. So a client that goes on asking outlives all servers with which it began (D§6.1).
func (c *Client) inquire(n *node) {
	ctx, cancel := context.WithTimeout(c.life, longestTry)
	defer cancel()
	n.try(ctx, api.Request{Op: api.Members}) // meet takes the answer, also a late one
}

// meet has the client know those servers that an answer names, and no others. What an older log says is no news: who was
// removed may never hear of it.
func (c *Client) meet(resp api.Response) {
	if len(resp.Members) == 0 {
		return
	}
	for _, gone := range c.replace(resp) {
		c.asking.Go(func() { gone.close(errNoMember) })
	}
}

// replace returns those that are no servers any more, but for the first: it is still asked about itself.
func (c *Client) replace(resp api.Response) (gone []*node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if resp.Index < c.membersAt {
		return nil
	}
	c.membersAt = resp.Index
	gone, c.nodes = c.nodes, nil
	for _, m := range resp.Members {
		i := slices.IndexFunc(gone, func(n *node) bool { return n.addr == m.Client })
		if i >= 0 {
			c.nodes = append(c.nodes, gone[i])
			gone = slices.Delete(gone, i, i+1)
		} else {
			c.at(m.Client)
		}
	}
	if slices.Contains(gone, c.leader) {
		c.leader = nil
	}
	return slices.DeleteFunc(gone, func(n *node) bool { return n == c.first })
}
