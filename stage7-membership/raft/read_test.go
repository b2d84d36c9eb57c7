package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// requireRead requires that the leader takes a read, and returns when it may be answered.
func requireRead(t *testing.T, r *Raft) (round uint64, index Index) {
	t.Helper()
	round, index, err := r.Read()
	require.NoError(t, err)
	return round, index
}

func TestRead_is_for_the_leader(t *testing.T) {
	for _, role := range []Role{Follower, Candidate} {
		r := inRole(role)
		_, _, err := r.Read()
		require.ErrorIs(t, err, ErrNotLeader)
		requireReady(t, r)
	}
}

// §8: a leader has all that is committed, and does not know how much that is until an entry of its own term is.
func TestRead_waits_for_the_first_commit_of_the_term(t *testing.T) {
	r := leader(options("n1", 3), entries(1, 1, 1)...) // term 4
	_, _, err := r.Read()
	require.ErrorIs(t, err, ErrNotReady)
	r.Step(appended("n2", 4, 2)) // what an earlier leader may have committed
	r.Ready()
	_, _, err = r.Read()
	require.ErrorIs(t, err, ErrNotReady)
	r.Step(appended("n2", 4, 3))
	r.Ready()
	_, index := requireRead(t, r)
	require.EqualValues(t, 3, index)

	r.Step(Message{From: "n2", To: "n1", Term: 5, AppendEntries: &AppendEntries{PrevLogIndex: 3, PrevLogTerm: 4}})
	elect(r)
	_, _, err = r.Read()
	require.ErrorIs(t, err, ErrNotReady, "in each term")
}

func TestRead_waits_for_a_round_that_begins_after_it(t *testing.T) {
	r := established(options("n1", 3))
	sent := beat(r)
	round, _ := requireRead(t, r)
	require.Greater(t, round, rounds(sent)["n2"])
	r.Step(answered("n2", 1, rounds(sent)["n2"])) // sent before it: somebody may have been elected since
	r.Step(answered("n3", 1, rounds(sent)["n3"]))
	require.Less(t, r.AnsweredRound(), round)

	after := ready(r).Appends // at once, and not with the next heartbeat
	require.Equal(t, map[string]uint64{"n2": round, "n3": round}, rounds(after))
	require.Less(t, r.AnsweredRound(), round)
	r.Step(answered("n2", 1, round))
	require.GreaterOrEqual(t, r.AnsweredRound(), round, "n1 and n2 are a majority")
}

func TestRead_shares_a_round_with_all_that_come_before_it_begins(t *testing.T) {
	r := established(options("n1", 3))
	round, _ := requireRead(t, r)
	for range 99 {
		same, _ := requireRead(t, r)
		require.Equal(t, round, same)
	}
	require.Len(t, ready(r).Appends, 2)
	require.Empty(t, ready(r).Appends)
	next, _ := requireRead(t, r)
	require.Greater(t, next, round)
}

func TestRead_is_answered_by_any_later_round(t *testing.T) {
	r := established(options("n1", 3))
	round, _ := requireRead(t, r)
	r.Ready() // is lost
	later := rounds(beat(r))["n2"]
	require.Greater(t, later, round)
	r.Step(answered("n2", 1, later))
	require.GreaterOrEqual(t, r.AnsweredRound(), round)
}

func TestRead_goes_to_followers_whose_window_is_full_and_with_entries(t *testing.T) {
	o := options("n1", 3)
	o.MaxInflight = 1
	r := established(o)
	propose(t, r, "a")
	r.Ready()
	r.Step(appended("n3", 1, 2)) // n2 has not answered
	propose(t, r, "b")
	round, _ := requireRead(t, r)
	require.Equal(t, map[string]uint64{"n2": round, "n3": round}, rounds(ready(r).Appends))
}

func TestRead_sees_what_is_committed_when_it_comes(t *testing.T) {
	r := established(options("n1", 3))
	propose(t, r, "a")
	r.Ready()
	_, index := requireRead(t, r)
	require.EqualValues(t, 1, index, "no majority has it yet")
	r.Step(appended("n2", 1, 2))
	r.Ready()
	_, index = requireRead(t, r)
	require.EqualValues(t, 2, index)
}

func TestRead_of_one_who_is_alone_needs_nobody(t *testing.T) {
	r := established(options("n1", 1))
	round, index := requireRead(t, r)
	require.EqualValues(t, 1, index)
	requireReady(t, r)
	require.GreaterOrEqual(t, r.AnsweredRound(), round)
}

// n1 is cut off and does not know that n2 leads. Whatever comes, its reads are not answered.
func TestRead_of_a_deposed_leader_is_never_answered(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.heartbeat()
	r := g.nodes["n1"]
	g.lost = isolate("n1")
	g.lead("n2")
	g.propose("n2", "newer")
	round, _ := requireRead(t, r)
	for range 5 {
		g.heartbeat()
		require.Less(t, r.AnsweredRound(), round)
	}
	g.lost = nil
	g.heartbeat() // others answer, in the newer term
	require.Equal(t, Follower, r.Status().Role)
	require.Zero(t, r.AnsweredRound())
}
