package linear

import (
	"cmp"
	"slices"
	"time"
)

// ReturnStale records the answer that has just arrived to a get, and that by its own words it may be outdated: by age
// at most. Such a read is judged as though it had begun so much earlier. It may miss what happened since, and
// what happened at that very moment; all that was acknowledged before, or seen by another read that had ended, it must show.
//
// An age says something about time, so the history's clock must not stand still.
func (c *Call) ReturnStale(a Answer, age time.Duration) {
	if c.op.Kind != Get {
		panic("linear: only a read may be outdated")
	}
	c.stale, c.age = true, age
	c.Return(a)
}

// moveBack lets each read that may be outdated begin earlier, before all that happened at that time or later. It
// numbers the moments of events anew, and sorts them by their beginnings.
func moveBack(events []event) {
	type place struct {
		*moment
		moved bool
	}
	var places []place
	for i := range events {
		e := &events[i]
		if e.stale {
			e.begin.at -= e.age
		}
		places = append(places, place{&e.begin, e.stale})
		if e.outcome != inFlight {
			places = append(places, place{&e.end, false})
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		switch {
		case a.at != b.at:
			return cmp.Compare(a.at, b.at)
		case a.moved != b.moved && a.moved:
			return -1
		case a.moved != b.moved:
			return 1
		}
		return cmp.Compare(a.order, b.order)
	})
	for i, p := range places {
		p.order = i + 1
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.begin.order, b.begin.order) })
}

// began says that something was before an operation began, for a sentence.
func (e event) began() string {
	before, at := "before", e.begin
	if e.stale {
		before, at.at = "more than "+ms(moment{at: e.age})+" before", at.at+e.age
	}
	return before + " that " + noun(e.op) + " began at " + ms(at)
}
