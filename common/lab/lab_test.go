package lab

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startLab starts a lab of fake nodes that is closed with the test, which fails if a node crashed.
func startLab(t *testing.T, opt Options) *Lab {
	t.Helper()
	l, err := Start(t.Context(), opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// run carries out lines and requires that each has the outcome that it names.
func run(t *testing.T, l *Lab, lines ...string) {
	t.Helper()
	for _, line := range lines {
		_, err := l.Run(t.Context(), line)
		require.NoError(t, err, line)
	}
}

// pids are the processes of a lab's nodes.
func pids(l *Lab) []int {
	var pids []int
	for _, m := range l.members {
		pids = append(pids, m.process().cmd.Process.Pid)
	}
	return pids
}

func addrs(l *Lab) []string {
	addrs := []string{l.block.Addr().String()}
	for _, n := range l.Nodes() {
		addrs = append(addrs, n.Client, n.Peer)
	}
	return addrs
}

func TestLab_close_leaves_no_process_port_or_file(t *testing.T) {
	l, err := Start(t.Context(), Options{Stage: 3, Nodes: 3})
	require.NoError(t, err)
	run(t, l, "put x 1 => ok", "pause n2", "cut n1 n3", "stall client n1")
	processes := pids(l)
	require.DirExists(t, l.Nodes()[0].Dir)

	began := time.Now()
	require.NoError(t, l.Close())
	require.Less(t, time.Since(began), 3*time.Second)
	require.NoError(t, l.Close(), "a second time")

	for _, pid := range processes {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	}
	_, err = l.block.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoDirExists(t, filepath.Dir(l.Nodes()[0].Dir))

	_, err = l.Run(t.Context(), "restart n1")
	require.ErrorContains(t, err, "closed")
	answer, err := l.Run(t.Context(), "put x 1 @n1")
	require.NoError(t, err)
	require.Contains(t, answer, "error unavailable")
}

func TestLab_ports_of_labs_started_at_once_differ(t *testing.T) {
	t.Parallel()
	const labs = 20
	all, errs := make([]*Lab, labs), make([]error, labs)
	var wg sync.WaitGroup
	for i := range labs {
		wg.Go(func() { all[i], errs[i] = Start(t.Context(), Options{}) })
	}
	wg.Wait()
	owner := map[string]int{}
	for i, l := range all {
		require.NoError(t, errs[i], "lab %d", i)
		defer func() { require.NoError(t, l.Close()) }()
		for _, addr := range addrs(l) {
			other, taken := owner[addr]
			require.False(t, taken, "%s is of lab %d and of %d", addr, i, other)
			owner[addr] = i
		}
	}
}

func TestBlock_is_not_free_for_a_node_whose_port_is_in_use(t *testing.T) {
	b, err := claim(3)
	require.NoError(t, err)
	defer b.Close()
	for _, addr := range []string{b.client(3), b.peer(3)} {
		used, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, b.free(2))
		require.ErrorIs(t, b.free(3), syscall.EADDRINUSE)
		require.NoError(t, used.Close())
	}
	require.NoError(t, b.free(3))

	_, err = take(b.number, 1)
	require.ErrorIs(t, err, syscall.EADDRINUSE, "it is claimed")
}

// A process has what its parent has open from its birth until it runs its own program.
func TestPort_that_was_looked_at_is_free_while_processes_are_started(t *testing.T) {
	b, err := claim(maxNodes)
	require.NoError(t, err)
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var starting sync.WaitGroup
	defer starting.Wait()
	defer cancel()
	for range 4 {
		starting.Go(func() {
			for ctx.Err() == nil {
				exec.Command("true").Run()
			}
		})
	}
	for i := range 4000 {
		if node := 1 + i%maxNodes; bindable(b.port(node)) == nil {
			l, err := net.Listen("tcp", b.addr(node))
			require.NoError(t, err)
			l.Close()
		}
	}
}

// bindTo has dir say that its data is of a block that is free, and that no lab takes as the first that is. It returns
// its number.
func bindTo(t *testing.T, dir string) int {
	for range 100 {
		b, err := take(blocks/2+rand.IntN(blocks/2), maxNodes)
		if err != nil {
			continue
		}
		require.NoError(t, b.Close())
		require.NoError(t, os.WriteFile(filepath.Join(dir, portsFile), fmt.Appendf(nil, "%d\n", b.number), 0o644))
		return b.number
	}
	t.Fatal("there is no such block")
	return 0
}

func TestLab_says_in_an_empty_directory_which_ports_its_data_is_of(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	empty, used := t.TempDir(), filepath.Join(parent, "used")
	require.NoError(t, os.MkdirAll(filepath.Join(used, "n1"), 0o755))
	for _, dir := range []string{filepath.Join(parent, "new"), empty, used, ""} {
		l := startLab(t, Options{Stage: 3, Nodes: 1, Dir: dir})
		said, err := os.ReadFile(filepath.Join(filepath.Dir(l.Nodes()[0].Dir), "ports"))
		if dir == used || dir == "" {
			require.ErrorIs(t, err, os.ErrNotExist, dir)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d\n", l.block.number), string(said))
	}
}

func TestLab_takes_the_ports_that_its_data_is_of_or_none(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	number := bindTo(t, dir)
	l := startLab(t, Options{Stage: 3, Nodes: 1, Dir: dir})
	require.Equal(t, number, l.block.number)

	_, err := Start(t.Context(), Options{Stage: 3, Nodes: 1, Dir: dir})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, fmt.Sprintf("the data in %s is of a lab on ports %d to %d, and they are not free: "+
		"end the other lab, or choose another directory: ", dir, l.block.port(0), l.block.port(199)))

	for _, wrong := range []string{"", "one\n", "-1\n", fmt.Sprint(blocks)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, portsFile), []byte(wrong), 0o644))
		_, err := Start(t.Context(), Options{Stage: 3, Nodes: 1, Dir: dir})
		require.EqualError(t, err, fmt.Sprintf("%s: %q is no number of a block of ports: 0 to 127 are",
			filepath.Join(dir, portsFile), strings.TrimSpace(wrong)))
	}
}

