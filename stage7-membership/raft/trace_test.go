package raft

import (
	"flag"
	"testing"

	"raftworkbook/common/sim"
)

var update = flag.Bool("update", false, "write the golden traces anew")

func TestGolden(t *testing.T) { sim.Golden(t, algorithm, "testdata/*.trace", *update) }
