package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"raftworkbook/common/wire"
)

// maxLog is how many entries "log" shows at most.
const maxLog = 1000

// byOrder reports whether nodes lead by the operator's order alone.
func (l *Lab) byOrder() bool { return l.opt.Stage >= firstDurable && l.opt.Stage < firstElection }

// firstLeader sees to it that a cluster can be used at once: it waits until all nodes that run know a leader. Where
// that takes an order it gives one to the first node, but only if none has data: among those that have, the
// choice is the operator's.
func (l *Lab) firstLeader(ctx context.Context) error {
	if l.opt.Stage < firstDurable || l.byOrder() && !l.fresh {
		return nil
	}
	if first := l.all()[0]; l.byOrder() || l.opt.Order {
		if _, err := l.order(ctx, first, wire.Request{Op: "lead"}); err != nil {
			return fmt.Errorf("%s was told to lead: %w", first.ID, err)
		}
	}
	until(ctx, leaderTime, func(ctx context.Context) bool {
		return each(l.running(), func(m *member) error {
			if l.leaderOf(ctx, m) == "" {
				return errors.New("not yet")
			}
			return nil
		}) == nil
	})
	return nil
}

// leaderOf is the leader that a node follows, or itself if it is that. It is empty while there is something in
// the node's log that it does not know to be committed: a leader takes no requests until the first entry of its
// term is, and a follower may refuse a get until it has heard of one.
func (l *Lab) leaderOf(ctx context.Context, m *member) string {
	says := l.askStatus(ctx, m)
	leader, _ := says["leader"].(string)
	if says["commit_index"] != says["last_index"] {
		return ""
	}
	return leader
}

// leaderless returns the nodes that run, if there are some and each says that it does not lead.
func (l *Lab) leaderless(ctx context.Context) []*member {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	running := l.running()
	if each(running, func(m *member) error {
		if role := l.askStatus(ctx, m)["role"]; role == nil || role == "leader" {
			return errors.New("it may")
		}
		return nil
	}) != nil {
		return nil
	}
	return running
}

// order asks a node past all faults: whoever gives orders sits at its machine.
func (l *Lab) order(ctx context.Context, m *member, r wire.Request) (wire.Response, error) {
	if state := m.state(); state != "running" {
		return wire.Response{}, fmt.Errorf("%w: %s is %s", wire.ErrNotSent, m.ID, state)
	}
	ctx, cancel := context.WithTimeout(ctx, l.client.limit())
	defer cancel()
	return l.askDirectly(ctx, m, r)
}

// runLead gives the order that stands in for an election. The prompt's client hears of it, too. What is asked
// next should not find a node that is not ready yet, and go to another that leads no more; so it waits a
// little, but not long, since a node without a majority never will be.
func runLead(ctx context.Context, l *Lab, args []word) (string, error) {
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	if _, err := l.order(ctx, m, wire.Request{Op: "lead"}); err != nil {
		return l.errorAnswer(err), nil
	}
	l.expectLeader(ctx, m)
	return "ok", nil
}

// expectLeader has the client ask a node first that is about to lead, and waits a little until it does.
func (l *Lab) expectLeader(ctx context.Context, m *member) {
	l.client.follow(m.ID)
	until(ctx, statusTime, func(ctx context.Context) bool { return l.leaderOf(ctx, m) == m.ID })
}

// runSnapshot has a node take a snapshot, and says how far the last one goes: there is none where none is needed.
func runSnapshot(ctx context.Context, l *Lab, args []word) (string, error) {
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	resp, err := l.order(ctx, m, wire.Request{Op: "snapshot"})
	if err != nil {
		return l.errorAnswer(err), nil
	}
	index := statusIn(resp)["snapshot_index"]
	if index == nil {
		return malformed(resp), nil
	}
	return oneLine(fmt.Sprintf("%s has a snapshot up to %v", m.ID, index)), nil
}

func runLog(ctx context.Context, l *Lab, args []word) (string, error) {
	r := wire.Request{Op: "log"}
	if len(args) == 2 {
		n, err := strconv.Atoi(args[1].text)
		if err != nil || n < 1 || n > maxLog {
			return "", fmt.Errorf("%s is not a number of entries, from 1 to %d", cut(args[1].String(), maxWord), maxLog)
		}
		r.Limit, args = n, args[:1]
	}
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	resp, err := l.order(ctx, m, r)
	if err != nil {
		return l.errorAnswer(err), nil
	}
	if len(resp.Log) == 0 {
		return "nothing", nil
	}
	var lines []string
	for _, entry := range resp.Log {
		lines = append(lines, oneLine(entry))
	}
	return strings.Join(lines, "\n"), nil
}

// runTrace has one node, or all that run, write what they think, or stop.
func runTrace(ctx context.Context, l *Lab, args []word) (string, error) {
	if len(args) == 0 {
		return "", errTooFew
	}
	if !args[0].is("on") && !args[0].is("off") {
		return "", fmt.Errorf("%s is neither on nor off", cut(args[0].String(), maxWord))
	}
	nodes := l.running()
	if len(args) > 1 {
		m, err := l.oneNode(args[1:])
		if err != nil {
			return "", err
		}
		nodes = []*member{m}
	}
	if err := each(nodes, func(m *member) error {
		_, err := l.order(ctx, m, wire.Request{Op: "trace", Value: &args[0].text})
		return err
	}); err != nil {
		return l.errorAnswer(err), nil
	}
	return "ok", nil
}
