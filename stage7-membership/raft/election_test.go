package raft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// asks is the request of a candidate by order, which counts while a leader is heard too.
func asks(from, to string, term Term, index Index, lastTerm Term) Message {
	return Message{From: from, To: to, Term: term, RequestVote: &RequestVote{LastLogIndex: index, LastLogTerm: lastTerm, Transfer: true}}
}

// wonders is the request of one that only asks whether it would get a vote, and would the answer.
func wonders(from, to string, term Term, index Index, lastTerm Term) Message {
	return Message{From: from, To: to, Term: term, RequestVote: &RequestVote{LastLogIndex: index, LastLogTerm: lastTerm, PreVote: true}}
}

func would(by, to string, term Term, granted bool) Message {
	return Message{From: by, To: to, Term: term, RequestVoteReply: &RequestVoteReply{Granted: granted, PreVote: true}}
}

// granted is what a node has answered to a candidate.
func granted(t *testing.T, r *Raft) bool {
	t.Helper()
	messages := ready(r).Messages
	require.Len(t, messages, 1)
	return messages[0].RequestVoteReply.Granted
}

// ticks lets time pass, and carries out what comes of it.
func ticks(r *Raft, n int) {
	for range n {
		r.Tick()
		r.Ready()
	}
}

// inRole returns n1 of three nodes in a role of term 4, with this log.
func inRole(role Role, log ...Entry) *Raft {
	r := start(options("n1", 3), HardState{Term: 4}, Snapshot{}, log)
	if role != Follower {
		r = start(options("n1", 3), HardState{Term: 3}, Snapshot{}, log)
		r.Campaign()
		r.Ready()
	}
	if role == Leader {
		r.Step(voted("n2", "n1", 4, true))
		r.Ready()
	}
	return r
}

// Figure 2, rules for candidates, first rule.

func TestFollower_asks_for_votes_when_it_hears_of_no_leader_for_the_election_timeout(t *testing.T) {
	r := follower(4, entries(1, 1, 3)...)
	for range 29 {
		r.Tick()
		requireReady(t, r)
	}
	r.Tick()
	requireReady(t, r, Ready{Messages: []Message{wonders("n2", "n1", 4, 2, 3), wonders("n2", "n3", 4, 2, 3)}})
	requireSame(t, Status{ID: "n2", Role: PreCandidate, Term: 4, LastIndex: 2, LastTerm: 3}, r.Status())
	r.Step(would("n3", "n2", 4, true))
	request := func(to string) Message {
		return Message{From: "n2", To: to, Term: 5, RequestVote: &RequestVote{LastLogIndex: 2, LastLogTerm: 3}}
	}
	requireReady(t, r, Ready{HardState: &HardState{5, "n2"}, Messages: []Message{request("n1"), request("n3")}})
	requireSame(t, Status{ID: "n2", Role: Candidate, Term: 5, LastIndex: 2, LastTerm: 3}, r.Status())
}

func TestCandidate_asks_anew_when_its_time_is_over(t *testing.T) {
	r := follower(0)
	r.Campaign()
	r.Step(voted("n1", "n2", 1, false))
	r.Ready()
	for range 3 {
		ticks(r, 29)
		r.Tick()
		requireReady(t, r, Ready{Messages: []Message{wonders("n2", "n1", 1, 0, 0), wonders("n2", "n3", 1, 0, 0)}})
		requireSame(t, Status{ID: "n2", Role: PreCandidate, Term: 1}, r.Status())
	}
}

func TestCandidate_names_no_leader_and_takes_no_commands(t *testing.T) {
	r := follower(0)
	r.Step(appendTo("n2", 1, AppendEntries{}))
	require.Equal(t, "n1", r.Status().Leader)
	r.Campaign()
	require.Equal(t, None, r.Status().Leader)
	_, _, err := r.Propose(command("a"))
	require.ErrorIs(t, err, ErrNotLeader)
}

func TestCampaign_of_a_leader_is_none(t *testing.T) {
	r := established(options("n1", 3))
	before := r.Status()
	r.Campaign()
	requireReady(t, r)
	requireSame(t, before, r.Status())
}

