package sim

import (
	"errors"
	"fmt"
	"slices"

	"raftworkbook/common/trace"
)

// fake is an algorithm that is right, and has one bug if it is told so. A leader sends each follower all that it is not
// known to have, and names how much it is known to have: then logs need not be compared.
type fake struct {
	Options
	bug string

	term, commit, applied uint64
	role                  string
	log                   []Entry
	match                 map[string]uint64 // on a leader
	ticks                 int

	savedTerm uint64
	dirty     int // the log is saved up to here
	messages  []Message
	reasons   []string

	// The log is gone up to here: there are entries, with nothing in them. A snapshot stands for that.
	gone      uint64
	snapshot  Snapshot
	installed *Snapshot
}

type fakeAppend struct {
	prev    uint64
	entries []Entry
	commit  uint64
}

func (a fakeAppend) String() string {
	return fmt.Sprintf("append %d entries after %d", len(a.entries), a.prev)
}

type fakeAck struct{ match uint64 }

func (a fakeAck) String() string { return fmt.Sprintf("appended %d", a.match) }

type fakeInstall struct{ Snapshot }

func (i fakeInstall) String() string { return upTo(i.Snapshot) }

// fakeRecord is what it saves. If it is whole, it has all entries, of which the first may be gone.
type fakeRecord struct {
	term     uint64
	entries  []Entry
	snapshot *Snapshot
	whole    bool
}

func (r fakeRecord) String() string { return fmt.Sprintf("term %d %s", r.term, places(r.entries)) }

// broken returns the fake with a bug, or "".
func broken(bug string) Algorithm {
	return Algorithm{
		Start: func(o Options, disk []any) Core {
			f := &fake{Options: o, bug: bug, role: "follower"}
			for _, record := range disk {
				r := record.(fakeRecord)
				f.term = max(f.term, r.term)
				if r.whole {
					f.log = nil
				}
				if len(r.entries) > 0 {
					f.log = append(f.log[:r.entries[0].Index-1], r.entries...)
				}
				if r.snapshot != nil {
					f.snapshot = *r.snapshot
				}
			}
			if bug != "starts with nothing applied" {
				f.commit, f.applied = f.snapshot.Index, f.snapshot.Index
			}
			f.gone = f.snapshot.Index
			f.savedTerm, f.dirty = f.term, len(f.log)
			switch {
			case bug == "forgets its term" && f.term > 0:
				f.term--
			case bug == "forgets its last entry" && len(f.log) > 0:
				f.log = f.log[:len(f.log)-1]
			case bug == "leads as it starts" && len(f.log) > 0:
				f.role = leader
			}
			return f
		},
		Record: func(term uint64, entries []Entry) any { return fakeRecord{term: term, entries: entries} },
		Message: func(text string) (Message, error) {
			m := Message{Body: fakeAck{}}
			_, err := fmt.Sscanf(text, "%s %s %d", &m.From, &m.To, &m.Term)
			return m, err
		},
	}
}

// snapping returns the fake with a bug, or "", which takes snapshots.
func snapping(bug string) Algorithm {
	a := broken(bug)
	a.Snapshot = func(s Snapshot) any { return fakeRecord{snapshot: &s} }
	return a
}

func (f *fake) follow(term uint64) {
	if f.bug != "takes part in old terms" {
		term = max(term, f.term)
	}
	if term != f.term {
		f.term, f.role = term, "follower"
	}
}

func (f *fake) Tick() {
	f.ticks++
	switch {
	case f.bug == "panics" && f.ticks == 50:
		panic("a bug")
	case f.bug == "drops its last entry in mind" && f.role != leader && f.ticks%20 == 0 && len(f.log) > 0:
		f.log = f.log[:len(f.log)-1]
		f.dirty = len(f.log)
	case f.bug == "changes an entry in mind" && f.ticks == 20 && len(f.log) > 0:
		f.log = slices.Clone(f.log)
		f.log[0].Command = []byte("0")
	case f.bug == "overwrites what is committed" && f.role != leader && f.commit > 2 && f.commit == uint64(len(f.log)):
		f.log[f.commit-1] = Entry{Index: f.commit, Term: f.term, Command: []byte("0")}
		f.dirty = int(f.commit) - 1
	case f.bug == "overwrites what it leads with" && f.role == leader && f.ticks%7 == 0:
		f.log = slices.Clone(f.log)
		f.log[len(f.log)-1].Command = []byte("0")
		f.dirty = len(f.log) - 1
	case f.bug == "forgets what it has applied":
		f.gone = f.applied
	}
	if f.role == leader && f.ticks%f.HeartbeatTicks == 0 {
		f.replicate()
	}
}

