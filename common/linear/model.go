package linear

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// A register is what the store holds for one key.
type register struct {
	found bool
	value string
}

// apply is the store as it should be: what op answers on r, and what it leaves.
func (r register) apply(op Op) (Answer, register) {
	switch op.Kind {
	case Put:
		return Answer{}, register{true, op.Value}
	case CAS:
		if r != expected(op) {
			return Answer{Found: r.found, Value: r.value}, r
		}
		return Answer{Swapped: true}, register{true, op.Value}
	case Append:
		value := r.value + op.Value
		return Answer{Length: len(value)}, register{true, value}
	case Delete:
		return Answer{Found: r.found}, register{}
	}
	return Answer{Found: r.found, Value: r.value}, r // Get
}

// expected returns the register on which a cas swaps.
func expected(cas Op) register {
	if cas.Expect == nil {
		return register{}
	}
	return register{true, *cas.Expect}
}

// judge says whether the events of one key are linearizable, as far as can be found
// out until the deadline.
func judge(events []event, deadline time.Time) Verdict {
	left := time.Until(deadline)
	if left <= 0 {
		return Unknown // to porcupine, a timeout of 0 is none
	}
	ops := operations(events)
	start, f := newSearch(ops)
	zones := f.zones(ops)
	if collide(zones) {
		return Violation
	}
	narrow(ops, zones)
	switch porcupine.CheckOperationsTimeout(f.model(start), ops, left) {
	case porcupine.Ok:
		return Linearizable
	case porcupine.Illegal:
		return Violation
	}
	return Unknown
}

// modelOf returns the model for ops, all of one key.
func modelOf(ops []porcupine.Operation) porcupine.Model {
	start, f := newSearch(ops)
	return f.model(start)
}

func (f facts) model(start state) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(s, op, answer any) (bool, any) {
			return f.step(s.(state), op.(Op), answer.(*Answer))
		},
		DescribeOperation: func(op, answer any) string {
			return label(op.(Op), answer.(*Answer))
		},
		DescribeState: func(s any) string { return s.(state).register.String() },
		DescribeOperationMetadata: func(info any) string {
			return info.(string)
		},
	}
}

// operations returns events as porcupine takes them, in the order of beginning: without
// those that failed, and without the reads of unknown outcome, which say nothing and
// change nothing.
func operations(events []event) []porcupine.Operation {
	var ops []porcupine.Operation
	for _, e := range events {
		if e.outcome == failed || e.open() && e.op.Kind == Get {
			continue
		}
		o := porcupine.Operation{
			ClientId: e.op.Client,
			Input:    e.op,
			Call:     int64(e.begin.order),
			Output:   (*Answer)(nil),
			Return:   math.MaxInt64,
			Metadata: fmt.Sprintf("began at %s, outcome unknown", ms(e.begin)),
		}
		if e.outcome == answered {
			o.Output = &e.answer
			o.Return = int64(e.end.order)
			o.Metadata = fmt.Sprintf("began at %s, answered at %s", ms(e.begin), ms(e.end))
		}
		ops = append(ops, o)
	}
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return ops
}

func (e event) open() bool { return e.outcome == inFlight || e.outcome == unknown }

// before reports whether e was answered before m.
func (e event) before(m moment) bool {
	return e.outcome == answered && e.end.order < m.order
}
