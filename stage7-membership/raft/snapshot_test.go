package raft

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// text is what the snapshots of these tests say: three chunks in messages of four bytes.
const text = "abcdefghij"

// snapshotAt returns a snapshot that stands for all up to a place.
func snapshotAt(index Index, term Term) Snapshot {
	return Snapshot{index, term, voters(names(3)...), []byte(text)}
}

// chunk are the bytes of a snapshot from one to another; with the last of them it is done.
func chunk(s Snapshot, from, to int) InstallSnapshot {
	return InstallSnapshot{LastIncludedIndex: s.LastIncludedIndex, LastIncludedTerm: s.LastIncludedTerm, Config: s.Config, Offset: from,
		Data: s.Data[from:to], Done: to == len(s.Data)}
}

// installTo is a message of n1, who leads.
func installTo(to string, term Term, s InstallSnapshot) Message {
	return Message{From: "n1", To: to, Term: term, InstallSnapshot: &s}
}

func installed(by string, term Term, reply InstallSnapshotReply) Message {
	return Message{From: by, To: "n1", Term: term, InstallSnapshotReply: &reply}
}

// behind returns a follower of term 4 that has this log, of which all up to commit is committed and applied.
func behind(commit Index, log ...Entry) *Raft {
	r := follower(4, log...)
	if commit > 0 {
		r.Step(appendTo("n2", 4, following(commit, log[commit-1].Term, nil, commit)))
	}
	drain(r)
	return r
}

func drain(r *Raft) {
	for ok := true; ok; _, ok = r.Ready() {
	}
}

// serving returns n1, who leads term 4 with six entries, which n2 has and which are committed. A snapshot stands for the
// first four, and they are gone. n3 has said that it has nothing.
func serving(o setup) *Raft {
	r := leader(o, entries(1, 1, 1, 1, 1, 1)...)
	r.Step(appended("n2", 4, 6))
	drain(r)
	r.Compact(snapshotAt(4, 1), 0)
	r.Step(replied("n3", 4, AppendEntriesReply{Index: 5}))
	return r
}

func small() setup {
	o := options("n1", 3)
	o.MaxBatch = 4
	return o
}

// to returns the messages to a node.
func to(id string, messages []Message) (all []Message) {
	for _, m := range messages {
		if m.To == id {
			all = append(all, m)
		}
	}
	return all
}

// requireSent requires that n1, who leads term 4, now sends n3 these chunks.
func requireSent(t *testing.T, r *Raft, want ...InstallSnapshot) {
	t.Helper()
	var messages []Message
	for _, s := range want {
		messages = append(messages, installTo("n3", 4, s))
	}
	var sent []Message
	for rd, ok := r.Ready(); ok; rd, ok = r.Ready() {
		sent = append(sent, to("n3", rd.Appends)...)
		require.Less(t, len(sent), 100, "it comes to an end")
	}
	requireSame(t, messages, sent)
}

// tell lets n3 answer that it has this much of a snapshot, in the round that is the last.
func tell(r *Raft, index Index, offset int) {
	r.Step(installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: index, Offset: offset, Round: r.round}))
}

