package raft

import (
	"flag"
	"os"
	"testing"
	"time"

	"raftworkbook/common/sim"
)

var seed = flag.Uint64("seed", 0, "the one seed that the simulator runs")

func TestSim_everything_holds_under_a_careful_operator(t *testing.T) {
	sim.Careful(t, algorithm, *seed, 1500*time.Millisecond)
}

func TestSim_a_careless_operator_loses_what_was_acknowledged(t *testing.T) {
	sim.Careless(t, algorithm, *seed, 500*time.Millisecond)
}

func TestSoak_many_seeds(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes minutes: make soak sets SOAK=1")
	}
	t.Run("careful", func(t *testing.T) { sim.Careful(t, algorithm, 0, 4*time.Minute) })
	t.Run("careless", func(t *testing.T) { sim.Careless(t, algorithm, 0, time.Minute) })
}
