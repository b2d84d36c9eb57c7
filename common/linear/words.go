package linear

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// ms is m's time in milliseconds, to the microsecond.
func ms(m moment) string {
	at := float64(m.at.Round(time.Microsecond)) / float64(time.Millisecond)
	return strconv.FormatFloat(at, 'f', -1, 64) + " ms"
}

func client(op Op) string { return fmt.Sprintf("c%d", op.Client) }

var plain = regexp.MustCompile(`^[\w/.:-]{1,64}$`)

// name is a key, bare where that cannot be misread.
func name(key string) string {
	if plain.MatchString(key) {
		return key
	}
	return quote(key)
}

// quote is a value in quotes, its middle left out if it is long.
func quote(value string) string {
	const edge = 16
	if len(value) <= 4*edge {
		return strconv.Quote(value)
	}
	return fmt.Sprintf("%q…%q (%s)", value[:edge], value[len(value)-edge:], size(len(value)))
}

func (r register) String() string {
	if !r.found {
		return "absent"
	}
	return quote(r.value)
}

// title names op for a sentence: `c1's write x = "2"`.
func title(op Op) string {
	key := name(op.Key)
	var what string
	switch op.Kind {
	case Get:
		what = "read of " + key
	case Put:
		what = "write " + key + " = " + quote(op.Value)
	case CAS:
		what = fmt.Sprintf("cas of %s from %v to %s", key, expected(op), quote(op.Value))
	case Append:
		what = "append of " + quote(op.Value) + " to " + key
	case Delete:
		what = "delete of " + key
	}
	return client(op) + "'s " + what
}

// noun names what op is: "before that read began".
func noun(op Op) string {
	switch op.Kind {
	case Get:
		return "read"
	case Put:
		return "write"
	}
	return string(op.Kind)
}

// claim says what the client was told, and when: `c2 read x = "1" at 412 ms`.
func claim(e event) string {
	if e.stale {
		return told(e, "") + ", outdated by at most " + ms(moment{at: e.age}) + ", at " + ms(e.end)
	}
	return told(e, "") + " at " + ms(e.end)
}

// earlier says what a client had been told before something else.
func earlier(e event) string { return told(e, "had ") + " at " + ms(e.end) }

// told says what the client was told; with "had " as tense, what it had been told.
func told(e event, tense string) string {
	key := name(e.op.Key)
	switch {
	case e.op.Kind == Get && e.answer.Found:
		return client(e.op) + " " + tense + "read " + key + " = " + quote(e.answer.Value)
	case e.op.Kind == Get:
		return client(e.op) + " " + tense + "read " + key + " as absent"
	case e.op.Kind == CAS && !e.answer.Swapped:
		return title(e.op) + " " + tense + "found " + register{e.answer.Found, e.answer.Value}.String()
	case e.op.Kind == CAS && tense == "":
		return title(e.op) + " swapped"
	case e.op.Kind == Append && tense == "":
		return title(e.op) + " answered length " + strconv.Itoa(e.answer.Length)
	case e.op.Kind == Delete && !e.answer.Found:
		return title(e.op) + " " + tense + "found nothing"
	case e.op.Kind == Delete && tense == "":
		return title(e.op) + " found a value"
	}
	acknowledged := title(e.op) + " had been acknowledged"
	if e.op.Kind == Append {
		acknowledged += " with length " + strconv.Itoa(e.answer.Length)
	}
	return acknowledged
}

// label names an operation and its answer in the picture; a nil answer is an
// unknown one.
func label(op Op, answer *Answer) string {
	if answer == nil {
		return title(op) + ": unknown"
	}
	if op.Kind == Put {
		return title(op)
	}
	return told(event{op: op, answer: *answer}, "")
}

// times is "once", "twice" or "n times".
func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return strconv.Itoa(n) + " times"
}

func size(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return strconv.Itoa(n) + " bytes"
}
