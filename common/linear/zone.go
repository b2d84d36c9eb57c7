package linear

import (
	"maps"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"
)

// A zone is where a value lies that is there once. Its part are the operation that writes it and all answers that
// tell of it: nothing else happens while it is there. (P. Gibbons and E. Korach, Testing Shared Memories, 1997.)
type zone struct {
	firstEnd, lastBegin int64 // of its part
	writeBegin          int64 // never, if nothing writes it
}

// before reports whether all of z's part has to be before all of other's: something of the one ended before something of
// the other began.
func (z zone) before(other zone) bool { return z.firstEnd < other.lastBegin }

// zones returns those of all that is there once.
func (f facts) zones(ops []porcupine.Operation) map[register]*zone {
	zones := make(map[register]*zone)
	for once := range f.tellers {
		zones[once] = &zone{firstEnd: math.MaxInt64, lastBegin: math.MinInt64, writeBegin: math.MaxInt64}
	}
	if absent, once := zones[register{}]; once {
		absent.firstEnd = math.MinInt64 // it is written before all
		absent.writeBegin = math.MinInt64
	}
	for _, o := range ops {
		for _, r := range partOf(o) {
			if z, once := zones[r]; once {
				z.firstEnd, z.lastBegin = min(z.firstEnd, o.Return), max(z.lastBegin, o.Call)
			}
		}
		if r, ok := writes(o); ok && zones[r] != nil {
			zones[r].writeBegin = o.Call
		}
	}
	return zones
}

// partOf returns of what o is part: what it tells of, and what it writes.
func partOf(o porcupine.Operation) (values []register) {
	if answer := o.Output.(*Answer); answer != nil {
		if r, ok := tells(o.Input.(Op), *answer); ok {
			values = append(values, r)
		}
	}
	if r, ok := writes(o); ok {
		values = append(values, r)
	}
	return values
}

// writes returns what o writes, if it writes in place of what is there.
func writes(o porcupine.Operation) (register, bool) {
	op, answer := o.Input.(Op), o.Output.(*Answer)
	return register{true, op.Value}, op.Kind == Put || op.Kind == CAS && (answer == nil || answer.Swapped)
}

// collide reports whether a zone has no place: its value was told of before anything could write it, or it has to be before another
// and after it.
func collide(zones map[register]*zone) bool {
	all := slices.Collect(maps.Values(zones))
	for i, z := range all {
		if z.firstEnd < z.writeBegin {
			return true
		}
		for _, other := range all[:i] {
			if z.before(*other) && other.before(*z) {
				return true
			}
		}
	}
	return false
}

// narrow lets operations begin later and end earlier where that changes nothing, so that the search tries them only
// where they have a place. What ended before the last of a zone's part began is before all of that part, and what began
// after the first ended is after all of it. So all of it may as well begin after the one, and end before the other.
func narrow(ops []porcupine.Operation, zones map[register]*zone) {
	for i := range ops {
		o := &ops[i]
		for _, r := range partOf(*o) {
			if z, once := zones[r]; once {
				o.Call = max(o.Call, min(z.firstEnd, z.lastBegin))
				o.Return = min(o.Return, max(z.firstEnd, z.lastBegin))
			}
		}
		if o.Call > o.Return { // a cas between two zones that lie apart: it is part of both, and may be anywhere between
			o.Call, o.Return = o.Return, o.Call
		}
	}
}
