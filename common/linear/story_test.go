package linear

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A deed is one operation of a planted history, its times in milliseconds.
type deed struct {
	op       Op
	from, to int
	ends     func(*Call) // nil: never
}

func get(client int, from, to int, found string) deed {
	return deed{Op{Client: client, Kind: Get, Key: "x"}, from, to, returns(Answer{Found: true, Value: found})}
}

func getAbsent(client int, from, to int) deed {
	return deed{Op{Client: client, Kind: Get, Key: "x"}, from, to, returns(Answer{})}
}

func put(client int, from, to int, value string) deed {
	return deed{Op{Client: client, Kind: Put, Key: "x", Value: value}, from, to, returns(Answer{})}
}

func cas(client int, from, to int, expect *string, value string, a Answer) deed {
	return deed{Op{Client: client, Kind: CAS, Key: "x", Expect: expect, Value: value}, from, to, returns(a)}
}

func add(client int, from, to int, value string, length int) deed {
	return deed{Op{Client: client, Kind: Append, Key: "x", Value: value}, from, to, returns(Answer{Length: length})}
}

func del(client int, from, to int, found bool) deed {
	return deed{Op{Client: client, Kind: Delete, Key: "x"}, from, to, returns(Answer{Found: found})}
}

func returns(a Answer) func(*Call) { return func(c *Call) { c.Return(a) } }

func failing(d deed) deed        { d.ends = (*Call).Failed; return d }
func unknowing(d deed) deed      { d.ends = (*Call).Unknown; return d }
func unfinished(d deed) deed     { d.ends = nil; return d }
func on(key string, d deed) deed { d.op.Key = key; return d }

var swapped = Answer{Swapped: true}

func foundInstead(value string) Answer { return Answer{Found: true, Value: value} }

// tell returns the history in which the deeds happened.
func tell(deeds ...deed) *History {
	var now time.Duration
	h := NewHistoryWithClock(func() time.Duration { return now })
	type step struct {
		at int
		do func()
	}
	var steps []step
	for _, d := range deeds {
		var c *Call
		steps = append(steps, step{d.from, func() { c = h.Begin(d.op) }})
		if d.ends != nil {
			steps = append(steps, step{d.to, func() { d.ends(c) }})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	for _, s := range steps {
		now = time.Duration(s.at) * time.Millisecond
		s.do()
	}
	return h
}

func requireLinearizable(t *testing.T, h *History) {
	t.Helper()
	r := h.Check(10 * time.Second)
	require.Equal(t, Linearizable, r.Verdict, r.Reason)
	require.Empty(t, r.Reason)
}

func requireViolation(t *testing.T, h *History, sentence string) {
	t.Helper()
	r := h.Check(10 * time.Second)
	require.Equal(t, Violation, r.Verdict, r.Reason)
	require.Equal(t, sentence, r.Reason)
}
