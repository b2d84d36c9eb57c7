package linear

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// A Verdict is what a check came to.
type Verdict string

const (
	Linearizable Verdict = "linearizable"
	Violation    Verdict = "violation"
	// Unknown means that the time did not suffice. It is a failure: nothing was shown.
	Unknown Verdict = "unknown"
)

// A Result is a verdict and its grounds.
type Result struct {
	Verdict Verdict
	// Ops is how many operations the history holds, those that failed included.
	Ops int
	// Reason is one sentence that says what is wrong, empty if nothing is.
	Reason string

	impossible []event       // of a violation: the shortest history found that shows it
	timeout    time.Duration // how long the check was allowed to take
}

// Check judges all that is recorded so far; operations still in flight count as
// unknown. It ends within timeout, or, if it has a violation to explain or did not
// come to an end, within about twice that. In a bubble of testing/synctest no time passes while it works,
// so the timeout does not hold there.
func (h *History) Check(timeout time.Duration) Result {
	keys := h.byKey()
	result := Result{Verdict: Linearizable, timeout: timeout}
	for _, events := range keys {
		result.Ops += len(events)
	}
	deadline := time.Now().Add(timeout)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		switch events := keys[key]; judge(events, deadline) {
		case Violation:
			result.Verdict = Violation
			result.impossible, result.Reason = explain(events, time.Now().Add(timeout))
			return result
		case Unknown:
			result.impossible, result.Reason = prove(events, time.Now().Add(timeout))
			if result.Reason != "" {
				result.Verdict = Violation
				return result
			}
			result.Verdict = Unknown
			result.Reason = fmt.Sprintf("the check did not end within %v: %s has %d operations, %d of them of unknown outcome",
				timeout, name(key), len(events), countOpen(events))
			return result
		}
	}
	return result
}

func countOpen(events []event) int {
	n := 0
	for _, e := range events {
		if e.open() {
			n++
		}
	}
	return n
}

// WritePicture writes the violation as a page of HTML to look at in a browser: the
// operations on its key up to the impossible answer, and how far an order of them
// gets. It takes at most as long as the check was allowed to.
// There is none without a violation.
func (r Result) WritePicture(w io.Writer) error {
	if r.Verdict != Violation {
		return fmt.Errorf("linear: no violation to draw: the history is %s", r.Verdict)
	}
	ops := operations(r.impossible)
	model := modelOf(ops)
	_, info := porcupine.CheckOperationsVerbose(model, ops, r.timeout)
	culprit := r.impossible[len(r.impossible)-1]
	info.AddAnnotations([]porcupine.Annotation{{
		Tag:         "violation",
		Start:       int64(culprit.begin.order),
		End:         int64(culprit.end.order),
		Description: r.Reason,
	}})
	return porcupine.Visualize(model, info, w)
}

// answers returns the events that were answered, in the order of their answers.
func answers(events []event) []event {
	known := slices.DeleteFunc(slices.Clone(events), func(e event) bool { return e.outcome != answered })
	slices.SortFunc(known, func(a, b event) int { return cmp.Compare(a.end.order, b.end.order) })
	return known
}

// shortest returns the shortest part of events, up to some answer, that is impossible
// already. The events are a violation. If the deadline comes first, the part may be
// longer than it had to be.
func shortest(events []event, deadline time.Time) []event {
	ends := answers(events)
	i := sort.Search(len(ends)-1, func(i int) bool {
		return judge(upTo(events, ends[i]), deadline) == Violation
	})
	return upTo(events, ends[i])
}

// upTo returns what was known of events at the end of last, with last at its end.
// Those that failed are left out: whenever it was known, they did not happen.
func upTo(events []event, last event) []event {
	known := make([]event, 0, len(events))
	for _, e := range events {
		switch {
		case e.outcome == failed, e.begin.order > last.end.order, e.begin == last.begin:
			continue
		case e.outcome == answered && e.end.order > last.end.order:
			e.outcome, e.end, e.answer = inFlight, moment{}, Answer{}
		}
		known = append(known, e)
	}
	return append(known, last)
}
