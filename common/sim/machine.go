package sim

import (
	"fmt"
	"strings"

	"raftworkbook/common/trace"
)

// A machine is the state machine of a node. Of all that it has applied it keeps the last place, and the hash of the log up
// to there.
type machine struct {
	trace.Place
	hash uint64
}

func (m *machine) apply(e Entry) { m.Place, m.hash = place(e), chained(m.hash, e) }

// snapshot returns a snapshot of it that is some bytes longer than it has to be. No two lengths have a part in common.
func (m machine) snapshot(longer int) Snapshot {
	text := fmt.Sprintf("%v %016x %d ", m.Place, m.hash, longer)
	return Snapshot{Index: m.Index, Term: m.Term, Data: []byte(text + strings.Repeat(text, longer/len(text)+1)[:longer])}
}

// restored returns the machine of which a snapshot was taken, and whether the data are those of such a snapshot. The zero
// Snapshot is of a machine that has applied nothing.
func restored(s Snapshot) (m machine, ok bool) {
	longer := 0
	if _, err := fmt.Sscanf(string(s.Data), "%d@%d %x %d ", &m.Index, &m.Term, &m.hash, &longer); err != nil || longer < 0 {
		return machine{}, s.Index == 0 && len(s.Data) == 0
	}
	return m, longer <= len(s.Data) && string(m.snapshot(longer).Data) == string(s.Data) && m.Place == trace.Place{Index: s.Index, Term: s.Term}
}
