package server

import (
	"crypto/sha256"
	"fmt"
	"net"
	"slices"
	"strings"

	"raftworkbook/stage7-membership/raft"
)

// ParseCluster reads a list of members in the form n1=PEER/CLIENT,n2=PEER/CLIENT.
func ParseCluster(s string) ([]raft.Member, error) {
	var members []raft.Member
	seen := map[string]bool{}
	for text := range strings.SplitSeq(s, ",") {
		id, addrs, _ := strings.Cut(text, "=")
		peer, client, _ := strings.Cut(addrs, "/")
		for _, addr := range []string{peer, client} {
			if _, _, err := net.SplitHostPort(addr); err != nil || id == "" {
				return nil, fmt.Errorf("%q is no member: n1=HOST:PORT/HOST:PORT, its address for nodes first", text)
			}
		}
		for _, name := range []string{id, peer, client} {
			if seen[name] {
				return nil, fmt.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		members = append(members, raft.Member{ID: id, Peer: peer, Client: client})
	}
	return members, nil
}

// clusterID tells clusters apart: two that began with different members are not the same.
func clusterID(members []raft.Member) string {
	sorted := slices.SortedFunc(slices.Values(members), func(a, b raft.Member) int { return strings.Compare(a.ID, b.ID) })
	sum := sha256.Sum256(fmt.Append(nil, sorted))
	return fmt.Sprintf("%x", sum[:8])
}
