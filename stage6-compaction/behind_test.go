package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
	"raftworkbook/common/wire"
)

// write has 64 clients put at the leader until stop is called, and counts what is acknowledged.
func write(t *testing.T, addr string) (acknowledged *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	acknowledged = new(atomic.Int64)
	value := strings.Repeat("x", 100)
	for n := range 64 {
		clients.Go(func() {
			conn, err := wire.Dial(t.Context(), addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := conn.Do(t.Context(), wire.Request{Op: "put", Key: strconv.Itoa(n*1000 + i%1000), Value: &value}); err != nil {
					t.Error(err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	return acknowledged, func() { cancel(); clients.Wait() }
}

// A follower that is 100,000 entries behind becomes level, while the leader's clients lose a third of their speed at
// most.
func TestSoak_follower_far_behind_becomes_level_and_costs_others_little(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes a minute: make soak sets SOAK=1")
	}
	l, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: 3, Direct: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	run := func(command string) string {
		answer, err := l.Run(t.Context(), command)
		require.NoError(t, err)
		return answer
	}
	run("lead n1")
	run("kill n3")
	acknowledged, stop := write(t, l.Nodes()[0].Client)
	defer stop()
	rate := func(while time.Duration) float64 {
		before, began := acknowledged.Load(), time.Now()
		time.Sleep(while) // that is what is measured
		return float64(acknowledged.Load()-before) / time.Since(began).Seconds()
	}
	for acknowledged.Load() < 100_000 {
		rate(100 * time.Millisecond)
		require.False(t, t.Failed(), "clients cannot write any more")
	}
	alone := rate(5 * time.Second)
	behind := acknowledged.Load()
	began := time.Now()
	run("restart n3")
	beside := rate(5 * time.Second)
	for last := int64(0); last < behind; {
		text, _, _ := strings.Cut(run("log n3 1"), "@")
		last, _ = strconv.ParseInt(text, 10, 64)
		require.Less(t, time.Since(began), time.Minute)
	}
	t.Logf("%d entries behind, level after %v at most; %.0f writes a second before, %.0f meanwhile", behind, time.Since(began), alone, beside)
	require.Greater(t, beside, alone*2/3)
}
