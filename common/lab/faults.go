package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftworkbook/common/netfault"
	"raftworkbook/common/wire"
)

// clientName is what the prompt's client is called on its links.
const clientName = "client"

// A way is one direction of a link.
type way struct{ from, to string }

func (w way) String() string { return w.from + ">" + w.to }

// ways reads the front of a command's arguments as a link: n1 n2 for both directions, n1>n2 or n2<n1 for
// one. It returns the arguments after it.
func (l *Lab) ways(args []word) ([]way, []word, error) {
	if len(args) == 0 {
		return nil, nil, errors.New("which link? n1 n2 names both directions, n1>n2 one")
	}
	if i := strings.IndexAny(args[0].text, "<>"); i >= 0 {
		w := way{args[0].text[:i], args[0].text[i+1:]}
		if args[0].text[i] == '<' {
			w.from, w.to = w.to, w.from
		}
		return []way{w}, args[1:], l.checkWay(w)
	}
	if len(args) == 1 {
		return nil, nil, fmt.Errorf("a link has two ends: %s and which other?", cut(args[0].String(), maxWord))
	}
	w := way{args[0].text, args[1].text}
	return []way{w, {w.to, w.from}}, args[2:], l.checkWay(w)
}

func (l *Lab) checkWay(w way) error {
	for _, end := range []string{w.from, w.to} {
		if end == clientName {
			continue
		}
		if _, err := l.member(end); err != nil {
			return fmt.Errorf("%w, and %s", err, clientName)
		}
	}
	if w.from == w.to {
		return fmt.Errorf("%s has no link to itself", w.from)
	}
	return nil
}

// hurt returns the function of a command that does something to each direction of one link.
func hurt(do func(f *netfault.Forwarder, from, to string)) func(context.Context, *Lab, []word) (string, error) {
	return func(ctx context.Context, l *Lab, args []word) (string, error) {
		ways, rest, err := l.ways(args)
		if err != nil {
			return "", err
		}
		if len(rest) > 0 {
			return "", tooMuch(rest)
		}
		return l.onForwarder(ctx, ways, do)
	}
}

func runReorder(ctx context.Context, l *Lab, args []word) (string, error) {
	var failed error
	answer, err := hurt(func(f *netfault.Forwarder, from, to string) { failed = f.Reorder(from, to) })(ctx, l, args)
	if failed != nil {
		return "", errors.New("with -tls a link has no lines to reorder")
	}
	return answer, err
}

func runSlow(ctx context.Context, l *Lab, args []word) (string, error) {
	ways, rest, err := l.ways(args)
	if err != nil {
		return "", err
	}
	by, err := duration(rest)
	if err != nil {
		return "", err
	}
	return l.onForwarder(ctx, ways, func(f *netfault.Forwarder, from, to string) { f.Delay(from, to, by) })
}

// onForwarder does something to directions of links.
func (l *Lab) onForwarder(ctx context.Context, ways []way, do func(f *netfault.Forwarder, from, to string)) (string, error) {
	if l.forwarder == nil {
		return "", errors.New("this lab has no forwarder: its links cannot be hurt")
	}
	for _, w := range ways {
		l.connect(ctx, w)
	}
	for _, w := range ways {
		do(l.forwarder, w.from, w.to)
	}
	return "ok", nil
}

// connect sees to it that the client is connected to a node before the way between them is hurt: no
// connection can be made over a way of which one direction is cut, and what is to be seen is how
// requests and answers are lost, not that.
func (l *Lab) connect(ctx context.Context, w way) {
	id := w.to
	switch clientName {
	case w.from:
	case w.to:
		id = w.from
	default:
		return
	}
	m, err := l.member(id)
	if err != nil || m.state() != "running" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	l.askNode(ctx, m, wire.Request{Op: "status"}) // any answer will do, and none as well
}

// both are the two directions of a link.
func both(a, b *member) []way { return []way{{a.ID, b.ID}, {b.ID, a.ID}} }

// runIsolate cuts a node off from all other nodes, but not from the client.
func runIsolate(ctx context.Context, l *Lab, args []word) (string, error) {
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	var ways []way
	for _, o := range l.all() {
		if o != m {
			ways = append(ways, both(m, o)...)
		}
	}
	return l.onForwarder(ctx, ways, (*netfault.Forwarder).Cut)
}

// runPartition cuts every link between nodes of different groups. Nodes that no group names are one more.
func runPartition(ctx context.Context, l *Lab, args []word) (string, error) {
	group := map[string]int{}
	for i, w := range args {
		for id := range strings.SplitSeq(w.text, ",") {
			if _, err := l.member(id); err != nil {
				return "", err
			}
			if _, twice := group[id]; twice {
				return "", fmt.Errorf("%s can be on one side only", id)
			}
			group[id] = i + 1
		}
	}
	all := l.all()
	if len(args) == 0 || len(args) == 1 && len(group) == len(all) {
		return "", errors.New("a partition has two sides or more: partition n1,n2 n3,n4,n5")
	}
	var ways []way
	for i, a := range all {
		for _, b := range all[i+1:] {
			if group[a.ID] != group[b.ID] {
				ways = append(ways, both(a, b)...)
			}
		}
	}
	return l.onForwarder(ctx, ways, (*netfault.Forwarder).Cut)
}

func runHeal(ctx context.Context, l *Lab, args []word) (string, error) {
	if len(args) > 0 {
		return hurt((*netfault.Forwarder).Heal)(ctx, l, args)
	}
	if l.forwarder != nil {
		l.forwarder.HealAll()
	}
	return "ok", nil
}

// duration reads the only argument left as a time.
func duration(args []word) (time.Duration, error) {
	if len(args) == 0 {
		return 0, errors.New("a time is missing, such as 200ms")
	}
	if len(args) > 1 {
		return 0, tooMuch(args[1:])
	}
	d, err := time.ParseDuration(args[0].text)
	if err != nil || d <= 0 || d > time.Hour {
		return 0, fmt.Errorf("%s is not a time, such as 200ms or 1.5s, up to 1h", cut(args[0].String(), maxWord))
	}
	return d, nil
}

func tooMuch(rest []word) error { return fmt.Errorf("what is %q for?", cut(join(rest), maxWord)) }

// oneNode reads the only argument as a node's name.
func (l *Lab) oneNode(args []word) (*member, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("which node? there is %s", strings.Join(l.ids(), ", "))
	}
	if len(args) > 1 {
		return nil, tooMuch(args[1:])
	}
	return l.member(args[0].text)
}

// faultLine names the faults that are set, as one would set them: "faults: cut n1 n2, slow n1>n3 200ms".
func (l *Lab) faultLine() string {
	if l.forwarder == nil {
		return ""
	}
	var names []string
	for _, fault := range l.forwarder.Faults() { // "n1>n2 delay 200ms"
		link, what, _ := strings.Cut(fault, " ")
		from, to, _ := strings.Cut(link, ">")
		verb, by, _ := strings.Cut(strings.Replace(what, "delay", "slow", 1), " ")
		name := func(ends string) string { return strings.TrimSpace(verb + " " + ends + " " + by) }
		if i := slices.Index(names, name(to+">"+from)); i >= 0 {
			names[i] = name(to + " " + from)
		} else {
			names = append(names, name(from+">"+to))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "\nfaults: " + strings.Join(names, ", ")
}
