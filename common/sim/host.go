package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"raftworkbook/common/trace"
)

// A host holds one node's core and its disk, and notes what there is to tell of it if anybody watches.
type host struct {
	id      string
	core    Core // nil while it is dead
	disk    []any
	watched bool
	// snapshot is the one on the disk, machine the state machine.
	snapshot Snapshot
	machine  machine

	was     trace.State // after the last Ready
	log     string      // then, as a trace says it
	arrived []trace.Arrival
	reads   []read // that wait
}

// A read waits until the node may answer it: see Reader.
type read struct {
	term, round, index uint64
	// floor is an index that it must see.
	floor uint64
}

// start gives the node a new life.
func (h *host) start(a Algorithm, o Options) {
	o.ID, o.Explain = h.id, h.watched
	h.machine, _ = restored(h.snapshot)
	h.core = a.Start(o, h.disk)
	if h.watched {
		h.was, h.log = h.core.State(), places(h.core.Log())
	}
}

// starts is what there is to tell of a life that begins.
func (h *host) starts() trace.Event {
	return trace.Event{Node: h.id, Arrived: []trace.Arrival{{What: "starts"}}, Is: h.was, Log: h.log}
}

// crash ends it. What came and was not looked at is gone.
func (h *host) crash() { h.core, h.arrived, h.reads = nil, nil, nil }

func (h *host) hear(m *Message) {
	if h.watched {
		h.note("hears", m.From, fmt.Sprint(m.Body))
	}
	h.core.Step(*m)
}

func (h *host) tick() {
	if h.watched {
		h.note("ticks", "", "")
	}
	h.core.Tick()
}

func (h *host) lead(after uint64) {
	if h.watched {
		h.note("ordered", "", "to lead")
	}
	h.core.Lead(after)
}

func (h *host) propose(command []byte) (index, term uint64, err error) {
	index, term, err = h.core.Propose(command)
	if h.watched {
		answer := fmt.Sprint(err)
		if err == nil {
			answer = "it is " + trace.Place{Index: index, Term: term}.String()
		}
		h.note("is asked", "", string(command)+": "+answer)
	}
	return index, term, err
}

func (h *host) read(floor uint64) {
	round, index, err := h.core.(Reader).Read()
	answer := fmt.Sprint(err)
	if err == nil {
		answer = fmt.Sprintf("once round %d is answered and %d applied", round, index)
		h.reads = append(h.reads, read{h.core.State().Term, round, index, floor})
	}
	if h.watched {
		h.note("is asked", "", "to read: "+answer)
	}
}

// change is the operator's order to make others the voters.
func (h *host) change(voters []string) {
	err := h.core.(Changer).Change(voters)
	if h.watched {
		h.note("ordered", "", outcomeOf("the voters are to be "+strings.Join(voters, " "), err))
	}
}

// transfer is the operator's order to hand leadership over.
func (h *host) transfer(to string) {
	err := h.core.(Changer).Transfer(to)
	if h.watched {
		h.note("ordered", "", outcomeOf(to+" is to lead", err))
	}
}

// outcomeOf is an order, and why it is not obeyed.
func outcomeOf(order string, err error) string {
	if err != nil {
		order += ": " + err.Error()
	}
	return order
}

// answered calls answer for each read that need not wait any more, with the index that it sees. One whose leader leads
// no more is lost.
func (h *host) answered(answer func(r read, applied uint64, lost bool)) {
	if len(h.reads) == 0 {
		return
	}
	state, round := h.core.State(), h.core.(Reader).AnsweredRound()
	h.reads = slices.DeleteFunc(h.reads, func(r read) bool {
		lost := state.Role != leader || state.Term != r.term
		ends := lost || round >= r.round && state.AppliedIndex >= r.index
		if ends {
			answer(r, state.AppliedIndex, lost)
		}
		return ends
	})
}

// snap takes a snapshot of the state machine, at the place that the core says.
func (h *host) snap(longer int) Snapshot {
	s := h.machine.snapshot(longer)
	s.Index, s.Term = h.core.(Snapshotter).Applied()
	if c, ok := h.core.(Changer); ok {
		_, s.Config = c.Configs()
	}
	return s
}

// save puts on the disk what the core wants there.
func (h *host) save(s *Save) {
	h.disk = append(h.disk, s.Record)
	if s.Snapshot != nil {
		h.snapshot = *s.Snapshot
	}
}

// store puts a snapshot that was taken on the disk, unless there is a newer one.
func (h *host) store(a Algorithm, s Snapshot) {
	if s.Index > h.snapshot.Index {
		h.disk, h.snapshot = append(h.disk, a.Snapshot(s)), s
	}
}

// compact tells the core that a snapshot is on the disk. What is to be done then is to save something, or nothing.
func (h *host) compact(s Snapshot) (rd Ready, ok bool, e *trace.Event) {
	rd.Save = h.core.(Snapshotter).Compact(s)
	if !h.watched {
		return rd, rd.Save != nil, nil
	}
	h.note("compacts", "", upTo(s))
	e = h.event(rd, rd.Save != nil)
	return rd, rd.Save != nil, e
}

// upTo is how a snapshot is called.
func upTo(s Snapshot) string {
	return "a snapshot up to " + trace.Place{Index: s.Index, Term: s.Term}.String()
}

func (h *host) note(what, from, text string) {
	h.arrived = append(h.arrived, trace.Arrival{What: what, From: from, Text: text})
}

// ready asks for what is to be done. The event, if anybody watches, is what there is to tell now; it has no sends yet.
// Of a tick that changes nothing there is nothing to tell.
func (h *host) ready() (rd Ready, ok bool, e *trace.Event) {
	rd, ok = h.core.Ready()
	if !h.watched {
		return rd, ok, nil
	}
	return rd, ok, h.event(rd, ok)
}

// event is what there is to tell now.
func (h *host) event(rd Ready, ok bool) *trace.Event {
	arrived, was, is := h.arrived, h.was, h.core.State()
	h.arrived, h.was = nil, is
	if !ok && was == is && len(rd.Because) == 0 && !slices.ContainsFunc(arrived, func(a trace.Arrival) bool { return a.What != "ticks" }) {
		return nil
	}
	if len(arrived) == 0 {
		arrived = []trace.Arrival{{What: "goes on"}}
	}
	if rd.Save != nil || was.LastIndex != is.LastIndex { // else it is as it was
		h.log = places(h.core.Log())
	}
	e := &trace.Event{Node: h.id, Arrived: arrived, Was: was, Is: is, Because: rd.Because, Commits: places(rd.Committed), Log: h.log}
	if rd.Save != nil {
		e.Saves = fmt.Sprint(rd.Save.Record)
	}
	return e
}

func places(entries []Entry) string {
	var all []trace.Place
	for _, e := range entries {
		all = append(all, trace.Place{Index: e.Index, Term: e.Term})
	}
	return trace.Places(all)
}

// names are those of the nodes of a cluster: n1, n2 and so on.
func names(n int) (ids []string) {
	for i := range n {
		ids = append(ids, "n"+strconv.Itoa(i+1))
	}
	return ids
}
