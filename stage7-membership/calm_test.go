package main

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
	"raftworkbook/stage7-membership/client"
)

// reign is who leads which term, by the table of all nodes; nobody if they do not agree.
func reign(t *testing.T, l *lab.Lab) (leader, term string) {
	table, err := l.Run(context.Background(), "status")
	require.NoError(t, err)
	said := map[[2]string]int{}
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[0] != "node" && fields[1] == "running" {
			said[[2]string{fields[4], fields[3]}]++
		}
	}
	for r := range said {
		if len(said) == 1 {
			return r[0], r[1]
		}
	}
	return "", ""
}

// gaps kills the leader of three nodes again and again while a client writes. It returns the longest time between two
// acknowledged writes around each kill.
func gaps(t *testing.T, kills int, flags ...string) (longest []time.Duration) {
	l, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: 3, Flags: flags})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	var addrs []string
	for _, n := range l.Nodes() {
		addrs = append(addrs, n.Client)
	}
	c := client.New(addrs...)
	defer c.Close()
	put := func() { require.NoError(t, c.Put(t.Context(), "x", "v")) }
	for range kills {
		var leader string
		require.Eventually(t, func() bool { leader, _ = reign(t, l); return leader != "" }, 10*time.Second, 5*time.Millisecond)
		put()
		killed := make(chan error)
		go func() {
			_, err := l.Run(context.Background(), "kill "+leader)
			killed <- err
		}()
		gap, last := time.Duration(0), time.Now()
		for began := last; time.Since(began) < 2*time.Second && gap < 50*time.Millisecond; {
			put()
			gap, last = max(gap, time.Since(last)), time.Now()
		}
		require.NoError(t, <-killed)
		longest = append(longest, gap)
		_, err := l.Run(context.Background(), "restart "+leader)
		require.NoError(t, err)
	}
	slices.Sort(longest)
	return longest
}

// fast are the settings for networks that answer within a millisecond.
var fast = []string{"-heartbeat=20ms", "-election=100ms"}

func TestWrites_resume_when_the_leader_is_killed(t *testing.T) {
	t.Parallel()
	t.Log(gaps(t, 2))
}

func TestSoak_writes_resume_soon_when_the_leader_is_killed(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("measures time: make soak sets SOAK=1")
	}
	slow, quick := gaps(t, 10), gaps(t, 10, fast...)
	t.Logf("election 300 to 600 ms: %v", slow)
	t.Logf("election 100 to 200 ms: %v", quick)
	require.Less(t, slow[5], time.Second)
	require.Less(t, quick[5], 400*time.Millisecond)
}

func TestSoak_cluster_in_which_all_is_well_keeps_its_leader(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes 20 minutes: make soak sets SOAK=1")
	}
	t.Run("idle", func(t *testing.T) { keeps(t, 10*time.Minute) })
	t.Run("with all processors busy", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		defer busy.Wait()
		defer cancel()
		for range runtime.NumCPU() {
			busy.Go(func() {
				for ctx.Err() == nil {
				}
			})
		}
		keeps(t, 10*time.Minute)
	})
}

// keeps requires that a cluster has the same leader, in the same term, for so long.
func keeps(t *testing.T, long time.Duration) {
	l, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: 3})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	leader, term := reign(t, l)
	require.NotEmpty(t, leader)
	time.Sleep(long) // that is what is tested
	after, last := reign(t, l)
	require.Equal(t, []string{leader, term}, []string{after, last})
	n, err := strconv.Atoi(term)
	require.NoError(t, err)
	require.Positive(t, n)
}
