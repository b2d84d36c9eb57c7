package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A leader that was cut off has more in its log than it could commit. Another commits that by and by, without counting it:
// it has not heard of the other's term. A leader of a term in between may still have it drop all that.
func TestNode_may_drop_what_was_committed_without_it(t *testing.T) {
	for heard, found := range map[uint64][]violation{2: nil, 3: {{Durability, "n1 drops 2@1, which is committed"}}} {
		nodes := []*node{{host: host{id: "n1"}}, {host: host{id: "n2"}}, {host: host{id: "n3"}}}
		c := newChecker(nodes, false)
		for _, n := range nodes {
			c.saves(n, &Save{Term: 1, Entries: []Entry{{Index: 1, Term: 1}, {Index: 2, Term: 1}}})
		}
		c.saves(nodes[0], &Save{Term: heard})
		for _, n := range nodes[1:] {
			c.saves(n, &Save{Term: 3, Entries: []Entry{{Index: 3, Term: 3}}})
		}
		nodes[1].state.Term, nodes[1].state.CommitIndex = 3, 3
		c.commits(nodes[1])
		require.Empty(t, c.found)
		c.saves(nodes[0], &Save{Term: 3, Entries: []Entry{{Index: 2, Term: 2}}}) // it has heard of 3 by now
		require.Equal(t, found, c.found)
	}
}