// Figure 13, InstallSnapshot RPC, receiver implementation.
func TestFollower_receives_InstallSnapshot(t *testing.T) {
	has := func(index Index, offset int) *InstallSnapshotReply {
		return &InstallSnapshotReply{LastIncludedIndex: index, Offset: offset}
	}
	all := func(index Index) *InstallSnapshotReply {
		return &InstallSnapshotReply{LastIncludedIndex: index, Done: true}
	}
	installs := func(index Index) *InstallSnapshotReply {
		return &InstallSnapshotReply{LastIncludedIndex: index, Offset: len(text), Done: true}
	}
	whole := func(index Index, term Term) InstallSnapshot { return chunk(snapshotAt(index, term), 0, len(text)) }
	for _, c := range []struct {
		name   string
		log    []Term // on the follower, which is in term 4
		commit Index  // of it
		term   Term   // of the message
		s      InstallSnapshot
		reply  *InstallSnapshotReply
		base   Index // of its log then
		want   []Term
		after  Index // it has committed then, and applied
	}{
		{"1 refuses an older term", []Term{1, 1}, 1, 3, whole(5, 2), has(0, 0), 0, []Term{1, 1}, 1},

		{"5 takes the place of an empty log", nil, 0, 4, whole(5, 2), installs(5), 5, nil, 5},
		{"5 takes the place of a log that is shorter", []Term{1, 1}, 1, 4, whole(5, 2), installs(5), 5, nil, 5},
		{"5 comes with a newer term", []Term{1, 1}, 1, 7, whole(5, 2), installs(5), 5, nil, 5},

		{"6 keeps what follows its last entry", []Term{1, 1, 2, 2, 3}, 1, 4, whole(3, 2), all(3), 0, []Term{1, 1, 2, 2, 3}, 3},
		{"6 keeps a log that ends with its last entry", []Term{1, 1, 2}, 1, 4, whole(3, 2), all(3), 0, []Term{1, 1, 2}, 3},
		{"6 needs no data then", []Term{1, 1, 2}, 1, 4, chunk(snapshotAt(3, 2), 0, 0), all(3), 0, []Term{1, 1, 2}, 3},

		{"7 drops a log that conflicts", []Term{1, 1, 1, 1, 1}, 1, 4, whole(3, 2), installs(3), 3, nil, 3},
		{"7 drops a log that conflicts and is newer", []Term{1, 3, 3, 3, 3}, 1, 4, whole(3, 2), installs(3), 3, nil, 3},

		{"that is old takes nothing back", []Term{1, 1, 2, 2}, 4, 4, whole(2, 1), all(2), 0, []Term{1, 1, 2, 2}, 4},
		{"of just what is committed changes nothing", []Term{1, 1, 2, 2}, 4, 4, whole(4, 2), all(4), 0, []Term{1, 1, 2, 2}, 4},
		{"that conflicts with what is committed is ignored", []Term{1, 1, 2, 2}, 4, 4, whole(2, 2), nil, 0, []Term{1, 1, 2, 2}, 4},
		{"of nothing changes nothing", []Term{1, 1}, 1, 4, InstallSnapshot{Done: true}, all(0), 0, []Term{1, 1}, 1},
		{"of the place before the first entry and a term is ignored", []Term{1, 1}, 1, 4, InstallSnapshot{LastIncludedTerm: 3, Done: true}, nil, 0, []Term{1, 1}, 1},

		{"3 waits for what comes before", []Term{1}, 1, 4, chunk(snapshotAt(5, 2), 4, 8), has(5, 0), 0, []Term{1}, 1},
		{"3 is not done without what comes before", []Term{1}, 1, 4, chunk(snapshotAt(5, 2), 4, 10), has(5, 0), 0, []Term{1}, 1},
		{"3 waits for what comes after", []Term{1}, 1, 4, chunk(snapshotAt(5, 2), 0, 4), has(5, 4), 0, []Term{1}, 1},
		{"without data is a question", []Term{1}, 1, 4, chunk(snapshotAt(5, 2), 0, 0), has(5, 0), 0, []Term{1}, 1},
		{"before its beginning is nothing", []Term{1}, 1, 4,
			InstallSnapshot{LastIncludedIndex: 5, LastIncludedTerm: 2, Offset: -1, Data: []byte("x"), Done: true}, has(5, 0), 0, []Term{1}, 1},
		{"from a far offset is nothing", []Term{1}, 1, 4,
			InstallSnapshot{LastIncludedIndex: 5, LastIncludedTerm: 2, Offset: math.MaxInt, Data: []byte("x"), Done: true}, has(5, 0), 0, []Term{1}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := entries(1, c.log...)
			r := behind(c.commit, log...)
			r.Step(installTo("n2", c.term, c.s))
			var want Ready
			if c.term > 4 {
				want.HardState = &HardState{Term: c.term}
			}
			if c.reply != nil {
				want.Messages = []Message{{From: "n2", To: "n1", Term: max(4, c.term), InstallSnapshotReply: c.reply}}
			}
			if c.base > 0 {
				s := snapshotAt(c.s.LastIncludedIndex, c.s.LastIncludedTerm)
				want.Snapshot, want.Config = &s, &s.Config
			} else {
				want.Committed = log[c.commit:c.after]
			}
			requireSame(t, want, ready(r))
			requireReady(t, r)
			require.Equal(t, c.base, r.log.base())
			requireSame(t, entries(c.base+1, c.want...), r.Entries(0))
			require.Equal(t, c.after, r.Status().CommitIndex)
			require.Equal(t, c.after, r.Status().AppliedIndex)
		})
	}
}

