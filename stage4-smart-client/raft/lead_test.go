package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLead_begins_a_term_with_an_entry_without_command(t *testing.T) {
	r := New(options("n1", 3), HardState{2}, entries(1, 1, 2))
	r.Lead()
	requireSame(t, Status{ID: "n1", Role: Leader, Term: 4, Leader: "n1", LastIndex: 3, LastTerm: 4}, r.Status())
	first := AppendEntries{PrevLogIndex: 2, PrevLogTerm: 2, Entries: []Entry{noop(3, 4)}}
	requireReady(t, r, Ready{
		HardState: &HardState{4},
		Entries:   []Entry{noop(3, 4)},
		Messages:  []Message{appendTo("n2", 4, first), appendTo("n3", 4, first)}, // none before the term is saved
	})
}

func TestLead_leads_no_term_that_another_node_leads(t *testing.T) {
	for size := 1; size <= 7; size++ {
		owner := map[Term]string{}
		for _, id := range names(size) {
			r := New(options(id, size), HardState{}, nil)
			for last := Term(0); last < 30; last = r.Status().Term {
				r.Lead()
				term := r.Status().Term
				require.Greater(t, term, last)
				require.Empty(t, owner[term], "term %d of %d nodes, by %s", term, size, id)
				owner[term] = id
			}
		}
		for term := Term(1); term <= 30; term++ {
			require.Contains(t, owner, term, "of %d nodes", size)
		}
	}
}

func TestLead_takes_the_next_term_of_its_own_and_never_one_that_it_led(t *testing.T) {
	for _, c := range []struct {
		id        string
		has, want Term
	}{
		{"n1", 0, 1}, {"n2", 0, 2}, {"n3", 0, 3}, // of a new cluster
		{"n1", 1, 4}, {"n2", 2, 5}, {"n3", 3, 6}, // led before it was started again
		{"n1", 3, 4}, {"n1", 5, 7}, {"n2", 6, 8}, {"n3", 4, 6},
	} {
		r := New(options(c.id, 3), HardState{c.has}, nil)
		require.Equal(t, Follower, r.Status().Role, "until it is told to lead")
		r.Lead()
		require.Equal(t, c.want, r.Status().Term, "%s after term %d", c.id, c.has)
	}
}

// Figure 2, volatile state on leaders: "Reinitialized after election." What a follower had in an earlier term may have
// been replaced since.
func TestLead_forgets_what_followers_had_in_an_earlier_term(t *testing.T) {
	r := established(options("n1", 3), entries(1, 1, 1)...)
	r.Step(Message{From: "n2", To: "n1", Term: 5, AppendEntries: &AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1}})
	r.Lead()
	rd, _ := r.Ready()
	first := AppendEntries{PrevLogIndex: 3, PrevLogTerm: 4, Entries: []Entry{noop(4, 7)}, LeaderCommit: 3}
	requireSame(t, []Message{appendTo("n2", 7, first), appendTo("n3", 7, first)}, rd.Messages[1:]) // after the reply to n2
	for range 2 {
		propose(t, r, "a")
		requireSame(t, []Message(nil), ready(r).Appends, "nobody has answered yet")
	}
	r.Step(appended("n2", 7, 4))
	require.EqualValues(t, 4, statusAfter(r).CommitIndex)
}

func TestLead_on_a_leader_is_a_new_term(t *testing.T) {
	r := established(options("n1", 3))
	r.Lead()
	rd, _ := r.Ready()
	require.Equal(t, &HardState{4}, rd.HardState)
	require.Equal(t, []Entry{noop(2, 4)}, rd.Entries)
	r.Step(appended("n2", 1, 1)) // of its own term before
	r.Step(appended("n3", 1, 1))
	requireReady(t, r)
	require.EqualValues(t, 1, r.Status().CommitIndex)
}
