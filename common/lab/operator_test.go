package lab

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/wire"
)

func TestStart_orders_the_first_node_of_a_fresh_cluster_to_lead_and_waits_until_it_is_of_use(t *testing.T) {
	t.Parallel()
	for _, opt := range []Options{{Stage: 3, Nodes: 3}, {Stage: 4, Nodes: 1}, {Stage: 3, Nodes: 3, Direct: true}, {Stage: 3, Nodes: 3, Dir: t.TempDir()}} {
		l := startLab(t, opt)
		require.NotContains(t, l.banner(), "Nobody leads")
		run(t, l, "log n1 => 1@1235 no-op", "put x 1 @n1 => ok")
	}
}

func TestStart_fails_where_the_first_order_is_refused(t *testing.T) {
	t.Setenv("FAKE_LACKS", "lead")
	_, err := Start(t.Context(), Options{Stage: 3, Nodes: 3})
	require.EqualError(t, err, "n1 was told to lead: unknown_op: lead")
}

func TestStart_gives_no_order_to_nodes_of_which_one_has_data(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bindTo(t, dir)
	l := startLab(t, Options{Stage: 3, Nodes: 3, Dir: dir})
	run(t, l, "put x 1 => ok", "wait get x @n3 => 1")
	require.NoError(t, l.Close())

	l = startLab(t, Options{Stage: 3, Nodes: 4, Dir: dir})
	require.Contains(t, l.banner(), "order\nthat node to lead: lead n1.\n")
	run(t, l, "timeout 1s", "put x 2 => error unavailable: nobody leads; lead n1 would order it, if its log is the best",
		"log n1 => nothing", "lead n3 => ok", "timeout 5s", "put x 2 => ok", "get x @n3 => 2")
}

func TestStart_waits_for_the_leader_that_nodes_elect_and_orders_none(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n2")
	l := startLab(t, Options{Stage: 5, Nodes: 3})
	require.NotContains(t, l.banner(), "Nobody leads")
	run(t, l, "log n1 => nothing", "put x 1 @n2 => ok", "log n2 => 1@1234 register 2@1234 put x=1",
		"kill n2", "timeout 1s", "put x 2 => error unavailable: nobody leads")
}

func TestUntil_gives_up_after_a_while(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		until(t.Context(), leaderTime, func(context.Context) bool { return false })
		require.Equal(t, leaderTime, time.Since(began))
		until(t.Context(), leaderTime, func(context.Context) bool { return time.Since(began) > leaderTime+time.Second })
		require.Less(t, time.Since(began), leaderTime+2*time.Second)
	})
}

func TestRestart_of_the_leader_leaves_a_cluster_that_nobody_leads(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 3, Nodes: 1})
	run(t, l, "restart n1 => ok", "timeout 1s", "put x 1 => error unavailable: nobody leads; lead n1 would order it, if its log is the best",
		"lead n1 => ok", "timeout 5s", "put x 1 => ok")
}

func TestLead_reaches_a_node_past_all_faults_and_the_client_goes_there(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 3, Nodes: 3})
	run(t, l, "cut client n2", "isolate n2", "lead n2 => ok", "heal")
	require.Equal(t, "n2", l.client.leaderNow())
	run(t, l, "put x 1 => ok", "get x @n2 => 1")
}

func TestOrders_to_a_node_that_cannot_hear_end_in_an_error_at_once(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 3, Nodes: 3})
	run(t, l, "kill n2", "pause n3", "timeout 1h",
		"lead n2 => error unavailable: not sent: n2 is dead", "lead n3 => error unavailable: not sent: n3 is paused",
		"log n2 => error unavailable", "trace on n3 => error unavailable", "trace on => ok")

	m := l.members[0]
	require.NoError(t, m.pause(true))
	m.mu.Lock()
	m.paused = false // as if it hung by itself
	m.mu.Unlock()
	run(t, l, "timeout 500ms", "lead n1 => error timeout: outcome unknown: no answer within 500ms")
}

