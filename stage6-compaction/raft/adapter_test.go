package raft

import (
	"encoding/json"
	"fmt"
	"strings"

	"raftworkbook/common/sim"
	"raftworkbook/common/trace"
)

// algorithm is this stage's core as the simulator wants it.
var algorithm = sim.Algorithm{
	Start: func(o sim.Options, disk []any) sim.Core {
		var all saved
		for _, record := range disk {
			all.add(record.(saved))
		}
		return &adapter{New(Options{
			ID:             o.ID,
			Nodes:          o.Nodes,
			HeartbeatTicks: o.HeartbeatTicks,
			MaxBatch:       o.MaxBatch,
			MaxInflight:    o.MaxInflight,
			MaxUncommitted: o.MaxUncommitted,
			ElectionTicks:  o.ElectionTicks,
			Random:         o.Random,
			Explain:        o.Explain,
		}, all.HardState, all.snapshot(), all.Entries), o.KeepBytes}
	},
	Record: func(term uint64, entries []sim.Entry) any {
		record := saved{HardState: HardState{Term: Term(term)}}
		for _, e := range entries {
			record.Entries = append(record.Entries, Entry{Index(e.Index), Term(e.Term), e.Command})
		}
		return record
	},
	Message: func(text string) (sim.Message, error) {
		var m Message
		err := json.Unmarshal([]byte(text), &m)
		return simMessage(m), err
	},
	Elects: true,
	Snapshot: func(s sim.Snapshot) any {
		return saved{Snapshot: &Snapshot{Index(s.Index), Term(s.Term), s.Data}}
	},
}

// saved is what is on a disk, or one record of it; a zero HardState says nothing, nor does no Snapshot.
type saved struct {
	HardState HardState
	Snapshot  *Snapshot
	Entries   []Entry
	// Whole: Entries are all there are, after a place.
	Whole bool
}

// add adds a record, as a restart reads it.
func (s *saved) add(record saved) {
	if record.HardState != (HardState{}) {
		s.HardState = record.HardState
	}
	if record.Snapshot != nil {
		s.Snapshot = record.Snapshot
	}
	if record.Whole {
		s.Entries = nil
	}
	if len(record.Entries) > 0 {
		end := 0
		if len(s.Entries) > 0 {
			end = int(record.Entries[0].Index - s.Entries[0].Index)
		}
		s.Entries = append(s.Entries[:end], record.Entries...)
	}
}

func (s saved) snapshot() Snapshot {
	if s.Snapshot == nil {
		return Snapshot{}
	}
	return *s.Snapshot
}

func (s saved) String() string {
	var parts []string
	if s.HardState != (HardState{}) {
		parts = append(parts, fmt.Sprintf("term %d", s.HardState.Term))
	}
	if s.HardState.VotedFor != None {
		parts = append(parts, "vote for "+s.HardState.VotedFor)
	}
	if s.Snapshot != nil {
		parts = append(parts, fmt.Sprintf("a snapshot up to %v", s.Snapshot.place()))
	}
	if s.Whole && len(s.Entries) > 0 {
		parts = append(parts, fmt.Sprintf("the log after %v", s.Entries[0]))
		s.Entries = s.Entries[1:]
	}
	for _, e := range s.Entries {
		what := "no-op"
		if len(e.Command) > 0 {
			what = string(e.Command)
		}
		parts = append(parts, e.String()+" "+what)
	}
	return strings.Join(parts, ", ")
}

// adapter is one node's core.
type adapter struct {
	raft *Raft
	keep int // bytes of the log behind a snapshot
}

func (a *adapter) Tick()              { a.raft.Tick() }
func (a *adapter) Step(m sim.Message) { a.raft.Step(m.Body.(Message)) }
func (a *adapter) Log() []sim.Entry   { return simEntries(a.raft.log.entries[1:]) }
func (a *adapter) Lead(uint64)        { a.raft.Campaign() }

func (a *adapter) Read() (round, index uint64, err error) {
	round, i, err := a.raft.Read()
	return round, uint64(i), err
}

func (a *adapter) AnsweredRound() uint64 { return a.raft.AnsweredRound() }

func (a *adapter) Applied() (index, term uint64) {
	i, t := a.raft.Applied()
	return uint64(i), uint64(t)
}

func (a *adapter) Compact(s sim.Snapshot) *sim.Save {
	if !a.raft.Compact(Snapshot{Index(s.Index), Term(s.Term), s.Data}, a.keep) {
		return nil
	}
	log := a.raft.Log()
	return &sim.Save{Record: saved{Entries: log, Whole: true}, Entries: simEntries(log[1:]), Cut: true}
}

func (a *adapter) Propose(command []byte) (index, term uint64, err error) {
	i, t, err := a.raft.Propose(command)
	return uint64(i), uint64(t), err
}

func (a *adapter) Ready() (sim.Ready, bool) {
	rd, ok := a.raft.Ready()
	s := sim.Ready{
		Appends:   simMessages(rd.Appends),
		Messages:  simMessages(rd.Messages),
		Committed: simEntries(rd.Committed),
		Because:   rd.Because,
	}
	if rd.HardState != nil || rd.Snapshot != nil || len(rd.Entries) > 0 {
		record := saved{Snapshot: rd.Snapshot, Entries: rd.Entries, Whole: rd.Snapshot != nil}
		if rd.HardState != nil {
			record.HardState = *rd.HardState
		}
		s.Save = &sim.Save{Record: record, Term: uint64(record.HardState.Term), Entries: simEntries(rd.Entries)}
		if rd.Snapshot != nil {
			s.Save.Snapshot = &sim.Snapshot{Index: uint64(rd.Snapshot.LastIncludedIndex), Term: uint64(rd.Snapshot.LastIncludedTerm), Data: rd.Snapshot.Data}
		}
	}
	return s, ok
}

func (a *adapter) State() trace.State {
	s := a.raft.Status()
	return trace.State{
		Node:         s.ID,
		Role:         s.Role.String(),
		Term:         uint64(s.Term),
		Leader:       s.Leader,
		LastIndex:    uint64(s.LastIndex),
		LastTerm:     uint64(s.LastTerm),
		CommitIndex:  uint64(s.CommitIndex),
		AppliedIndex: uint64(s.AppliedIndex),
	}
}

func simEntries(entries []Entry) []sim.Entry {
	all := make([]sim.Entry, len(entries))
	for i, e := range entries {
		all[i] = sim.Entry{Index: uint64(e.Index), Term: uint64(e.Term), Command: e.Command}
	}
	return all
}

func simMessages(messages []Message) []sim.Message {
	all := make([]sim.Message, len(messages))
	for i, m := range messages {
		all[i] = simMessage(m)
	}
	return all
}

func simMessage(m Message) sim.Message {
	s := sim.Message{From: m.From, To: m.To, Body: m, Term: uint64(m.Term)}
	if reply := m.AppendEntriesReply; reply != nil && reply.Success {
		s.Appended = uint64(reply.Index)
	}
	if reply := m.InstallSnapshotReply; reply != nil && reply.Done {
		s.Appended = uint64(reply.LastIncludedIndex)
	}
	if m.RequestVote != nil {
		s.Vote = m.From
	}
	if reply := m.RequestVoteReply; reply != nil && reply.Granted {
		s.Vote = m.To
	}
	return s
}
