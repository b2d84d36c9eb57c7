package raft

import "slices"

// A config says which nodes there are. Heads are counted here and nowhere else.
type config struct {
	nodes []string // sorted
}

func newConfig(nodes []string) config { return config{slices.Sorted(slices.Values(nodes))} }

func (c config) has(id string) bool { return slices.Contains(c.nodes, id) }

// majority returns the highest index that more than half of the nodes have reached: with the indices in falling
// order, the one in the middle, or the later of two. Of 4 nodes it takes 3: two halves have nobody in common.
func (c config) majority(reached func(id string) Index) Index {
	indices := make([]Index, 0, 8)
	for _, id := range c.nodes {
		indices = append(indices, reached(id))
	}
	slices.Sort(indices)
	slices.Reverse(indices)
	return indices[len(indices)/2]
}
