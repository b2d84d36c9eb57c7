package linear

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A puzzle is an answer that cannot be, with all that bears on it.
type puzzle struct {
	culprit  event
	saw      sight
	rest     []event // the other events that began before the culprit's end, as known then
	all      []event // all events of the key, to the end of the history
	deadline time.Time
}

// newPuzzle returns the puzzle of the last event of part, a part of all.
func newPuzzle(part, all []event, deadline time.Time) puzzle {
	last := len(part) - 1
	return puzzle{part[last], part[last].saw(), part[:last:last], all, deadline}
}

// explain returns the shortest part of events that is impossible, and why in one
// sentence. The events are of one key, and a violation.
//
// The last answer of the shortest part is the culprit: without it, all is possible.
// Every rule proves its own sentence from the history before it speaks, so the first
// that speaks is right; where none does, the sentence says no more than the checker
// knows.
func explain(events []event, deadline time.Time) ([]event, string) {
	part := shortest(events, deadline)
	p := newPuzzle(part, events, deadline)
	for _, rule := range []func() string{
		p.contradiction, p.doubledLength, p.lostAppend, p.doubledAppend, p.swappedAppends,
		p.neverMade, p.overtaken, p.swappedTwice, p.onlyPossible,
	} {
		if why := rule(); why != "" {
			return part, claim(p.culprit) + ", " + why
		}
	}
	return part, claim(p.culprit) + ", but no order of the operations on " + name(p.culprit.op.Key) +
		" up to then gives this answer and all those before it"
}

// prove looks for a violation without a search, by the rules that need none and are
// proofs in themselves. It returns as explain does, or "" if it finds nothing until
// the deadline.
func prove(events []event, deadline time.Time) ([]event, string) {
	for _, e := range answers(events) {
		if time.Now().After(deadline) {
			break
		}
		if e.op.Kind == Put {
			continue // tells nothing
		}
		part := upTo(events, e)
		p := newPuzzle(part, events, deadline)
		for _, rule := range []func() string{
			p.contradiction, p.lostAppend, p.neverMade, p.overtaken, p.swappedTwice,
		} {
			if why := rule(); why != "" {
				return part, claim(e) + ", " + why
			}
		}
	}
	return nil, ""
}

// contradiction: the answer cannot be true of any register.
func (p puzzle) contradiction() string {
	op, answer := p.culprit.op, p.culprit.answer
	switch {
	case op.Kind == CAS && !answer.Swapped && *p.saw.exact == expected(op):
		return "but that is what it expected, so it should have swapped"
	case op.Kind == Append && answer.Length < len(op.Value):
		return "but what it appended is " + size(len(op.Value)) + " long"
	}
	return ""
}

// doubledLength: the length is what a second execution of the same append gives, and
// that of a single one would do.
func (p puzzle) doubledLength() string {
	op := p.culprit.op
	once := p.culprit.answer
	once.Length -= len(op.Value)
	if op.Kind != Append || op.Value == "" || p.judgeInstead(op, once) != Linearizable {
		return ""
	}
	return fmt.Sprintf("which cannot be, but %d could: as if %s had been appended twice", once.Length, quote(op.Value))
}

// lostAppend: something appended is missing that must be there.
func (p puzzle) lostAppend() string {
	replaced := p.last(event.replaces)
	for _, e := range p.rest {
		if !p.stays(e, replaced) {
			continue
		}
		lost := p.saw.exact == nil && p.saw.length >= 0 && p.saw.length < e.answer.Length ||
			p.saw.exact != nil && !strings.Contains(p.saw.exact.value, e.op.Value)
		if lost {
			return fmt.Sprintf("but %s, %s, and nothing replaced or deleted %s in between",
				earlier(e), p.culprit.began(), name(e.op.Key))
		}
	}
	return ""
}

// stays reports whether e appended something that must be in the value when the
// culprit began, given the last moment at which the value may have been replaced.
func (p puzzle) stays(e event, replaced int) bool {
	return e.op.Kind == Append && e.op.Value != "" && e.before(p.culprit.begin) && e.begin.order > replaced
}

// last returns the last moment at which an event of which is true may have taken
// effect: that of its answer, and never-ending if it has none.
func (p puzzle) last(is func(event) bool) int {
	last := 0
	for _, e := range p.rest {
		switch {
		case !is(e):
		case e.outcome != answered:
			return math.MaxInt
		default:
			last = max(last, e.end.order)
		}
	}
	return last
}

// doubledAppend: something is there more often than it was appended, and with one of
// them less all would be well.
func (p puzzle) doubledAppend() string {
	if p.saw.exact == nil {
		return ""
	}
	value := p.saw.exact.value
	for _, e := range p.rest {
		piece := e.op.Value
		if e.op.Kind != Append || piece == "" {
			continue
		}
		appended, elsewhere := 0, false
		for _, other := range p.rest {
			switch {
			case other.op.Kind == Append && other.op.Value == piece:
				appended++
			case strings.Contains(other.op.Value, piece):
				elsewhere = true
			}
		}
		seen := strings.Count(value, piece)
		if elsewhere || seen <= appended {
			continue
		}
		i := strings.LastIndex(value, piece)
		if p.judgeSeeing(register{true, value[:i] + value[i+len(piece):]}) == Linearizable {
			return fmt.Sprintf("which holds %s %s, but by then it can have been appended only %s (%s began at %s)",
				quote(piece), times(seen), times(appended), title(e.op), ms(e.begin))
		}
	}
	return ""
}

