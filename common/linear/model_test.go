package linear

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

func TestStore_answers_as_the_protocol_says(t *testing.T) {
	absent, one := register{}, register{true, "1"}
	for _, c := range []struct {
		before register
		op     Op
		want   Answer
		after  register
	}{
		{absent, Op{Kind: Get}, Answer{}, absent},
		{one, Op{Kind: Get}, Answer{Found: true, Value: "1"}, one},
		{register{true, ""}, Op{Kind: Get}, Answer{Found: true}, register{true, ""}}, // empty is not absent
		{absent, Op{Kind: Put, Value: "1"}, Answer{}, one},
		{one, Op{Kind: Put, Value: "2"}, Answer{}, register{true, "2"}},
		{absent, Op{Kind: CAS, Value: "1"}, Answer{Swapped: true}, one},
		{one, Op{Kind: CAS, Value: "2"}, Answer{Found: true, Value: "1"}, one},
		{register{true, ""}, Op{Kind: CAS, Value: "2"}, Answer{Found: true}, register{true, ""}},
		{one, Op{Kind: CAS, Expect: new("1"), Value: "2"}, Answer{Swapped: true}, register{true, "2"}},
		{one, Op{Kind: CAS, Expect: new("0"), Value: "2"}, Answer{Found: true, Value: "1"}, one},
		{absent, Op{Kind: CAS, Expect: new(""), Value: "2"}, Answer{}, absent},
		{absent, Op{Kind: Append, Value: "1"}, Answer{Length: 1}, one},
		{one, Op{Kind: Append, Value: "ü"}, Answer{Length: 3}, register{true, "1ü"}}, // bytes, not runes
		{absent, Op{Kind: Delete}, Answer{}, absent},
		{one, Op{Kind: Delete}, Answer{Found: true}, absent},
	} {
		got, after := c.before.apply(c.op)
		require.Equal(t, c.want, got, "%v %+v", c.before, c.op)
		require.Equal(t, c.after, after, "%v %+v", c.before, c.op)
	}
}

// naive is the model without the rule that keeps the search short.
func naive(ops []porcupine.Operation) porcupine.Model {
	model := modelOf(ops)
	model.Init = func() any { return register{} }
	model.Step = func(s, op, answer any) (bool, any) {
		given, next := s.(register).apply(op.(Op))
		a := answer.(*Answer)
		return a == nil || given == *a, next
	}
	return model
}

func TestModel_judges_as_the_naive_one_does(t *testing.T) {
	count := map[Verdict]int{}
	for seed := range uint64(5000) {
		g := generator{rand: rand.New(rand.NewPCG(seed, 1)), ops: 9, values: 3, wide: 40, unknown: 0.35}
		if seed%2 == 0 {
			g.values = 0
		}
		g.kinds = [][]Kind{nil, {Get, Append}, {Get, Put}, {Get, Put, CAS}}[seed/2%4]
		if seed%3 == 0 {
			g.outdated = 100
		}
		deeds := g.deeds()
		if seed%5 != 0 {
			deeds = g.garble(deeds)
		}
		events := tell(deeds...).byKey()["x"]
		ops := operations(events)
		want := Violation
		if porcupine.CheckOperations(naive(ops), ops) {
			want = Linearizable
		}
		require.Equal(t, want, judge(events, time.Now().Add(time.Minute)), "seed %d: %+v", seed, deeds)
		count[want]++
		requireNoFalseReason(t, events, want)
	}
	require.Greater(t, count[Linearizable], 500)
	require.Greater(t, count[Violation], 500)
}

// requireNoFalseReason checks that no rule proves what is not so, and that without
// the answer that is blamed, all is possible.
func requireNoFalseReason(t *testing.T, events []event, verdict Verdict) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	if _, why := prove(events, deadline); why != "" {
		require.Equal(t, Violation, verdict, why)
	}
	if verdict == Violation {
		part, why := explain(events, deadline)
		ops := operations(part)
		require.False(t, porcupine.CheckOperations(naive(ops), ops), why)
		part[len(part)-1].outcome = unknown
		ops = operations(part)
		require.True(t, porcupine.CheckOperations(naive(ops), ops), why)
	}
}

