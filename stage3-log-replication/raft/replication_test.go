package raft

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Figure 2, AppendEntries RPC, receiver implementation, rules 1 to 5.
func TestFollower_receives_AppendEntries(t *testing.T) {
	const committed = 1 // of the follower's log
	refused := func(index, hint Index, hintTerm Term) *AppendEntriesReply {
		return &AppendEntriesReply{Index: index, HintIndex: hint, HintTerm: hintTerm}
	}
	success := func(index Index) *AppendEntriesReply { return &AppendEntriesReply{Success: true, Index: index} }
	for _, c := range []struct {
		name   string
		log    []Term // on the follower, which is in term 4
		term   Term   // of the message
		a      AppendEntries
		reply  *AppendEntriesReply
		want   []Term // its log then
		saved  Index  // the first entry that is to be saved, if any is
		commit Index
	}{
		{"1 refuses an older term", []Term{1, 1},
			3, following(2, 1, entries(3, 3), 2), refused(0, 0, 0), []Term{1, 1}, 0, 1},
		{"1 refuses a heartbeat of an older term", []Term{1, 1},
			3, following(2, 1, nil, 2), refused(0, 0, 0), []Term{1, 1}, 0, 1},

		{"2 refuses what comes after a gap", []Term{1, 1},
			4, following(5, 1, entries(6, 4), 6), refused(5, 2, 1), []Term{1, 1}, 0, 1},
		{"2 refuses a heartbeat after a gap", []Term{1, 1},
			4, following(3, 1, nil, 3), refused(3, 2, 1), []Term{1, 1}, 0, 1},
		{"2 refuses what follows an entry of another term", []Term{1, 2, 2},
			4, following(3, 3, entries(4, 4), 4), refused(3, 3, 2), []Term{1, 2, 2}, 0, 1},
		{"2 refuses a heartbeat that follows an entry of another term", []Term{1, 2, 2},
			4, following(3, 3, nil, 3), refused(3, 3, 2), []Term{1, 2, 2}, 0, 1},
		{"2 skips, in its hint, what is newer than all of the leader's", []Term{1, 1, 3, 3},
			4, following(4, 2, nil, 4), refused(4, 2, 1), []Term{1, 1, 3, 3}, 0, 1},

		{"3 drops a conflict and all that follow it", []Term{1, 2, 2, 2, 2},
			4, following(1, 1, entries(2, 3), 1), success(2), []Term{1, 3}, 2, 1},
		{"3 keeps what comes before the conflict", []Term{1, 2, 2, 3, 3},
			4, following(1, 1, entries(2, 2, 2, 4, 4, 4), 1), success(6), []Term{1, 2, 2, 4, 4, 4}, 4, 1},
		{"3 drops an older entry for a newer one, the last", []Term{1, 2, 2},
			4, following(2, 2, entries(3, 4), 1), success(3), []Term{1, 2, 4}, 3, 1},
		{"3 drops a newer entry for an older one", []Term{1, 3, 3},
			4, following(1, 1, entries(2, 2), 1), success(2), []Term{1, 2}, 2, 1},

		{"4 adds what is new", []Term{1},
			4, following(1, 1, entries(2, 4, 4), 1), success(3), []Term{1, 4, 4}, 2, 1},
		{"4 adds nothing that is there", []Term{1, 2, 2},
			4, following(1, 1, entries(2, 2, 2), 1), success(3), []Term{1, 2, 2}, 0, 1},
		{"4 adds of a message only what is not there", []Term{1, 2, 2},
			4, following(0, 0, entries(1, 1, 2, 2, 4), 1), success(4), []Term{1, 2, 2, 4}, 4, 1},
		{"4 keeps what an old append does not mention", []Term{1, 2, 2, 4},
			4, following(1, 1, entries(2, 2), 1), success(2), []Term{1, 2, 2, 4}, 0, 1},
		{"4 keeps what an old heartbeat does not mention", []Term{1, 2, 2, 4},
			4, following(1, 1, nil, 1), success(1), []Term{1, 2, 2, 4}, 0, 1},

		{"5 commits what the leader has committed", []Term{1, 2},
			4, following(2, 2, entries(3, 4, 4), 3), success(4), []Term{1, 2, 4, 4}, 3, 3},
		{"5 commits with a heartbeat", []Term{1, 2, 4},
			4, following(3, 4, nil, 3), success(3), []Term{1, 2, 4}, 0, 3},
		{"5 commits no more than has come", []Term{1, 2},
			4, following(2, 2, entries(3, 4), 9), success(3), []Term{1, 2, 4}, 3, 3},
		{"5 commits nothing that the message does not vouch for", []Term{1, 2, 3, 3}, // 3@3 may yet prove to conflict
			4, following(2, 2, nil, 4), success(2), []Term{1, 2, 3, 3}, 0, 2},
		{"5 commits nothing behind the entries of the message", []Term{1, 2, 3, 3},
			4, following(1, 1, entries(2, 2), 4), success(2), []Term{1, 2, 3, 3}, 0, 2},
		{"5 takes back nothing that is committed", []Term{1, 2},
			4, following(2, 2, nil, 0), success(2), []Term{1, 2}, 0, 1},

		{"ignores what would take back a committed entry", []Term{1, 2},
			4, following(0, 0, entries(1, 4), 1), nil, []Term{1, 2}, 0, 1},
		{"ignores all of a message that would", []Term{1, 2},
			4, following(0, 0, entries(1, 3, 4), 2), nil, []Term{1, 2}, 0, 1},

		{"empty log in a newer term", nil,
			7, following(3, 1, entries(4, 7), 0), refused(3, 0, 0), nil, 0, 0},
		{"the first entries in a newer term", nil,
			7, following(0, 0, entries(1, 1, 7), 1), success(2), []Term{1, 7}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := follower(4, entries(1, c.log...)...)
			if len(c.log) > 0 {
				r.Step(appendTo("n2", 4, AppendEntries{PrevLogIndex: 1, PrevLogTerm: 1, LeaderCommit: committed}))
			}
			r.Ready()
			before := r.Status()

			r.Step(appendTo("n2", c.term, c.a))
			want, all := Ready{}, entries(1, c.want...)
			if c.term > 4 {
				want.HardState = &HardState{c.term}
			}
			if c.reply != nil {
				want.Messages = []Message{{From: "n2", To: "n1", Term: max(4, c.term), AppendEntriesReply: c.reply}}
			}
			if c.saved > 0 {
				want.Entries = all[c.saved-1:]
			}
			want.Committed = all[before.CommitIndex:c.commit]
			rd, _ := r.Ready()
			requireSame(t, want, rd)
			requireReady(t, r)
			requireSame(t, all, r.log.entries)

			after := Status{ID: "n2", Term: max(4, c.term), Leader: before.Leader,
				LastIndex: Index(len(c.want)), LastTerm: lastOf(all).Term,
				CommitIndex: c.commit, CommitTerm: lastOf(all[:c.commit]).Term, AppliedIndex: c.commit}
			if c.term >= 4 {
				after.Leader = "n1"
			}
			requireSame(t, after, r.Status())
		})
	}
}

