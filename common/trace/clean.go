package trace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what an event says.
const (
	maxName  = 32  // characters of a name
	maxText  = 160 // characters of all else
	maxItems = 32  // of a list
)

// clean returns the event with nothing in it that is not printed as it is, and nothing that is longer than its bound.
// Each reason stands there once.
func (e Event) clean() Event {
	e.Time, e.Node = name(e.Time), name(e.Node)
	e.Was, e.Is = e.Was.clean(), e.Is.clean()
	e.Saves, e.Commits, e.Log = line(e.Saves), line(e.Commits), line(end(e.Log))

	arrived, more := most(e.Arrived)
	e.Arrived = nil
	for _, a := range arrived {
		e.Arrived = append(e.Arrived, Arrival{name(a.What), name(a.From), line(a.Text)})
	}
	if more != "" {
		e.Arrived = append(e.Arrived, Arrival{What: "...", Text: more})
	}

	sends, more := most(e.Sends)
	e.Sends = nil
	for _, m := range sends {
		e.Sends = append(e.Sends, Message{name(m.From), name(m.To), line(m.Text), name(m.Fate)})
	}
	if more != "" {
		e.Sends = append(e.Sends, Message{From: e.Node, To: "...", Text: more})
	}

	var because []string
	for _, why := range e.Because {
		if why = line(why); !slices.Contains(because, why) {
			because = append(because, why)
		}
	}
	because, more = most(because)
	if e.Because = because; more != "" {
		e.Because = append(slices.Clip(because), more)
	}
	return e
}

func (s State) clean() State {
	s.Node, s.Role, s.Leader = name(s.Node), name(s.Role), name(s.Leader)
	return s
}

// most returns the first items of a list, and says how many more there are.
func most[T any](items []T) (first []T, more string) {
	if len(items) <= maxItems {
		return items, ""
	}
	return items[:maxItems], fmt.Sprintf("and %d more", len(items)-maxItems)
}

func name(s string) string { return bounded(s, maxName) }
func line(s string) string { return bounded(s, maxText) }

// end is the last part of a log that is too long: what happens, happens there.
func end(log string) string {
	if len(log) <= maxText {
		return log
	}
	_, log, _ = strings.Cut(log[len(log)-maxText+len("... "):], " ")
	return "... " + log
}

// bounded is s in at most limit characters, each of which is printed as it is: what cannot be is escaped as in a
// string of Go. What is too long loses its end.
func bounded(s string, limit int) string {
	var b strings.Builder
	length := 0
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		printed := s[:size]
		switch {
		case r == utf8.RuneError && size == 1:
			printed = fmt.Sprintf(`\x%02x`, s[0])
		case !strconv.IsPrint(r):
			printed = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if length += utf8.RuneCountInString(printed); length > limit {
			return b.String() + "..."
		}
		b.WriteString(printed)
		s = s[size:]
	}
	return b.String()
}