// Chunks are lost, come twice, late and in any order. The follower says each time how far it is.
func TestFollower_puts_together_a_snapshot_however_its_chunks_come(t *testing.T) {
	old, s := snapshotAt(4, 1), snapshotAt(5, 2)
	older := func(from, to int) InstallSnapshot { return chunk(old, from, to) }
	newer := func(from, to int) InstallSnapshot { return chunk(s, from, to) }
	const ignored = -1
	for _, c := range []struct {
		name   string
		chunks []InstallSnapshot
		has    []int // after each
		want   *Snapshot
	}{
		{"in order", []InstallSnapshot{newer(0, 4), newer(4, 8), newer(8, 10)}, []int{4, 8, 10}, &s},
		{"twice", []InstallSnapshot{newer(0, 4), newer(0, 4), newer(4, 8), newer(4, 8), newer(8, 10)}, []int{4, 4, 8, 8, 10}, &s},
		{"the last one early", []InstallSnapshot{newer(0, 4), newer(8, 10), newer(4, 8), newer(8, 10)}, []int{4, 4, 8, 10}, &s},
		{"in reverse", []InstallSnapshot{newer(8, 10), newer(4, 8), newer(0, 4)}, []int{0, 0, 4}, nil},
		{"one lost", []InstallSnapshot{newer(0, 4), newer(8, 10)}, []int{4, 4}, nil},
		{"the first again, late", []InstallSnapshot{newer(0, 4), newer(4, 8), newer(0, 4), newer(8, 10)}, []int{4, 8, 8, 10}, &s},
		{"one that overlaps", []InstallSnapshot{newer(0, 4), newer(2, 10), newer(4, 10)}, []int{4, 4, 10}, &s},
		{"with questions in between", []InstallSnapshot{newer(0, 4), newer(4, 4), newer(4, 10)}, []int{4, 4, 10}, &s},
		{"of an older one first", []InstallSnapshot{older(0, 4), newer(4, 8), newer(0, 4), newer(4, 10)}, []int{4, 0, 4, 10}, &s},
		{"of an older one late", []InstallSnapshot{older(0, 4), newer(0, 4), older(4, 8), newer(4, 10)}, []int{4, 4, ignored, 10}, &s},
		{"of an older one in full", []InstallSnapshot{newer(0, 4), older(0, 10), newer(4, 10)}, []int{4, ignored, 10}, &s},
		{"of an older one that is done first", []InstallSnapshot{older(0, 10), newer(0, 10)}, []int{10, 10}, &s},
		{"all at once", []InstallSnapshot{newer(0, 10)}, []int{10}, &s},
		{"and the last one again", []InstallSnapshot{newer(0, 10), newer(8, 10)}, []int{10, 0}, &s},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := behind(1, entries(1, 1, 1)...)
			var got *Snapshot
			for i, m := range c.chunks {
				r.Step(installTo("n2", 4, m))
				rd := ready(r)
				if rd.Snapshot != nil {
					got = rd.Snapshot
				}
				if c.has[i] == ignored {
					require.Empty(t, rd.Messages)
					continue
				}
				reply := rd.Messages[0].InstallSnapshotReply
				require.Equal(t, c.has[i], reply.Offset, "after %+v", m)
				require.Equal(t, m.LastIncludedIndex, reply.LastIncludedIndex)
			}
			requireSame(t, c.want, got)
		})
	}
}

// What two leaders call a snapshot of the same entries need not be the same to the byte.
func TestFollower_forgets_the_chunks_of_a_leader_whose_term_is_over(t *testing.T) {
	for _, index := range []Index{5, 4} { // the same, and one that is older
		r := behind(1, entries(1, 1, 1)...)
		r.Step(installTo("n2", 4, chunk(snapshotAt(5, 1), 0, 8)))
		s := Snapshot{index, 1, voters(names(3)...), []byte("0123456789")}
		next := func(from, to int) InstallSnapshotReply {
			m := installTo("n2", 5, chunk(s, from, to))
			m.From = "n3"
			r.Step(m)
			return *r.messages[len(r.messages)-1].InstallSnapshotReply
		}
		requireSame(t, InstallSnapshotReply{LastIncludedIndex: index}, next(8, 10))
		requireSame(t, InstallSnapshotReply{LastIncludedIndex: index, Offset: 8}, next(0, 8))
		requireSame(t, InstallSnapshotReply{LastIncludedIndex: index, Offset: 10, Done: true}, next(8, 10))
		requireSame(t, &s, ready(r).Snapshot)
	}
}

func TestFollower_forgets_the_chunks_of_what_its_log_has_by_now(t *testing.T) {
	r := behind(1, entries(1, 1, 1)...)
	r.Step(installTo("n2", 4, chunk(snapshotAt(5, 1), 0, 8)))
	require.Len(t, r.incoming.Data, 8)
	r.Step(appendTo("n2", 4, following(2, 1, entries(3, 1, 1, 1), 4)))
	require.Len(t, r.incoming.Data, 8, "there is 5, and it may be another")
	r.Step(appendTo("n2", 4, following(5, 1, nil, 5)))
	require.Zero(t, r.incoming)
}

