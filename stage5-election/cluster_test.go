package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/wire"
	"raftworkbook/stage5-election/client"
)

func TestCluster_takes_writes_while_two_of_five_are_down_and_no_longer_when_three_are(t *testing.T) {
	t.Parallel()
	l := startOf(t, 5)
	for _, line := range []string{
		"kill n4 => ok",
		"kill n5 => ok",
		"put x 1 => ok",
		"kill n3 => ok",
		"put x 2 => error timeout", // its time is up, or leadership is lost before
		"wait get x @n1 => error unavailable",
		"get x within 1m @n2 => 1",
		"restart n3 => ok",
		"wait get x => 2", // it was unknown, and now it has happened: n1 or n2 leads, who have it
	} {
		_, err := l.Run(t.Context(), line)
		require.NoError(t, err, line)
	}
}

func TestClient_is_sent_to_an_address_that_it_can_use(t *testing.T) {
	t.Parallel()
	l, _ := start(t)
	follower, err := wire.Dial(t.Context(), l.Nodes()[2].Client)
	require.NoError(t, err)
	defer follower.Close()
	put := wire.Request{Op: "put", Key: "x", Value: new("1")}
	_, err = follower.Do(t.Context(), put)
	var refused *wire.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "not_leader", refused.Code)
	leader, err := wire.Dial(t.Context(), refused.Leader)
	require.NoError(t, err)
	defer leader.Close()
	_, err = leader.Do(t.Context(), put)
	require.NoError(t, err)
}

func TestCluster_takes_every_write_while_a_follower_dies_5_times(t *testing.T) {
	t.Parallel()
	l, _ := start(t)
	c := client.New(strings.Split(addrs(l, 1, 2, 3), ",")...)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if _, err := c.Append(t.Context(), "x", "x"); err != nil {
				t.Errorf("append %d: %v", n, err)
				break
			}
		}
		written <- n
	}()
	for range 5 {
		for _, command := range []string{"kill n3", "restart n3"} {
			_, err := l.Run(t.Context(), command)
			require.NoError(t, err)
		}
	}
	cancel()
	n := <-written
	require.Greater(t, n, 5)
	answer, err := l.Run(t.Context(), "get x")
	require.NoError(t, err)
	require.Len(t, answer, n)
	// It is in the cluster again, and has all of it.
	_, err = l.Run(t.Context(), "wait get x within 1s @n3 => "+answer)
	require.NoError(t, err)
}

// children returns the processes that a process has started.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		child, _ := strconv.Atoi(fields[0])
		if fields[1] == strconv.Itoa(pid) {
			pids = append(pids, child)
		}
	}
	return pids
}

func TestLab_that_is_interrupted_in_a_partition_leaves_no_process(t *testing.T) {
	t.Parallel()
	cmd := program(t, "lab", "-nodes", "3")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = stdin.Write([]byte("partition n1 n2,n3\nput x 1\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ok\n", line) // and now the put waits for a majority
	nodes := children(t, cmd.Process.Pid)
	require.Len(t, nodes, 3)

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, failed, cmd.ProcessState.ExitCode())
	for _, pid := range nodes {
		require.Eventually(t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH }, 10*time.Second, time.Millisecond)
	}
}
