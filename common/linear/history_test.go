package linear

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHistory_of_operations_at_once_is_linearizable(t *testing.T) {
	for _, c := range []struct {
		name  string
		deeds []deed
	}{
		{"nothing", nil},
		{"an absent key", []deed{getAbsent(1, 10, 20), del(1, 30, 40, false)}},
		{"a read beside a write sees the old value", []deed{put(1, 10, 20, "1"), put(1, 30, 60, "2"), get(2, 40, 50, "1")}},
		{"a read beside a write sees the new value", []deed{put(1, 10, 20, "1"), put(1, 30, 60, "2"), get(2, 40, 50, "2")}},
		{"a read that saw a write is answered first", []deed{get(2, 10, 20, "1"), put(1, 5, 60, "1")}},
		{"readers disagree on writes at once, one after the other", []deed{
			put(1, 10, 60, "1"), put(2, 10, 60, "2"), get(3, 20, 30, "1"), get(3, 40, 50, "2")}},
		{"one of two that want a lock gets it", []deed{
			cas(1, 10, 50, nil, "c1", foundInstead("c2")), cas(2, 20, 60, nil, "c2", swapped), get(1, 70, 80, "c2")}},
		{"an empty value is not an absent one", []deed{put(1, 10, 20, ""), get(1, 30, 40, ""), del(1, 50, 60, true)}},
		{"keys have nothing to do with each other", []deed{put(1, 10, 20, "1"), on("y", getAbsent(1, 30, 40)), get(2, 50, 60, "1")}},

		{"an unknown write took effect", []deed{unknowing(put(1, 10, 20, "1")), get(2, 30, 40, "1")}},
		{"an unknown write did not", []deed{unknowing(put(1, 10, 20, "1")), getAbsent(2, 30, 40)}},
		{"an unknown write took effect late", []deed{unknowing(put(1, 10, 20, "1")), getAbsent(2, 30, 40), get(2, 50, 60, "1")}},
		{"an unknown write took effect after one that followed it", []deed{
			unknowing(put(1, 10, 20, "1")), put(1, 30, 40, "2"), get(2, 50, 60, "2"), get(2, 70, 80, "1")}},
		{"an unfinished write took effect", []deed{unfinished(put(1, 10, 0, "1")), get(2, 30, 40, "1")}},
		{"an unknown append took effect", []deed{unknowing(add(1, 10, 20, "a", 0)), add(1, 30, 40, "b", 2), get(1, 50, 60, "ab")}},
		{"an unknown append did not", []deed{unknowing(add(1, 10, 20, "a", 0)), add(1, 30, 40, "b", 1), get(1, 50, 60, "b")}},
		{"an unknown delete took effect", []deed{put(1, 10, 20, "1"), unknowing(del(1, 30, 40, true)), getAbsent(1, 50, 60)}},
		{"an unknown cas took effect and was overwritten by another", []deed{
			unknowing(cas(1, 10, 20, nil, "1", swapped)), unknowing(cas(2, 12, 22, new("1"), "2", swapped)), get(1, 30, 40, "2")}},
		{"an unknown read says nothing", []deed{put(1, 10, 20, "1"), unknowing(get(2, 30, 40, "9"))}},
		{"a failed write is not there", []deed{failing(put(1, 10, 20, "1")), getAbsent(2, 30, 40)}},
		{"what an answer does not say is ignored", []deed{
			{Op{Kind: Put, Key: "x", Value: "1"}, 10, 20, returns(Answer{Found: true, Value: "old", Length: 7})},
			cas(1, 30, 40, new("1"), "2", Answer{Swapped: true, Found: true, Value: "1"}),
			{Op{Kind: Get, Key: "x"}, 50, 60, returns(Answer{Found: true, Value: "2", Length: 1})}}},
	} {
		t.Run(c.name, func(t *testing.T) { requireLinearizable(t, tell(c.deeds...)) })
	}
}

func TestHistory_orders_by_its_calls_where_the_clock_stands_still(t *testing.T) {
	h := NewHistoryWithClock(func() time.Duration { return 0 })
	h.Begin(Op{Client: 1, Kind: Put, Key: "x", Value: "1"}).Return(Answer{})
	h.Begin(Op{Client: 2, Kind: Get, Key: "x"}).Return(Answer{})
	requireViolation(t, h, `c2 read x as absent at 0 ms, but c1's write x = "1" had been acknowledged at 0 ms, `+
		`before that read began at 0 ms, and nothing deleted x in between`)
}

func TestHistory_can_be_checked_while_it_grows(t *testing.T) {
	h := NewHistory()
	c := h.Begin(Op{Kind: Put, Key: "x", Value: "1"})
	requireLinearizable(t, h)
	c.Return(Answer{})
	h.Begin(Op{Kind: Get, Key: "x"}).Return(Answer{})
	require.Equal(t, Violation, h.Check(time.Second).Verdict)
}

func TestHistory_refuses_what_it_cannot_judge(t *testing.T) {
	h := NewHistory()
	require.PanicsWithValue(t, `linear: no such kind of operation: "list"`, func() { h.Begin(Op{Kind: "list"}) })
	c := h.Begin(Op{Kind: Get, Key: "x"})
	c.Unknown()
	require.PanicsWithValue(t, "linear: an operation ended twice", func() { c.Return(Answer{}) })
	require.Equal(t, 1, h.Check(time.Second).Ops)
}

// A store is what the histories of real goroutines are taken from.
type store struct {
	mu   sync.Mutex
	keys map[string]register
}

func (s *store) do(op Op) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, r := s.keys[op.Key].apply(op)
	s.keys[op.Key] = r
	return a
}

func TestHistory_of_many_goroutines_is_recorded_and_judged_at_once(t *testing.T) {
	const clients, each, keys = 64, 300, 8
	h := NewHistory()
	s := &store{keys: make(map[string]register)}
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			g := generator{rand: rand.New(rand.NewPCG(uint64(client), 3))}
			for i := range each {
				op := g.op(register{})
				op.Client = client
				op.Key = fmt.Sprint("k", g.rand.IntN(keys))
				op.Value = fmt.Sprintf("<%d.%d>", client, i)
				c := h.Begin(op)
				c.Return(s.do(op))
			}
		})
	}
	all.Wait()
	r := h.Check(checkTimeout) // takes a tenth of that
	require.Equal(t, Linearizable, r.Verdict, r.Reason)
	require.Equal(t, clients*each, r.Ops)
}