func TestNode_that_is_alone_elects_itself(t *testing.T) {
	r := start(options("n1", 1), HardState{}, Snapshot{}, nil)
	ticks(r, 29)
	require.Equal(t, Follower, r.Status().Role)
	r.Tick()
	requireReady(t, r,
		Ready{HardState: &HardState{1, "n1"}, Entries: []Entry{noop(1, 1)}},
		Ready{Committed: []Entry{noop(1, 1)}})
	ticks(r, 1000)
	requireSame(t, Status{ID: "n1", Role: Leader, Term: 1, Leader: "n1", LastIndex: 1, LastTerm: 1, CommitIndex: 1, CommitTerm: 1, AppliedIndex: 1}, r.Status())
}

// Figure 2, RequestVote RPC, receiver implementation.

// §5.4.1. Whatever a node does, it votes for nobody in a newer term whose log lacks something.
func TestVote_is_for_a_log_that_lacks_nothing(t *testing.T) {
	for _, role := range []Role{Follower, Candidate, Leader} {
		for _, c := range []struct {
			name  string
			ours  []Term
			index Index
			term  Term
			want  bool
		}{
			{"the same", []Term{1, 2, 2}, 3, 2, true},
			{"same term shorter", []Term{1, 2, 2}, 2, 2, false},
			{"same term longer", []Term{1, 2, 2}, 4, 2, true},
			{"older term shorter", []Term{1, 2, 2}, 2, 1, false},
			{"older term as long", []Term{1, 2, 2}, 3, 1, false},
			{"older term longer", []Term{1, 2, 2}, 9, 1, false},
			{"newer term shorter", []Term{1, 2, 2}, 1, 3, true},
			{"newer term as long", []Term{1, 2, 2}, 3, 3, true},
			{"newer term longer", []Term{1, 2, 2}, 4, 3, true},
			{"both empty", nil, 0, 0, true},
			{"theirs empty", []Term{1}, 0, 0, false},
			{"ours empty", nil, 1, 1, true},
		} {
			t.Run(fmt.Sprintf("%v %s", role, c.name), func(t *testing.T) {
				r := inRole(role, entries(1, c.ours...)...)
				if role == Leader { // its first entry, of term 4, is its last
					c.want = false
				}
				r.Step(asks("n3", "n1", 9, c.index, c.term))
				require.Equal(t, Follower, r.Status().Role)
				want := HardState{Term: 9}
				if c.want {
					want.VotedFor = "n3"
				}
				requireReady(t, r, Ready{HardState: &want, Messages: []Message{voted("n1", "n3", 9, c.want)}})
			})
		}
	}
	r := inRole(Leader, entries(1, 1, 2)...) // and 3@4
	r.Step(asks("n3", "n1", 9, 3, 4))
	require.True(t, granted(t, r))
}

func TestVote_is_refused_in_a_term_that_is_over(t *testing.T) {
	for _, role := range []Role{Follower, Candidate, Leader} {
		r := inRole(role)
		r.Step(asks("n3", "n1", 3, 9, 3))
		requireReady(t, r, Ready{Messages: []Message{voted("n1", "n3", 4, false)}}) // which says what term it is
		require.Equal(t, role, r.Status().Role)
	}
}

// §5.2: "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."
func TestVote_is_one_a_term(t *testing.T) {
	r := start(options("n1", 3), HardState{Term: 3}, Snapshot{}, nil)
	r.Step(asks("n2", "n1", 4, 0, 0))
	require.True(t, granted(t, r))
	for range 2 {
		r.Step(asks("n3", "n1", 4, 9, 3))
		require.False(t, granted(t, r), "for another, though its log is better")
		r.Step(asks("n2", "n1", 4, 0, 0))
		require.True(t, granted(t, r), "for the same: the answer may have been lost")
	}
	r.Step(asks("n3", "n1", 5, 0, 0))
	require.True(t, granted(t, r), "in another term")
}

