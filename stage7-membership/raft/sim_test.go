package raft

import (
	"flag"
	"os"
	"testing"
	"time"

	"raftworkbook/common/sim"
)

var seed = flag.Uint64("seed", 0, "the one seed that the simulator runs")

func TestSim_everything_holds_whatever_the_operator_does(t *testing.T) {
	sim.Elections(t, algorithm, *seed, 1500*time.Millisecond)
}

func TestSoak_many_seeds(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes minutes: make soak sets SOAK=1")
	}
	sim.Elections(t, algorithm, 0, 5*time.Minute)
}