func TestPorts_lie_below_those_of_outgoing_connections_and_do_not_meet(t *testing.T) {
	last := block{number: blocks - 1}
	require.Equal(t, "127.0.0.1:32599", last.addr(blockSize-1))
	require.Equal(t, "127.0.0.1:7001", block{}.client(1))
	require.Equal(t, "127.0.0.1:7101", block{}.peer(1))
	require.Less(t, maxNodes, 99)
}

func TestLab_passes_each_stage_the_flags_that_it_has(t *testing.T) {
	for _, c := range []struct {
		stage int
		want  string
	}{
		{0, "-listen 127.0.0.1:7001 -leash"},
		{1, "-listen 127.0.0.1:7001 -leash"},
		{2, "-listen 127.0.0.1:7001 -leash -peer 127.0.0.1:7101 -cluster n1=127.0.0.1:7101/127.0.0.1:7001,n2=127.0.0.1:7102/127.0.0.1:7002 -via VIA -leader n1"},
		{3, "-listen 127.0.0.1:7001 -leash -peer 127.0.0.1:7101 -cluster n1=127.0.0.1:7101/127.0.0.1:7001,n2=127.0.0.1:7102/127.0.0.1:7002 -via VIA -data /d/n1"},
		{7, "-listen 127.0.0.1:7001 -leash -peer 127.0.0.1:7101 -bootstrap -cluster n1=127.0.0.1:7101/127.0.0.1:7001,n2=127.0.0.1:7102/127.0.0.1:7002 -via VIA -data /d/n1"},
	} {
		t.Setenv("FAKE_ELECTED", "n1")
		l := startLab(t, Options{Stage: c.stage})
		n := Node{ID: "n1", Client: "127.0.0.1:7001", Peer: "127.0.0.1:7101"}
		if c.stage >= firstDurable {
			n.Dir = "/d/n1"
		}
		flags := strings.Join(l.flags(&member{Node: n}, []Node{n, {ID: "n2", Client: "127.0.0.1:7002", Peer: "127.0.0.1:7102"}}), " ")
		require.Equal(t, c.want, strings.ReplaceAll(flags, l.block.Addr().String(), "VIA"))
	}
}