func TestFollower_goes_on_after_a_snapshot(t *testing.T) {
	r := follower(0)
	r.Step(installTo("n2", 4, chunk(snapshotAt(5, 2), 0, 10)))
	s := snapshotAt(5, 2)
	requireReady(t, r, Ready{
		HardState: &HardState{Term: 4},
		Snapshot:  &s,
		Messages: []Message{{From: "n2", To: "n1", Term: 4,
			InstallSnapshotReply: &InstallSnapshotReply{LastIncludedIndex: 5, Offset: 10, Done: true}}},
		Config: &s.Config,
	})
	requireSame(t, Status{ID: "n2", Term: 4, Leader: "n1", LastIndex: 5, LastTerm: 2, CommitIndex: 5, CommitTerm: 2, AppliedIndex: 5,
		SnapshotIndex: 5}, r.Status())

	r.Step(appendTo("n2", 4, following(5, 2, entries(6, 2, 4), 6)))
	requireReady(t, r, Ready{
		Entries:   entries(6, 2, 4),
		Messages:  []Message{{From: "n2", To: "n1", Term: 4, AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 7}}},
		Committed: entries(6, 2), // and nothing of what the snapshot stands for
	})
	r.Step(appendTo("n2", 4, following(3, 1, entries(4, 2, 2, 2, 4, 4), 6))) // of which the first two are gone
	requireReady(t, r, Ready{
		Entries:  entries(8, 4),
		Messages: []Message{{From: "n2", To: "n1", Term: 4, AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 8}}},
	})
	r.Step(Message{From: "n3", To: "n2", Term: 5, RequestVote: &RequestVote{LastLogIndex: 5, LastLogTerm: 2, Transfer: true}})
	require.False(t, ready(r).Messages[0].RequestVoteReply.Granted, "its log is longer")
}

func TestFollower_refuses_what_does_not_follow_its_snapshot(t *testing.T) {
	r := start(options("n2", 3), HardState{Term: 4}, snapshotAt(5, 2), nil)
	r.Step(appendTo("n2", 4, following(5, 3, nil, 9)))
	r.Step(appendTo("n2", 4, following(6, 2, nil, 9)))
	rd := ready(r)
	requireSame(t, &AppendEntriesReply{Index: 5, HintIndex: 5, HintTerm: 2}, rd.Messages[0].AppendEntriesReply)
	requireSame(t, &AppendEntriesReply{Index: 6, HintIndex: 5, HintTerm: 2}, rd.Messages[1].AppendEntriesReply)
	require.EqualValues(t, 5, r.Status().CommitIndex)
}

// A snapshot, what follows it, and what was not yet applied when it came, in one Ready.
func TestReady_has_a_snapshot_before_the_entries_that_follow_it(t *testing.T) {
	r := behind(1, entries(1, 1, 1, 1)...)
	r.Step(appendTo("n2", 4, following(3, 1, entries(4, 3), 2)))
	r.Step(installTo("n2", 4, chunk(snapshotAt(6, 4), 0, 10)))
	r.Step(appendTo("n2", 4, following(6, 4, entries(7, 4, 4), 7)))
	s := snapshotAt(6, 4)
	reply := func(m Message) Message { m.From, m.To, m.Term = "n2", "n1", 4; return m }
	requireReady(t, r, Ready{
		Snapshot: &s,
		Entries:  entries(7, 4, 4),
		Messages: []Message{
			reply(Message{AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 4}}),
			reply(Message{InstallSnapshotReply: &InstallSnapshotReply{LastIncludedIndex: 6, Offset: 10, Done: true}}),
			reply(Message{AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 8}}),
		},
		Committed: entries(7, 4),
		Config:    &s.Config,
	})
}

func TestChunk_is_a_sign_of_a_leader(t *testing.T) {
	for name, m := range map[string]InstallSnapshot{
		"a chunk":                        chunk(snapshotAt(5, 2), 0, 4),
		"a question":                     chunk(snapshotAt(5, 2), 0, 0),
		"a chunk that does not fit":      chunk(snapshotAt(5, 2), 4, 8),
		"a snapshot that is not needed":  chunk(snapshotAt(1, 1), 0, 10),
		"a snapshot that does not agree": chunk(snapshotAt(1, 2), 0, 10),
	} {
		t.Run(name, func(t *testing.T) {
			r := behind(1, entries(1, 1)...)
			r.leader = None
			for range 5 { // a transfer may take longer than an election
				for range r.options.ElectionTicks - 1 {
					r.Tick()
				}
				r.Step(installTo("n2", 4, m))
				require.Equal(t, Follower, r.Status().Role)
				require.Equal(t, "n1", r.Status().Leader)
			}
			for range r.options.ElectionTicks - 1 {
				r.Tick()
			}
			r.Step(installTo("n2", 3, m)) // of a leader that leads no more
			r.Tick()
			require.Equal(t, PreCandidate, r.Status().Role)
			r.Step(installTo("n2", 5, m)) // its rival has won
			require.Equal(t, Follower, r.Status().Role)
		})
	}
}