func (f *fake) replicate() {
	for _, id := range f.Nodes {
		if id != f.ID {
			f.sendLog(id)
		}
	}
}

func (f *fake) sendLog(to string) {
	prev := f.match[to]
	if prev < f.gone {
		f.send(to, fakeInstall{f.changed(f.snapshot)}, 0)
		return
	}
	f.send(to, fakeAppend{prev, f.log[prev:min(int(prev)+10, len(f.log))], f.commit}, 0)
}

func (f *fake) send(to string, body any, appended uint64) {
	f.messages = append(f.messages, Message{From: f.ID, To: to, Body: body, Term: f.term, Appended: appended})
}

func (f *fake) Step(m Message) {
	f.follow(m.Term)
	if m.Term != f.term {
		f.send(m.From, fakeAck{}, 0)
		return
	}
	switch body := m.Body.(type) {
	case fakeAppend:
		f.take(m.From, body)
	case fakeInstall:
		f.install(m.From, body.Snapshot)
	case fakeAck:
		if f.role == leader && body.match > f.match[m.From] {
			f.match[m.From] = body.match
			f.sendLog(m.From)
		}
	}
}

// changed is a snapshot that a leader sends.
func (f *fake) changed(s Snapshot) Snapshot {
	switch f.bug {
	case "sends half a snapshot":
		s.Data = s.Data[:len(s.Data)-1]
	case "sends a snapshot of what is to come":
		s.Index += 1000
	}
	return s
}

func (f *fake) install(from string, s Snapshot) {
	switch {
	case f.bug == "promises a snapshot and drops it":
	case s.Index > f.commit && s.Index <= uint64(len(f.log)) && f.log[s.Index-1].Term == s.Term && f.bug != "drops what follows a snapshot":
		f.commit = s.Index
	case s.Index > f.commit || f.bug == "goes back to an old snapshot" && s.Index < f.commit:
		f.log = f.blank(s)
		f.gone, f.snapshot, f.installed = s.Index, s, &s
		f.commit, f.applied, f.dirty = s.Index, s.Index, int(s.Index)
		if f.bug == "leaves out what follows a snapshot" {
			f.applied++
		}
	}
	f.send(from, fakeAck{s.Index}, s.Index)
}

// blank are as many entries as a snapshot stands for.
func (f *fake) blank(s Snapshot) (all []Entry) {
	for i := range s.Index {
		all = append(all, Entry{Index: i + 1, Term: s.Term})
	}
	return all
}

func (f *fake) Applied() (index, term uint64) {
	if f.bug == "takes a snapshot of what it has not applied" && f.applied < uint64(len(f.log)) {
		return f.applied + 1, f.log[f.applied].Term
	}
	return f.applied, f.log[f.applied-1].Term
}

func (f *fake) Compact(s Snapshot) *Save {
	if s.Index <= f.snapshot.Index {
		return nil
	}
	f.snapshot, f.gone = s, s.Index
	left := slices.Clone(f.log[f.gone:])
	switch n := len(left); {
	case f.bug == "cuts its log too far" && n > 0:
		left = left[1:]
	case f.bug == "cuts the end of its log off" && n > 1:
		left = left[:n-1]
	case f.bug == "writes something else as it cuts" && n > 0:
		left[0].Command = []byte("0")
	}
	return &Save{Record: fakeRecord{entries: append(f.blank(s), left...), whole: true}, Entries: left, Cut: true}
}

func (f *fake) take(from string, a fakeAppend) {
	for i, e := range a.entries {
		if f.bug == "writes something else" {
			e.Command = []byte("0")
		}
		switch n := uint64(len(f.log)); {
		case e.Index <= f.gone:
		case e.Index <= n && f.log[e.Index-1].Term == e.Term:
		case e.Index <= n && f.bug == "keeps what conflicts":
		case e.Index <= f.commit: // somebody was careless
			return
		default:
			f.log = append(slices.Clone(f.log[:e.Index-1]), a.entries[i:]...)
			f.log[e.Index-1] = e
			f.dirty = min(f.dirty, int(e.Index)-1)
		}
	}
	match := a.prev + uint64(len(a.entries))
	switch f.bug {
	case "does not hear of commits":
	case "commits what it does not have":
		f.commit = max(f.commit, a.commit+1)
	case "takes commits back":
		f.commit = min(a.commit, match)
	default:
		f.commit = max(f.commit, min(a.commit, match))
	}
	f.send(from, fakeAck{match}, match)
}

