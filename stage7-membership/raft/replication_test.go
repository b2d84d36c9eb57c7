package raft

import (
	"fmt"
	"slices"
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
				want.HardState = &HardState{Term: c.term}
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
			requireSame(t, all, r.Entries(0))

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
				requireSame(t, log[:r.Status().LastIndex], r.Entries(0))
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
	propose(t, r, "a")
	e := Entry{Index: 2, Term: 1, Command: command("a")}
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
	next := func() Ready {
		propose(t, r, "a")
		return ready(r)
	}
	sent := func(prev Index, n int, commit Index) []Message {
		var all []Entry
		for i := range n {
			all = append(all, Entry{Index: prev + 1 + Index(i), Term: 1, Command: command("a")})
		}
		return []Message{appendTo("n2", 1, following(prev, 1, all, commit))}
	}
	for i := range Index(3) {
		requireSame(t, sent(1+i, 1, 1), next().Appends)
	}
	for range 3 { // 5 to 7
		require.Empty(t, next().Appends, "the window is full")
	}
	for range 5 {
		r.Tick()
	}
	requireSame(t, sent(4, 0, 1), ready(r).Appends) // a heartbeat needs no place in it

	r.Step(appended("n2", 1, 3)) // the answers of two at once: what waited goes as one
	requireSame(t, sent(4, 3, 3), ready(r).Appends)
	requireSame(t, sent(7, 1, 3), next().Appends)
	require.Empty(t, next().Appends, "the window is full again")
	r.Step(appended("n2", 1, 3))
	require.Empty(t, ready(r).Appends, "an answer that is there twice makes no room")

	r.Step(appended("n2", 1, 8)) // to a heartbeat: all before it have come, whatever became of their answers
	requireSame(t, sent(8, 1, 8), ready(r).Appends)
}

func TestLeader_sends_one_message_at_a_time_until_it_knows_where_the_logs_agree(t *testing.T) {
	r := leader(options("n1", 2), entries(1, 1)...) // 2@3 is on its way
	for i := range 3 {
		propose(t, r, fmt.Sprint(i))
		require.Empty(t, ready(r).Appends)
	}
	r.Step(replied("n2", 3, AppendEntriesReply{Index: 1}))
	rest := []Entry{{Index: 1, Term: 1, Command: command("1@1")}, noop(2, 3), {Index: 3, Term: 3, Command: command("0")}, {Index: 4, Term: 3, Command: command("1")}, {Index: 5, Term: 3, Command: command("2")}}
	requireSame(t, []Message{appendTo("n2", 3, following(0, 0, rest, 0))}, ready(r).Appends)
	propose(t, r, "3")
	require.Empty(t, ready(r).Appends)
	r.Step(appended("n2", 3, 5))
	requireSame(t, []Message{appendTo("n2", 3, following(5, 3, []Entry{{Index: 6, Term: 3, Command: command("3")}}, 5))}, ready(r).Appends)
	propose(t, r, "4")
	requireSame(t, []Message{appendTo("n2", 3, following(6, 3, []Entry{{Index: 7, Term: 3, Command: command("4")}}, 5))}, ready(r).Appends)

	// Nor does it once it does not know it any more: of the two, the first was lost.
	r.Step(replied("n2", 3, AppendEntriesReply{Index: 6, HintIndex: 5, HintTerm: 3}))
	lost := []Entry{{Index: 6, Term: 3, Command: command("3")}, {Index: 7, Term: 3, Command: command("4")}}
	requireSame(t, []Message{appendTo("n2", 3, following(5, 3, lost, 5))}, ready(r).Appends)
	propose(t, r, "5")
	require.Empty(t, ready(r).Appends)
}

func TestLeader_cuts_a_backlog_into_messages_of_bounded_size(t *testing.T) {
	o := options("n1", 2)
	o.MaxBatch = 10
	r := established(o)
	for _, text := range []string{"1234", "12", "1", "much too long", "1", "2"} {
		propose(t, r, text)
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
				propose(t, r, "a")
				require.Len(t, ready(r).Appends, 2)
			}
			propose(t, r, "a")
			for _, m := range c.answers {
				r.Step(m)
			}
			p := r.progress["n2"]
			require.Equal(t, c.match, p.matchIndex)
			require.Equal(t, c.next, p.nextIndex)
			require.Equal(t, c.match, statusAfter(r).CommitIndex, "n1 and n2 are a majority")
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
			propose(t, r, "a")
			requireSame(t, []Entry(nil), ready(r).Committed) // being saved
			for have := range c.size {
				if have > 0 {
					r.Step(appended(names(c.size)[have], 1, 2))
					r.Step(appended(names(c.size)[have], 1, 2)) // each counts once
				}
				committed := ready(r).Committed
				if have == c.followers {
					requireSame(t, []Entry{{Index: 2, Term: 1, Command: command("a")}}, committed)
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
	r := leader(options("n1", 5), log...) // term 7, with 5@7
	for _, index := range []Index{1, 2, 3, 4} {
		for _, id := range []string{"n2", "n3", "n4", "n5"} {
			r.Step(appended(id, 7, index))
			require.Zero(t, statusAfter(r).CommitIndex, "%d on %s too", index, id)
		}
	}
	r.Step(appended("n2", 7, 5))
	require.Zero(t, statusAfter(r).CommitIndex)
	r.Step(appended("n3", 7, 5))
	requireReady(t, r, Ready{Committed: append(log, noop(5, 7))})

	// A leader's term may begin behind any number of older entries: it is the majority's index that counts, not the
	// first one above what is committed.
	r = leader(options("n1", 3), log...)
	r.Step(appended("n2", 5, 5))
	require.EqualValues(t, 5, statusAfter(r).CommitIndex)
}
