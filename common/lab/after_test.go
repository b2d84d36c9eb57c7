package lab

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAfter_carries_out_later_and_tells_of_it(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	l, err := Start(t.Context(), Options{Out: &out})
	require.NoError(t, err)
	run(t, l, "after 1s put x 1 => ok", "expect ok", "get x => absent", "wait get x => 1")
	for _, c := range []struct{ line, failure string }{
		{"after 1ms get x => 2", "after 1ms get x: expected 2, got 1"},
		{"after 1ms put big 1", `after 1ms put big 1: error too_large: more than "enough"`},
		{"after 1ms put x", "after 1ms put x: something is missing; usage: put KEY VALUE [@n1]"},
	} {
		run(t, l, c.line)
		require.EqualError(t, l.later.settle(t.Context()), c.failure)
	}
	run(t, l, "after 1ms help")
	require.NoError(t, l.later.settle(t.Context()))
	require.NoError(t, l.Close())
	said, help, _ := strings.Cut(out.String(), "> help\n")
	require.Equal(t, "> put x 1\nok\n> get x\n1\nexpected 2, got 1\n"+
		"> put big 1\nerror too_large: more than \"enough\"\n> put x\nsomething is missing; usage: put KEY VALUE [@n1]\n", said)
	require.Contains(t, help, "\nget KEY")
}

func TestAfter_fails_a_scene_at_its_end(t *testing.T) {
	l := startLab(t, Options{})
	for _, c := range []struct{ scene, message string }{
		{"after 30ms get x => 1\nget x => absent\n", "after 30ms get x: expected 1, got absent"},
		{"after 1ms put big 1\n", "after 1ms put big 1: error too_large"},
		{"after 1ms put big 1\nget x => 1", "line 2: get x => 1"},
		{"after 1ms put big 1\nput big 2\n", "line 2: put big 2"},
	} {
		err := l.Scene(t.Context(), strings.NewReader(c.scene), io.Discard)
		require.ErrorContains(t, err, c.message)
		l.later.settle(t.Context())
	}
	var story strings.Builder
	require.NoError(t, l.Scene(t.Context(), strings.NewReader("after 50ms put x 1 => ok | stage2: absent\nwait get x => 1\nafter 1ms put big 1 => error too_large"), &story))
	require.Equal(t, "> after 50ms put x 1\nok\n> wait get x\n1 ✓\n> after 1ms put big 1\nok\n", story.String())
}

func TestAfter_fails_a_pipe_at_its_end(t *testing.T) {
	t.Parallel()
	cmd := stageBinary(t, "0")
	cmd.Stdin = strings.NewReader("after 100ms get x => 1\nput y 1\n")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.EqualError(t, err, "exit status 1")
	require.Equal(t, "ok\nok\n", string(out))
	require.Contains(t, errs.String(), "> get x\nabsent\n")
	require.Contains(t, errs.String(), "after 100ms get x: expected 1, got absent\n")
}

func TestAfter_is_bounded_in_number_and_gone_when_the_lab_closes(t *testing.T) {
	var out lockedBuffer
	l, err := Start(t.Context(), Options{Out: &out})
	require.NoError(t, err)
	run(t, l, "pause n1", "timeout 1h", "after 1ms get x")
	for range maxLater - 1 {
		run(t, l, "after 1h kill n1")
	}
	_, err = l.Run(t.Context(), "after 1h kill n1")
	require.EqualError(t, err, "16 commands are put off already")
	began := time.Now()
	require.NoError(t, l.Close())
	require.Less(t, time.Since(began), reapTime)
	require.NotContains(t, out.String(), "kill")
	_, err = l.Run(t.Context(), "after 1h kill n1")
	require.ErrorIs(t, err, errClosed)
	_, err = l.Run(t.Context(), "after 1h kill n1")
	require.ErrorIs(t, err, errClosed)
}
