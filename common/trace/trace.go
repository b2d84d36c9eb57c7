// Package trace is the form in which a node explains itself: what came to it, its state before and after, why it
// decided as it did, what it saves, sends and commits, and its log. Reports of the simulator, golden traces and what a
// node prints while it runs are all made of it.
//
// An [Event] has two forms, a text for people and a JSON object in one line for programs. What strangers have sent may
// stand in it, so both are clean: what cannot be printed is escaped, and nothing is longer than a bound.
package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// An Event is one step of a node: it takes in what has come, and does what is then to be done. Its fields stand in the
// order in which they are read. Those that are empty are left out.
type Event struct {
	// Time is when, on whatever clock there is.
	Time string `json:"time,omitempty"`
	Node string `json:"node"`
	// Arrived is what came since the step before. It may be much, or nothing: a step may leave more to do.
	Arrived []Arrival `json:"arrived,omitempty"`
	// Was and Is are the node's state before and after.
	Was State `json:"was,omitzero"`
	Is  State `json:"is,omitzero"`
	// Because has the reasons.
	Because []string  `json:"because,omitempty"`
	Saves   string    `json:"saves,omitempty"`
	Sends   []Message `json:"sends,omitempty"`
	// Commits and Log are places in the log, as Places writes them.
	Commits string `json:"commits,omitempty"`
	Log     string `json:"log,omitempty"`
}

// An Arrival is one thing that comes to a node: {"hears", "n1", "t1 append ..."}, {"ticks", "", ""}.
type Arrival struct {
	What string `json:"what"`
	From string `json:"from,omitempty"`
	Text string `json:"text,omitempty"`
}

// A Message is one that a node sends.
type Message struct {
	From string `json:"from"`
	To   string `json:"to"`
	Text string `json:"text"`
	// Fate is what becomes of it where that is known: LOST.
	Fate string `json:"fate,omitempty"`
}

// A State is what a node says of itself.
type State struct {
	Node         string `json:"node"`
	Role         string `json:"role"`
	Term         uint64 `json:"term"`
	Leader       string `json:"leader,omitempty"`
	LastIndex    uint64 `json:"last_index"`
	LastTerm     uint64 `json:"last_term"`
	CommitIndex  uint64 `json:"commit_index"`
	AppliedIndex uint64 `json:"applied_index"`
}

// A Place is one in the log. As text it is 7@2: index 7, term 2.
type Place struct {
	Index, Term uint64
}

func (p Place) String() string { return fmt.Sprintf("%d@%d", p.Index, p.Term) }

// Places writes places in rising order. Those that follow each other and are of one term stand together: 1..3@1 4@2.
func Places(places []Place) string {
	var parts []string
	for len(places) > 0 {
		n := 1
		for n < len(places) && places[n] == (Place{places[0].Index + uint64(n), places[0].Term}) {
			n++
		}
		part := places[n-1].String()
		if n > 1 {
			part = fmt.Sprintf("%d..%s", places[0].Index, part)
		}
		parts, places = append(parts, part), places[n:]
	}
	return strings.Join(parts, " ")
}

// Line is the event as a JSON object in one line, its end included.
func (e Event) Line() []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // n1>n2 is to be read
	if err := encoder.Encode(e.clean()); err != nil {
		panic(err) // there are only strings and numbers in it
	}
	return b.Bytes()
}