func TestLeader_takes_no_snapshot_of_a_second_one(t *testing.T) {
	r := serving(options("n1", 3))
	r.Ready()
	r.Step(Message{From: "n2", To: "n1", Term: 4, InstallSnapshot: &InstallSnapshot{LastIncludedIndex: 9, LastIncludedTerm: 4, Done: true}})
	requireReady(t, r)
	require.Equal(t, Leader, r.Status().Role)
}

func TestFollower_takes_a_snapshot_of_its_own_while_another_comes(t *testing.T) {
	r := behind(3, entries(1, 1, 1, 1)...)
	r.Step(installTo("n2", 4, chunk(snapshotAt(5, 2), 0, 4)))
	require.True(t, r.Compact(snapshotAt(3, 1), 0))
	require.EqualValues(t, 3, r.log.base())
	r.Step(installTo("n2", 4, chunk(snapshotAt(5, 2), 4, 10)))
	s := snapshotAt(5, 2)
	requireSame(t, &s, ready(r).Snapshot)

	require.False(t, r.Compact(snapshotAt(4, 1), 0), "it was taken before, and has come to the disk after it")
	require.False(t, r.Compact(snapshotAt(5, 2), 0))
	require.EqualValues(t, 5, r.log.base())
	require.EqualValues(t, 5, r.Status().SnapshotIndex)
	requireReady(t, r)
}

func TestNew_goes_on_from_its_snapshot(t *testing.T) {
	for name, log := range map[string][]Entry{
		"with what follows it":       entries(4, 2, 3),
		"with its last entry":        append(entries(3, 1), entries(4, 2, 3)...),
		"with a log that is not cut": append(entries(1, 1, 1, 1), entries(4, 2, 3)...),
		"with the place before":      append([]Entry{{Index: 2, Term: 1}}, append(entries(3, 1), entries(4, 2, 3)...)...),
	} {
		t.Run(name, func(t *testing.T) {
			r := start(options("n2", 3), HardState{Term: 4}, snapshotAt(3, 1), log)
			requireReady(t, r)
			requireSame(t, Status{ID: "n2", Term: 4, LastIndex: 5, LastTerm: 3, CommitIndex: 3, CommitTerm: 1, AppliedIndex: 3, SnapshotIndex: 3}, r.Status())
			requireSame(t, Snapshot{3, 1, voters(names(3)...), nil}, r.Applied())
			r.Step(appendTo("n2", 4, following(5, 3, nil, 4)))
			requireSame(t, entries(4, 2), ready(r).Committed)
		})
	}
	require.Panics(t, func() { start(options("n2", 3), HardState{Term: 4}, snapshotAt(3, 1), entries(5, 3)) })
}

// A node may lead with nothing but a snapshot, and has it to send.
func TestLeader_sends_the_snapshot_that_it_found_or_got(t *testing.T) {
	found := start(options("n1", 3), HardState{Term: 3}, snapshotAt(5, 2), nil)
	got := start(options("n1", 3), HardState{Term: 3}, Snapshot{}, entries(1, 1))
	got.Step(Message{From: "n2", To: "n1", Term: 3, InstallSnapshot: &InstallSnapshot{5, 2, voters(names(3)...), 0, []byte(text), true, 1}})
	drain(got)
	for _, r := range []*Raft{found, got} {
		elect(r)
		r.Ready()
		require.EqualValues(t, 4, r.currentTerm)
		r.Step(replied("n3", 4, AppendEntriesReply{Index: 5}))
		requireSent(t, r, chunk(snapshotAt(5, 2), 0, 10))
	}
}

func TestApplied_is_what_was_handed_out_and_no_more(t *testing.T) {
	o := options("n2", 3)
	o.MaxBatch = 5
	r := start(o, HardState{Term: 1}, Snapshot{}, entries(1, 1, 1, 1))
	r.Step(appendTo("n2", 1, following(3, 1, nil, 3)))
	for want := Index(0); want <= 3; want++ {
		require.Equal(t, want, r.Applied().LastIncludedIndex)
		r.Ready()
	}
	requireSame(t, Snapshot{3, 1, voters(names(3)...), nil}, r.Applied())
}

