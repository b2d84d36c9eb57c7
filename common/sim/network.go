package sim

import (
	"fmt"
	"time"

	"raftworkbook/common/trace"
)

// A network has a link from each node to each other, which are the indices.
type network struct {
	cutUntil [][]time.Duration
	// last is when the last message arrives.
	last [][]time.Duration
}

func newNetwork(nodes int) network {
	var w network
	for range nodes {
		w.cutUntil = append(w.cutUntil, make([]time.Duration, nodes))
		w.last = append(w.last, make([]time.Duration, nodes))
	}
	return w
}

// cut loses all that is sent from a to b, for a while.
func (w *network) cut(a, b *node, until time.Duration) {
	w.cutUntil[a.number][b.number] = max(w.cutUntil[a.number][b.number], until)
}

// send lets messages leave a node.
func (s *simulation) send(n *node, messages []Message) {
	for i := range messages {
		m := &messages[i]
		fate := s.dispatch(n, m)
		if n.told != nil {
			n.told.Sends = append(n.told.Sends, trace.Message{From: m.From, To: m.To, Text: fmt.Sprint(m.Body), Fate: fate})
		}
	}
}

// dispatch sends one message on its way, and returns its fate if it is not the usual one.
func (s *simulation) dispatch(from *node, m *Message) (fate string) {
	to := s.node(m.To)
	if to == nil || to == from || s.now < s.network.cutUntil[from.number][to.number] || s.mix.loss.happens(s.rand) {
		return "LOST"
	}
	s.deliver(from, to, m)
	if s.mix.twice.happens(s.rand) {
		s.deliver(from, to, m)
		return "TWICE"
	}
	return ""
}

// deliver plans a message's arrival.
func (s *simulation) deliver(from, to *node, m *Message) {
	at := s.now + between(s.rand, s.mix.delay)
	if s.mix.late.happens(s.rand) {
		at += between(s.rand, s.mix.lateness)
	}
	last := &s.network.last[from.number][to.number]
	if s.mix.inOrder {
		at = max(at, *last)
	}
	*last = at
	s.queue.push(event{at: at, kind: arrives, node: to, message: m})
}

// node returns the node of this name, nil if there is none.
func (s *simulation) node(id string) *node {
	for _, n := range s.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}
