package linear

import (
	"strings"

	"github.com/anishathalye/porcupine"
)

// A state is a register, and what keeps the search short by refusing early what can
// come to nothing. Without it, every subset of the operations that are in flight at
// once is tried, and of appends every order. There are three rules:
//
// An operation of unknown outcome can always be placed last, where it changes no
// answer. So it is worth placing earlier only if the next answer depends on it: not
// if it changes nothing, and not if it is overwritten before anyone looked.
//
// A value that is written by at most one operation is there at most once, and so is "absent", at
// the beginning, if nothing deletes. Before it changes, all answers that tell of it are
// placed, in the order in which they began: they change nothing, so any order that is
// possible can be sorted like that. Zones say more of where it can be.
//
// On a key that is only appended to and read, whatever is there before the last read
// is a prefix of the longest value read.
type state struct {
	register
	unanswered int  // operations with an answer that are still to be placed
	unread     int  // answered reads among them, on a key that only grows
	owed       int  // answers that tell of the value there now, which will not come back
	unseen     bool // the register was left by an open operation, and nothing looked yet
}

// facts are what the rules need to know of all operations.
type facts struct {
	longest string           // the longest value read
	tellers map[register]int // how many answers tell of what is there only once
	turn    map[*Answer]int  // how many of them come before this one, which changes nothing
}

// newSearch returns the state before ops, and the facts of ops, which are in the order of
// beginning.
func newSearch(ops []porcupine.Operation) (state, facts) {
	var start state
	f := facts{tellers: make(map[register]int), turn: make(map[*Answer]int)}
	writers := map[register]int{{}: 1} // of absent: the beginning, and all deletes
	tellers := make(map[register]int)
	readers := make(map[register]int) // those of the tellers that change nothing
	var appended []string
	grows := true
	for _, o := range ops {
		op, answer := o.Input.(Op), o.Output.(*Answer)
		switch op.Kind {
		case Put, CAS:
			writers[register{true, op.Value}]++
			grows = false
		case Delete:
			writers[register{}]++
			grows = false
		case Append:
			appended = append(appended, op.Value)
		}
		if answer == nil {
			continue
		}
		start.unanswered++
		if op.Kind == Get {
			start.unread++
			if len(answer.Value) > len(f.longest) {
				f.longest = answer.Value
			}
		}
		if r, ok := tells(op, *answer); ok {
			tellers[r]++
			writers[r] += 0 // so it has a number even if nothing writes it
			if !answer.Swapped {
				f.turn[answer] = readers[r]
				readers[r]++
			}
		}
	}
	if !grows {
		start.unread = 0
	}
	for r, n := range writers {
		if n <= 1 && !(r.found && endsWithAny(r.value, appended)) {
			f.tellers[r] = tellers[r]
		}
	}
	start.owed = f.tellers[register{}]
	return start, f
}

// tells returns what answer says was there, if it says that.
func tells(op Op, answer Answer) (register, bool) {
	if op.Kind == Put {
		return register{}, false
	}
	saw := event{op: op, outcome: answered, answer: answer}.saw()
	if saw.exact == nil {
		return register{}, false
	}
	return *saw.exact, true
}

func endsWithAny(value string, ends []string) bool {
	for _, end := range ends {
		if strings.HasSuffix(value, end) {
			return true
		}
	}
	return false
}

// step places op next. A nil answer is an unknown one.
func (f facts) step(s state, op Op, answer *Answer) (bool, state) {
	if answer == nil && s.unanswered == 0 {
		return true, s
	}
	given, after := s.apply(op)
	if answer != nil && given != *answer {
		return false, s
	}
	changed := after != s.register
	next := s
	next.register = after
	next.unseen = answer == nil
	if answer != nil {
		next.unanswered--
		if op.Kind == Get && s.unread > 0 {
			next.unread--
		}
		if _, ok := tells(op, *answer); ok && s.owed > 0 {
			if !changed && f.turn[answer] != f.tellers[s.register]-s.owed {
				return false, s
			}
			next.owed--
		}
	}
	overwrites := op.Kind == Put || op.Kind == Delete && answer == nil
	switch {
	case answer == nil && !changed,
		s.unseen && overwrites,
		changed && next.owed > 0,
		s.unread > 0 && !strings.HasPrefix(f.longest, after.value):
		return false, s
	}
	if changed {
		next.owed = 0
		if op.Kind != Append {
			next.owed = f.tellers[after]
		}
	}
	return true, next
}
