package lab

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCommands_answer_in_the_notation_of_input(t *testing.T) {
	l := startLab(t, Options{})
	for _, c := range []struct{ line, want string }{
		{"get x", "absent"},
		{"put x 1", "ok"},
		{"get x", "1"},
		{`put x ""`, "ok"},
		{"get x", `""`},
		{`put "a key" "a\tvalue"`, "ok"},
		{`get "a key"`, `"a\tvalue"`},
		{"put x absent", "ok"},
		{"get x", `"absent"`},
		{`cas x "absent" 2`, "swapped"},
		{"cas x 1 3", "not swapped: 2"},
		{"cas y absent 1", "swapped"},
		{"cas y absent 2", "not swapped: 1"},
		{"cas z 1 2", "not swapped: absent"},
		{"append y 234", "4"},
		{"delete y", "ok"},
		{"delete y", "absent"},
		{"put big x", `error too_large: more than "enough"`},
		{"list none", "nothing"},
		{"put /a/b 1", "ok"},
		{"put /a/c/d 1", "ok"},
		{"put /a/c/e 1", "ok"},
		{"list /a/ /", "/a/b\n/a/c/"},
		{"list", "/a/b\n/a/c/d\n/a/c/e\n... more"},
		{`put "@n1" x @n1`, "ok"},
		{`get "@n1"`, "x"},
	} {
		answer, err := l.Run(t.Context(), c.line)
		require.NoError(t, err, c.line)
		require.Equal(t, c.want, answer, c.line)
	}
}

func TestCommands_that_make_no_sense_say_what_would(t *testing.T) {
	l := startLab(t, Options{Stage: 2, Nodes: 3})
	for _, c := range []struct{ line, message string }{
		{"frobnicate", "there is no command frobnicate; help lists them"},
		{"staus", "there is no command staus; did you mean status?"},
		{"put x", "something is missing; usage: put KEY VALUE [@n1]"},
		{"put x 1 2", `what is "2" for?`},
		{"get x @n9", `there is no node "n9"; there is n1, n2, n3`},
		{"kill", "which node? there is n1, n2, n3"},
		{"kill n1 n2", `what is "n2" for?`},
		{"cut", "which link?"},
		{"cut n1", "a link has two ends"},
		{"cut n1 n4", `there is no node "n4"; there is n1, n2, n3, and client`},
		{"cut n1>n1", "no link to itself"},
		{"cut n1 n2 n3", `what is "n3" for?`},
		{"slow n1 n2", "a time is missing"},
		{"slow n1 n2 fast", "fast is not a time"},
		{"slow n1 n2 -1s", "-1s is not a time"},
		{"partition", "two sides"},
		{"partition n1,n2,n3", "two sides"},
		{"partition n1,n2 n2,n3", "n2 can be on one side only"},
		{"timeout", "a time is missing"},
		{"wait get x", "what for?"},
		{"wait", "what for?"},
		{"save", "something is missing; usage: save FILE"},
		{"help me", `what is "me" for?`},
		{"quit now", `what is "now" for?`},
		{"status n1", `what is "n1" for?`},
		{"retry", "there is no write yet that could be sent again"},
		{"retry x", `what is "x" for?`},
		{"get x within 1s", "within comes with stage 4; this is stage 2"},
		{"get x 1s @n1", `what is "1s" for?`},
		{"run", "something is missing; usage: run put x 1 ..."},
		{"after 1s frob", "there is no command frob"},
		{"after 1s quit", "quit cannot be put off"},
		{"after 1s after 1s get x", "after cannot be used here; usage: after TIME COMMAND"},
		{"after 1s expect 1", "expect cannot be used here"},
	} {
		answer, err := l.Run(t.Context(), c.line)
		require.ErrorContains(t, err, c.message, c.line)
		require.Empty(t, answer)
	}
	_, err := startLab(t, Options{}).Run(t.Context(), "partition n1 n2")
	require.EqualError(t, err, "partition comes with stage 2; this is stage 0")
}

func TestHelp_shows_what_the_stage_has_within_80_columns(t *testing.T) {
	help := map[int]string{}
	for _, stage := range []int{0, 2, 3, 4, 6} {
		l := &Lab{opt: Options{Stage: stage}}
		answer, err := l.Run(t.Context(), "help")
		require.NoError(t, err)
		help[stage] = answer
		column := 0
		for line := range strings.SplitSeq(answer, "\n") {
			require.LessOrEqual(t, len(line), 80, line)
			at := strings.LastIndex(line[:34], " ") + 1
			if column == 0 {
				column = at
			}
			require.Equal(t, column, at, line)
		}
	}
	require.NotContains(t, help[0], "partition")
	require.Contains(t, help[2], "partition")
	require.NotContains(t, help[2], "trace")
	require.Contains(t, help[3], "lead the next term")
	require.NotContains(t, help[3], "within")
	require.Contains(t, help[4], "within")
	require.NotContains(t, help[4], "snapshot")
	require.Contains(t, help[6], "snapshot")
}

