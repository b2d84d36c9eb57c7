package main

import (
	"context"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
	"raftworkbook/common/linear"
)

// A wrecker kills nodes, lets them hang, and cuts links. Nobody tells the cluster what to do about it.
type wrecker struct {
	*lab.Lab
	t      *testing.T
	rand   *rand.Rand
	dead   map[string]bool
	paused map[string]bool
}

func newWrecker(t *testing.T, l *lab.Lab, seed uint64) *wrecker {
	return &wrecker{Lab: l, t: t, rand: rand.New(rand.NewPCG(seed, 0)), dead: map[string]bool{}, paused: map[string]bool{}}
}

func (w *wrecker) run(command string) string {
	w.t.Helper()
	answer, err := w.Run(context.Background(), command)
	require.NoError(w.t, err, command)
	return answer
}

// shuffled are the nodes' names in any order.
func (w *wrecker) shuffled() (ids []string) {
	for _, n := range w.Nodes() {
		ids = append(ids, n.ID)
	}
	w.rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}

// strike does one kind of harm.
func (w *wrecker) strike() {
	ids := w.shuffled()
	switch w.rand.IntN(4) {
	case 0: // one node or several die
		for _, id := range ids[:1+w.rand.IntN(len(ids))] {
			if !w.dead[id] {
				w.run("kill " + id)
				w.dead[id] = true
				delete(w.paused, id)
			}
		}
	case 1:
		if id := ids[0]; !w.dead[id] && !w.paused[id] {
			w.run("pause " + id)
			w.paused[id] = true
		}
	case 2:
		w.run("cut " + ids[0] + ">" + ids[1])
	case 3:
		half := len(ids) / 2
		w.run("heal")
		w.run("partition " + strings.Join(ids[:half], ",") + " " + strings.Join(ids[half:], ","))
	}
}

// mend undoes some of it.
func (w *wrecker) mend() {
	for _, id := range w.shuffled() {
		if w.rand.IntN(4) > 0 {
			w.revive(id)
		}
	}
	if w.rand.IntN(2) == 0 {
		w.run("heal")
	}
}

// relent undoes all.
func (w *wrecker) relent() {
	for _, id := range w.shuffled() {
		w.revive(id)
	}
	w.run("heal")
}

func (w *wrecker) revive(id string) {
	switch {
	case w.dead[id]:
		w.run("restart " + id)
	case w.paused[id]:
		w.run("resume " + id)
	}
	delete(w.dead, id)
	delete(w.paused, id)
}

// rampage has clients work on a cluster to which harm is done again and again, and checks what they saw. All of them
// read: at the leader, whoever that is.
func rampage(t *testing.T, size int, seed uint64, ops int) {
	l, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: size, Flags: compacting})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	var addrs []string
	for _, n := range l.Nodes() {
		addrs = append(addrs, n.Client)
	}
	h := linear.NewHistory()
	ctx, done := context.WithCancel(t.Context())
	var striking sync.WaitGroup
	strikes := 0
	striking.Go(func() {
		w := newWrecker(t, l, seed)
		defer w.relent()
		for ; ctx.Err() == nil; strikes++ {
			w.strike()
			select {
			case <-time.After(time.Duration(w.rand.IntN(600)) * time.Millisecond): // an election may end, or not
			case <-ctx.Done():
			}
			w.mend()
		}
	})
	linear.Workload{Clients: 6, Ops: ops, Keys: 40, Seed: seed, Patience: 10 * time.Second}.Drive(t.Context(), h, addrs...)
	done()
	striking.Wait()
	t.Logf("seed %d: %d nodes, %d strikes", seed, size, strikes)
	require.Positive(t, strikes)
	haveSnapshots(t, l)
	linear.Require(t, h)
}

func TestHarm_at_any_moment_loses_no_acknowledged_write(t *testing.T) {
	t.Parallel()
	rampage(t, 3, 1, 60)
}

func TestSoak_harm_at_any_moment_loses_no_acknowledged_write(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes minutes: make soak sets SOAK=1")
	}
	began := time.Now()
	for seed := uint64(2); time.Since(began) < 3*time.Minute; seed++ {
		rampage(t, 3+2*int(seed%2), seed, 200)
	}
}