// A generator makes up histories of the key x.
type generator struct {
	rand    *rand.Rand
	ops     int
	values  int     // how many different ones; 0: every write has its own
	wide    int     // how far an operation reaches to each side of its effect; effects are 10 apart
	unknown float64 // how many of the outcomes are unknown
	written int
	kinds   []Kind // which operations, all equally often; nil: all, and reads the most
	// outdated is by how many milliseconds an answer to a get says at most that it may be outdated; 0: it does not say.
	outdated int
}

// deeds returns a history that is linearizable: a sequential execution, each operation
// stretched to both sides of the moment of its effect. Of the unknown operations,
// about half took effect.
func (g *generator) deeds() []deed {
	var deeds []deed
	var store register
	for i := range g.ops {
		at := 1000 + 10*i
		d := deed{op: g.op(store), from: at - g.rand.IntN(g.wide+1), to: at + g.rand.IntN(g.wide+1)}
		answer, next := store.apply(d.op)
		d.ends = returns(answer)
		if g.outdated > 0 && d.op.Kind == Get {
			d = outdated(g.rand.IntN(g.outdated), d, answer)
		}
		happened := true
		if g.rand.Float64() < g.unknown {
			d = unknowing(d)
			happened = g.rand.IntN(2) == 0
		} else if g.rand.IntN(20) == 0 {
			d, happened = failing(d), false
		}
		if happened {
			store = next
		}
		deeds = append(deeds, d)
	}
	return deeds
}

// op returns an operation that, for a cas, is likely to swap on store.
func (g *generator) op(store register) Op {
	op := Op{Client: g.rand.IntN(5), Key: "x", Value: g.value()}
	switch g.rand.IntN(10) {
	case 0, 1, 2, 3:
		op.Kind = Get
	case 4, 5:
		op.Kind = Put
	case 6:
		op.Kind = Append
	case 7:
		op.Kind = Delete
	default:
		op.Kind = CAS
		if store.found {
			op.Expect = new(store.value)
		}
		if g.rand.IntN(3) == 0 {
			op.Expect = new(g.value())
		}
	}
	if g.kinds != nil {
		op.Kind = g.kinds[g.rand.IntN(len(g.kinds))]
	}
	return op
}

func (g *generator) value() string {
	if g.values > 0 {
		return fmt.Sprint(g.rand.IntN(g.values))
	}
	g.written++
	return fmt.Sprintf("<%d>", g.written)
}

// garble returns deeds with another answer for one of them, which may still be right.
func (g *generator) garble(deeds []deed) []deed {
	d := &deeds[g.rand.IntN(len(deeds))]
	a := Answer{Found: g.rand.IntN(2) == 0, Swapped: g.rand.IntN(2) == 0, Length: 1 + g.rand.IntN(3)}
	if a.Found {
		a.Value = g.value()
	}
	d.ends = returns(a)
	return deeds
}

// spoil returns deeds with one answer that no order can give.
func (g *generator) spoil(deeds []deed) []deed {
	for _, i := range g.rand.Perm(len(deeds)) {
		d := &deeds[i]
		switch d.op.Kind {
		case Get, CAS:
			d.ends = returns(foundInstead("never written"))
		case Append:
			d.ends = returns(Answer{Length: 1 << 20})
		default:
			continue
		}
		return deeds
	}
	panic("nothing to spoil")
}

func TestCheck_accepts_what_a_sequential_store_did_and_refuses_it_with_one_answer_spoilt(t *testing.T) {
	for seed := range uint64(60) {
		g := generator{rand: rand.New(rand.NewPCG(seed, 2)), ops: 150, wide: 30, unknown: 0.03}
		deeds := g.deeds()
		good := tell(deeds...).Check(10 * time.Second)
		require.Equal(t, Linearizable, good.Verdict, "seed %d: %s", seed, good.Reason)
		bad := tell(g.spoil(deeds)...).Check(10 * time.Second)
		require.Equal(t, Violation, bad.Verdict, "seed %d", seed)
		require.True(t, strings.Contains(bad.Reason, "never written") || strings.Contains(bad.Reason, "length 1048576"),
			"seed %d: %s", seed, bad.Reason)
	}
}