func TestAsk_asks_no_other_node_after_one_that_says_goodbye_without_an_answer(t *testing.T) {
	l := startLab(t, Options{Stage: 2, Nodes: 3})
	answer, err := l.Run(t.Context(), "put goodbye 1")
	require.NoError(t, err)
	require.Equal(t, "error timeout: outcome unknown: connection lost: unavailable: going down", answer)
	require.Equal(t, []string{"n1"}, slices.Collect(maps.Keys(l.client.conns)))
}

func TestCommands_repeat_no_more_than_the_beginning_of_a_long_word(t *testing.T) {
	l := startLab(t, Options{Stage: 2, Nodes: 2})
	long := strings.Repeat("w", 10_000)
	for _, line := range []string{long, "kill " + long, "get x " + long, "cut " + long, "timeout " + long, `"` + long, `"` + long + `"x`} {
		_, err := l.Run(t.Context(), line)
		require.ErrorContains(t, err, long[:maxWord-1]) // and a quote
		require.NotContains(t, err.Error(), long[:maxWord+1])
	}
}

func TestAsk_follows_redirects_and_asks_another_where_nothing_happened(t *testing.T) {
	l := startLab(t, Options{Stage: 2, Nodes: 3})
	l.client.follow("n3") // wrongly
	run(t, l, "put x 1 => ok")
	require.Equal(t, "n1", l.client.leaderNow())
	run(t, l, "put x 2 @n2 => error not_leader: n2 only follows (the leader is n1)", "wait get x @n3 => 1")

	run(t, l, "wait get x @n2 => 1", "kill n1 => ok", "get x => 1",
		"put x 3 => error unavailable: no node takes it: n1: not sent: connection refused")
}

func TestAsk_goes_round_until_a_node_takes_it_where_leaders_change(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 3, Nodes: 3})
	run(t, l, "put x 1", "kill n1")
	began := time.Now()
	run(t, l, "put x 2 => error unavailable: nobody leads; lead n2 would order it")
	require.GreaterOrEqual(t, time.Since(began), defaultPatience)

	run(t, l, "timeout 10s")
	ordered := make(chan error, 1)
	go func() {
		_, err := l.Run(t.Context(), "lead n2 => ok")
		ordered <- err
	}()
	run(t, l, "put x 3 => ok")
	require.NoError(t, <-ordered)
}

func TestAsk_that_is_over_before_it_begins_sends_nothing_and_says_so_in_plain_words(t *testing.T) {
	l := startLab(t, Options{})
	run(t, l, "put x 1 => ok")
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	answer, err := l.Run(interrupted, "append x 2")
	require.NoError(t, err)
	require.Equal(t, "error unavailable: not sent: interrupted", answer)
	run(t, l, "timeout 1ns", "append x 3 => error unavailable: not sent: the time was up", "timeout 2s", "get x => 1")
}

func TestAsk_never_sends_again_what_may_have_happened(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 3, Nodes: 3})
	run(t, l, "append x a => 1", "timeout 100ms",
		"cut client<n1", "append x b => error timeout: outcome unknown", // done, but who knows
		"heal", "timeout 2s", "append x c => 3", "get x @n1 => abc",
		"timeout 100ms", "cut client>n1", "append x d => error timeout: outcome unknown", // not done
		"heal", "timeout 2s", "append x e => 4", "get x @n1 => abce")
}

func TestCut_hurts_answers_of_a_client_that_had_not_said_a_word(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{})
	run(t, l, "timeout 1s", "cut client<n1 => ok", "append x a => error timeout", "heal", "get x => a") // time to connect
}

