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
// unknown. It ends within timeout, or, if it has a violation to explain, within
// about twice that. In a bubble of testing/synctest no time passes while it works,
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
func (r Result) WritePicture(w io.Writer) error {
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

// shortest returns the shortest part of events, from the start up to some answer,
// that is impossible already, with that answer's event last. The events are a
// violation; answers given later than the part's end are not known in it. If the
// deadline comes first, the part may be longer than it had to be.
func shortest(events []event, deadline time.Time) []event {
	var answers []event
	for _, e := range events {
		if e.outcome == answered {
			answers = append(answers, e)
		}
	}
	slices.SortFunc(answers, func(a, b event) int { return cmp.Compare(a.end.order, b.end.order) })
	last := len(answers) - 1
	i := sort.Search(last, func(i int) bool {
		return judge(upTo(events, answers[i]), deadline) == Violation
	})
	return upTo(events, answers[i])
}

// upTo returns events as they were known at the end of last, which comes last.
func upTo(events []event, last event) []event {
	var known []event
	for _, e := range events {
		switch {
		case e.begin.order > last.end.order || e.begin == last.begin:
			continue
		case e.outcome == answered && e.end.order > last.end.order:
			e.outcome, e.end, e.answer = inFlight, moment{}, Answer{}
		}
		known = append(known, e)
	}
	return append(known, last)
}
