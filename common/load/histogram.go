package main

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width grows with them: 64 to each power of two, so that
// a bucket is at most 1/64 (1.6 %) of its durations wide. The zero value is empty.
type histogram struct {
	counts [buckets]uint32
}

const (
	bucketBits = 6
	maxBits    = 37 // 137 s; whatever is longer counts as that
	buckets    = (maxBits - bucketBits + 1) << bucketBits
)

// bucket returns the number of d's bucket: its highest bits, and where they stand.
func bucket(d time.Duration) int {
	n := uint64(min(max(d, 0), 1<<maxBits-1))
	shift := max(0, bits.Len64(n)-bucketBits-1)
	return shift<<bucketBits + int(n>>shift)
}

// longest returns the longest duration of bucket i.
func longest(i int) time.Duration {
	shift := max(0, i>>bucketBits-1)
	return time.Duration((i-shift<<bucketBits+1)<<shift - 1)
}

func (h *histogram) add(d time.Duration) { h.counts[bucket(d)]++ }

// merge adds what other has counted.
func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
}

func (h *histogram) total() int {
	total := 0
	for _, n := range h.counts {
		total += int(n)
	}
	return total
}

// percentile returns a duration that p percent of all, rounded up, do not exceed: the longest of its
// bucket. It is 0 if there are none.
func (h *histogram) percentile(p float64) time.Duration {
	rank := int(math.Ceil(p / 100 * float64(h.total())))
	for i, n := range h.counts {
		rank -= int(n)
		if n > 0 && rank <= 0 {
			return longest(i)
		}
	}
	return 0
}