func TestCompact_keeps_as_many_bytes_of_the_log_as_it_is_told(t *testing.T) {
	for _, c := range []struct {
		keep int
		base Index
	}{{0, 4}, {4, 4}, {5, 3}, {10, 2}, {20, 0}, {1 << 20, 0}} {
		r := established(options("n1", 3), entries(1, 1, 1, 1, 1, 1)...)
		require.True(t, r.Compact(snapshotAt(4, 1), c.keep))
		require.Equal(t, c.base, r.log.base(), "%d bytes", c.keep)
		log := r.Log()
		require.Equal(t, r.log.entries[0], log[0])
		requireSame(t, append(entries(c.base+1, 1, 1, 1, 1, 1)[:5-c.base], noop(6, 4)), log[1:])
		require.EqualValues(t, 4, r.Status().SnapshotIndex)
		require.EqualValues(t, 6, r.Status().LastIndex)

		require.False(t, r.Compact(snapshotAt(3, 1), c.keep))
		require.False(t, r.Compact(snapshotAt(4, 1), c.keep))
		require.Equal(t, c.base, r.log.base(), "what is old has no effect")
		require.EqualValues(t, 4, r.Status().SnapshotIndex)
		require.True(t, r.Compact(snapshotAt(6, 4), c.keep))
		require.EqualValues(t, 6, r.Status().LastIndex)
		requireReady(t, r)
	}
}

func TestLog_that_was_handed_out_stays_as_it_is(t *testing.T) {
	r := established(options("n1", 3), entries(1, 1, 1, 1)...)
	r.Compact(snapshotAt(2, 1), 0)
	log := r.Log()
	_ = append(log, entries(99, 9)...)
	propose(t, r, "a")
	require.Len(t, log, 3)
	requireSame(t, Entry{Index: 5, Term: 4, Command: command("a")}, r.log.entries[3])
}

func TestNode_that_is_alone_may_take_a_snapshot_of_each_entry(t *testing.T) {
	o := options("n1", 1)
	r := leader(o)
	drain(r)
	for i := range Index(10) {
		propose(t, r, "a")
		drain(r)
		s := r.Applied()
		index := s.LastIncludedIndex
		require.Equal(t, i+2, index)
		require.True(t, r.Compact(s, 0))
		require.Empty(t, r.Entries(0))
		again := start(o, HardState{1, "n1"}, s, r.Log())
		requireReady(t, again)
		require.Equal(t, index, again.Status().AppliedIndex)
		require.Equal(t, index, again.Status().LastIndex)
	}
}

// The place that the log follows is as good as an entry: who has that needs no snapshot.
func TestLeader_sends_a_snapshot_only_to_who_needs_what_is_gone(t *testing.T) {
	for hint := Index(0); hint <= 5; hint++ {
		r := leader(options("n1", 3), entries(1, 1, 1, 1, 1, 1)...)
		r.Step(appended("n2", 4, 6))
		drain(r)
		r.Compact(snapshotAt(4, 1), 0)
		r.Step(replied("n3", 4, AppendEntriesReply{Index: 5, HintIndex: hint, HintTerm: 1}))
		sent := to("n3", ready(r).Appends)
		if hint < 4 {
			requireSame(t, []Message{installTo("n3", 4, chunk(snapshotAt(4, 1), 0, 10))}, sent, "%d", hint)
			continue
		}
		rest := append(entries(5, 1), noop(6, 4))[hint-4:]
		requireSame(t, []Message{appendTo("n3", 4, following(hint, 1, rest, 6))}, sent, "%d", hint)
	}
}

// A follower that is merely slow gets entries, as long as there are any.
func TestLeader_that_keeps_entries_sends_them_in_place_of_a_snapshot(t *testing.T) {
	r := leader(options("n1", 3), entries(1, 1, 1, 1, 1, 1)...)
	r.Step(appended("n2", 4, 6))
	drain(r)
	r.Compact(snapshotAt(4, 1), 10)
	r.Step(replied("n3", 4, AppendEntriesReply{Index: 5, HintIndex: 2, HintTerm: 1}))
	requireSame(t, []Message{appendTo("n3", 4, following(2, 1, append(entries(3, 1, 1, 1), noop(6, 4)), 6))}, to("n3", ready(r).Appends))
}

func TestLeader_sends_one_chunk_at_a_time_and_then_the_entries(t *testing.T) {
	s := snapshotAt(4, 1)
	r := serving(small())
	requireSent(t, r, chunk(s, 0, 4))
	propose(t, r, "a")
	requireSent(t, r) // nothing
	tell(r, 4, 4)
	requireSent(t, r, chunk(s, 4, 8))
	requireSent(t, r)
	tell(r, 4, 8)
	requireSent(t, r, chunk(s, 8, 10))
	r.Step(installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: 10, Done: true, Round: r.round}))
	require.EqualValues(t, 4, r.progress["n3"].matchIndex)
	require.False(t, r.progress["n3"].probing, "it is known where the logs agree")
	require.Nil(t, r.progress["n3"].transfer)
	var got []Entry
	for _, m := range to("n3", ready(r).Appends) {
		require.Equal(t, 4+Index(len(got)), m.AppendEntries.PrevLogIndex)
		got = append(got, m.AppendEntries.Entries...)
	}
	requireSame(t, append(entries(5, 1), noop(6, 4), Entry{Index: 7, Term: 4, Command: command("a")}), got)
}

