package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
	"raftworkbook/common/linear"
	"raftworkbook/stage7-membership/client"
)

// A load is of clients who know the servers with which the cluster began.
type load struct {
	t       *testing.T
	history *linear.History
	addrs   []string

	mu      sync.Mutex
	last    time.Time // when a write was last acknowledged
	longest time.Duration
	writes  int
}

// work has a client append and get in turn until ctx ends.
func (l *load) work(ctx context.Context, number int) {
	c := client.New(l.addrs...)
	defer c.Close()
	for n := 0; ctx.Err() == nil; n++ {
		l.append(c, number, number%2, strconv.Itoa(number)+"."+strconv.Itoa(n)+",")
		l.get(c, number, n%2)
	}
}

func (l *load) append(c *client.Client, number, key int, piece string) {
	call := l.history.Begin(linear.Op{Client: number, Kind: linear.Append, Key: "k" + strconv.Itoa(key), Value: piece})
	length, err := c.Append(context.Background(), "k"+strconv.Itoa(key), piece)
	if err != nil {
		l.t.Error(err)
		call.Unknown()
		return
	}
	call.Return(linear.Answer{Length: length})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest, l.last, l.writes = max(l.longest, time.Since(l.last)), time.Now(), l.writes+1
}

func (l *load) get(c *client.Client, number, key int) {
	call := l.history.Begin(linear.Op{Client: number, Kind: linear.Get, Key: "k" + strconv.Itoa(key)})
	value, found, err := c.Get(context.Background(), "k"+strconv.Itoa(key))
	if err != nil {
		l.t.Error(err)
		call.Failed()
		return
	}
	call.Return(linear.Answer{Found: found, Value: value})
}

// changes are from three nodes to five and back to three, and then of all.
var changes = []string{"add n4 n5", "remove n1 n2", "add n6 n7", "replace n3 n8", "replace n4 n9", "replace n5 n10", "replace n6 n11", "replace n7 n12"}

// change carries out changes of the members while four clients write and read. After each, those that are
// no members any more are killed.
func change(t *testing.T, changes []string) {
	cluster, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: 3, Flags: compacting})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cluster.Close()) })
	l := &load{t: t, history: linear.NewHistory(), last: time.Now()}
	for _, n := range cluster.Nodes() {
		l.addrs = append(l.addrs, n.Client)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() { l.work(ctx, n+1) })
	}
	for _, command := range changes {
		answer, err := cluster.Run(t.Context(), command)
		require.NoError(t, err, command)
		require.Equal(t, "ok", answer, command)
		if words := strings.Fields(command); words[0] != "add" {
			for _, id := range words[1:] {
				if words[0] == "remove" || id == words[1] {
					_, err := cluster.Run(t.Context(), "kill "+id)
					require.NoError(t, err)
				}
			}
		}
	}
	cancel()
	clients.Wait()
	t.Logf("%d acknowledged writes, the longest gap between two of them %v", l.writes, l.longest)
	members := cluster.Nodes()
	reader := client.New(members[len(members)-1].Client)
	defer reader.Close()
	for key := range 2 { // what was acknowledged must be there
		l.get(reader, 5, key)
	}
	linear.Require(t, l.history)
	require.Greater(t, l.writes, len(changes))
}

func TestCluster_is_replaced_node_by_node_and_loses_nothing(t *testing.T) {
	t.Parallel()
	change(t, changes)
}

func TestSoak_cluster_is_replaced_again_and_again(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes a minute: make soak sets SOAK=1")
	}
	all := changes
	for n := 8; n < 50; n++ {
		all = append(all[:len(all):len(all)], "replace n"+strconv.Itoa(n)+" n"+strconv.Itoa(n+5))
	}
	change(t, all)
}