func TestFaults_between_nodes(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 2, Nodes: 5})
	// What one put tells a node may arrive after what the next does, so each waits for all.
	run(t, l, "put x 1 => ok", "wait get x @n4 => 1", "wait get x @n5 => 1")

	run(t, l, "isolate n5 => ok", "put x 2 => ok", "wait get x @n4 => 2", "get x @n5 => 1", "heal")
	run(t, l, "partition n1,n2 n3,n4,n5 => ok", "put y 1 => ok", "wait get y @n2 => 1",
		"get y @n3 => absent", "get y @n4 => absent", "get y @n5 => absent", "heal => ok")
	run(t, l, "cut n1>n2 => ok", "put z 1 => ok", "wait get z @n3 => 1", "get z @n2 => absent",
		"heal n1>n2 => ok", "wait get z @n2 => 1") // it tries again

	began := time.Now()
	run(t, l, "slow n1>n2 300ms => ok", "put z 3 => ok", "wait get z @n2 => 3", "wait get z @n3 => 3")
	require.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)
	run(t, l, "heal n1 n2", "stall n1 n2 => ok", "put z 4 => ok", "wait get z @n3 => 4", "get z @n2 => 3",
		"heal => ok", "wait get z @n2 => 4")
	run(t, l, "reorder n1>n2 => ok", "put z 5 => ok", "wait get z @n2 => 5", "wait get z @n3 => 5")
	answer, err := l.Run(t.Context(), "status")
	require.NoError(t, err)
	require.Contains(t, answer, "faults: reorder n1>n2")
}

func TestStatus_fits_80_columns_with_seven_nodes(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 3, Nodes: 7})
	run(t, l, "kill n2", "pause n3", "cut client n4", "cut n1>n5", "slow n1 n6 200ms", "isolate n7")
	began := time.Now()
	answer, err := l.Run(t.Context(), "status")
	require.NoError(t, err)
	require.Less(t, time.Since(began), 2*time.Second)
	require.Equal(t, strings.TrimPrefix(`
node  process  role      term  leader  peers  last     commit   applied  keys
n1    running  leader    1235  n1      6      1234567  1234567  1234567  0
n2    dead     -         -     -       -      -        -        -        -
n3    paused   -         -     -       -      -        -        -        -
n4    running  follower  1235  n1      6      1234567  1234567  1234567  0
n5    running  follower  1235  n1      6      1234567  1234567  1234567  0
n6    running  follower  1235  n1      6      1234567  1234567  1234567  0
n7    running  follower  1235  n1      6      1234567  1234567  1234567  0
faults: cut client n4, cut n1>n5, slow n1 n6 200ms, cut n1 n7, cut n2 n7, cut n3 n7, cut n4 n7, cut n5 n7, cut n6 n7`, "\n"), answer)
}

func TestStatus_shows_bytes_as_people_do(t *testing.T) {
	row := func(bytes string) statusRow {
		return statusRow{"n1", "running", map[string]any{"log_bytes": bytes, "keys": "4096"}}
	}
	require.Equal(t, strings.TrimPrefix(`
node  process  log      keys
n1    running  1023     4096
n1    running  1.0K     4096
n1    running  4.3M     4096
n1    running  1536.0T  4096
n1    running  many     4096`, "\n"), table([]statusRow{row("1023"), row("1024"), row("4500000"), row("1688849860263936"), row("many")}))
}

func TestStatus_of_a_node_that_does_not_answer_is_bounded(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{})
	m := l.members[0]
	require.NoError(t, m.pause(true))
	m.mu.Lock()
	m.paused = false // as if it hung by itself
	m.mu.Unlock()
	began := time.Now()
	run(t, l, "status => node process n1 running")
	require.Less(t, time.Since(began), statusTime+time.Second)
}

func TestWait_repeats_until_it_holds(t *testing.T) {
	l := startLab(t, Options{})
	run(t, l, "wait append x a => 3", "get x => aaa")
}

func TestWait_says_how_long_it_did_not_hold_and_no_answer_that_was_cut_short(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		get := command{run: func(ctx context.Context, _ *Lab, _ []word) (string, error) {
			select {
			case <-time.After(3 * time.Second):
				return "a", nil
			case <-ctx.Done():
				return "error timeout", nil
			}
		}}
		ln, err := parse("wait get x => b")
		require.NoError(t, err)
		answer, err := new(Lab).await(t.Context(), get, ln)
		require.Equal(t, "a", answer)
		require.EqualError(t, err, "expected b, got a after 5s")
	})
}

func TestExpect_checks_the_last_answer(t *testing.T) {
	l := startLab(t, Options{})
	_, err := l.Run(t.Context(), "expect ok")
	require.ErrorContains(t, err, "no answer yet")
	run(t, l, "put x 1", "get x", "expect 1", "expect 1 | stage3: 2", "# a word between", "expect 1")
	_, err = l.Run(t.Context(), "expect 2 | stage3: 1")
	require.EqualError(t, err, "expected 2, got 1")
}