// swappedAppends: two appends, one acknowledged before the other began, are there in
// the wrong order.
func (p puzzle) swappedAppends() string {
	if p.saw.exact == nil {
		return ""
	}
	value := p.saw.exact.value
	replaced := p.last(event.replaces)
	for _, first := range p.rest {
		if !p.stays(first, replaced) || strings.Count(value, first.op.Value) != 1 {
			continue
		}
		for _, second := range p.rest {
			if !p.stays(second, replaced) || !first.before(second.begin) || strings.Count(value, second.op.Value) != 1 {
				continue
			}
			if strings.Index(value, second.op.Value) < strings.Index(value, first.op.Value) {
				return fmt.Sprintf("which holds %s before %s, but %s, before %s began at %s",
					quote(second.op.Value), quote(first.op.Value), earlier(first), title(second.op), ms(second.begin))
			}
		}
	}
	return ""
}

// neverMade: nothing that can have happened by then brings about what was seen.
func (p puzzle) neverMade() string {
	if p.saw.fits(register{}) || slices.ContainsFunc(p.rest, p.makes) {
		return ""
	}
	made := p.saw.made(p.culprit.op.Key)
	var refused, late []event
	for _, e := range p.all {
		would := e
		if e.outcome == failed || e.op.Kind == CAS {
			would = event{op: e.op} // had it happened
		}
		switch {
		case e.begin == p.culprit.begin, !would.makes(p.saw):
		case e.begin.order > p.culprit.end.order:
			late = append(late, e)
		default:
			refused = append(refused, e)
		}
	}
	switch {
	case len(refused) == 0 && len(late) == 0:
		return "but nothing ever " + made
	case len(refused) == 0:
		return fmt.Sprintf("but nothing %s before %s, which began only at %s", made, title(late[0].op), ms(late[0].begin))
	case len(refused) > 1 || len(late) > 0:
		return "but nothing that can have taken effect by then " + made
	case refused[0].outcome == failed:
		return fmt.Sprintf("but nothing %s: %s failed at %s and must not have happened", made, title(refused[0].op), ms(refused[0].end))
	}
	return fmt.Sprintf("but nothing %s: %s", made, claim(refused[0])) // a cas that did not swap
}

func (p puzzle) makes(e event) bool { return e.makes(p.saw) }

// overtaken: an operation before the culprit began left or found something else, and
// nothing since can have brought about what the culprit saw. That is a stale read, a
// lost write, a deleted value come back.
func (p puzzle) overtaken() string {
	made := p.last(p.makes)
	var witness *event
	for i, e := range p.rest {
		if !e.before(p.culprit.begin) || e.mayLeave(p.saw) || e.begin.order < made {
			continue
		}
		if witness == nil || e.better(*witness) {
			witness = &p.rest[i]
		}
	}
	if witness == nil {
		return ""
	}
	return fmt.Sprintf("but %s, %s, and nothing %s in between",
		earlier(*witness), p.culprit.began(), p.saw.made(p.culprit.op.Key))
}

// better reports whether e is easier to follow as a witness than o: one that wrote
// rather than one that read, and the later one.
func (e event) better(o event) bool {
	if e.changes() != o.changes() {
		return e.changes()
	}
	return e.end.order > o.end.order
}

// swappedTwice: two compare-and-swaps each used up the same value, which was there
// only once.
func (p puzzle) swappedTwice() string {
	key := name(p.culprit.op.Key)
	once := "nothing had deleted " + key
	left := 1 // how often it was there: absent at the start, or written
	if p.saw.exact != nil && p.saw.exact.found {
		once, left = quote(p.saw.exact.value)+" had been written only once", 0
	}
	var rival *event
	for i, e := range p.rest {
		if e.makes(p.saw) {
			left++
		}
		if e.usesUp(p.saw) {
			rival = &p.rest[i]
		}
	}
	if left > 1 || rival == nil || !p.culprit.usesUp(p.saw) {
		return ""
	}
	return fmt.Sprintf("but %s swapped as well, at %s, and %s", title(rival.op), ms(rival.end), once)
}

// usesUp reports whether e swapped just what s saw for something else.
func (e event) usesUp(s sight) bool {
	return e.op.Kind == CAS && e.answer.Swapped && s.exact != nil &&
		expected(e.op) == *s.exact && !s.fits(register{true, e.op.Value})
}

// onlyPossible lists what the culprit could have found, if that is little.
func (p puzzle) onlyPossible() string {
	const most = 3
	if p.culprit.op.Kind == Append || slices.ContainsFunc(p.rest, func(e event) bool { return e.op.Kind == Append }) {
		return "" // the candidates are not just the values written
	}
	candidates := []register{{}}
	for _, e := range p.rest {
		if r := (register{true, e.op.Value}); e.replaces() && e.op.Kind != Delete && !slices.Contains(candidates, r) {
			candidates = append(candidates, r)
		}
	}
	var possible []string
	for _, r := range candidates {
		switch p.judgeSeeing(r) {
		case Linearizable:
			possible = append(possible, r.String())
		case Unknown:
			return ""
		}
	}
	if len(possible) == 0 || len(possible) > most {
		return ""
	}
	return fmt.Sprintf("but by all answers before it, %s can only have been %s then",
		name(p.culprit.op.Key), strings.Join(possible, " or "))
}

// judgeSeeing judges what was known at the culprit's end, had it seen r.
func (p puzzle) judgeSeeing(r register) Verdict {
	return p.judgeInstead(Op{Kind: Get}, Answer{Found: r.found, Value: r.value})
}

// judgeInstead judges what was known at the culprit's end, had op been asked and
// answer been given in its place.
func (p puzzle) judgeInstead(op Op, answer Answer) Verdict {
	e := p.culprit
	e.op, e.answer = op, answer
	return judge(append(slices.Clone(p.rest), e), p.deadline)
}
