package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
	"raftworkbook/common/linear"
	"raftworkbook/common/wire"
)

// TestMain lets the binary of the tests be the program too, for those that start it as a process.
func TestMain(m *testing.M) {
	if lab.Child() {
		main()
	}
	flag.Parse()
	flag.Set("test.parallel", "4") // most of them wait for a cluster
	os.Exit(m.Run())
}

// start starts a cluster of three nodes and returns the address of the first.
func start(t *testing.T) (l *lab.Lab, addr string) {
	t.Helper()
	l = startOf(t, 3)
	return l, l.Nodes()[0].Client
}

// startOf starts a cluster of so many nodes.
func startOf(t *testing.T, size int) *lab.Lab {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: size, Out: t.Output()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// program is a run of the stage's program that has not begun.
func program(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "LAB_CHILD=1")
	return cmd
}

// output runs the program to its end.
func output(t *testing.T, input string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := program(t, args...)
	var out, err strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &err
	cmd.Run()
	require.NotNil(t, cmd.ProcessState)
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

func TestLab_answers_what_is_piped_in(t *testing.T) {
	t.Parallel()
	stdout, stderr, status := output(t, "put x 1\nget x\nget y\n")
	require.Equal(t, "ok\n1\nabsent\n", stdout)
	require.Empty(t, stderr)
	require.Equal(t, done, status)
}

func TestLab_fails_if_an_expectation_does(t *testing.T) {
	t.Parallel()
	stdout, stderr, status := output(t, "put x 1\nget x => 2\nget x => 1\n", "lab", "-nodes", "3")
	require.Equal(t, "ok\n1\n1\n", stdout)
	require.Contains(t, stderr, "line 2: get x => 2: expected 2, got 1")
	require.Equal(t, failed, status)
}

func TestCommandLine_says_what_is_wrong(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for _, c := range []struct {
		args   []string
		says   string
		status int
	}{
		{[]string{"frob"}, `there is no command "frob"`, wrongUsed},
		{[]string{"node", "-frob"}, "flag provided but not defined: -frob", wrongUsed},
		{[]string{"node", "n1"}, `node takes flags only, not "n1"`, wrongUsed},
		{[]string{"node"}, "-data is missing: a directory that n1 keeps its log in", wrongUsed},
		{[]string{"node", "-data", data, "-listen", "nowhere"}, "n1 cannot listen there, and -listen chooses another address: ", failed},
		{[]string{"node", "-data", data, "-listen", "127.0.0.1:0", "-peer", "nowhere"}, "n1 cannot listen there, and -peer chooses another address: ", failed},
		{[]string{"node", "-cluster", "n1"}, `-cluster: "n1" is no member: n1=HOST:PORT/HOST:PORT`, wrongUsed},
		{[]string{"node", "-id", "n2"}, "-id n2 is not in the cluster: n1=127.0.0.1:7101/127.0.0.1:7001", wrongUsed},
		{[]string{"node", "-data", "main.go", "-listen", "127.0.0.1:0", "-peer", "127.0.0.1:0"}, "n1 does not start: ", failed},
		{[]string{"trace", "maybe"}, `bad_request: "value" is on or off`, failed},
		{[]string{"lead", "n1"}, "lead takes no arguments", wrongUsed},
		{[]string{"lab", "-scene", "none.scene"}, "none.scene: no such file", failed},
		{[]string{"lab", "-nodes", "0"}, "-nodes is at least 1", wrongUsed},
	} {
		stdout, stderr, status := output(t, "", c.args...)
		require.Contains(t, stderr, c.says)
		require.Empty(t, stdout)
		require.Equal(t, c.status, status, c.args)
	}
	stdout, _, status := output(t, "", "help")
	require.Equal(t, usage, stdout)
	require.Equal(t, done, status)
}

func TestNode_says_that_its_port_is_taken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	stdout, stderr, status := output(t, "", "node", "-data", t.TempDir(), "-listen", l.Addr().String())
	require.Empty(t, stdout)
	require.Contains(t, stderr, "address already in use")
	require.Equal(t, 1, strings.Count(stderr, "\n"))
	require.Equal(t, failed, status)
}