func (f *fake) Propose(command []byte) (index, term uint64, err error) {
	if f.role != leader {
		return 0, 0, errors.New("not the leader")
	}
	f.add(command)
	f.replicate()
	return uint64(len(f.log)), f.term, nil
}

func (f *fake) add(command []byte) {
	f.log = append(f.log, Entry{Index: uint64(len(f.log)) + 1, Term: f.term, Command: command})
}

func (f *fake) Lead(after uint64) {
	if f.Explain {
		f.reasons = append(f.reasons, "the operator's order")
	}
	switch {
	case f.bug == "leads a term again" && f.term > 0:
	default:
		// Each term belongs to one node.
		f.term = max(f.term, after) + 1
		for f.Nodes[f.term%uint64(len(f.Nodes))] != f.ID {
			f.term++
		}
	}
	if f.bug == "leads without its last entry" && len(f.log) > 0 {
		f.log = f.log[:len(f.log)-1]
		f.dirty = min(f.dirty, len(f.log))
	}
	f.role, f.match = leader, map[string]uint64{}
	f.add(nil)
	f.replicate()
}

func (f *fake) Ready() (rd Ready, ok bool) {
	f.advance()
	if f.bug == "wants no end" {
		return Ready{}, true
	}
	entries := slices.Clone(f.log[f.dirty:])
	if f.term != f.savedTerm || len(entries) > 0 || f.installed != nil {
		rd.Save = f.save(entries)
	}
	rd.Messages, f.messages = f.messages, nil
	if f.bug == "acknowledges before it has saved" && f.term == f.savedTerm {
		rd.Appends, rd.Messages = rd.Messages, nil
	}
	f.savedTerm, f.dirty = f.term, len(f.log)
	rd.Committed = slices.Clone(f.log[f.applied:max(f.applied, min(f.commit, uint64(len(f.log))))])
	f.applied += uint64(len(rd.Committed))
	switch n := len(rd.Committed); {
	case f.bug == "applies twice" && n > 0:
		rd.Committed = append(rd.Committed, rd.Committed[n-1])
	case f.bug == "applies something else" && n > 0:
		rd.Committed[0].Command = []byte("0")
	}
	rd.Because, f.reasons = f.reasons, nil
	return rd, rd.Save != nil || len(rd.Appends)+len(rd.Messages)+len(rd.Committed) > 0
}

func (f *fake) save(entries []Entry) *Save {
	s := &Save{Term: f.term, Entries: entries}
	switch n := len(entries); {
	case f.bug == "saves no term":
		s.Term = 0
	case f.bug == "saves an old term" && f.term == f.savedTerm && f.term > 1:
		s.Term = 1
	case f.bug == "saves with a gap" && n > 1:
		s.Entries = entries[1:]
	case f.bug == "saves entries twice" && n > 1:
		s.Entries = append(slices.Clone(entries[:1]), entries...)
	}
	s.Record = fakeRecord{term: s.Term, entries: s.Entries}
	if f.installed != nil {
		s.Snapshot = f.installed
		s.Record = fakeRecord{s.Term, append(f.blank(f.snapshot), s.Entries...), f.installed, true}
		f.installed = nil
	}
	return s
}

// advance commits, on a leader, what a majority has.
func (f *fake) advance() {
	if f.role != leader {
		return
	}
	have := []uint64{uint64(f.dirty)}
	for _, id := range f.Nodes {
		if id != f.ID {
			have = append(have, f.match[id])
		}
	}
	slices.Sort(have)
	index := have[(len(have)-1)/2]
	if f.bug == "takes half for a majority" {
		index = have[len(have)/2]
	}
	if index > f.commit && f.log[index-1].Term == f.term && f.bug != "commits nothing" {
		f.commit = index
	}
}

func (f *fake) Log() []Entry { return f.log[f.gone:] }

func (f *fake) State() trace.State {
	s := trace.State{Node: f.ID, Role: f.role, Term: f.term, LastIndex: uint64(len(f.log)), CommitIndex: f.commit, AppliedIndex: f.applied}
	if len(f.log) > 0 {
		s.LastTerm = f.log[len(f.log)-1].Term
	}
	return s
}
