package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
	"raftworkbook/common/linear"
)

// An operator kills nodes, starts them again, and is careful whom it orders to lead.
type operator struct {
	*lab.Lab
	t    *testing.T
	rand *rand.Rand
	dead map[string]bool
}

func (o *operator) run(command string) string {
	o.t.Helper()
	answer, err := o.Run(context.Background(), command)
	require.NoError(o.t, err, command)
	return answer
}

// strike kills one node or several, at once or one after the other, and starts them again, now or later.
func (o *operator) strike() {
	nodes := o.Nodes()
	o.rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	for _, n := range nodes[:1+o.rand.IntN(len(nodes))] {
		if !o.dead[n.ID] {
			o.run("kill " + n.ID)
			o.dead[n.ID] = true
		}
	}
	for id := range o.dead {
		if o.rand.IntN(4) > 0 {
			o.run("restart " + id)
			delete(o.dead, id)
		}
	}
}

// mend starts nodes until a majority lives, and orders one to lead if none does: the one with the best log of all that
// live. A node that was killed leads nothing, so no leader of before can be at work.
func (o *operator) mend() {
	nodes := o.Nodes()
	for _, n := range nodes {
		if len(o.dead) > (len(nodes)-1)/2 && o.dead[n.ID] {
			o.run("restart " + n.ID)
			delete(o.dead, n.ID)
		}
	}
	var best, leader string
	var most [2]int // last term, last index
	for _, n := range nodes {
		if o.dead[n.ID] {
			continue
		}
		if strings.Contains(o.statusOf(n.ID), "leader") {
			leader = n.ID
		}
		var last [2]int
		fmt.Sscanf(o.run("log "+n.ID+" 1"), "%d@%d", &last[1], &last[0])
		if best == "" || slices.Compare(last[:], most[:]) > 0 {
			best, most = n.ID, last
		}
	}
	if leader == "" {
		o.run("lead " + best)
	}
}

// statusOf is a node's line in the table, up to its term.
func (o *operator) statusOf(id string) string {
	for line := range strings.Lines(o.run("status")) {
		if fields := strings.Fields(line); fields[0] == id {
			return fields[2]
		}
	}
	return ""
}

// kills has clients work on a cluster of which nodes are killed again and again, and checks what they saw.
func kills(t *testing.T, size int, seed uint64, ops int) {
	l, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: size})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	var addrs []string
	for _, n := range l.Nodes() {
		addrs = append(addrs, n.Client)
	}
	h := linear.NewHistory()
	ctx, done := context.WithCancel(t.Context())
	var operating sync.WaitGroup
	strikes := 0
	operating.Go(func() {
		o := operator{Lab: l, t: t, rand: rand.New(rand.NewPCG(seed, 0)), dead: map[string]bool{}}
		for ; ctx.Err() == nil; strikes++ {
			o.strike()
			o.mend()
			select {
			case <-time.After(time.Duration(o.rand.IntN(150)) * time.Millisecond): // nodes are killed at any moment
			case <-ctx.Done():
			}
		}
	})
	linear.Workload{Clients: 6, Ops: ops, Keys: 40, Seed: seed, CASReads: true, Patience: 10 * time.Second}.Drive(t.Context(), h, addrs...)
	done()
	operating.Wait()
	t.Logf("seed %d: %d nodes, %d strikes", seed, size, strikes)
	require.Positive(t, strikes)
	linear.Require(t, h)
}

func TestKill_at_any_moment_loses_no_acknowledged_write(t *testing.T) {
	t.Parallel()
	kills(t, 3, 1, 60)
}

func TestSoak_kill_at_any_moment_loses_no_acknowledged_write(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes a minute: make soak sets SOAK=1")
	}
	began := time.Now()
	for seed := uint64(2); time.Since(began) < time.Minute; seed++ {
		kills(t, 3+2*int(seed%2), seed, 200)
	}
}
