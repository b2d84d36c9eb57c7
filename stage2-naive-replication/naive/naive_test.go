package naive

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func command(text string) json.RawMessage { return json.RawMessage(`"` + text + `"`) }

// leader returns n1 of a cluster of n nodes, n1 leading.
func leader(n int) *Naive { return New("n1", "n1", cluster(n)) }

func cluster(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("n%d", i+1))
	}
	return ids
}

// requireReady requires that this is to be done now, and then nothing.
func requireReady(t *testing.T, want Ready, n *Naive) {
	t.Helper()
	rd, ok := n.Ready()
	require.True(t, ok)
	require.Empty(t, cmp.Diff(want, rd))
	rd, ok = n.Ready()
	require.False(t, ok)
	require.Empty(t, cmp.Diff(Ready{}, rd))
}

func TestLeader_sends_a_write_to_all_followers(t *testing.T) {
	n := leader(3)
	number, err := n.Propose(command("a"))
	require.NoError(t, err)
	require.EqualValues(t, 1, number)
	e := &Entry{1, command("a")}
	requireReady(t, Ready{Messages: []Message{
		{From: "n1", To: "n2", Write: e},
		{From: "n1", To: "n3", Write: e},
	}}, n)
}

func TestFollower_carries_out_what_comes_and_says_so(t *testing.T) {
	n := New("n2", "n1", cluster(3))
	n.Step(Message{From: "n1", To: "n2", Write: &Entry{7, command("a")}})
	n.Step(Message{From: "n1", To: "n2", Write: &Entry{3, command("b")}}) // no order is asked for
	requireReady(t, Ready{
		Committed: []Entry{{7, command("a")}, {3, command("b")}},
		Messages:  []Message{{From: "n2", To: "n1", Done: 7}, {From: "n2", To: "n1", Done: 3}},
	}, n)
}

func TestFollower_takes_no_writes_of_its_own(t *testing.T) {
	n := New("n2", "n1", cluster(3))
	_, err := n.Propose(command("a"))
	require.ErrorIs(t, err, ErrNotLeader)
	_, ok := n.Ready()
	require.False(t, ok)
}

func TestFollower_listens_to_its_leader_only(t *testing.T) {
	n := New("n2", "n1", cluster(3))
	n.Step(Message{From: "n3", To: "n2", Write: &Entry{1, command("a")}})
	n.Step(Message{From: "n1", To: "n2", Done: 1})
	_, ok := n.Ready()
	require.False(t, ok)
}

func TestLeader_needs_a_majority_of_the_whole_cluster(t *testing.T) {
	for _, c := range []struct{ size, followers int }{{1, 0}, {2, 1}, {3, 1}, {4, 2}, {5, 2}, {6, 3}, {7, 3}} {
		t.Run(fmt.Sprint(c.size), func(t *testing.T) {
			n := leader(c.size)
			number, err := n.Propose(command("a"))
			require.NoError(t, err)
			committed := 0
			for done, id := range cluster(c.size) { // n1, the leader, is done from the beginning
				if done > 0 {
					n.Step(Message{From: id, To: "n1", Done: number})
				}
				rd, _ := n.Ready()
				committed += len(rd.Committed)
				require.Equal(t, done >= c.followers, committed == 1, "with %d followers done", done)
			}
			require.Equal(t, 1, committed, "once")
		})
	}
}

func TestLeader_counts_each_follower_once(t *testing.T) {
	n := leader(5)
	number, err := n.Propose(command("a"))
	require.NoError(t, err)
	n.Ready()
	for range 3 {
		n.Step(Message{From: "n2", To: "n1", Done: number})
		n.Step(Message{From: "n1", To: "n1", Done: number})
	}
	_, ok := n.Ready()
	require.False(t, ok)
	n.Step(Message{From: "n4", To: "n1", Done: number})
	requireReady(t, Ready{Committed: []Entry{{number, command("a")}}}, n)
}

func TestLeader_does_not_count_strangers(t *testing.T) {
	n := leader(3)
	number, err := n.Propose(command("a"))
	require.NoError(t, err)
	n.Ready()
	n.Step(Message{From: "n4", To: "n1", Done: number})
	_, ok := n.Ready()
	require.False(t, ok)
}

func TestLeader_commits_in_the_order_of_majorities_not_of_writes(t *testing.T) {
	n := leader(3)
	for _, text := range []string{"a", "b"} {
		_, err := n.Propose(command(text))
		require.NoError(t, err)
	}
	n.Ready()
	n.Step(Message{From: "n2", To: "n1", Done: 2})
	n.Step(Message{From: "n3", To: "n1", Done: 1})
	requireReady(t, Ready{Committed: []Entry{{2, command("b")}, {1, command("a")}}}, n)
}

func TestLeader_forgets_what_it_abandons(t *testing.T) {
	n := leader(3)
	number, err := n.Propose(command("a"))
	require.NoError(t, err)
	n.Ready()
	n.Abandon(number)
	require.Empty(t, n.open)
	n.Step(Message{From: "n2", To: "n1", Done: number})
	_, ok := n.Ready()
	require.False(t, ok, "though n2 has it for ever")
}

// What the stage is for: two followers take the same two writes in different order, and no message ever makes them
// equal again.
func TestFollowers_differ_for_ever_if_writes_overtake(t *testing.T) {
	first, second := Entry{1, command("x=1")}, Entry{2, command("x=2")}
	last := func(order ...Entry) string {
		n := New("n2", "n1", cluster(3))
		for _, e := range order {
			n.Step(Message{From: "n1", To: "n2", Write: &e})
		}
		rd, _ := n.Ready()
		return string(rd.Committed[len(rd.Committed)-1].Command)
	}
	require.Equal(t, `"x=2"`, last(first, second))
	require.Equal(t, `"x=1"`, last(second, first))
}
