package raft

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// ready returns what is to be done, be it nothing.
func ready(r *Raft) Ready { rd, _ := r.Ready(); return rd }

// statusAfter returns how things are after what is to be done.
func statusAfter(r *Raft) Status { r.Ready(); return r.Status() }

func TestReady_with_any_one_field_alone_is_not_empty(t *testing.T) {
	require.True(t, (&Ready{}).empty())
	for i := range reflect.TypeFor[Ready]().NumField() {
		rd := Ready{}
		field := reflect.ValueOf(&rd).Elem().Field(i)
		if field.Kind() == reflect.Pointer {
			field.Set(reflect.New(field.Type().Elem()))
		} else {
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		}
		name := reflect.TypeFor[Ready]().Field(i).Name
		require.Equal(t, name == "Because", rd.empty(), "%s: only words are nothing to do", name)
	}
}

// D§10.2.1
func TestLeader_sends_its_entries_before_it_has_saved_them(t *testing.T) {
	r := established(options("n1", 3))
	propose(t, r, "a")
	a := AppendEntries{PrevLogIndex: 1, PrevLogTerm: 1, Entries: []Entry{{Index: 2, Term: 1, Command: command("a")}}, LeaderCommit: 1}
	requireReady(t, r, Ready{
		Appends: []Message{appendTo("n2", 1, a), appendTo("n3", 1, a)},
		Entries: a.Entries,
	})
}

// A leader that is killed before it has saved its term could lead it again with other entries. Nobody votes before he is
// asked, and a candidate asks when it has saved its term; but a vote can be forged.
func TestLeader_sends_nothing_of_a_term_that_it_has_not_saved(t *testing.T) {
	r := start(options("n1", 3), HardState{}, Snapshot{}, nil)
	r.Campaign()
	r.Step(voted("n2", "n1", 1, true))
	propose(t, r, "a")
	rd := ready(r)
	require.Equal(t, &HardState{1, "n1"}, rd.HardState)
	require.Empty(t, rd.Appends)
	require.Len(t, rd.Messages, 2+2)
}

func TestFollower_answers_when_it_has_saved_what_it_promises(t *testing.T) {
	r := follower(0)
	r.Step(appendTo("n2", 1, AppendEntries{Entries: entries(1, 1, 1), LeaderCommit: 1}))
	requireReady(t, r, Ready{
		HardState: &HardState{Term: 1},
		Entries:   entries(1, 1, 1),
		Messages:  []Message{{From: "n2", To: "n1", Term: 1, AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 2}}},
		Committed: entries(1, 1),
	})
}

func TestLeader_counts_its_own_copy_once_it_is_saved(t *testing.T) {
	r := start(options("n1", 1), HardState{}, Snapshot{}, nil)
	r.Campaign()
	requireReady(t, r,
		Ready{HardState: &HardState{1, "n1"}, Entries: []Entry{noop(1, 1)}},
		Ready{Committed: []Entry{noop(1, 1)}}) // Ready was called again: all is carried out

	r = established(options("n1", 4)) // n1 and n2 and n3 are a majority
	propose(t, r, "a")
	r.Step(appended("n2", 1, 2)) // nobody can have it yet; if they had, our own copy would be missing
	r.Step(appended("n3", 1, 2))
	rd := ready(r)
	require.Empty(t, rd.Committed)
	require.NotEmpty(t, rd.Appends)
	for _, m := range rd.Appends { // which leave before it is saved
		require.EqualValues(t, 1, m.AppendEntries.LeaderCommit)
	}
	requireReady(t, r, Ready{Committed: []Entry{{Index: 2, Term: 1, Command: command("a")}}})
}

func TestReady_is_one_for_all_that_came_before_it(t *testing.T) {
	r := established(options("n1", 3))
	for _, text := range []string{"a", "b", "c"} {
		propose(t, r, text)
	}
	all := []Entry{{Index: 2, Term: 1, Command: command("a")}, {Index: 3, Term: 1, Command: command("b")}, {Index: 4, Term: 1, Command: command("c")}}
	a := AppendEntries{PrevLogIndex: 1, PrevLogTerm: 1, Entries: all, LeaderCommit: 1}
	requireReady(t, r, Ready{Appends: []Message{appendTo("n2", 1, a), appendTo("n3", 1, a)}, Entries: all})

	f := follower(1, noop(1, 1))
	f.Step(appendTo("n2", 1, following(1, 1, all[:1], 1)))
	f.Step(appendTo("n2", 1, following(2, 1, all[1:], 2)))
	reply := func(index Index) Message {
		return Message{From: "n2", To: "n1", Term: 1, AppendEntriesReply: &AppendEntriesReply{Success: true, Index: index}}
	}
	requireReady(t, f, Ready{Entries: all, Messages: []Message{reply(2), reply(4)}, Committed: []Entry{noop(1, 1), all[0]}})
}

func TestCommitted_has_each_entry_once_in_order_in_batches_of_bounded_size(t *testing.T) {
	o := options("n2", 3)
	o.MaxBatch = len(`"1@1""2@1"`)
	long := Entry{Index: 4, Term: 1, Command: command("longer than a batch")}
	log := append(append(entries(1, 1, 1, 1), long), entries(5, 1, 1)...)
	r := start(o, HardState{Term: 1}, Snapshot{}, log)
	commit := appendTo("n2", 1, AppendEntries{PrevLogIndex: 6, PrevLogTerm: 1, LeaderCommit: 5})
	reply := Message{From: "n2", To: "n1", Term: 1, AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 6}}
	r.Step(commit)
	requireReady(t, r,
		Ready{Messages: []Message{reply}, Committed: log[:2]},
		Ready{Committed: log[2:3]},
		Ready{Committed: log[3:4]},
		Ready{Committed: log[4:5]})
	r.Step(commit)
	requireReady(t, r, Ready{Messages: []Message{reply}})
	commit.AppendEntries.LeaderCommit = 6
	r.Step(commit)
	r.Step(commit)
	requireReady(t, r, Ready{Messages: []Message{reply, reply}, Committed: log[5:]})
}

func TestEntries_are_those_after_an_index(t *testing.T) {
	r := follower(1, entries(1, 1, 1, 1)...)
	requireSame(t, entries(1, 1, 1, 1), r.Entries(0))
	requireSame(t, entries(3, 1), r.Entries(2))
	require.Empty(t, r.Entries(3))
}

func TestBecause_is_there_only_for_whoever_listens(t *testing.T) {
	refused := appendTo("n2", 1000, AppendEntries{PrevLogIndex: 3000, PrevLogTerm: 900})
	o := options("n2", 3)
	o.Explain = true
	r := start(o, HardState{Term: 999}, Snapshot{}, entries(1, 900))
	r.Step(refused)
	require.Equal(t, []string{
		"§5.1: term 1000 is newer than 999",
		"2. (§5.3) there is no 3000@900 here; the logs may agree at 1@900",
	}, ready(r).Because)
	require.Empty(t, ready(r).Because, "each reason is given once")
	r.Step(Message{})
	rd, ok := r.Ready()
	require.False(t, ok, "a reason is nothing to do")
	require.Len(t, rd.Because, 1)

	o.Explain = false
	r = start(o, HardState{Term: 1000}, Snapshot{}, entries(1, 900))
	allocations := testing.AllocsPerRun(100, func() {
		r.messages = r.messages[:0]
		r.Step(refused)
	})
	require.Empty(t, ready(r).Because)
	// One for the reply, and one for each number above 255 that would be named. No text is made.
	require.LessOrEqual(t, allocations, 1.0+3)
}