// However appends come, early, late, or twice: the follower's log is always the beginning of the leader's, nothing
// that it has promised goes away, and after one more time in order it has all.
func TestFollower_ends_with_the_leaders_log_in_whatever_order_appends_come(t *testing.T) {
	log := entries(1, 1, 1, 1, 1, 1)
	messages := []AppendEntries{
		following(0, 0, log[:1], 0),
		following(1, 1, log[1:3], 1),
		following(1, 1, log[1:5], 2),
		following(3, 1, log[3:5], 3),
		following(5, 1, nil, 5),
	}
	permutations := 0
	var permute func(order, rest []AppendEntries)
	permute = func(order, rest []AppendEntries) {
		if len(rest) == 0 {
			permutations++
			r := follower(1)
			var applied []Entry
			promised := Index(0)
			for _, a := range slices.Concat(order, order[:2], messages) {
				before := r.Status().CommitIndex
				r.Step(appendTo("n2", 1, a))
				require.GreaterOrEqual(t, r.Status().CommitIndex, before)
				rd := ready(r)
				applied = append(applied, rd.Committed...)
				if reply := rd.Messages[0].AppendEntriesReply; reply.Success {
					promised = max(promised, reply.Index)
				}
				require.GreaterOrEqual(t, r.Status().LastIndex, promised)
				requireSame(t, log[:r.Status().LastIndex], r.log.entries)
			}
			requireSame(t, log, applied)
			return
		}
		for i := range rest {
			permute(append(order, rest[i]), slices.Delete(slices.Clone(rest), i, i+1))
		}
	}
	permute(nil, messages)
	require.Equal(t, 120, permutations)
}

func TestFollower_forwards_nothing_and_ignores_answers(t *testing.T) {
	r := follower(1, entries(1, 1)...)
	r.Step(Message{From: "n1", To: "n2", Term: 1, AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 1}})
	r.Step(Message{From: "n3", To: "n2", Term: 1, AppendEntriesReply: &AppendEntriesReply{Index: 1}})
	requireReady(t, r)
	requireSame(t, Status{ID: "n2", Term: 1, LastIndex: 1, LastTerm: 1}, r.Status())
}

func TestLeader_ignores_a_second_leader_of_its_term(t *testing.T) {
	r := established(options("n1", 3))
	before := r.Status()
	r.Step(Message{From: "n2", To: "n1", Term: 1, AppendEntries: &AppendEntries{PrevLogIndex: 1, PrevLogTerm: 1, Entries: entries(2, 1), LeaderCommit: 2}})
	requireReady(t, r)
	requireSame(t, before, r.Status())
}

