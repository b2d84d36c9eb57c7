package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"raftworkbook/common/wire"
)

const (
	// changeTry is how long a leader has for a change of the members before it is asked again, and changeTime for how long
	// that is done.
	changeTry  = 10 * time.Second
	changeTime = 30 * time.Second

	// progressPause lies between two lines of how far new members are.
	progressPause = 500 * time.Millisecond
)

// runMembers shows who is in the cluster, as one node knows it: the one that leads, unless told otherwise.
func runMembers(ctx context.Context, l *Lab, args []word) (string, error) {
	_, at, err := l.arguments(args, 0, 0)
	if err != nil {
		return "", err
	}
	resp, err := l.send(ctx, at, wire.Request{Op: "members"})
	return l.inWords(resp, err, func(r wire.Response) string {
		var lines []string
		for _, m := range r.Members {
			lines = append(lines, oneLine(m.ID+" "+m.State))
		}
		if len(lines) == 0 {
			return "nothing"
		}
		return strings.Join(lines, "\n")
	}), nil
}

func runAdd(ctx context.Context, l *Lab, args []word) (string, error) {
	return l.change(ctx, args, nil)
}

func runRemove(ctx context.Context, l *Lab, args []word) (string, error) {
	return l.change(ctx, nil, args)
}

func runReplace(ctx context.Context, l *Lab, args []word) (string, error) {
	switch {
	case len(args) < 2:
		return "", errTooFew
	case len(args) > 2:
		return "", tooMuch(args[2:])
	}
	return l.change(ctx, args[1:], args[:1])
}

// change has nodes become members, for which their processes are started, and others be none any more: their processes
// run on.
func (l *Lab) change(ctx context.Context, add, remove []word) (string, error) {
	if len(add)+len(remove) == 0 {
		return "", errTooFew
	}
	var orders []string
	for _, w := range remove {
		m, err := l.member(w.text)
		if err != nil {
			return "", err
		}
		orders = append(orders, "-"+m.ID)
	}
	before := l.current()
	joining, err := l.enlist(ctx, add)
	if err != nil {
		l.dismiss(joining, before)
		return "", err
	}
	for _, m := range joining {
		orders = append(orders, "+"+list([]Node{m.Node}))
	}
	resp, err := l.insist(ctx, strings.Join(orders, " "), joining)
	if hasCode(err, "timeout") {
		return l.errorAnswer(err), nil // it may go on: they may be members already
	}
	if err != nil {
		l.dismiss(joining, before)
		return l.errorAnswer(err), nil
	}
	l.follow(resp.Members)
	return "ok", nil
}

// enlist returns the nodes that are to become members, and sees to it that their processes run. They count as members
// from then on. If one cannot run, it is the last of those that are returned.
func (l *Lab) enlist(ctx context.Context, names []word) ([]*member, error) {
	l.enlisting.Lock()
	defer l.enlisting.Unlock()
	var joining []*member
	for _, w := range names {
		m, err := l.ever(w.text)
		if err != nil {
			return joining, err
		}
		joining = append(joining, m)
		l.welcome(m)
		if err := l.haveJoin(ctx, m); err != nil {
			return joining, err
		}
	}
	return joining, nil
}

// haveJoin starts the process of a node that is to become a member, unless it runs.
func (l *Lab) haveJoin(ctx context.Context, m *member) error {
	if m.state() != "dead" {
		return nil
	}
	cluster := l.cluster(ctx)
	if cluster == "" {
		return errors.New("no node says which cluster it belongs to")
	}
	m.mu.Lock()
	m.join = cluster
	m.mu.Unlock()
	return l.startNode(ctx, m, l.first)
}

// ever returns the node of this name that there is or was, or else a new one.
func (l *Lab) ever(id string) (*member, error) {
	l.mu.Lock()
	known := slices.Clone(l.members)
	l.mu.Unlock()
	if i := slices.IndexFunc(known, func(m *member) bool { return m.ID == id }); i >= 0 {
		return known[i], nil
	}
	i, err := strconv.Atoi(strings.TrimPrefix(id, "n"))
	if err != nil || i < 1 || i > maxNodes || id != "n"+strconv.Itoa(i) {
		return nil, fmt.Errorf("%s is no name of a node: n1 to n%d are", show(cut(id, maxWord)), maxNodes)
	}
	if err := l.block.freeFor(i); err != nil {
		return nil, err
	}
	return l.newMember(i, filepath.Dir(l.first[0].Dir))
}

