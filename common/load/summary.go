package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A row is one contender in one cell: the medians of its rounds.
type row struct {
	Op         string  `json:"op"`
	Conns      int     `json:"connections"`
	Server     string  `json:"server"`
	Throughput float64 `json:"ops_per_s"`
	P50        micros  `json:"p50_us"`
	P95        micros  `json:"p95_us"`
	P99        micros  `json:"p99_us"`
	CPU        micros  `json:"cpu_us_per_op"`
	// Errors are those of all rounds, by what was wrong.
	Errors map[string]int `json:"errors,omitempty"`
	// ThroughputVsEcho and CPUVsEcho are the medians of the ratios to echo in the same round.
	ThroughputVsEcho float64 `json:"throughput_vs_echo"`
	CPUVsEcho        float64 `json:"cpu_vs_echo"`
}

// micros is a time in microseconds.
type micros float64

func inMicros(d time.Duration) micros { return micros(d) / micros(time.Microsecond) }

// throughput is right answers per second.
func (s sample) throughput() float64 { return float64(s.good) / s.elapsed.Seconds() }

// cpuPerOp is processor time per right answer. It is 0 if nothing was measurable.
func (s sample) cpuPerOp() float64 { return max(0, float64(inMicros(s.cpu))/float64(s.good)) }

// summarize makes a row of the rounds of each contender in each cell, in the order in which they first
// come. There is a sample of echo for each cell and round, and every sample has a right answer.
func summarize(samples []sample) []row {
	type group struct {
		cell
		server string
	}
	var order []group
	rounds := map[group][]sample{}
	for _, s := range samples {
		g := group{s.cell, s.server}
		if rounds[g] == nil {
			order = append(order, g)
		}
		rounds[g] = append(rounds[g], s)
	}
	var rows []row
	for _, g := range order {
		rows = append(rows, newRow(rounds[g], rounds[group{g.cell, "echo"}]))
	}
	return rows
}

// newRow summarizes the rounds of a contender beside those of echo.
func newRow(rounds, echo []sample) row {
	percentile := func(p float64) micros {
		return micros(medianOf(rounds, func(s sample) float64 { return float64(inMicros(s.latency.percentile(p))) }))
	}
	r := row{
		Op: rounds[0].op, Conns: rounds[0].conns, Server: rounds[0].server,
		Throughput: medianOf(rounds, sample.throughput),
		P50:        percentile(50), P95: percentile(95), P99: percentile(99),
		CPU:              micros(medianOf(rounds, sample.cpuPerOp)),
		ThroughputVsEcho: medianRatio(rounds, echo, sample.throughput),
		CPUVsEcho:        medianRatio(rounds, echo, sample.cpuPerOp),
		Errors:           map[string]int{},
	}
	for _, s := range rounds {
		for what, n := range s.errors {
			r.Errors[what] += n
		}
	}
	return r
}

// medianRatio is the median of what of each of a sample to that of b's sample of the same round. A round
// in which b has 0 is left out.
func medianRatio(a, b []sample, what func(sample) float64) float64 {
	base := map[int]float64{}
	for _, s := range b {
		base[s.round] = what(s)
	}
	var ratios []float64
	for _, s := range a {
		if base[s.round] > 0 {
			ratios = append(ratios, what(s)/base[s.round])
		}
	}
	return median(ratios)
}

func medianOf(samples []sample, what func(sample) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, what(s))
	}
	return median(values)
}

// median is the middle of values, or the mean of the two in the middle. It is 0 if there are none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// list says what went wrong, the most frequent first.
func list(counts map[string]int) string {
	whats := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, what := range whats {
		parts = append(parts, fmt.Sprintf("%d × %s", counts[what], what))
	}
	return strings.Join(parts, ", ")
}