func TestLeader_that_was_deposed_is_told_the_newer_term(t *testing.T) {
	r := follower(5, entries(1, 1)...)
	r.Step(appendTo("n2", 4, AppendEntries{PrevLogIndex: 1, PrevLogTerm: 1}))
	told := ready(r).Messages[0]
	old := established(options("n1", 3), entries(1, 1)...)
	old.Step(told)
	requireSame(t, Status{ID: "n1", Role: Follower, Term: 5, LastIndex: 2, LastTerm: 4, CommitIndex: 2, CommitTerm: 4, AppliedIndex: 2}, old.Status())
}

// What the leader sends, and when.

func TestLeader_sends_a_heartbeat_when_there_is_nothing_else(t *testing.T) {
	r := established(options("n1", 3)) // HeartbeatTicks: 5
	heartbeat := AppendEntries{PrevLogIndex: 1, PrevLogTerm: 1, LeaderCommit: 1}
	r.Tick() // the one of the term's beginning is long over
	for range 3 {
		for range 3 {
			r.Tick()
			requireReady(t, r)
		}
		r.Tick()
		requireReady(t, r, Ready{Appends: []Message{appendTo("n2", 1, heartbeat), appendTo("n3", 1, heartbeat)}})
		r.Tick()
	}

	for range 4 {
		r.Tick()
	}
	_, _, err := r.Propose(command("a"))
	require.NoError(t, err)
	e := Entry{2, 1, command("a")}
	a := AppendEntries{PrevLogIndex: 1, PrevLogTerm: 1, Entries: []Entry{e}, LeaderCommit: 1}
	requireReady(t, r, Ready{Appends: []Message{appendTo("n2", 1, a), appendTo("n3", 1, a)}, Entries: a.Entries})

	// It names what comes before it: so a lost append is found out.
	r.Step(appended("n2", 1, 2))
	requireReady(t, r, Ready{Committed: a.Entries})
	for range 5 {
		r.Tick()
	}
	heartbeat = AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1, LeaderCommit: 2}
	requireReady(t, r, Ready{Appends: []Message{appendTo("n2", 1, heartbeat), appendTo("n3", 1, heartbeat)}})
}

func TestLeader_sends_on_without_waiting_until_the_window_is_full(t *testing.T) {
	o := options("n1", 2)
	o.MaxInflight = 3
	r := established(o)
	propose := func() Ready {
		_, _, err := r.Propose(command("a"))
		require.NoError(t, err)
		return ready(r)
	}
	sent := func(prev Index, n int, commit Index) []Message {
		var all []Entry
		for i := range n {
			all = append(all, Entry{prev + 1 + Index(i), 1, command("a")})
		}
		return []Message{appendTo("n2", 1, following(prev, 1, all, commit))}
	}
	for i := range Index(3) {
		requireSame(t, sent(1+i, 1, 1), propose().Appends)
	}
	for range 3 { // 5 to 7
		require.Empty(t, propose().Appends, "the window is full")
	}
	for range 5 {
		r.Tick()
	}
	requireSame(t, sent(4, 0, 1), ready(r).Appends) // a heartbeat needs no place in it

	r.Step(appended("n2", 1, 3)) // the answers of two at once: what waited goes as one
	requireSame(t, sent(4, 3, 3), ready(r).Appends)
	requireSame(t, sent(7, 1, 3), propose().Appends)
	require.Empty(t, propose().Appends, "the window is full again")
	r.Step(appended("n2", 1, 3))
	require.Empty(t, ready(r).Appends, "an answer that is there twice makes no room")

	r.Step(appended("n2", 1, 8)) // to a heartbeat: all before it have come, whatever became of their answers
	requireSame(t, sent(8, 1, 8), ready(r).Appends)
}

func TestLeader_sends_one_message_at_a_time_until_it_knows_where_the_logs_agree(t *testing.T) {
	r := leader(options("n1", 2), entries(1, 1)...) // 2@3 is on its way
	for i := range 3 {
		_, _, err := r.Propose(command(fmt.Sprint(i)))
		require.NoError(t, err)
		require.Empty(t, ready(r).Appends)
	}
	r.Step(replied("n2", 3, AppendEntriesReply{Index: 1}))
	rest := []Entry{{1, 1, command("1@1")}, noop(2, 3), {3, 3, command("0")}, {4, 3, command("1")}, {5, 3, command("2")}}
	requireSame(t, []Message{appendTo("n2", 3, following(0, 0, rest, 0))}, ready(r).Appends)
	_, _, err := r.Propose(command("3"))
	require.NoError(t, err)
	require.Empty(t, ready(r).Appends)
	r.Step(appended("n2", 3, 5))
	requireSame(t, []Message{appendTo("n2", 3, following(5, 3, []Entry{{6, 3, command("3")}}, 5))}, ready(r).Appends)
	_, _, err = r.Propose(command("4"))
	require.NoError(t, err)
	requireSame(t, []Message{appendTo("n2", 3, following(6, 3, []Entry{{7, 3, command("4")}}, 5))}, ready(r).Appends)

	// Nor does it once it does not know it any more: of the two, the first was lost.
	r.Step(replied("n2", 3, AppendEntriesReply{Index: 6, HintIndex: 5, HintTerm: 3}))
	lost := []Entry{{6, 3, command("3")}, {7, 3, command("4")}}
	requireSame(t, []Message{appendTo("n2", 3, following(5, 3, lost, 5))}, ready(r).Appends)
	_, _, err = r.Propose(command("5"))
	require.NoError(t, err)
	require.Empty(t, ready(r).Appends)
}