func TestVote_of_a_candidate_is_its_own(t *testing.T) {
	for _, role := range []Role{Candidate, Leader} {
		r := inRole(role)
		r.Step(asks("n3", "n1", 4, 9, 3))
		require.False(t, granted(t, r))
	}
}

func TestVote_is_remembered_after_a_restart(t *testing.T) {
	r := start(options("n1", 3), HardState{}, Snapshot{}, nil)
	r.Step(asks("n2", "n1", 4, 0, 0))
	hard := ready(r).HardState
	require.Equal(t, &HardState{4, "n2"}, hard)
	r = start(options("n1", 3), *hard, Snapshot{}, nil)
	requireReady(t, r)
	r.Step(asks("n3", "n1", 4, 0, 0))
	require.False(t, granted(t, r))
	r.Step(asks("n2", "n1", 4, 0, 0))
	require.True(t, granted(t, r))

	r = start(options("n1", 3), HardState{}, Snapshot{}, nil)
	r.Campaign()
	hard = ready(r).HardState
	require.Equal(t, &HardState{1, "n1"}, hard)
	r = start(options("n1", 3), *hard, Snapshot{}, nil)
	r.Step(asks("n3", "n1", 1, 0, 0))
	require.False(t, granted(t, r), "it has voted for itself")
	r.Step(voted("n2", "n1", 1, true)) // late: to its earlier life
	require.Equal(t, Follower, r.Status().Role)
	r.Campaign()
	require.EqualValues(t, 2, r.Status().Term, "a term in which it has voted is not begun again")
}

func TestVote_is_kept_as_long_as_the_term_lasts(t *testing.T) {
	r := start(options("n1", 3), HardState{}, Snapshot{}, nil)
	r.Campaign()
	r.Ready()
	r.Step(Message{From: "n2", To: "n1", Term: 1, AppendEntries: &AppendEntries{}}) // n2 has won
	r.Ready()
	r.Step(asks("n3", "n1", 1, 0, 0)) // late
	require.False(t, granted(t, r))

	r = established(options("n1", 3))
	ticks(r, 30) // it leads no more, as nobody answers
	require.Equal(t, Follower, r.Status().Role)
	r.Step(asks("n3", "n1", 1, 9, 1))
	require.False(t, granted(t, r))
}

// What is in Ready.Messages is sent when HardState is saved.
func TestVote_and_term_are_saved_before_anybody_hears_of_them(t *testing.T) {
	r := follower(0)
	r.Step(asks("n1", "n2", 3, 0, 0))
	requireReady(t, r, Ready{HardState: &HardState{3, "n1"}, Messages: []Message{voted("n2", "n1", 3, true)}})
	r = follower(3)
	r.Step(asks("n1", "n2", 3, 0, 0))
	requireReady(t, r, Ready{HardState: &HardState{3, "n1"}, Messages: []Message{voted("n2", "n1", 3, true)}})
	r.Campaign()
	requireReady(t, r, Ready{HardState: &HardState{4, "n2"}, Messages: []Message{asks("n2", "n1", 4, 0, 0), asks("n2", "n3", 4, 0, 0)}})
}

// Votes (Figure 2, candidates, second rule).

func TestCandidate_leads_with_the_votes_of_a_majority_of_all_nodes(t *testing.T) {
	for _, c := range []struct{ size, others int }{{1, 0}, {2, 1}, {3, 1}, {4, 2}, {5, 2}, {6, 3}, {7, 3}} {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			r := start(options("n1", c.size), HardState{}, Snapshot{}, nil)
			r.Campaign()
			r.Ready()
			for have := range c.others {
				require.Equal(t, Candidate, r.Status().Role, "with %d votes of others", have)
				id := names(c.size)[have+1]
				last := names(c.size)[c.size-1]
				if have+1 < c.others {
					r.Step(voted(id, "n1", 1, true))
					r.Step(voted(id, "n1", 1, true))    // each counts once
					r.Step(voted(last, "n1", 1, false)) // a refusal counts for nothing
					r.Step(voted("n1", "n1", 1, true))  // nor does one of its own
					r.Step(voted("n8", "n1", 1, true))  // or of a stranger
				} else {
					r.Step(voted(id, "n1", 1, true))
				}
			}
			require.Equal(t, Leader, r.Status().Role)
		})
	}
}

