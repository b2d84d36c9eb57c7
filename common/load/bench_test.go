package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quick is a bench of a few milliseconds.
func quick(conns ...int) bench {
	return bench{
		options:  options{ops: []string{"put"}, conns: conns, size: 10, keys: 5, length: 5 * time.Millisecond, rounds: 3},
		progress: newProgress(io.Discard),
	}
}

func TestBench_takes_turns(t *testing.T) {
	var turns []string
	here := func(name string) contender {
		return contender{name: name, echoes: true, start: func(context.Context) (*server, error) {
			turns = append(turns, name)
			return startHere(t, echo), nil
		}}
	}
	b := quick(1, 2)
	b.durable, b.dir = true, t.TempDir()
	samples, err := b.measureAll(context.Background(), []contender{here("echo"), here("other")})
	require.NoError(t, err)
	require.Equal(t, strings.Fields(strings.Repeat("echo echo other other ", 6)), turns) // with load, and without
	require.Len(t, samples, 12)
	require.Len(t, b.flushes, 3, "the disk takes part in each round")
	for i, s := range samples {
		require.Equal(t, i/4+1, s.round)
		require.Equal(t, cell{"put", i/2%2 + 1}, s.cell)
		require.Equal(t, []string{"echo", "other"}[i%2], s.server)
		require.Positive(t, s.good)
	}
}

func TestBench_leaves_out_what_it_costs_to_start(t *testing.T) {
	const startCost = 50 * time.Millisecond
	expensive := contender{name: "expensive", echoes: true, start: func(context.Context) (*server, error) {
		for begun := processorTime(); processorTime()-begun < startCost; {
		}
		return startHere(t, echo), nil
	}}
	b := quick(1)
	s, err := b.measure(context.Background(), expensive, cell{"put", 1})
	require.NoError(t, err)
	require.Less(t, s.cpu, startCost)
}

func TestBench_fails_where_no_answer_is_right(t *testing.T) {
	silent := contender{name: "broken", start: func(context.Context) (*server, error) {
		return startHere(t, answering(func(string) string { return "frob" })), nil
	}}
	b := quick(1)
	_, err := b.measureAll(context.Background(), []contender{silent})
	require.ErrorContains(t, err, "broken: no right answer to any put: ")
	require.ErrorContains(t, err, "no JSON")
}