func TestLeader_cuts_a_backlog_into_messages_of_bounded_size(t *testing.T) {
	o := options("n1", 2)
	o.MaxBatch = 10
	r := established(o)
	for _, text := range []string{"1234", "12", "1", "much too long", "1", "2"} {
		_, _, err := r.Propose(command(text))
		require.NoError(t, err)
	}
	var got []string
	for _, m := range ready(r).Appends {
		got = append(got, m.String())
	}
	require.Equal(t, []string{
		"t1 append prev=1@1 [2@1 3@1] commit=1", // 6 and 4 bytes
		"t1 append prev=3@1 [4@1] commit=1",
		"t1 append prev=4@1 [5@1] commit=1", // alone
		"t1 append prev=5@1 [6@1 7@1] commit=1",
	}, got)
}

// What the leader learns from answers (Figure 2, leaders, third rule).

func TestLeader_learns_what_the_request_vouched_for(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []Message // to 2@1 and 3@1, which are on their way one after the other; 4@1 is not
		match   Index
		next    Index
	}{
		{"none", nil, 1, 4},
		{"the first", []Message{appended("n2", 1, 2)}, 2, 4}, // not up to 4, which came later
		{"both", []Message{appended("n2", 1, 2), appended("n2", 1, 3)}, 3, 4},
		{"the second alone", []Message{appended("n2", 1, 3)}, 3, 4},
		{"the first after the second", []Message{appended("n2", 1, 3), appended("n2", 1, 2)}, 3, 4},
		{"twice", []Message{appended("n2", 1, 2), appended("n2", 1, 2)}, 2, 4},
		{"of an earlier term", []Message{appended("n2", 0, 3)}, 1, 4},
		{"beyond the log", []Message{appended("n2", 1, 5)}, 1, 4},
		{"of another", []Message{appended("n3", 1, 3)}, 1, 4},

		{"refused", []Message{replied("n2", 1, AppendEntriesReply{Index: 2, HintIndex: 1, HintTerm: 1})}, 1, 2},
		{"refused and has less than it had", []Message{replied("n2", 1, AppendEntriesReply{Index: 2})}, 1, 2},
		{"refused before what it has", []Message{replied("n2", 1, AppendEntriesReply{Index: 1})}, 1, 4},
		{"refusal overtaken by a success", []Message{appended("n2", 1, 2), replied("n2", 1, AppendEntriesReply{Index: 2, HintIndex: 1, HintTerm: 1})}, 2, 4},
		{"refusal of what was not sent", []Message{replied("n2", 1, AppendEntriesReply{Index: 4, HintIndex: 1, HintTerm: 1})}, 1, 4},
		{"refusal of an earlier term", []Message{replied("n2", 0, AppendEntriesReply{Index: 2, HintIndex: 1, HintTerm: 1})}, 1, 4},
		{"refusal that is there twice", []Message{replied("n2", 1, AppendEntriesReply{Index: 3, HintIndex: 1, HintTerm: 1}), replied("n2", 1, AppendEntriesReply{Index: 3, HintIndex: 1, HintTerm: 1})}, 1, 2},
		{"refusal before the success of an earlier append", []Message{replied("n2", 1, AppendEntriesReply{Index: 3, HintIndex: 1, HintTerm: 1}), appended("n2", 1, 2)}, 2, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := established(options("n1", 3))
			for range 2 {
				_, _, err := r.Propose(command("a"))
				require.NoError(t, err)
				require.Len(t, ready(r).Appends, 2)
			}
			_, _, err := r.Propose(command("a"))
			require.NoError(t, err)
			for _, m := range c.answers {
				r.Step(m)
			}
			p := r.progress["n2"]
			require.Equal(t, c.match, p.matchIndex)
			require.Equal(t, c.next, p.nextIndex)
			commit := c.match
			if c.name == "of another" {
				commit = 3
			}
			require.Equal(t, commit, statusAfter(r).CommitIndex)
		})
	}
}

