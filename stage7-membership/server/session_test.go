package server

import (
	"fmt"
	"os"
	"testing"
	"time"

	"raftworkbook/common/linear"
)

// Clients append in sessions, and try again until they have an answer. Answers get lost, requests come once more and
// late, links are cut and slow, nodes die and come back, others are elected. What was acknowledged is there once, what
// is unknown once at most, and what was refused is not.
func TestAppends_in_sessions_are_done_once_whatever_fails(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { appendAtSea(t, seed) })
	}
}

func appendAtSea(t *testing.T, seed uint64) {
	var h *linear.History
	voyage(t, 5, seed, election, func(t *testing.T, s *sea) {
		h = s.history()
		work := func(c *sailor) {
			c.register()
			c.write(linear.Append, keys[c.intN(len(keys))])
			c.read(keys[c.intN(len(keys))])
			c.get(keys[c.intN(len(keys))])
		}
		s.sail(4*time.Second, h, work, work, work, work, work)
	})
	linear.Require(t, h)
}

func TestSoak_many_storms(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes minutes: make soak sets SOAK=1")
	}
	begin := time.Now()
	for seed := uint64(100); time.Since(begin) < 4*time.Minute; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			appendAtSea(t, seed)
			readAtSea(t, seed)
		})
	}
}
