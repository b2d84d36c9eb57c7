package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/client"
)

// outcome is what a client was told of an append.
type outcome struct {
	key, mark string
	err       *api.Error // nil if it was acknowledged
}

// appends has a client append marks of its own until ctx ends. It counts what is acknowledged.
func appends(ctx context.Context, t *testing.T, number int, addrs []string, acknowledged *atomic.Int64) (outcomes []outcome) {
	c := client.New(addrs...)
	defer c.Close()
	for n := 0; ctx.Err() == nil; n++ {
		o := outcome{key: fmt.Sprintf("log%d.%d", number%2, n/1000), mark: fmt.Sprintf("%d.%d,", number, n)} // a value has a bound
		call, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := c.Append(call, o.key, o.mark)
		cancel()
		switch {
		case err == nil:
			acknowledged.Add(1)
		case !errors.As(err, &o.err):
			t.Errorf("no error of the protocol: %v", err)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}

// once has 8 clients append while nodes are killed and cut off, so many times, and looks for each append. Between two
// times some appends are acknowledged, however slow the machine.
func once(t *testing.T, seed uint64, strikes int) {
	l, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: 5, Flags: compacting})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	var addrs []string
	for _, n := range l.Nodes() {
		addrs = append(addrs, n.Client)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outcomes := make([][]outcome, 8)
	var done atomic.Int64
	var clients sync.WaitGroup
	for n := range outcomes {
		clients.Go(func() { outcomes[n] = appends(ctx, t, n, addrs, &done) })
	}
	w := newWrecker(t, l, seed)
	for range strikes {
		before := done.Load()
		w.strike()
		time.Sleep(time.Duration(w.rand.IntN(500)) * time.Millisecond) // at any moment
		w.relent()
		require.Eventually(t, func() bool { return done.Load() > before+10 }, 30*time.Second, 5*time.Millisecond)
	}
	cancel()
	clients.Wait()

	reader := client.New(addrs...)
	defer reader.Close()
	require.NoError(t, reader.Put(t.Context(), "end", "")) // after it, nothing is unknown any more
	logs := map[string]string{}
	acknowledged, unknown := 0, 0
	for _, o := range slices.Concat(outcomes...) {
		if _, ok := logs[o.key]; !ok {
			logs[o.key], _, err = reader.Get(t.Context(), o.key)
			require.NoError(t, err)
		}
		times := strings.Count(","+logs[o.key], ","+o.mark)
		switch {
		case o.err == nil:
			acknowledged++
			require.Equal(t, 1, times, "%s was acknowledged", o.mark)
		case o.err.Definite():
			require.Zero(t, times, "%s: %v", o.mark, o.err)
		default:
			unknown++
			require.LessOrEqual(t, times, 1, "%s: %v", o.mark, o.err)
		}
	}
	t.Logf("seed %d: %d acknowledged, %d unknown", seed, acknowledged, unknown)
	haveSnapshots(t, l)
}

func TestAppend_is_done_once_while_nodes_are_killed_and_cut_off(t *testing.T) {
	t.Parallel()
	once(t, 1, 2)
}

func TestSoak_append_is_done_once_while_nodes_are_killed_and_cut_off(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes half a minute: make soak sets SOAK=1")
	}
	once(t, 2, 60)
}