func TestLeader_goes_back_to_where_the_logs_can_agree(t *testing.T) {
	for _, c := range []struct {
		ours []Term
		hint Index // after our last entry was refused
		term Term
		next Index
	}{
		{[]Term{1, 1, 1, 1}, 2, 1, 3},       // a shorter log
		{[]Term{1, 1, 1, 1}, 0, 0, 1},       // an empty one
		{[]Term{1, 1, 3, 3}, 4, 2, 3},       // theirs has term 2 where ours has 3
		{[]Term{1, 2, 2, 3}, 3, 2, 4},       // both have term 2
		{[]Term{2, 2, 2, 3}, 4, 1, 1},       // nothing is that old
		{[]Term{1, 1, 1, 3}, 3, 2, 4},       // perhaps they agree at 3@1: the next refusal tells
		{[]Term{1, 1, 1, 3}, 1 << 62, 2, 4}, // not so far
	} {
		log := entries(1, c.ours...)
		r := leader(options("n1", 3), log...)
		last := lastOf(log)
		r.Step(replied("n2", r.currentTerm, AppendEntriesReply{Index: last.Index, HintIndex: c.hint, HintTerm: c.term}))
		all := append(slices.Clone(log), noop(last.Index+1, r.currentTerm))
		want := following(c.next-1, lastOf(log[:c.next-1]).Term, all[c.next-1:], 0)
		requireReady(t, r, Ready{Appends: []Message{appendTo("n2", r.currentTerm, want)}})
	}
}

// A follower in a newer term refuses what an old leader sent, and says so in the newer term. The old leader may be the
// leader of the newer term too, and must not take that for an answer to what it sends now.
func TestLeader_is_not_misled_by_a_refusal_of_what_it_sent_in_an_earlier_term(t *testing.T) {
	old := appendTo("n2", 4, AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1, Entries: []Entry{noop(3, 4)}})
	log := append(entries(1, 1, 1), noop(3, 4))
	f := follower(7, log...)
	f.Step(old) // late
	late := ready(f).Messages[0]
	require.EqualValues(t, 7, late.Term)

	r := leader(options("n1", 3), log...) // its first append of term 7 follows 3@4
	r.Step(late)
	requireReady(t, r)
}

// What is committed (Figure 2, leaders, last rule).

func TestLeader_commits_with_a_majority_of_all_nodes(t *testing.T) {
	for _, c := range []struct{ size, followers int }{{1, 0}, {2, 1}, {3, 1}, {4, 2}, {5, 2}, {6, 3}, {7, 3}} {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			r := established(options("n1", c.size))
			_, _, err := r.Propose(command("a"))
			require.NoError(t, err)
			requireSame(t, []Entry(nil), ready(r).Committed) // being saved
			for have := range c.size {
				if have > 0 {
					r.Step(appended(names(c.size)[have], 1, 2))
					r.Step(appended(names(c.size)[have], 1, 2)) // each counts once
				}
				committed := ready(r).Committed
				if have == c.followers {
					requireSame(t, []Entry{{2, 1, command("a")}}, committed)
				} else {
					require.Empty(t, committed, "with %d followers", have)
				}
			}
		})
	}
}

// §5.4.2, and Figure 8: what an earlier term left is not committed by counting, but with the first entry of this term.
func TestLeader_commits_entries_of_earlier_terms_with_one_of_its_own(t *testing.T) {
	log := entries(1, 1, 1, 2, 2)
	r := leader(options("n1", 5), log...) // term 6, with 5@6
	for _, index := range []Index{1, 2, 3, 4} {
		for _, id := range []string{"n2", "n3", "n4", "n5"} {
			r.Step(appended(id, 6, index))
			require.Zero(t, statusAfter(r).CommitIndex, "%d on %s too", index, id)
		}
	}
	r.Step(appended("n2", 6, 5))
	require.Zero(t, statusAfter(r).CommitIndex)
	r.Step(appended("n3", 6, 5))
	requireReady(t, r, Ready{Committed: append(log, noop(5, 6))})

	// A leader's term may begin behind any number of older entries: it is the majority's index that counts, not the
	// first one above what is committed.
	r = leader(options("n1", 3), log...)
	r.Step(appended("n2", 4, 5))
	require.EqualValues(t, 5, statusAfter(r).CommitIndex)
}

// A group is a cluster on which a test carries messages, all on the way at a time. What a Ready wants saved is kept, so
// that a node can be killed and started again. After each step the logs match and nodes have applied the same.
type group struct {
	t        *testing.T
	options  []Options
	nodes    map[string]*Raft
	terms    map[string]HardState
	disks    map[string][]Entry
	applied  map[string][]Entry
	down     map[string]bool
	onTheWay []Message
	// lost says which messages are; nil is none.
	lost func(Message) bool
	// sent is all that was ever sent, and steps how often all that was on the way arrived.
	sent  []Message
	steps int
}

// newGroup returns a cluster in which each node has the log of this place.
func newGroup(t *testing.T, o Options, logs ...[]Entry) *group {
	g := &group{t: t, nodes: map[string]*Raft{}, terms: map[string]HardState{}, disks: map[string][]Entry{},
		applied: map[string][]Entry{}, down: map[string]bool{}}
	for i, log := range logs {
		o.ID, o.Nodes = names(len(logs))[i], names(len(logs))
		g.options = append(g.options, o)
		g.disks[o.ID] = log
		g.terms[o.ID] = HardState{lastOf(log).Term}
		g.start(o.ID)
	}
	return g
}

