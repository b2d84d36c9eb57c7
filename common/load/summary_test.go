package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{4}, 4},
		{[]float64{4, 1}, 2.5},
		{[]float64{9, 1, 4}, 4},
		{[]float64{9, 1, 4, 5}, 4.5},
	} {
		require.Equal(t, c.want, median(c.values), c.values)
	}
}

func TestMedianRatio_compares_within_a_round(t *testing.T) {
	samples := func(rounds map[int]int) []sample {
		var ss []sample
		for round, good := range rounds {
			ss = append(ss, sample{round: round, result: result{good: good, elapsed: time.Second}})
		}
		return ss
	}
	for _, c := range []struct {
		a, b map[int]int
		want float64
	}{
		{map[int]int{1: 5, 2: 50, 3: 500}, map[int]int{1: 10, 2: 100, 3: 1000}, 0.5}, // the machine's speed changes
		{map[int]int{1: 9, 2: 1, 3: 8}, map[int]int{1: 10, 2: 10, 3: 10}, 0.8},       // one bad round
		{map[int]int{1: 9, 2: 7}, map[int]int{1: 10, 2: 0}, 0.9},                     // nothing to compare with
		{map[int]int{1: 9}, nil, 0},
	} {
		require.InDelta(t, c.want, medianRatio(samples(c.a), samples(c.b), sample.throughput), 1e-9)
	}
}

func TestSummarize_gives_medians_ratios_and_all_errors(t *testing.T) {
	take := func(server string, round, good int, cpu time.Duration, errors map[string]int) sample {
		s := sample{cell: cell{"put", 16}, server: server, round: round, cpu: cpu}
		s.result = result{good: good, elapsed: 2 * time.Second, errors: errors}
		for range good {
			s.latency.add(100 * time.Nanosecond)
		}
		return s
	}
	got := summarize([]sample{
		take("echo", 1, 100, 100*time.Microsecond, nil), take("stage 0", 1, 50, 100*time.Microsecond, map[string]int{"stale": 1}),
		take("echo", 2, 200, 200*time.Microsecond, nil), take("stage 0", 2, 180, 180*time.Microsecond, map[string]int{"timeout": 4}),
		take("echo", 3, 400, 800*time.Microsecond, nil), take("stage 0", 3, 200, 1200*time.Microsecond, map[string]int{"stale": 2}),
	})
	want := []row{
		{
			Op: "put", Conns: 16, Server: "echo", Throughput: 100, P50: 0.1, P95: 0.1, P99: 0.1,
			CPU: 1, Errors: map[string]int{}, ThroughputVsEcho: 1, CPUVsEcho: 1,
		}, {
			Op: "put", Conns: 16, Server: "stage 0", Throughput: 90, P50: 0.1, P95: 0.1, P99: 0.1,
			CPU: 2, Errors: map[string]int{"stale": 3, "timeout": 4}, ThroughputVsEcho: 0.5, CPUVsEcho: 2,
		},
	}
	require.Empty(t, cmp.Diff(want, got))
	require.Equal(t, "4 × timeout, 3 × stale", list(got[1].Errors))
}

func TestMicros_has_three_digits_and_a_unit(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0.00µs": 0, "0.25µs": 250, "7.25µs": 7250, "31.4µs": 31_400, "999µs": 999_400, "1.00ms": 999_600,
		"12.3ms": 12_340_000, "1.20s": 1200 * time.Millisecond, "137s": 137 * time.Second,
	} {
		require.Equal(t, want, inMicros(d).String())
	}
}

func TestGrouped(t *testing.T) {
	for want, n := range map[string]float64{"0": 0, "999": 999.4, "1,000": 999.6, "12,345,678": 12345678} {
		require.Equal(t, want, grouped(n))
	}
}