func TestNode_ends_when_told_to(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(t *testing.T, cmd *exec.Cmd, stdin *os.File)
	}{
		{"interrupt", func(t *testing.T, cmd *exec.Cmd, _ *os.File) { require.NoError(t, cmd.Process.Signal(os.Interrupt)) }},
		{"terminate", func(t *testing.T, cmd *exec.Cmd, _ *os.File) { require.NoError(t, cmd.Process.Signal(syscall.SIGTERM)) }},
		{"end of its leash", func(t *testing.T, _ *exec.Cmd, stdin *os.File) { require.NoError(t, stdin.Close()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t, "node", "-data", t.TempDir(), "-listen", "127.0.0.1:0", "-peer", "127.0.0.1:0", "-leash")
			leash, held, err := os.Pipe()
			require.NoError(t, err)
			defer held.Close()
			cmd.Stdin = leash
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			leash.Close()
			line, err := bufio.NewReader(stdout).ReadString('\n')
			require.NoError(t, err)
			addr := strings.TrimPrefix(strings.TrimSpace(line), "n1 listening on ")
			idle, err := net.Dial("tcp", addr) // a client that stays must not keep it
			require.NoError(t, err)
			defer idle.Close()

			c.tell(t, cmd, held)
			require.NoError(t, cmd.Wait())
			_, err = net.Dial("tcp", addr)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		})
	}
}

func TestServer_is_linearizable(t *testing.T) {
	t.Parallel()
	_, addr := start(t)
	h := linear.NewHistory()
	linear.Workload{Clients: 8, Ops: 50, Keys: 5, Seed: 1}.Drive(t.Context(), h, addr)
	linear.Require(t, h)
}

// vandal sends random bytes, now and then a piece of a request among them, until ctx ends.
func vandal(ctx context.Context, addr string, r *rand.Rand) {
	pieces := []string{"\n", `{"id":1,"op":"put","key":"mine","value":"`, `"}`, `{"id":`, "\x00", `\ud800`, "[[[["}
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			continue
		}
		for range r.IntN(100) {
			b := make([]byte, r.IntN(2000))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			b = append(b, pieces[r.IntN(len(pieces))]...)
			conn.SetDeadline(time.Now().Add(time.Second))
			if _, err := conn.Write(b); err != nil {
				break
			}
		}
		conn.Close()
	}
}

// vandalised does puts and gets of one client for d beside vandals, and returns how long each pair took.
func vandalised(t *testing.T, addr string, vandals int, d time.Duration) (took []time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	ended := make(chan struct{})
	for n := range vandals {
		go func() { vandal(ctx, addr, rand.New(rand.NewPCG(1, uint64(n)))); ended <- struct{}{} }()
	}
	conn, err := wire.Dial(t.Context(), addr)
	require.NoError(t, err)
	defer conn.Close()
	for n := 0; n == 0 || ctx.Err() == nil; n++ { // once at least, however slow the machine
		begin := time.Now()
		value := fmt.Sprint(n)
		_, err := conn.Do(t.Context(), wire.Request{Op: "put", Key: "k", Value: &value})
		require.NoError(t, err)
		resp, err := conn.Do(t.Context(), wire.Request{Op: "get", Key: "k"})
		require.NoError(t, err)
		require.Equal(t, value, *resp.Value)
		took = append(took, time.Since(begin))
	}
	cancel()
	for range vandals {
		<-ended
	}
	slices.Sort(took)
	return took
}

func TestServer_serves_others_beside_random_bytes(t *testing.T) {
	t.Parallel()
	_, addr := start(t)
	require.NotEmpty(t, vandalised(t, addr, 2, time.Second/5))
}

// The bound that the chapter states: beside a client that sends random bytes as fast as it can, 99 of 100 pairs
// of put and get take less than 50 ms.
func TestSoak_random_bytes_do_not_delay_others(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes a minute: make soak sets SOAK=1")
	}
	_, addr := start(t)
	alone := vandalised(t, addr, 0, 5*time.Second)
	beside := vandalised(t, addr, 1, time.Minute)
	p99 := func(took []time.Duration) time.Duration { return took[len(took)*99/100] }
	t.Logf("99 of 100 pairs of put and get: %v alone, %v beside random bytes; the longest %v and %v",
		p99(alone), p99(beside), alone[len(alone)-1], beside[len(beside)-1])
	require.Less(t, p99(beside), 50*time.Millisecond)
}