// start starts a node, with what is on its disk.
func (g *group) start(id string) {
	for _, o := range g.options {
		if o.ID == id {
			g.nodes[id] = New(o, g.terms[id], slices.Clone(g.disks[id]))
		}
	}
	delete(g.down, id)
	g.applied[id] = nil
}

func (g *group) kill(id string) { g.down[id] = true }

// flush carries out what the node wants.
func (g *group) flush(id string) {
	for rd, ok := g.nodes[id].Ready(); ok; rd, ok = g.nodes[id].Ready() {
		g.onTheWay = append(g.onTheWay, rd.Appends...)
		if rd.HardState != nil {
			g.terms[id] = *rd.HardState
		}
		if len(rd.Entries) > 0 {
			first := rd.Entries[0].Index
			require.LessOrEqual(g.t, first, Index(len(g.disks[id]))+1, "no gap on disk")
			g.disks[id] = append(slices.Clone(g.disks[id][:first-1]), rd.Entries...)
		}
		g.onTheWay = append(g.onTheWay, rd.Messages...)
		for _, e := range rd.Committed {
			require.EqualValues(g.t, len(g.applied[id])+1, e.Index, "%s applies in order, each once", id)
			g.applied[id] = append(g.applied[id], e)
		}
		g.sent = append(g.sent, rd.Appends...)
		g.sent = append(g.sent, rd.Messages...)
	}
}

// run carries messages until there are none.
func (g *group) run() {
	g.t.Helper()
	for {
		for _, id := range slices.Sorted(maps.Keys(g.nodes)) {
			if !g.down[id] {
				g.flush(id)
			}
		}
		g.check()
		if len(g.onTheWay) == 0 {
			return
		}
		g.steps++
		require.Less(g.t, g.steps, 10_000, "it comes to an end")
		arriving := g.onTheWay
		g.onTheWay = nil
		for _, m := range arriving {
			if !g.down[m.To] && (g.lost == nil || !g.lost(m)) {
				g.nodes[m.To].Step(m)
			}
		}
	}
}

// heartbeat lets as much time pass as is between heartbeats, and carries what comes of it.
func (g *group) heartbeat() {
	g.t.Helper()
	for _, r := range g.nodes {
		for range r.options.HeartbeatTicks {
			r.Tick()
		}
	}
	g.run()
}

func (g *group) lead(id string) {
	g.t.Helper()
	g.nodes[id].Lead()
	g.run()
}

func (g *group) propose(id, text string) (Index, Term) {
	g.t.Helper()
	index, term, err := g.nodes[id].Propose(command(text))
	require.NoError(g.t, err)
	g.run()
	return index, term
}

// check holds Figure 3's Log Matching and State Machine Safety against each pair of nodes.
func (g *group) check() {
	g.t.Helper()
	for a, one := range g.nodes {
		for b, other := range g.nodes {
			if a >= b {
				continue
			}
			same := min(len(one.log.entries), len(other.log.entries))
			for same > 0 && one.log.entries[same-1].Term != other.log.entries[same-1].Term {
				same--
			}
			g.requireEqual(one.log.entries[:same], other.log.entries[:same], "the logs of %s and %s", a, b)
			both := min(len(g.applied[a]), len(g.applied[b]))
			g.requireEqual(g.applied[a][:both], g.applied[b][:both], "%s and %s have applied", a, b)
		}
	}
}

// requireAgreement requires that all nodes that live have the leader's log, and have applied all of it.
func (g *group) requireAgreement(leader string) {
	g.t.Helper()
	want := g.nodes[leader].log.entries
	for id := range g.nodes {
		if !g.down[id] {
			g.requireEqual(want, g.nodes[id].log.entries, "the log of %s", id)
			g.requireEqual(want, g.disks[id], "the disk of %s", id)
			g.requireEqual(want, g.applied[id], "applied by %s", id)
		}
	}
}

// requireEqual is for logs that are long: it shows the difference only if there is one.
func (g *group) requireEqual(want, got []Entry, args ...any) {
	g.t.Helper()
	if !slices.EqualFunc(want, got, func(a, b Entry) bool {
		return a.Index == b.Index && a.Term == b.Term && bytes.Equal(a.Command, b.Command)
	}) {
		requireSame(g.t, want, got, args...)
	}
}

func isolate(ids ...string) func(Message) bool {
	return func(m Message) bool { return slices.Contains(ids, m.From) != slices.Contains(ids, m.To) }
}