// Nobody says that a message is lost, so the heartbeat asks.
func TestLeader_sends_a_chunk_again_once_it_hears_that_it_is_lost(t *testing.T) {
	s := snapshotAt(4, 1)
	for lost := 0; lost < 12; lost += 4 {
		r := serving(small())
		end := min(lost+4, 10)
		for at := 0; at < lost; at += 4 {
			requireSent(t, r, chunk(s, at, at+4))
			tell(r, 4, at+4)
		}
		requireSent(t, r, chunk(s, lost, end))
		sent := r.progress["n3"].transfer.sent
		for range 3 { // as long as it hears nothing, it asks, and sends nothing of the data
			requireSame(t, []Message{installTo("n3", 4, chunk(s, lost, lost))}, to("n3", beat(r)))
		}
		r.Step(installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: lost, Round: sent}))
		requireSent(t, r) // it answers what was sent before the chunk, or with it
		answer := installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: lost, Round: r.round})
		r.Step(answer)
		requireSent(t, r, chunk(s, lost, end))
		r.Step(answer) // again: it was asked before that was sent
		requireSent(t, r)
	}
}

func TestLeader_begins_again_with_a_follower_that_has_forgotten_the_chunks(t *testing.T) {
	s := snapshotAt(4, 1)
	r := serving(small())
	requireSent(t, r, chunk(s, 0, 4))
	tell(r, 4, 4)
	requireSent(t, r, chunk(s, 4, 8))
	beat(r)
	tell(r, 4, 0) // it was killed
	requireSent(t, r, chunk(s, 0, 4))
}

func TestLeader_learns_nothing_from_what_is_no_answer_to_a_chunk(t *testing.T) {
	s := snapshotAt(4, 1)
	for name, m := range map[string]Message{
		"an older snapshot":            installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 3, Offset: 8, Round: math.MaxUint64}),
		"a snapshot that is to come":   installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 5, Offset: 8, Done: true}),
		"an end of the world":          installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: math.MaxUint64, Done: true}),
		"an offset below the first":    installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: -1, Round: math.MaxUint64}),
		"an offset beyond the last":    installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: 11, Round: math.MaxUint64}),
		"an earlier term":              installed("n3", 3, InstallSnapshotReply{LastIncludedIndex: 4, Offset: 8, Done: true}),
		"to a term that is over":       installed("n3", 4, InstallSnapshotReply{}),
		"a follower without transfer":  installed("n2", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: 4}),
		"a stranger":                   installed("n4", 4, InstallSnapshotReply{LastIncludedIndex: 4, Done: true}),
		"what it has said before":      installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: 4}),
		"less than it has said before": installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: 0}),
		"a refusal of an append":       replied("n3", 4, AppendEntriesReply{Index: 5}),
	} {
		t.Run(name, func(t *testing.T) {
			r := serving(small())
			requireSent(t, r, chunk(s, 0, 4))
			tell(r, 4, 4)
			requireSent(t, r, chunk(s, 4, 8))
			r.Step(m)
			requireSent(t, r)
			require.Equal(t, 4, r.progress["n3"].transfer.offset)
			require.Zero(t, r.progress["n3"].matchIndex)
			tell(r, 4, 8)
			requireSent(t, r, chunk(s, 8, 10))
		})
	}
}

func TestAnswer_to_a_chunk_is_one_to_its_round(t *testing.T) {
	r := serving(small())
	r.Ready()
	before := r.AnsweredRound()
	tell(r, 4, 4)
	require.Equal(t, r.round, r.AnsweredRound())
	require.Greater(t, r.AnsweredRound(), before)

	f := follower(4)
	for _, c := range []struct {
		term Term
		s    InstallSnapshot
		want uint64
	}{
		{4, chunk(snapshotAt(5, 1), 0, 4), 7},
		{4, chunk(snapshotAt(5, 1), 4, 10), 7},
		{4, chunk(snapshotAt(5, 1), 0, 4), 7}, // it has it
		{3, chunk(snapshotAt(5, 1), 0, 4), 0}, // its number may be there in the newer term too
	} {
		c.s.Round = 7
		f.Step(installTo("n2", c.term, c.s))
		require.Equal(t, c.want, ready(f).Messages[0].InstallSnapshotReply.Round)
	}
}