// cluster is the name of the cluster, as the first member says that does; empty if none does.
func (l *Lab) cluster(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	for _, m := range l.current() {
		if m.state() == "running" {
			if name, _ := l.askStatus(ctx, m)["cluster"].(string); name != "" {
				return name
			}
		}
	}
	return ""
}

// insist asks for a change of the members until it is done or refused, and tells meanwhile how far new ones are. To ask
// again for what goes on already does no harm. Once a leader has begun, only a timeout is sure to say no more than is known.
func (l *Lab) insist(ctx context.Context, change string, joining []*member) (wire.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() { l.tellProgress(ctx, joining) })
	defer telling.Wait()
	defer cancel()
	var begun error
	patience := l.client.limit()
	for start := time.Now(); ; {
		resp, err := l.toLeader(ctx, wire.Request{Op: "change", Value: &change}, changeTry)
		switch {
		case hasCode(err, "timeout"):
			begun, patience = err, changeTime
		case !elsewhere(err):
			return resp, err
		case begun != nil:
			err = begun
		}
		if time.Since(start) > patience {
			return resp, err
		}
		select {
		case <-time.After(roundPause):
		case <-ctx.Done():
			return resp, err
		}
	}
}

// tellProgress says from time to time how far new members are, until ctx ends.
func (l *Lab) tellProgress(ctx context.Context, joining []*member) {
	again := time.NewTicker(progressPause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		_, leader := l.leading(ctx)
		for _, m := range joining {
			has, all := number(l.askStatus(ctx, m)["last_index"]), number(leader["last_index"])
			if has < all && ctx.Err() == nil {
				l.news.say(fmt.Sprintf("%s has %d of %d entries", m.ID, has, all))
			}
		}
	}
}

// number is a number in a status, 0 if there is none.
func number(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}

// leading returns the member that leads, with its status: of several that say so, the one of the latest term. It is nil
// if none does.
func (l *Lab) leading(ctx context.Context) (leader *member, says map[string]any) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	var mu sync.Mutex
	each(l.current(), func(m *member) error {
		if m.state() != "running" {
			return nil
		}
		status := l.askStatus(ctx, m)
		mu.Lock()
		defer mu.Unlock()
		if status["role"] == "leader" && (leader == nil || number(status["term"]) > number(says["term"])) {
			leader, says = m, status
		}
		return nil
	})
	return leader, says
}

// toLeader gives an order to the leader, past all faults, which it may take so long for.
func (l *Lab) toLeader(ctx context.Context, r wire.Request, limit time.Duration) (wire.Response, error) {
	leader, _ := l.leading(ctx)
	if leader == nil {
		return wire.Response{}, &wire.Error{Code: "unavailable", Message: "nobody leads"}
	}
	ctx, cancel := context.WithTimeout(ctx, limit+replyTime)
	defer cancel()
	r.TimeoutMS = limit.Milliseconds()
	resp, err := l.askDirectly(ctx, leader, r)
	if errors.Is(err, wire.ErrUnknown) {
		err = &wire.Error{Code: "timeout", Message: leader.ID + " does not answer: it may go on"}
	}
	return resp, err
}

// follow takes those for removed that are no members.
func (l *Lab) follow(members []wire.Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.members {
		m.removed = !slices.ContainsFunc(members, func(o wire.Member) bool { return o.ID == m.ID })
	}
}

// welcome takes a node for a member, which it is about to become.
func (l *Lab) welcome(m *member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.removed = false
}

// dismiss takes nodes for removed that could not become members. Those that were members before still are.
func (l *Lab) dismiss(nodes, before []*member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range nodes {
		m.removed = m.removed || !slices.Contains(before, m)
	}
}

// runTransfer has the leader hand over to another node.
func runTransfer(ctx context.Context, l *Lab, args []word) (string, error) {
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	if _, err := l.toLeader(ctx, wire.Request{Op: "transfer", Key: m.ID}, l.client.limit()); err != nil {
		return l.errorAnswer(err), nil
	}
	l.expectLeader(ctx, m)
	return "ok", nil
}
