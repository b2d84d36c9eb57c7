package server

import (
	"crypto/sha256"
	"fmt"
	"net"
	"slices"
	"strings"
	"unicode"

	"raftworkbook/stage7-membership/raft"
)

const (
	// maxMembers is how many members may be added to a cluster; maxName is how many bytes a name or an address has at most.
	maxMembers = 32
	maxName    = 255
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
			switch {
			case len(name) > maxName || strings.ContainsFunc(name, odd):
				return nil, fmt.Errorf("%.40q: a name or an address has at most %d letters, digits and any of %s", name, maxName, marks)
			case seen[name]:
				return nil, fmt.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		members = append(members, raft.Member{ID: id, Peer: peer, Client: client})
	}
	return members, nil
}

// marks may be in a name or an address, beside letters and digits: nothing that is longer as JSON.
const marks = "-_.:[]%"

func odd(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(marks, r)
}

// clusterID tells clusters apart: two that began with different members are not the same.
func clusterID(members []raft.Member) string {
	sorted := slices.SortedFunc(slices.Values(members), func(a, b raft.Member) int { return strings.Compare(a.ID, b.ID) })
	sum := sha256.Sum256(fmt.Append(nil, sorted))
	return fmt.Sprintf("%x", sum[:8])
}