func TestSnapshot_reaches_a_node_past_all_faults_and_says_how_far_it_goes(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	l := startLab(t, Options{Stage: 6, Nodes: 3})
	run(t, l, "put x 1 => ok", "wait get x @n2 => 1", "put x 2 => ok", "wait get x @n2 => 2", "cut client n2", "isolate n2",
		"snapshot n2 => n2 has a snapshot up to 3", "kill n3", "snapshot n3 => error unavailable: not sent: n3 is dead")
	answer, err := l.Run(t.Context(), "status")
	require.NoError(t, err)
	require.Equal(t, strings.TrimPrefix(`
node  process  role      term  leader  peers  last     commit   applied  snap
n1    running  leader    1234  n1      2      1234567  1234567  1234567  -
n2    running  follower  1234  n1      2      1234567  1234567  1234567  3
n3    dead     -         -     -       -      -        -        -        -
faults: cut client n2, cut n1 n2, cut n2 n3`, "\n"), answer)
}

func TestSnapshot_of_a_node_that_does_not_say_how_far_it_goes_is_no_answer(t *testing.T) {
	t.Setenv("FAKE_ELECTED", "n1")
	l := startLab(t, Options{Stage: 6, Nodes: 1})
	run(t, l, "snapshot n1 => error bad_response")
	t.Setenv("FAKE_LACKS", "snapshot")
	run(t, l, "restart n1", "snapshot n1 => error unknown_op")
}

func TestLog_shows_the_last_entries_oldest_first(t *testing.T) {
	l := startLab(t, Options{Stage: 3, Nodes: 1})
	for n := range 25 {
		run(t, l, fmt.Sprintf("put x %d => ok", n))
	}
	answer, err := l.Run(t.Context(), "log n1")
	require.NoError(t, err)
	lines := strings.Split(answer, "\n")
	require.Len(t, lines, 20)
	require.Equal(t, []string{"7@1235 put x=5", "26@1235 put x=24"}, []string{lines[0], lines[19]})
	run(t, l, "log n1 2 => 25@1235 put x=23 26@1235 put x=24", `put "a\nb" "\x1b[2J" => ok`, "log n1 1 => 27@1235 put a b=\uFFFD[2J")
}

func TestTrace_shows_what_nodes_write_together_in_one_piece(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	l, err := Start(t.Context(), Options{Stage: 3, Nodes: 3, Out: &out})
	require.NoError(t, err)
	run(t, l, "trace on n2 => ok", "trace on => ok", "trace off n3 => ok")
	const gets = 100
	var all sync.WaitGroup
	for _, m := range l.members {
		all.Go(func() {
			for range gets {
				l.askDirectly(t.Context(), m, wire.Request{Op: "get", Key: "x"})
			}
		})
	}
	all.Wait()
	run(t, l, "trace off => ok", "get y @n1", "get y @n2")
	require.NoError(t, l.Close())

	traced := out.String()
	for _, id := range []string{"n1", "n2"} {
		event := func(op string) string {
			return fmt.Sprintf("%s | %s arrives\n%[1]s |   a thought of %[1]s\n%[1]s |   another\n", id, op)
		}
		require.Equal(t, gets, strings.Count(traced, event("get")))
		traced = strings.ReplaceAll(traced, event("get"), "")
		traced = strings.ReplaceAll(traced, event("trace"), "")
	}
	require.Equal(t, "n3 | trace arrives\nn3 |   a thought of n3\nn3 |   another\n", traced)
}

func TestOrders_that_make_no_sense_say_what_would(t *testing.T) {
	l := startLab(t, Options{Stage: 3, Nodes: 2})
	for _, c := range []struct{ line, message string }{
		{"lead", "which node? there is n1, n2"},
		{"lead n3", `there is no node "n3"; there is n1, n2`},
		{"lead n1 n2", `what is "n2" for?`},
		{"log", "which node? there is n1, n2"},
		{"log n1 n2", "n2 is not a number of entries, from 1 to 1000"},
		{"log n1 0", "0 is not a number of entries"},
		{"log n1 1001", "1001 is not a number of entries"},
		{"log n1 2 3", `what is "2 3" for?`},
		{"trace", "something is missing; usage: trace on|off [n1]"},
		{"trace n1", "n1 is neither on nor off"},
		{"trace on n3", `there is no node "n3"`},
		{"trace on n1 n2", `what is "n2" for?`},
	} {
		answer, err := l.Run(t.Context(), c.line)
		require.ErrorContains(t, err, c.message, c.line)
		require.Empty(t, answer)
	}
	_, err := startLab(t, Options{Stage: 2}).Run(t.Context(), "lead n1")
	require.EqualError(t, err, "lead comes with stage 3; this is stage 2")
	_, err = l.Run(t.Context(), "snapshot n1")
	require.EqualError(t, err, "snapshot comes with stage 6; this is stage 3")
}
