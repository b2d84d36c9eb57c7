package lab

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/wire"
)

func TestRetry_is_done_again_before_stage_4_and_from_then_on_has_the_first_answer(t *testing.T) {
	t.Parallel()
	for _, opt := range []Options{{Stage: 0}, {Stage: 3, Nodes: 3}, {Stage: 4, Nodes: 3}} {
		l := startLab(t, opt)
		run(t, l, "append x a => 1", "retry => 1 | stage0-3: 2", "retry => 1 | stage0-3: 3", "get x => a | stage0-3: aaa",
			"delete x => ok", "timeout 200ms", "cut client<n1", "append x b => error timeout", "heal", "timeout 5s",
			"retry => 1 | stage0-3: 2", "get x => b | stage0-3: bb",
			"cas lock absent me => swapped", "retry => swapped | stage0-3: not swapped: me")
	}
}

func TestRetry_of_a_write_to_one_node_goes_to_that_node(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 4, Nodes: 3})
	run(t, l, "put x 1 @n2 => error not_leader", "retry => error not_leader",
		"put x 1 @n1 => ok", "put x 2 @n2 => error not_leader", "lead n2", "retry => error session_expired", // the fake forgets
		"wait get x @n2 => 1")
}

func TestWrites_of_a_session_that_is_gone_go_into_another_but_a_retry_does_not(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 4})
	run(t, l, "append x a => 1", "kill n1", "restart n1", "lead n1", "append x b => 2", "retry => 2",
		"kill n1", "restart n1", "lead n1", "retry => error session_expired", "retry => error session_expired",
		"append x c => 3", "retry => 3")
}

func TestWrite_for_which_no_session_can_be_opened_has_not_happened(t *testing.T) {
	l := startLab(t, Options{Stage: 4, Nodes: 3})
	run(t, l, "timeout 500ms", "cut client<n1", "put x 1 => error unavailable: not sent, since no session was opened: timeout: outcome unknown",
		"heal", "get x => absent", "timeout 5s", "retry => ok", "get x => 1",
		"kill n1", "timeout 500ms", "put x 2 => error unavailable: nobody leads")

	t.Setenv("FAKE_LACKS", "register")
	l = startLab(t, Options{Stage: 4})
	run(t, l, "put x 1 => error unavailable: not sent, since no session was opened: unknown_op: register")
}

func TestWrites_at_once_have_one_session_and_a_number_each(t *testing.T) {
	l := startLab(t, Options{Stage: 4})
	const writes = 100
	var all sync.WaitGroup
	for range writes {
		all.Go(func() { l.Run(t.Context(), "append x a") })
	}
	all.Wait()
	run(t, l, "append x b => 101", "log n1 => 1@1235 no-op 2@1235 register")
	s := <-l.client.series
	require.EqualValues(t, writes+1, s.last)
	require.Empty(t, s.waiting)
	l.client.series <- s
}

func TestSeries_says_which_is_the_oldest_that_waits(t *testing.T) {
	var s series
	for _, c := range []struct{ seq, number, done uint64 }{{0, 1, 1}, {0, 2, 1}, {0, 3, 1}} {
		number, done := s.begin(c.seq)
		require.Equal(t, [2]uint64{c.number, c.done}, [2]uint64{number, done})
	}
	s.finish(1)
	s.finish(3)
	_, done := s.begin(0)
	require.EqualValues(t, 2, done)
	s.finish(2)
	number, done := s.begin(3) // again
	require.Equal(t, [2]uint64{3, 3}, [2]uint64{number, done})
}

func TestRead_from_stage_4_on_is_no_older_than_what_was_seen(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 4, Nodes: 3})
	run(t, l, "put x 1", "wait get x @n2 => 1", "slow n1>n2 300ms", "put x 2 => ok", "get x @n2 => 2", "heal")

	run(t, l, "isolate n2", "put x 3", "wait get x @n3 => 3", "timeout 1s", "get x @n2 => error stale: n2 is behind")
	began := time.Now()
	l.client.follow("n2")
	run(t, l, "timeout 2s", "get x => 3") // of another, in time
	require.Less(t, time.Since(began), defaultPatience)
	resp, err := l.askDirectly(t.Context(), l.members[1], wire.Request{Op: "get", Key: "x"}) // another client
	require.NoError(t, err)
	require.Equal(t, "2", *resp.Value)
}

func TestRead_before_stage_4_may_be_older_than_what_was_seen(t *testing.T) {
	l := startLab(t, Options{Stage: 3, Nodes: 2})
	run(t, l, "put x 1", "wait get x @n2 => 1", "isolate n2", "put x 2", "get x => 2", "get x @n2 => 1")
}

func TestGet_within_a_time_is_refused_where_the_answer_may_be_older(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 4, Nodes: 2})
	run(t, l, "put x 1", "wait get x @n2 => 1", "get x within 1h @n2 => 1", "wait get x within 10ms @n2 => error stale",
		"get x within 10ms => 1", "kill n1", "timeout 500ms", "get x within 10ms => error unavailable: nobody leads")
	l.client.follow("n2")
	run(t, l, "get x within 10ms => error stale: n2 is")
	for _, c := range []struct{ line, message string }{
		{"get x within", "a time is missing"},
		{"get x within soon", "soon is not a time"},
		{"get x 1s @n1", `what is "1s" for?`},
		{"get x within 1s 2s", `what is "2s" for?`},
	} {
		_, err := l.Run(t.Context(), c.line)
		require.ErrorContains(t, err, c.message, c.line)
	}
}