func TestCandidate_counts_the_votes_of_its_present_campaign_alone(t *testing.T) {
	r := start(options("n1", 5), HardState{}, Snapshot{}, nil)
	r.Campaign()
	r.Step(voted("n2", "n1", 1, true))
	r.Campaign()
	r.Step(voted("n3", "n1", 1, true)) // late
	r.Step(voted("n4", "n1", 1, true))
	r.Step(voted("n5", "n1", 2, true))
	require.Equal(t, Candidate, r.Status().Role, "n2 has not voted in term 2")
	r.Step(voted("n2", "n1", 2, true))
	require.Equal(t, Leader, r.Status().Role)
}

func TestVote_that_comes_late_changes_nothing(t *testing.T) {
	r := start(options("n1", 3), HardState{}, Snapshot{}, nil)
	r.Campaign()
	r.Step(Message{From: "n2", To: "n1", Term: 1, AppendEntries: &AppendEntries{}})
	r.Ready()
	before := r.Status()
	r.Step(voted("n3", "n1", 1, true))
	requireReady(t, r)
	requireSame(t, before, r.Status(), "it follows by now")

	r = established(options("n1", 3))
	before = r.Status()
	r.Step(voted("n3", "n1", 1, true))
	requireReady(t, r)
	requireSame(t, before, r.Status(), "it leads by now")
}

// Figure 2, candidates, third rule.
func TestCandidate_follows_a_leader_of_its_term(t *testing.T) {
	for _, a := range []AppendEntries{{}, {PrevLogIndex: 5, PrevLogTerm: 3}} { // be it refused
		r := inRole(Candidate)
		r.Step(Message{From: "n2", To: "n1", Term: 4, AppendEntries: &a})
		requireSame(t, Status{ID: "n1", Role: Follower, Term: 4, Leader: "n2"}, r.Status())
		require.Nil(t, ready(r).HardState)
	}
	r := inRole(Candidate)
	r.Step(Message{From: "n2", To: "n1", Term: 3, AppendEntries: &AppendEntries{}})
	require.Equal(t, Candidate, r.Status().Role, "not one of a term that is over")
}

func TestNode_that_hears_of_a_newer_term_follows_and_has_not_voted(t *testing.T) {
	for _, role := range []Role{Follower, Candidate, Leader} {
		for name, m := range map[string]Message{
			"append":  {AppendEntries: &AppendEntries{}},
			"success": {AppendEntriesReply: &AppendEntriesReply{Success: true}},
			"refusal": {AppendEntriesReply: &AppendEntriesReply{}},
			"request": {RequestVote: &RequestVote{Transfer: true}}, // refused: our log is longer
			"vote":    {RequestVoteReply: &RequestVoteReply{Granted: true}},
			"no vote": {RequestVoteReply: &RequestVoteReply{}},
		} {
			r := inRole(role, entries(1, 1)...)
			m.From, m.To, m.Term = "n2", "n1", 6
			r.Step(m)
			require.Equal(t, Follower, r.Status().Role, "%v, %s", role, name)
			require.Equal(t, &HardState{Term: 6}, ready(r).HardState, "%v, %s", role, name)
		}
	}
}

// Leaders.

func TestLeader_begins_its_term_with_an_entry_without_command(t *testing.T) {
	r := start(options("n1", 3), HardState{Term: 3}, Snapshot{}, entries(1, 1, 2))
	r.Campaign()
	r.Ready()
	r.Step(voted("n2", "n1", 4, true))
	requireSame(t, Status{ID: "n1", Role: Leader, Term: 4, Leader: "n1", LastIndex: 3, LastTerm: 4}, r.Status())
	first := AppendEntries{PrevLogIndex: 2, PrevLogTerm: 2, Entries: []Entry{noop(3, 4)}}
	requireReady(t, r, Ready{Entries: []Entry{noop(3, 4)}, Appends: []Message{appendTo("n2", 4, first), appendTo("n3", 4, first)}})
}