// The logs of Figure 7, to which shapes are added that are worse. The leader finds out where the logs agree with few
// questions: at most one for each pair of terms, however many entries there are.
func TestLeader_makes_every_log_of_Figure_7_its_own(t *testing.T) {
	figure7 := []Term{1, 1, 1, 4, 4, 5, 5, 6, 6, 6}
	for _, c := range []struct {
		name         string
		ours, theirs []Term
		refusals     int
	}{
		{"a", figure7, []Term{1, 1, 1, 4, 4, 5, 5, 6, 6}, 1},
		{"b", figure7, []Term{1, 1, 1, 4}, 1},
		{"c", figure7, []Term{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}, 0},
		{"d", figure7, []Term{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}, 0},
		{"e", figure7, []Term{1, 1, 1, 4, 4, 4, 4}, 1},
		{"f", figure7, []Term{1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}, 1},
		{"the same", figure7, figure7, 0},
		{"empty", figure7, nil, 1},
		{"nothing in common", []Term{2, 2, 2}, []Term{1, 1, 1, 1}, 1},
		{"nothing in common and theirs is newer", []Term{1, 1, 1}, []Term{2, 2, 2, 2}, 1},
		{"fifty and fifty", slices.Concat([]Term{1}, slices.Repeat([]Term{3}, 50)), slices.Concat([]Term{1}, slices.Repeat([]Term{2}, 50)), 1},
		{"terms in turn", []Term{1, 3, 3, 5, 5, 7, 7}, []Term{1, 2, 2, 4, 4, 6, 6}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGroup(t, options("", 0), entries(1, c.ours...), entries(1, c.theirs...))
			g.terms["n1"] = HardState{7}
			g.start("n1")
			g.lead("n1") // term 9
			g.heartbeat()
			g.requireAgreement("n1")
			refusals := 0
			for _, m := range g.sent {
				if reply := m.AppendEntriesReply; reply != nil && !reply.Success {
					refusals++
				}
			}
			require.Equal(t, c.refusals, refusals)
		})
	}
}

func TestFollower_that_is_10_000_entries_behind_catches_up_in_few_round_trips(t *testing.T) {
	o := options("", 0)
	o.MaxBatch = 64 << 10
	var log []Entry
	for i := range 10_000 {
		log = append(log, Entry{Index(i) + 1, 1, command(fmt.Sprintf("%098d", i))}) // of 100 bytes
	}
	g := newGroup(t, o, log, log, nil)
	g.lead("n1")
	g.heartbeat()
	g.requireAgreement("n1")
	for _, m := range g.sent {
		if m.AppendEntries != nil {
			size := 0
			for _, e := range m.AppendEntries.Entries {
				size += len(e.Command)
			}
			require.LessOrEqual(t, size, o.MaxBatch)
		}
	}
	// There and back: the refusal; the first batch; the 15 others at once; a heartbeat that says what is committed.
	require.Equal(t, 2*4, g.steps)
}

func TestLeader_sends_each_command_once_and_only_heartbeats_when_idle(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.heartbeat()
	g.sent = nil
	for i := range 100 {
		g.propose("n1", fmt.Sprint(i))
	}
	require.Len(t, g.sent, 100*2*2, "an append and its answer, for each command and follower")
	times := map[string]int{}
	for _, m := range g.sent {
		if m.AppendEntries != nil {
			for _, e := range m.AppendEntries.Entries {
				times[m.To+string(e.Command)]++
			}
		}
	}
	require.Len(t, times, 2*100)
	for what, n := range times {
		require.Equal(t, 1, n, what)
	}
	g.sent = nil
	for range 10 {
		g.heartbeat()
	}
	require.Len(t, g.sent, 10*2*2)
	g.requireAgreement("n1")
}

func TestGroup_commits_with_a_majority_and_not_without(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	require.EqualValues(t, 1, g.nodes["n1"].Status().CommitIndex)
	g.propose("n1", "with all")
	require.EqualValues(t, 2, g.nodes["n1"].Status().CommitIndex)
	g.kill("n3")
	g.propose("n1", "with two of three")
	require.EqualValues(t, 3, g.nodes["n1"].Status().CommitIndex)
	g.kill("n2")
	g.propose("n1", "alone")
	for range 5 {
		g.heartbeat()
	}
	require.EqualValues(t, 3, g.nodes["n1"].Status().CommitIndex)
	g.start("n3") // it lacks two, and does not know yet what is committed
	g.heartbeat()
	require.EqualValues(t, 4, g.nodes["n1"].Status().CommitIndex)
	g.start("n2")
	g.heartbeat()
	g.heartbeat()
	g.requireAgreement("n1")
}

func TestLeader_that_was_cut_off_for_a_while_leads_on(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.lost = isolate("n1")
	g.propose("n1", "a")
	g.heartbeat()
	require.EqualValues(t, 1, g.nodes["n1"].Status().CommitIndex)
	g.lost = nil
	g.heartbeat()
	g.heartbeat()
	g.requireAgreement("n1")
	require.EqualValues(t, 1, g.nodes["n1"].Status().Term)
	require.Len(t, g.applied["n3"], 2)
}

func TestWrite_that_no_majority_has_can_be_replaced(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.lost = isolate("n1")
	index, term := g.propose("n1", "lost")
	g.lead("n2")
	g.propose("n2", "kept")
	g.lost = nil
	g.heartbeat()
	g.heartbeat()
	g.requireAgreement("n2")
	require.NotEqual(t, term, g.applied["n1"][index-1].Term, "another entry is there now")
	for id := range g.nodes {
		require.Equal(t, []Entry{noop(1, 1), noop(2, 2), {3, 2, command("kept")}}, g.applied[id])
	}
}

