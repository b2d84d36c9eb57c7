package linear

import (
	"fmt"
	"math"
	"strings"
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

// A state is a register, and what keeps the search short when outcomes are unknown.
// Without its two rules, every subset of the open operations is tried at every step,
// and of open appends every order.
//
// An operation of unknown outcome can always be placed last, where it changes no
// answer. So it is worth placing earlier only if the next answer depends on it: not
// if it changes nothing, and not if it is overwritten before anyone looked.
//
// On a key that is only appended to and read, whatever is there before the last read
// is a prefix of the longest value read.
type state struct {
	register
	unanswered int  // operations with an answer that are still to be placed
	unread     int  // answered reads among them, on a key that only grows
	unseen     bool // the register was left by an open operation, and nothing looked yet
}

// step places op next. A nil answer is an unknown one. The longest value read matters
// only while s.unread is not 0.
func (s state) step(op Op, answer *Answer, longest string) (bool, state) {
	if answer == nil && s.unanswered == 0 {
		return true, s
	}
	overwrites := op.Kind == Put || op.Kind == Delete && answer == nil
	if s.unseen && overwrites {
		return false, s
	}
	given, after := s.apply(op)
	if s.unread > 0 && !strings.HasPrefix(longest, after.value) {
		return false, s
	}
	next := s
	next.register = after
	next.unseen = answer == nil
	if answer == nil {
		return after != s.register, next
	}
	next.unanswered--
	if op.Kind == Get && s.unread > 0 {
		next.unread--
	}
	return given == *answer, next
}

// newState returns the state before ops, and the longest value that they read.
func newState(ops []porcupine.Operation) (start state, longest string) {
	grows := true
	for _, o := range ops {
		op, answer := o.Input.(Op), o.Output.(*Answer)
		grows = grows && (op.Kind == Append || op.Kind == Get)
		if answer == nil {
			continue
		}
		start.unanswered++
		if op.Kind == Get {
			start.unread++
			if len(answer.Value) > len(longest) {
				longest = answer.Value
			}
		}
	}
	if !grows {
		start.unread = 0
	}
	return start, longest
}

// judge says whether the events of one key are linearizable, as far as can be found
// out until the deadline.
func judge(events []event, deadline time.Time) Verdict {
	left := time.Until(deadline)
	if left <= 0 {
		return Unknown // to porcupine, a timeout of 0 is none
	}
	ops := operations(events)
	switch porcupine.CheckOperationsTimeout(modelOf(ops), ops, left) {
	case porcupine.Ok:
		return Linearizable
	case porcupine.Illegal:
		return Violation
	}
	return Unknown
}

// modelOf returns the model for ops, all of one key.
func modelOf(ops []porcupine.Operation) porcupine.Model {
	start, longest := newState(ops)
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(s, op, answer any) (bool, any) {
			return s.(state).step(op.(Op), answer.(*Answer), longest)
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

// operations returns events as porcupine takes them: without those that failed, and
// without the reads of unknown outcome, which say nothing and change nothing.
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
	return ops
}

func (e event) open() bool { return e.outcome == inFlight || e.outcome == unknown }

// before reports whether e was answered before m.
func (e event) before(m moment) bool {
	return e.outcome == answered && e.end.order < m.order
}
