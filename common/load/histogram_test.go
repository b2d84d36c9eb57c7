package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHistogram_puts_a_duration_into_a_bucket_hardly_longer(t *testing.T) {
	for exp := range maxBits {
		for _, off := range []time.Duration{-1, 0, 1, 12345} {
			d := time.Duration(1)<<exp + off
			if d < 0 || d >= 1<<maxBits {
				continue
			}
			top := longest(bucket(d))
			require.GreaterOrEqual(t, top, d)
			require.LessOrEqual(t, top-d, d/64)
		}
	}
}

func TestHistogram_has_a_bucket_for_every_duration(t *testing.T) {
	for i := range buckets {
		require.Equal(t, i, bucket(longest(i)))
	}
	require.Equal(t, 0, bucket(-time.Second))
	require.Equal(t, buckets-1, bucket(time.Hour))
}

func TestPercentile(t *testing.T) {
	for _, c := range []struct {
		durations      []time.Duration
		p50, p95, p100 time.Duration
	}{
		{nil, 0, 0, 0},
		{[]time.Duration{7}, 7, 7, 7},
		{[]time.Duration{1, 2}, 1, 2, 2},
		{[]time.Duration{3, 1, 2}, 2, 3, 3},
		{[]time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}, 10, 19, 20},
		{[]time.Duration{0, 0, 0, 100}, 0, 100, 100},
	} {
		var h histogram
		for _, d := range c.durations {
			h.add(d)
		}
		require.Equal(t, c.p50, h.percentile(50), c.durations)
		require.Equal(t, c.p95, h.percentile(95), c.durations)
		require.Equal(t, c.p100, h.percentile(100), c.durations)
		require.Equal(t, len(c.durations), h.total())
	}
}

func TestPercentile_of_two_halves_is_that_of_the_whole_sorted(t *testing.T) {
	var halves [2]histogram
	var all []time.Duration
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 10_000 {
		d := time.Duration(random.ExpFloat64() * float64(time.Millisecond))
		halves[i%2].add(d)
		all = append(all, d)
	}
	halves[0].merge(&halves[1])
	slices.Sort(all)
	for _, p := range []int{1, 50, 95, 99, 100} {
		exact := all[len(all)*p/100-1]
		got := halves[0].percentile(float64(p))
		require.GreaterOrEqual(t, got, exact)
		require.LessOrEqual(t, got, exact+exact/64)
	}
}
