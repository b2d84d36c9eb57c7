package linear

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outdatedReads returns a history of four clients that put, each value once, some for long and some without an answer;
// and of four that read what was there up to age milliseconds before, and say so. The first half second nothing is there.
func outdatedReads(r *rand.Rand, age int) []deed {
	const every, long = 20, 3000
	var deeds []deed
	var held [1000 + 500 + long + 1]string // at each moment; "": nothing
	for at := 1500; at < 1000+500+long; at += every {
		d := put(r.IntN(4), at-r.IntN(300), at+r.IntN(300), fmt.Sprint(at))
		happened := true
		if r.IntN(7) == 0 {
			d, happened = unknowing(d), r.IntN(2) == 0
		}
		for t := at; happened && t < len(held); t++ {
			held[t] = d.op.Value
		}
		deeds = append(deeds, d)
	}
	for range 450 {
		at := 1000 + r.IntN(500+long)
		by := r.IntN(age)
		a := Answer{Value: held[max(0, at-r.IntN(by+1))]}
		a.Found = a.Value != ""
		deeds = append(deeds, outdated(by, get(4+r.IntN(4), at, at+r.IntN(20), ""), a))
	}
	return deeds
}

func TestCheck_judges_reads_that_may_be_outdated_by_seconds(t *testing.T) {
	violations := 0
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		deeds := outdatedReads(r, []int{200, 1000, 3000}[seed%3])
		good := tell(deeds...).Check(10 * time.Second)
		require.Equal(t, Linearizable, good.Verdict, "seed %d: %s", seed, good.Reason)

		one, other := &deeds[len(deeds)-1-r.IntN(450)], &deeds[len(deeds)-1-r.IntN(450)]
		one.ends, other.ends = other.ends, one.ends // each says what the other saw
		mixed := tell(deeds...).Check(10 * time.Second)
		require.NotEqual(t, Unknown, mixed.Verdict, "seed %d: %s", seed, mixed.Reason)
		if mixed.Verdict == Violation {
			violations++
		}
	}
	require.Greater(t, violations, 20)
}

func TestCheck_finds_a_place_for_a_cas_between_two_zones_that_lie_apart(t *testing.T) {
	requireLinearizable(t, tell(
		getAbsent(1, 10, 120), getAbsent(2, 20, 110),
		cas(3, 30, 200, nil, "1", swapped),
		get(1, 125, 190, "1"), get(2, 130, 180, "1")))
}