// Figure 2, volatile state on leaders: "Reinitialized after election." What a follower had in an earlier term may have
// been replaced since.
func TestLeader_forgets_what_followers_had_in_an_earlier_term(t *testing.T) {
	r := established(options("n1", 3), entries(1, 1, 1)...) // term 4
	r.Step(Message{From: "n2", To: "n1", Term: 5, AppendEntries: &AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1}})
	r.Ready()
	elect(r)
	first := AppendEntries{PrevLogIndex: 3, PrevLogTerm: 4, Entries: []Entry{noop(4, 6)}, LeaderCommit: 3}
	requireSame(t, []Message{appendTo("n2", 6, first), appendTo("n3", 6, first)}, ready(r).Appends)
	for range 2 {
		propose(t, r, "a")
		requireSame(t, []Message(nil), ready(r).Appends, "nobody has answered yet")
	}
	require.EqualValues(t, 3, r.Status().CommitIndex)
	r.Step(appended("n2", 6, 4))
	require.EqualValues(t, 4, statusAfter(r).CommitIndex)
}

// D§6.2. Whenever it happens that fewer than a majority answer, the leader follows after one election timeout or two,
// and not while a majority answers.
func TestLeader_that_has_lost_its_majority_leads_no_more(t *testing.T) {
	for size := 2; size <= 7; size++ {
		for last := 30; last < 60; last++ {
			r := established(options("n1", size))
			stopped := 0
			for now := 1; r.Status().Role == Leader; now++ {
				r.Tick()
				messages := ready(r).Appends
				answer := size / 2 // with its own that is a majority
				if now > last {
					answer--
				}
				for _, m := range messages {
					if slices.Contains(names(size)[1:1+answer], m.To) {
						r.Step(answered(m.To, 1, m.AppendEntries.Round))
					}
				}
				stopped = now
				require.Less(t, now, 200)
			}
			require.Greater(t, stopped, last, "%d nodes", size)
			require.LessOrEqual(t, stopped, last+2*30, "%d nodes", size)
			requireSame(t, None, r.Status().Leader)
			require.Zero(t, r.AnsweredRound())
			ticks(r, 29)
			require.Equal(t, Follower, r.Status().Role, "and then waits as long as any")
			ticks(r, 1)
			require.Equal(t, PreCandidate, r.Status().Role)
		}
	}
}

func TestLeader_takes_no_old_answer_for_a_sign_of_its_majority(t *testing.T) {
	r := established(options("n1", 3))
	for range 60 {
		r.Tick()
		r.Ready()
		r.Step(answered("n2", 1, 1)) // again and again the same
	}
	require.Equal(t, Follower, r.Status().Role)
}

func TestElectionTimer_of_a_leader_begins_with_its_term(t *testing.T) {
	o := options("n1", 3)
	o.Random = func(int) int { return 20 }
	r := start(o, HardState{}, Snapshot{}, nil)
	r.Campaign()
	ticks(r, 29)
	r.Step(voted("n2", "n1", 1, true))
	ticks(r, 1)
	require.Equal(t, Leader, r.Status().Role)
	ticks(r, 28)
	require.Equal(t, Leader, r.Status().Role)
	ticks(r, 1)
	require.Equal(t, Follower, r.Status().Role, "nobody has answered since")
}

func TestLeader_that_leads_again_looks_for_its_majority_from_the_beginning_of_its_term(t *testing.T) {
	r, last := sixRounds(t, 3)
	r.Step(answered("n2", 1, last))
	ticks(r, 30-r.electionElapsed) // it has looked, and leads on
	require.Equal(t, Leader, r.Status().Role)
	r.Step(Message{From: "n2", To: "n1", Term: 2, AppendEntries: &AppendEntries{}})
	ticks(r, 20)
	elect(r)
	ticks(r, 1)
	r.Step(answered("n2", 3, 1)) // the first of this term
	for range 2 {
		require.Equal(t, Leader, r.Status().Role)
		ticks(r, 29)
	}
	require.Equal(t, Leader, r.Status().Role)
	ticks(r, 1)
	require.Equal(t, Follower, r.Status().Role)
}