// A snapshot is of no use without the entries that follow it. But a follower that says nothing does not hold them for ever.
func TestLog_is_kept_for_a_transfer_that_moves(t *testing.T) {
	r := serving(small())
	requireSent(t, r, chunk(snapshotAt(4, 1), 0, 4))
	require.True(t, r.Compact(snapshotAt(5, 1), 0))
	require.EqualValues(t, 4, r.log.base(), "it has just begun")
	tell(r, 4, 4)
	requireSent(t, r, chunk(snapshotAt(4, 1), 4, 8))
	require.True(t, r.Compact(snapshotAt(6, 4), 0))
	require.EqualValues(t, 4, r.log.base(), "it has moved")
	tell(r, 4, 8)
	requireSent(t, r, chunk(snapshotAt(4, 1), 8, 10))
	r.Step(installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Done: true}))
	require.EqualValues(t, 4, r.progress["n3"].matchIndex)
	requireSame(t, appendTo("n3", 4, following(4, 1, entries(5, 1), 6)), to("n3", ready(r).Appends)[0])
}

func TestLog_is_not_kept_for_a_transfer_that_does_not_move(t *testing.T) {
	r := serving(small())
	requireSent(t, r, chunk(snapshotAt(4, 1), 0, 4))
	require.True(t, r.Compact(snapshotAt(5, 1), 0))
	require.EqualValues(t, 4, r.log.base())
	beat(r)
	tell(r, 4, 0) // an answer, and no progress
	requireSent(t, r, chunk(snapshotAt(4, 1), 0, 4))
	require.True(t, r.Compact(snapshotAt(6, 4), 0))
	require.EqualValues(t, 5, r.log.base(), "6 has no bytes")
	requireSent(t, r, chunk(snapshotAt(6, 4), 0, 4)) // from the beginning, of the newest

	tell(r, 4, 8) // late, about the one before
	requireSent(t, r)
	r.Step(installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Done: true}))
	requireSent(t, r)
	require.EqualValues(t, 4, r.progress["n3"].matchIndex, "it is true all the same")
	require.NotNil(t, r.progress["n3"].transfer, "and not enough")
	r.Step(installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 6, Done: true}))
	require.Nil(t, r.progress["n3"].transfer)
	require.False(t, r.progress["n3"].probing)
	propose(t, r, "a")
	requireSame(t, []Message{appendTo("n3", 4, following(6, 4, []Entry{{Index: 7, Term: 4, Command: command("a")}}, 6))}, to("n3", ready(r).Appends))
}

func TestTransfer_ends_with_its_leader(t *testing.T) {
	r := serving(small())
	requireSent(t, r, chunk(snapshotAt(4, 1), 0, 4))
	r.Step(Message{From: "n2", To: "n1", Term: 5, AppendEntries: &AppendEntries{PrevLogIndex: 6, PrevLogTerm: 4}})
	drain(r)
	r.Step(installed("n3", 4, InstallSnapshotReply{LastIncludedIndex: 4, Offset: 4}))
	requireReady(t, r)
	elect(r)
	drain(r)
	require.Nil(t, r.progress["n3"].transfer)
	require.True(t, r.Compact(snapshotAt(6, 4), 0))
	require.EqualValues(t, 5, r.log.base(), "6 has no bytes")
}

// A snapshot without data is one too: one message, which is the last.
func TestSnapshot_may_be_empty(t *testing.T) {
	r := leader(small(), entries(1, 1, 1)...)
	r.Step(appended("n2", 4, 3))
	drain(r)
	r.Compact(Snapshot{LastIncludedIndex: 2, LastIncludedTerm: 1}, 0)
	r.Step(replied("n3", 4, AppendEntriesReply{Index: 2}))
	requireSent(t, r, InstallSnapshot{LastIncludedIndex: 2, LastIncludedTerm: 1, Done: true})

	f := follower(3)
	f.Step(installTo("n2", 3, InstallSnapshot{LastIncludedIndex: 2, LastIncludedTerm: 1, Done: true}))
	requireSame(t, &Snapshot{LastIncludedIndex: 2, LastIncludedTerm: 1}, ready(f).Snapshot)
}

func TestStep_ignores_a_snapshot_that_no_node_would_send(t *testing.T) {
	for name, m := range map[string]Message{
		"of a term that is yet to come": installTo("n2", 4, chunk(snapshotAt(5, 5), 0, 10)),
		"from itself":                   {From: "n2", To: "n2", Term: 4, InstallSnapshot: &InstallSnapshot{LastIncludedIndex: 5, Done: true}},
		"beside another body": {From: "n1", To: "n2", Term: 4, AppendEntries: &AppendEntries{},
			InstallSnapshot: &InstallSnapshot{LastIncludedIndex: 5, Done: true}},
		"beside an answer": {From: "n1", To: "n2", Term: 4, InstallSnapshotReply: &InstallSnapshotReply{},
			InstallSnapshot: &InstallSnapshot{LastIncludedIndex: 5, Done: true}},
	} {
		r := follower(4)
		r.Step(m)
		requireReady(t, r)
		require.Zero(t, r.Status().CommitIndex, name)
	}
}
