package raft

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMajority_is_what_more_than_half_have_reached(t *testing.T) {
	for _, c := range []struct {
		reached []Index
		want    Index
	}{
		{[]Index{5}, 5},
		{[]Index{5, 3}, 3},
		{[]Index{5, 3, 4}, 4},
		{[]Index{5, 5, 0}, 5},
		{[]Index{5, 5, 3, 3}, 3}, // two of four are no majority
		{[]Index{5, 4, 4, 0}, 4},
		{[]Index{9, 8, 3, 2, 1}, 3},
		{[]Index{9, 9, 9, 2, 2, 2}, 2},
		{[]Index{7, 6, 5, 4, 3, 2, 1}, 4},
		{[]Index{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 6},
	} {
		given := slices.Clone(c.reached)
		for range c.reached { // in whatever order
			reached := slices.Clone(given)
			next := func(string) (i Index) { i, reached = reached[0], reached[1:]; return i }
			require.Equal(t, c.want, majorityOf(names(len(given)), next), "%v", given)
			given = append(given[1:], given[0])
		}
	}
}

func majorityOf(ids []string, reached func(id string) Index) Index {
	c := newConfig(voters(ids...), 0)
	return c.majority(reached)
}

func TestConfig_is_the_same_in_whatever_order_nodes_are_named(t *testing.T) {
	given := []string{"n3", "n1", "n2"}
	c := newConfig(voters(given...), 0)
	require.Equal(t, names(3), c.nodes)
	require.Equal(t, voters("n3", "n1", "n2"), c.Configuration, "what is given is not ours to sort")
	require.True(t, c.votes("n2"))
	require.False(t, c.votes("n4"))
	require.False(t, c.votes(None))
}