// Timers. A node waits anew for a leader of its term, or because it has voted: for nothing else, or one that cannot win
// keeps those from it that can, and a leader that is none keeps all.
func TestElectionTimer_begins_anew_only_for_a_leader_or_a_vote(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Message
		want bool
	}{
		{"an append", appendTo("n2", 4, AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1, Entries: entries(3, 4)}), true},
		{"a heartbeat", appendTo("n2", 4, AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1}), true},
		{"an append that is refused", appendTo("n2", 4, AppendEntries{PrevLogIndex: 9, PrevLogTerm: 4}), true},
		{"an append of a newer term", appendTo("n2", 9, AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1}), true},
		{"an append of a stranger, who may be a member by now", Message{From: "n9", To: "n2", Term: 4, AppendEntries: &AppendEntries{}}, true},
		{"a vote", asks("n1", "n2", 4, 2, 1), true},
		{"a vote in a newer term", asks("n1", "n2", 9, 2, 1), true},

		{"an append of a term that is over", appendTo("n2", 3, AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1}), false},
		{"a request that is refused", asks("n1", "n2", 4, 1, 1), false},
		{"a request of a newer term that is refused", asks("n1", "n2", 9, 1, 1), false},
		{"a request of a term that is over", asks("n1", "n2", 3, 9, 3), false},
		{"an answer in a newer term", Message{From: "n1", To: "n2", Term: 9, AppendEntriesReply: &AppendEntriesReply{}}, false},
		{"a question", wonders("n1", "n2", 4, 2, 1), false},
		{"a vote for nothing", voted("n1", "n2", 4, true), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := follower(4, entries(1, 1, 1)...)
			ticks(r, 20)
			r.Step(c.m)
			r.Ready()
			ticks(r, 9)
			require.NotEqual(t, PreCandidate, r.Status().Role)
			ticks(r, 1)
			require.Equal(t, !c.want, r.Status().Role == PreCandidate)
			ticks(r, 20)
			require.Equal(t, PreCandidate, r.Status().Role)
		})
	}
	r := follower(4)
	r.votedFor = "n3"
	ticks(r, 20)
	r.Step(asks("n1", "n2", 4, 9, 4))
	ticks(r, 10)
	require.Equal(t, PreCandidate, r.Status().Role, "its vote is another's")
}

func TestElectionTimer_of_a_candidate_runs_on_in_a_newer_term(t *testing.T) {
	r := inRole(Candidate, entries(1, 1)...)
	ticks(r, 20)
	r.Step(asks("n3", "n1", 9, 0, 0)) // refused
	ticks(r, 9)
	require.Equal(t, Follower, r.Status().Role)
	ticks(r, 1)
	require.Equal(t, PreCandidate, r.Status().Role)
}

// n3 lacks an entry, and campaigns again and again. n2 waits for longer than n3, and campaigns all the same.
func TestNode_that_cannot_win_does_not_keep_from_it_who_can(t *testing.T) {
	o := options("", 0)
	g := newGroup(t, o, entries(1, 1, 1), entries(1, 1, 1), entries(1, 1))
	g.kill("n1")
	g.nodes["n2"].electionTimeout = 59
	for range 70 {
		for _, id := range []string{"n2", "n3"} {
			g.nodes[id].Tick()
		}
		g.run()
	}
	require.Equal(t, Leader, g.nodes["n2"].Status().Role)
	g.requireAgreement("n2")
}

