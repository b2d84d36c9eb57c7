package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunProgram_tells_it_where_the_servers_are(t *testing.T) {
	t.Parallel()
	for stage, want := range []string{1: "-servers\nN1\na\nb c", 3: "-servers\nN1\na\nb c", 4: "a\nb c"} {
		if want == "" {
			continue
		}
		l := startLab(t, Options{Stage: stage, Nodes: min(stage, 3)})
		answer, err := l.Run(t.Context(), `run say a "b c"`)
		require.NoError(t, err)
		require.Equal(t, strings.ReplaceAll(want, "N1", l.members[0].Client), answer)
		answer, err = l.Run(t.Context(), "run servers")
		require.NoError(t, err)
		require.Equal(t, strings.Join(l.clientAddrs(), ","), answer)
	}
	_, err := startLab(t, Options{}).Run(t.Context(), "run get x")
	require.EqualError(t, err, "run comes with stage 1; this is stage 0")
}

func TestRunProgram_answers_with_what_it_prints_or_how_it_fails(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 4})
	run(t, l, "run say absent => absent", `run say "a b" => a b`, `run nothing => ""`,
		"run fail timeout: too late => error timeout", "expect error timeout: too late", "run fall => error exit status 3",
		"run fail \"\\x1b[2J\" => error \uFFFD[2J", "run say \"\\x1b[2J\" => \uFFFD[2J")
	answer, err := l.Run(t.Context(), "run flood")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("x", maxOutput)+"\n... more", answer)

	l.opt.Bin = "/nonexistent"
	_, err = l.Run(t.Context(), "run say a")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// hang has a command run without an end, and returns when that has begun, with its processes.
func hang(ctx context.Context, t *testing.T, l *Lab) (answer chan string, pids []int) {
	file := filepath.Join(t.TempDir(), "pids")
	answer = make(chan string, 1)
	go func() {
		a, _ := l.Run(ctx, "run hang "+file)
		answer <- a
	}()
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(file)
		pids = make([]int, 2)
		n, _ := fmt.Sscanln(string(b), &pids[0], &pids[1])
		return n == 2
	}, 10*time.Second, time.Millisecond)
	return answer, pids
}

func TestRunProgram_leaves_no_process_when_it_is_interrupted_or_the_lab_closes(t *testing.T) {
	t.Parallel()
	l, err := Start(t.Context(), Options{Stage: 4})
	require.NoError(t, err)
	ctx, interrupt := context.WithCancel(t.Context())
	answer, pids := hang(ctx, t, l)
	interrupt()
	require.Contains(t, <-answer, "error timeout: outcome unknown: killed after ")
	requireGone(t, pids)

	answer, pids = hang(t.Context(), t, l)
	require.NoError(t, l.Close())
	requireGone(t, pids)
	require.Contains(t, <-answer, "killed after ")
	_, err = l.Run(t.Context(), "run say a")
	require.ErrorIs(t, err, errClosed)
}

// requireGone requires that the first of processes is gone, and its child soon.
func requireGone(t *testing.T, pids []int) {
	t.Helper()
	require.ErrorIs(t, syscall.Kill(pids[0], 0), syscall.ESRCH)
	require.Eventually(t, func() bool { return syscall.Kill(pids[1], 0) == syscall.ESRCH }, 10*time.Second, time.Millisecond)
}