func TestLeader_with_an_older_log_replaces_newer_entries_that_are_not_committed(t *testing.T) {
	g := newGroup(t, options("", 0), entries(1, 1, 1), entries(1, 1, 1), entries(1, 1, 3, 3, 3))
	g.lead("n1") // by n1 and n2, a majority without n3's entries
	g.heartbeat()
	g.requireAgreement("n1")
	require.Equal(t, append(entries(1, 1, 1), noop(3, 4)), g.applied["n3"])
}

func TestLeader_recovers_from_any_loss(t *testing.T) {
	for after := range 12 {
		o := options("", 0)
		o.MaxInflight = 3
		g := newGroup(t, o, nil, nil, nil)
		g.lost = func(Message) bool { after--; return after < 0 }
		g.lead("n1")
		for i := range 6 {
			g.propose("n1", fmt.Sprint(i))
		}
		g.lost = nil
		for range 4 {
			g.heartbeat()
		}
		g.requireAgreement("n1")
		require.Len(t, g.applied["n3"], 7)
	}
}

// What a leader believes of a follower's log can be too low or too high: that costs messages, and nothing else.
func TestLeader_with_a_wrong_nextIndex_only_sends_more(t *testing.T) {
	log := entries(1, 1, 1, 1, 1, 1)
	for next := Index(1); next <= 7; next++ {
		for _, probing := range []bool{true, false} {
			g := newGroup(t, options("", 0), log, log[:3], log)
			g.lead("n1")
			p := g.nodes["n1"].progress["n2"]
			*p = progress{nextIndex: next, probing: probing}
			g.propose("n1", "a")
			g.heartbeat()
			g.heartbeat()
			g.requireAgreement("n1")
			require.EqualValues(t, 7, p.matchIndex)
		}
	}
}

// Figure 8: an entry of an earlier term is on a majority, and is replaced all the same (d); unless the leader has first
// got one of its own term to a majority (e). Here, n1 leads terms 6 and 11, and n5 leads 10 and 15.
func TestFigure_8(t *testing.T) {
	for _, figure := range []string{"d", "e"} {
		t.Run(figure, func(t *testing.T) {
			o := options("", 0)
			o.MaxBatch = len(`"x"`)
			one := entries(1, 1)
			g := newGroup(t, o, one, one, one, one, one)
			reach := func(ids string, what func(Entry) bool) { // no others get entries, but all hear heartbeats
				g.lost = func(m Message) bool {
					a := m.AppendEntries
					return a != nil && len(a.Entries) > 0 && (!strings.Contains(ids, m.To) || !what(lastOf(a.Entries)))
				}
			}
			all := func(Entry) bool { return true }

			// (a) n1 leads, and what it has reaches n2 alone.
			reach("n2", all)
			g.lead("n1")
			g.propose("n1", "x")
			g.propose("n1", "y")
			g.heartbeat()
			// (b) It is killed. n5 leads, and its entry stays with it.
			g.kill("n1")
			reach("", all)
			g.lead("n5")
			g.heartbeat()
			requireSame(t, append(one, noop(2, 10)), g.disks["n5"])
			// (c) It is killed. n1 leads again, and goes on with what it has. In (d), all that it gets through are entries
			// of its term before.
			g.kill("n5")
			g.start("n1")
			reach("n3 n4", func(e Entry) bool { return figure == "e" || e.Term < 11 })
			g.lead("n1")
			g.heartbeat()
			g.heartbeat()

			g.lost = nil
			x := []Entry{one[0], noop(2, 6), {3, 6, command("x")}}
			if figure == "d" {
				requireSame(t, x, g.disks["n3"])
				requireSame(t, x, g.disks["n4"])
				require.EqualValues(t, 3, g.nodes["n1"].progress["n3"].matchIndex, "and n1 knows")
				require.EqualValues(t, 3, g.nodes["n1"].progress["n4"].matchIndex)
				require.Zero(t, g.nodes["n1"].Status().CommitIndex)
				g.kill("n1")
				g.start("n5")
				g.lead("n5")
				g.heartbeat()
				requireSame(t, []Entry{one[0], noop(2, 10), noop(3, 15)}, g.applied["n3"])
			} else {
				requireSame(t, append(x, Entry{4, 6, command("y")}, noop(5, 11)), g.applied["n1"])
				g.kill("n1")
				g.start("n5")
				g.lead("n3") // n5's log is not the best of a majority any more
				g.heartbeat()
				require.Len(t, g.applied["n5"], 6)
			}
			g.start("n1")
			g.heartbeat()
			g.heartbeat()
			g.requireAgreement(map[string]string{"d": "n5", "e": "n3"}[figure])
		})
	}
}