func TestElectionTimeout_is_drawn_anew_each_time_from_one_to_two(t *testing.T) {
	o := options("n2", 3)
	drawn, next := 0, 0
	o.Random = func(n int) int {
		require.Equal(t, o.ElectionTicks, n)
		drawn++
		return next
	}
	r := start(o, HardState{}, Snapshot{}, nil)
	for i, c := range []struct {
		what string
		do   func()
	}{
		{"a start", func() { r = start(o, HardState{}, Snapshot{}, nil) }},
		{"a campaign", func() { r.Campaign() }},
		{"a heartbeat", func() { r.Step(appendTo("n2", r.currentTerm, AppendEntries{})) }},
		{"a vote", func() { r.Step(asks("n1", "n2", r.currentTerm+1, 0, 0)) }},
	} {
		for _, next = range []int{0, 29, 7 + i} {
			before := drawn
			c.do()
			r.Ready()
			require.Greater(t, drawn, before, c.what)
			ticks(r, 30+next-1)
			require.NotEqual(t, PreCandidate, r.role, c.what)
			ticks(r, 1)
			require.Equal(t, PreCandidate, r.role, c.what)
			c.do()
		}
	}
}

// Who wins, in clusters of several nodes.

func TestCandidate_that_lacks_something_wins_if_a_majority_lacks_it_too(t *testing.T) {
	for _, c := range []struct {
		logs [5][]Term // n1 to n5; n1 is dead
		wins string
	}{
		{[5][]Term{{1, 1, 1}, {1, 1}, {1, 1}, {1, 1}, {1}}, "n2 n3 n4"},
		{[5][]Term{{1, 1, 1}, {1, 1}, {1, 1}, {1}, {1}}, "n2 n3"}, // n4 lacks what n1, n2 and n3 have
		{[5][]Term{{1}, {1, 1}, {1}, {1}, {1}}, "n2 n3 n4 n5"},    // n2 has one that no majority has
		{[5][]Term{{2}, {1, 1, 1, 1}, {1, 2}, {1, 2}, {1, 2}}, "n3 n4 n5"},
	} {
		for _, id := range []string{"n2", "n3", "n4", "n5"} {
			var logs [][]Entry
			for _, log := range c.logs {
				logs = append(logs, entries(1, log...))
			}
			g := newGroup(t, options("", 0), logs...)
			g.kill("n1")
			for range 3 {
				g.nodes[id].Campaign()
				g.run()
			}
			require.Equal(t, strings.Contains(c.wins, id), g.nodes[id].Status().Role == Leader, "%v: %s", c.logs, id)
		}
	}
}

func TestNobody_leads_without_a_majority(t *testing.T) {
	for size := 2; size <= 7; size++ {
		g := newGroup(t, options("", 0), make([][]Entry, size)...)
		for _, id := range names(size)[:(size+1)/2] {
			g.kill(id) // half of them, or more
		}
		for range 500 {
			for id, r := range g.nodes {
				if !g.down[id] {
					r.Tick()
				}
			}
			g.run()
			for id, r := range g.nodes {
				require.NotEqual(t, Leader, r.Status().Role, id)
			}
		}
	}
}

// §5.2: split votes are rare, and soon over, since each waits for another time. Messages take up to three ticks, and a
// timeout is 10 to 20. How many terms it took is printed.
func TestElection_ends_in_few_terms(t *testing.T) {
	for _, size := range []int{2, 3, 4, 5, 7} {
		took, sum := map[Term]int{}, 0
		const seeds = 200
		for seed := range uint64(seeds) {
			random := rand.New(rand.NewPCG(seed, 0))
			nodes := map[string]*Raft{}
			for _, id := range names(size) {
				o := options(id, size)
				o.ElectionTicks, o.HeartbeatTicks, o.Random = 10, 2, random.IntN
				nodes[id] = start(o, HardState{}, Snapshot{}, nil)
			}
			arriving := map[int][]Message{}
			term := Term(0)
			for now := 0; term == 0; now++ {
				require.Less(t, now, 1000, "seed %d", seed)
				for _, m := range arriving[now] {
					nodes[m.To].Step(m)
				}
				for _, id := range names(size) {
					nodes[id].Tick()
					for _, m := range ready(nodes[id]).Messages {
						at := now + 1 + random.IntN(3)
						arriving[at] = append(arriving[at], m)
					}
					if s := nodes[id].Status(); s.Role == Leader {
						term = s.Term
					}
				}
			}
			took[term]++
			sum += int(term)
		}
		t.Logf("%d nodes: terms until one led, and how often: %v", size, took)
		require.Less(t, float64(sum)/seeds, 3.0)
	}
}
