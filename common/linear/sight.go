package linear

import "strings"

// A sight is what an answer tells of the register at the moment just before its
// operation took effect: exactly what it held, or only its length in bytes (an absent
// key has 0), or only that there was a value.
type sight struct {
	exact  *register
	length int // if exact is nil; -1: any value at all, but a value
}

// saw returns what the answer to e tells. It is not for a put, which tells nothing and
// is never what is impossible: it can be placed last of all that was answered before it.
func (e event) saw() sight {
	switch {
	case e.op.Kind == Append:
		return sight{length: e.answer.Length - len(e.op.Value)}
	case e.op.Kind == CAS && e.answer.Swapped:
		r := expected(e.op)
		return sight{exact: &r}
	case e.op.Kind == Delete && e.answer.Found:
		return sight{length: -1}
	}
	return sight{exact: &register{e.answer.Found, e.answer.Value}}
}

// fits reports whether r is what was seen.
func (s sight) fits(r register) bool {
	switch {
	case s.exact != nil:
		return r == *s.exact
	case s.length < 0:
		return r.found
	}
	return len(r.value) == s.length
}

// changes reports whether e may have changed the register.
func (e event) changes() bool {
	switch {
	case e.op.Kind == Get, e.outcome == failed:
		return false
	case e.op.Kind == CAS && e.outcome == answered:
		return e.answer.Swapped
	case e.op.Kind == Delete && e.outcome == answered:
		return e.answer.Found
	}
	return true
}

// replaces reports whether e may have changed the register to something that does
// not begin with what was there before.
func (e event) replaces() bool { return e.changes() && e.op.Kind != Append }

// mayLeave reports whether the register may fit s right after e took effect: for an
// answered operation, the effect that its answer tells of.
func (e event) mayLeave(s sight) bool {
	switch e.op.Kind {
	case Append:
		return e.appendMayLeave(s)
	case Delete:
		return s.fits(register{})
	case CAS:
		if e.outcome == answered && !e.answer.Swapped {
			return s.fits(register{e.answer.Found, e.answer.Value})
		}
	case Get:
		return s.fits(register{e.answer.Found, e.answer.Value})
	}
	return s.fits(register{true, e.op.Value})
}

func (e event) appendMayLeave(s sight) bool {
	length := -1 // of the whole value; -1: not known
	if e.outcome == answered {
		length = e.answer.Length
	}
	switch {
	case s.exact != nil:
		return s.exact.found && strings.HasSuffix(s.exact.value, e.op.Value) &&
			(length < 0 || length == len(s.exact.value))
	case s.length < 0:
		return true
	case length < 0:
		return s.length >= len(e.op.Value)
	}
	return s.length == length
}

// makes reports whether e may have brought about what s saw, where it was not so
// before.
func (e event) makes(s sight) bool {
	if e.op.Kind == Append && e.op.Value == "" { // changes only an absent key
		return s.fits(register{true, ""})
	}
	return e.changes() && e.mayLeave(s)
}

// made says how what s saw comes about, after "nothing".
func (s sight) made(key string) string {
	switch {
	case s.exact != nil && s.exact.found:
		return "wrote " + quote(s.exact.value)
	case s.exact != nil:
		return "deleted " + name(key)
	case s.length < 0:
		return "wrote " + name(key)
	case s.length == 0:
		return "emptied or deleted " + name(key)
	}
	return "left " + name(key) + " " + size(s.length) + " long"
}