func TestStart_refuses(t *testing.T) {
	for _, c := range []struct {
		opt     Options
		message string
	}{
		{Options{Stage: 0, Nodes: 3}, "stage 0 has one node"},
		{Options{Stage: 2, Nodes: 99}, "at most 98"},
		{Options{Stage: 2, Dir: "/tmp"}, "keeps nothing on disk"},
		{Options{Stage: 6, TLS: true}, "stage 6 knows no TLS: it begins with stage 7"},
		{Options{Bin: "/nonexistent/node"}, "n1 does not start"},
	} {
		l, err := Start(t.Context(), c.opt)
		require.ErrorContains(t, err, c.message)
		require.Nil(t, l)
	}
}

func TestStart_fails_with_the_last_words_of_a_node_that_cannot(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "n2"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "n2", "data"), []byte("{"), 0o644))
	_, err := Start(t.Context(), Options{Stage: 3, Nodes: 3, Dir: dir})
	require.EqualError(t, err, "n2 does not start: exit status 1: the data is damaged: unexpected end of JSON input")
}

func TestStart_ends_with_its_context(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l, err := Start(ctx, Options{Stage: 2, Nodes: 2})
	if err == nil { // they were quick
		require.NoError(t, l.Close())
		return
	}
	require.ErrorIs(t, err, context.Canceled)
}

func TestLab_keeps_data_over_a_kill_and_a_directory_over_labs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bindTo(t, dir)
	l := startLab(t, Options{Stage: 3, Nodes: 1, Dir: dir})
	run(t, l, "put x 1 => ok", "kill n1 => ok", "timeout 100ms", "get x => error unavailable", "timeout 2s",
		"restart n1 => ok", "get x => 1", "restart n1 => ok", "get x => 1")
	require.NoError(t, l.Close())

	l = startLab(t, Options{Stage: 3, Nodes: 1, Dir: dir})
	run(t, l, "get x => 1")
}

func TestLab_pause_stops_a_node_and_resume_lets_it_answer_late(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{})
	run(t, l, "put x 1 => ok", "timeout 50ms", "pause n1 => ok", "append x 2 => error timeout", "get x => error timeout",
		"resume n1 => ok", "timeout 2s", "get x => 12", "pause n1", "kill n1 => ok", "restart n1 => ok", "get x => absent")
	_, err := l.Run(t.Context(), "kill n1")
	require.NoError(t, err)
	for _, line := range []string{"kill n1", "pause n1", "resume n1"} {
		_, err := l.Run(t.Context(), line)
		require.ErrorContains(t, err, "dead", line)
	}
}

func TestLab_tells_of_a_node_that_ends_by_itself(t *testing.T) {
	var out lockedBuffer
	l, err := Start(t.Context(), Options{Out: &out})
	require.NoError(t, err)
	run(t, l, "put say hello\x1b[2J => ok")
	// It came on standard output, and a panic comes on standard error: two pipes, with no order between them.
	require.Eventually(t, func() bool { return out.String() != "" }, 10*time.Second, time.Millisecond)
	run(t, l, "put crash badly => error timeout")
	<-l.members[0].process().exited
	run(t, l, "get x => error unavailable")
	run(t, l, "restart n1 => ok", "put say again => ok")
	require.EqualError(t, l.Close(), "n1 ended by itself: exit status 2: panic: badly")
	require.Equal(t, "n1 | hello\uFFFD[2J\n"+
		"n1 | panic: badly\nn1 | \nn1 | goroutine 1 [running]:\n"+
		"n1 ended by itself: exit status 2: panic: badly\n"+
		"n1 | again\n", out.String())
}

func TestLab_without_forwarder(t *testing.T) {
	l := startLab(t, Options{Stage: 2, Nodes: 2, Direct: true})
	run(t, l, "put x 1 => ok", "wait get x @n2 => 1", "heal => ok")
	_, err := l.Run(t.Context(), "cut n1 n2")
	require.ErrorContains(t, err, "no forwarder")
}

func TestLab_carries_out_commands_from_many_goroutines(t *testing.T) {
	t.Parallel()
	l := startLab(t, Options{Stage: 2, Nodes: 3})
	var wg sync.WaitGroup
	for _, line := range []string{"put x 1", "get x", "status", "restart n3", "restart n3", "cut n1 n2", "heal", "list"} {
		for range 3 {
			wg.Go(func() { l.Run(t.Context(), line) })
		}
	}
	wg.Wait()
	run(t, l, "heal", "put y 2 => ok", "wait get y @n3 => 2")
}

// A lockedBuffer is a buffer that many may write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
