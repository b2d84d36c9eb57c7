package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"raftworkbook/common/trace"
	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
)

// maxShown is how many characters of a value are shown.
const maxShown = 40

// maxTraced is how many entries a trace shows in one place.
const maxTraced = 8

// logSize is how many bytes the entries in one response may take, as JSON. The rest of the line is for what stands
// around them.
const logSize = api.MaxLine - 1<<10

// Entries describes the last entries of the log, limit at most or api.DefaultLog if that is 0 and no more than fit a
// line, and says whether there are more before them.
func (n *Node) Entries(limit uint64) (log []string, more bool) {
	if limit == 0 {
		limit = api.DefaultLog
	}
	var entries []raft.Entry
	n.do(func() {
		last := n.core.Status().LastIndex
		after := last - min(last, raft.Index(limit))
		entries, more = n.core.Entries(after), after > 0
	})
	log = []string{} // not nil: an empty one is an answer, too
	for _, e := range entries {
		log = append(log, describe(e)) // here: the node has other things to do
	}
	fit := fitting(log)
	return log[len(log)-fit:], more || fit < len(log)
}

// fitting is how many texts one response can hold, counted from the last.
func fitting(texts []string) int {
	size := 0
	for i, text := range slices.Backward(texts) {
		quoted, _ := json.Marshal(text) // at least as long as on the line, where < > & stay as they are
		if size += len(quoted) + len(","); size > logSize {
			return len(texts) - 1 - i
		}
	}
	return len(texts)
}

// describe is an entry for people: 7@2 put x 1.
func describe(e raft.Entry) string {
	if e.Config != nil {
		return e.String() + " members " + e.Config.String()
	}
	if len(e.Command) == 0 {
		return e.String() + " no-op"
	}
	r, err := api.DecodeRequest(e.Command)
	if err != nil {
		return fmt.Sprintf("%v %.*q", e, maxShown, e.Command)
	}
	return e.String() + " " + words(r)
}

// words is a write for people: put x 1.
func words(r api.Request) string {
	text := r.Op + " " + show(r.Key)
	if r.Expect != nil {
		text += " " + show(*r.Expect)
	}
	if r.Value != nil {
		text += " " + show(*r.Value)
	}
	return text
}

// show is a word as it is if it is short and plain, else quoted.
func show(s string) string {
	quoted := fmt.Sprintf("%.*q", maxShown, s)
	if s == "" || strings.Contains(s, " ") || quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// Trace lets the node say what it thinks, or no longer.
func (n *Node) Trace(on bool) {
	n.do(func() {
		n.tracing, n.event = on, trace.Event{}
		n.core.Explain(on)
	})
}

// arrives notes what the node takes in.
func (n *Node) arrives(what, from, text string) {
	if n.tracing {
		n.event.Arrived = append(n.event.Arrived, trace.Arrival{What: what, From: from, Text: text})
	}
}

// does notes what the node does.
func (n *Node) does(rd raft.Ready) {
	if !n.tracing {
		return
	}
	e := &n.event
	e.Because = append(e.Because, rd.Because...)
	if hard := rd.HardState; hard != nil {
		e.Saves += fmt.Sprintf("term %d ", hard.Term)
		if hard.VotedFor != raft.None {
			e.Saves += "(votes for " + hard.VotedFor + ") "
		}
	}
	if s := rd.Snapshot; s != nil {
		e.Saves += fmt.Sprintf("snapshot up to %d@%d ", s.LastIncludedIndex, s.LastIncludedTerm)
	}
	for _, entry := range rd.Entries[:min(len(rd.Entries), maxTraced)] {
		e.Saves += describe(entry) + " "
	}
	if len(rd.Entries) > maxTraced {
		e.Saves += fmt.Sprintf("and %d more", len(rd.Entries)-maxTraced)
	}
	for _, m := range slices.Concat(rd.Appends, rd.Messages) {
		e.Sends = append(e.Sends, trace.Message{From: m.From, To: m.To, Text: m.String()})
	}
	e.Commits += places(rd.Committed) + " "
}

// tell tells of all that was noted since the time before, unless it is the usual: heartbeats that change nothing.
func (n *Node) tell(was, is raft.Status) {
	if !n.tracing {
		return
	}
	e := n.event
	n.event = trace.Event{}
	if was == is && e.Saves == "" && len(e.Because) == 0 {
		return
	}
	e.Time, e.Node = time.Since(n.born).Round(time.Millisecond).String(), n.ID
	e.Was, e.Is = state(was), state(is)
	e.Log = places(n.core.Entries(is.LastIndex - min(is.LastIndex, maxTraced)))
	n.Explain(e)
}

func state(s raft.Status) trace.State {
	return trace.State{Node: s.ID, Role: s.Role.String(), Term: uint64(s.Term), Leader: s.Leader, LastIndex: uint64(s.LastIndex),
		LastTerm: uint64(s.LastTerm), CommitIndex: uint64(s.CommitIndex), AppliedIndex: uint64(s.AppliedIndex)}
}

func places(entries []raft.Entry) string {
	var places []trace.Place
	for _, e := range entries {
		places = append(places, trace.Place{Index: uint64(e.Index), Term: uint64(e.Term)})
	}
	return trace.Places(places)
}
