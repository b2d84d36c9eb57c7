package raft

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A group is a cluster on which a test carries messages, all on the way at a time. What a Ready wants saved is kept, so
// that a node can be killed and started again. After each step the logs match and nodes have applied the same.
type group struct {
	t        *testing.T
	options  []setup
	nodes    map[string]*Raft
	terms    map[string]HardState
	disks    map[string][]Entry
	applied  map[string][]Entry
	down     map[string]bool
	onTheWay []Message
	// lost says which messages are; nil is none.
	lost func(Message) bool
	// sent is all that was ever sent, and steps how often all that was on the way arrived.
	sent  []Message
	steps int
}

// newGroup returns a cluster in which each node has the log of this place.
func newGroup(t *testing.T, o setup, logs ...[]Entry) *group {
	g := &group{t: t, nodes: map[string]*Raft{}, terms: map[string]HardState{}, disks: map[string][]Entry{},
		applied: map[string][]Entry{}, down: map[string]bool{}}
	for i, log := range logs {
		o.ID, o.nodes = names(len(logs))[i], names(len(logs))
		g.options = append(g.options, o)
		g.disks[o.ID] = log
		g.terms[o.ID] = HardState{Term: lastOf(log).Term}
		g.start(o.ID)
	}
	return g
}

// start starts a node, with what is on its disk.
func (g *group) start(id string) {
	for _, o := range g.options {
		if o.ID == id {
			g.nodes[id] = start(o, g.terms[id], Snapshot{}, slices.Clone(g.disks[id]))
		}
	}
	delete(g.down, id)
	g.applied[id] = nil
}

func (g *group) kill(id string) { g.down[id] = true }

// flush carries out what the node wants.
func (g *group) flush(id string) {
	for rd, ok := g.nodes[id].Ready(); ok; rd, ok = g.nodes[id].Ready() {
		g.onTheWay = append(g.onTheWay, rd.Appends...)
		if rd.HardState != nil {
			g.terms[id] = *rd.HardState
		}
		if len(rd.Entries) > 0 {
			first := rd.Entries[0].Index
			require.LessOrEqual(g.t, first, Index(len(g.disks[id]))+1, "no gap on disk")
			g.disks[id] = append(slices.Clone(g.disks[id][:first-1]), rd.Entries...)
		}
		g.onTheWay = append(g.onTheWay, rd.Messages...)
		for _, e := range rd.Committed {
			require.EqualValues(g.t, len(g.applied[id])+1, e.Index, "%s applies in order, each once", id)
			g.applied[id] = append(g.applied[id], e)
		}
		g.sent = append(g.sent, rd.Appends...)
		g.sent = append(g.sent, rd.Messages...)
	}
}

// run carries messages until there are none.
func (g *group) run() {
	g.t.Helper()
	for {
		for _, id := range slices.Sorted(maps.Keys(g.nodes)) {
			if !g.down[id] {
				g.flush(id)
			}
		}
		g.check()
		if len(g.onTheWay) == 0 {
			return
		}
		g.steps++
		require.Less(g.t, g.steps, 10_000, "it comes to an end")
		arriving := g.onTheWay
		g.onTheWay = nil
		for _, m := range arriving {
			if !g.down[m.To] && (g.lost == nil || !g.lost(m)) {
				g.nodes[m.To].Step(m)
			}
		}
	}
}

// heartbeat lets as much time pass as is between heartbeats, and carries what comes of it.
func (g *group) heartbeat() {
	g.t.Helper()
	for _, r := range g.nodes {
		for range r.options.HeartbeatTicks {
			r.Tick()
		}
	}
	g.run()
}

func (g *group) lead(id string) {
	g.t.Helper()
	for range 3 { // one that was away hears of the newer term with its first campaign
		if r := g.nodes[id]; r.Status().Role != Leader {
			r.Campaign()
			g.run()
		}
	}
	require.Equal(g.t, Leader, g.nodes[id].Status().Role)
}

func (g *group) propose(id, text string) (Index, Term) {
	g.t.Helper()
	index, term, err := g.nodes[id].Propose(command(text))
	require.NoError(g.t, err)
	g.run()
	return index, term
}

// check holds Figure 3's Log Matching and State Machine Safety against each pair of nodes.
func (g *group) check() {
	g.t.Helper()
	for a, one := range g.nodes {
		for b, other := range g.nodes {
			if a >= b {
				continue
			}
			same := min(len(one.log.entries), len(other.log.entries))
			for same > 0 && one.log.entries[same-1].Term != other.log.entries[same-1].Term {
				same--
			}
			g.requireEqual(one.log.entries[:same], other.log.entries[:same], "the logs of %s and %s", a, b)
			both := min(len(g.applied[a]), len(g.applied[b]))
			g.requireEqual(g.applied[a][:both], g.applied[b][:both], "%s and %s have applied", a, b)
		}
	}
}

// requireAgreement requires that all nodes that live have the leader's log, and have applied all of it.
func (g *group) requireAgreement(leader string) {
	g.t.Helper()
	want := g.nodes[leader].Entries(0)
	for id := range g.nodes {
		if !g.down[id] {
			g.requireEqual(want, g.nodes[id].Entries(0), "the log of %s", id)
			g.requireEqual(want, g.disks[id], "the disk of %s", id)
			g.requireEqual(want, g.applied[id], "applied by %s", id)
		}
	}
}

// requireEqual is for logs that are long: it shows the difference only if there is one.
func (g *group) requireEqual(want, got []Entry, args ...any) {
	g.t.Helper()
	if !slices.EqualFunc(want, got, func(a, b Entry) bool {
		return a.Index == b.Index && a.Term == b.Term && bytes.Equal(a.Command, b.Command)
	}) {
		requireSame(g.t, want, got, args...)
	}
}

func isolate(id string) func(Message) bool {
	return func(m Message) bool { return m.From == id || m.To == id }
}

// The logs of Figure 7, to which shapes are added that are worse. The leader finds out where the logs agree with few
// questions: at most one for each pair of terms, however many entries there are.
func TestLeader_makes_every_log_of_Figure_7_its_own(t *testing.T) {
	figure7 := []Term{1, 1, 1, 4, 4, 5, 5, 6, 6, 6}
	for _, c := range []struct {
		name         string
		ours, theirs []Term
		refusals     int
	}{
		{"a", figure7, []Term{1, 1, 1, 4, 4, 5, 5, 6, 6}, 1},
		{"b", figure7, []Term{1, 1, 1, 4}, 1},
		{"c", figure7, []Term{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}, 0},
		{"d", figure7, []Term{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}, 0},
		{"e", figure7, []Term{1, 1, 1, 4, 4, 4, 4}, 1},
		{"f", figure7, []Term{1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}, 1},
		{"the same", figure7, figure7, 0},
		{"empty", figure7, nil, 1},
		{"nothing in common", []Term{2, 2, 2}, []Term{1, 1, 1, 1}, 1},
		{"nothing in common and theirs is newer", []Term{1, 1, 1}, []Term{2, 2, 2, 2}, 1},
		{"fifty and fifty", slices.Concat([]Term{1}, slices.Repeat([]Term{3}, 50)), slices.Concat([]Term{1}, slices.Repeat([]Term{2}, 50)), 1},
		{"terms in turn", []Term{1, 3, 3, 5, 5, 7, 7}, []Term{1, 2, 2, 4, 4, 6, 6}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGroup(t, options("", 0), entries(1, c.ours...), entries(1, c.theirs...), entries(1, c.ours...))
			g.terms["n1"] = HardState{Term: 7}
			g.start("n1")
			g.lead("n1") // by n1 and n3, if need be
			g.heartbeat()
			g.requireAgreement("n1")
			refusals := 0
			for _, m := range g.sent {
				if reply := m.AppendEntriesReply; reply != nil && !reply.Success {
					refusals++
				}
			}
			require.Equal(t, c.refusals, refusals)
		})
	}
}

func TestFollower_that_is_10_000_entries_behind_catches_up_in_few_round_trips(t *testing.T) {
	o := options("", 0)
	o.MaxBatch = 64 << 10
	var log []Entry
	for i := range 10_000 {
		log = append(log, Entry{Index: Index(i) + 1, Term: 1, Command: command(fmt.Sprintf("%098d", i))}) // of 100 bytes
	}
	g := newGroup(t, o, log, log, nil)
	g.lead("n1")
	g.heartbeat()
	g.requireAgreement("n1")
	for _, m := range g.sent {
		if m.AppendEntries != nil {
			size := 0
			for _, e := range m.AppendEntries.Entries {
				size += len(e.Command)
			}
			require.LessOrEqual(t, size, o.MaxBatch)
		}
	}
	// There and back: the vote; the refusal; the first batch; the 15 others at once; a heartbeat that says what is committed.
	require.Equal(t, 2*5, g.steps)
}

func TestLeader_sends_each_command_once_and_only_heartbeats_when_idle(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.heartbeat()
	g.sent = nil
	for i := range 100 {
		g.propose("n1", fmt.Sprint(i))
	}
	require.Len(t, g.sent, 100*2*2, "an append and its answer, for each command and follower")
	times := map[string]int{}
	for _, m := range g.sent {
		if m.AppendEntries != nil {
			for _, e := range m.AppendEntries.Entries {
				times[m.To+string(e.Command)]++
			}
		}
	}
	require.Len(t, times, 2*100)
	for what, n := range times {
		require.Equal(t, 1, n, what)
	}
	g.sent = nil
	for range 10 {
		g.heartbeat()
	}
	require.Len(t, g.sent, 10*2*2)
	g.requireAgreement("n1")
}

func TestGroup_commits_with_a_majority_and_not_without(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	require.EqualValues(t, 1, g.nodes["n1"].Status().CommitIndex)
	g.propose("n1", "with all")
	require.EqualValues(t, 2, g.nodes["n1"].Status().CommitIndex)
	g.kill("n3")
	g.propose("n1", "with two of three")
	require.EqualValues(t, 3, g.nodes["n1"].Status().CommitIndex)
	g.kill("n2")
	g.propose("n1", "alone")
	for range 5 {
		g.heartbeat()
	}
	require.EqualValues(t, 3, g.nodes["n1"].Status().CommitIndex)
	g.start("n3") // it lacks two, and does not know yet what is committed
	g.heartbeat()
	require.EqualValues(t, 4, g.nodes["n1"].Status().CommitIndex)
	g.start("n2")
	g.heartbeat()
	g.heartbeat()
	g.requireAgreement("n1")
}

func TestLeader_that_was_cut_off_for_a_while_leads_on(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.lost = isolate("n1")
	g.propose("n1", "a")
	g.heartbeat()
	require.EqualValues(t, 1, g.nodes["n1"].Status().CommitIndex)
	g.lost = nil
	g.heartbeat()
	g.heartbeat()
	g.requireAgreement("n1")
	require.EqualValues(t, 1, g.nodes["n1"].Status().Term)
	require.Len(t, g.applied["n3"], 2)
}

func TestWrite_that_no_majority_has_can_be_replaced(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.lost = isolate("n1")
	index, term := g.propose("n1", "lost")
	g.lead("n2")
	g.propose("n2", "kept")
	g.lost = nil
	g.heartbeat()
	g.heartbeat()
	g.requireAgreement("n2")
	require.NotEqual(t, term, g.applied["n1"][index-1].Term, "another entry is there now")
	for id := range g.nodes {
		require.Equal(t, []Entry{noop(1, 1), noop(2, 2), {Index: 3, Term: 2, Command: command("kept")}}, g.applied[id])
	}
}

func TestLeader_with_an_older_log_replaces_newer_entries_that_are_not_committed(t *testing.T) {
	g := newGroup(t, options("", 0), entries(1, 1, 1), entries(1, 1, 1), entries(1, 1, 3, 3, 3))
	g.terms["n1"] = HardState{Term: 3}
	g.start("n1")
	g.lead("n1") // by n1 and n2, a majority without n3's entries
	g.heartbeat()
	g.requireAgreement("n1")
	require.Equal(t, append(entries(1, 1, 1), noop(3, 4)), g.applied["n3"])
}

func TestLeader_recovers_from_any_loss(t *testing.T) {
	for after := range 12 {
		o := options("", 0)
		o.MaxInflight = 3
		g := newGroup(t, o, nil, nil, nil)
		g.lost = func(m Message) bool {
			if m.RequestVote != nil || m.RequestVoteReply != nil {
				return false
			}
			after--
			return after < 0
		}
		g.lead("n1")
		for i := range 6 {
			g.propose("n1", fmt.Sprint(i))
		}
		g.lost = nil
		for range 4 {
			g.heartbeat()
		}
		g.requireAgreement("n1")
		require.Len(t, g.applied["n3"], 7)
	}
}

// What a leader believes of a follower's log can be too low or too high: that costs messages, and nothing else.
func TestLeader_with_a_wrong_nextIndex_only_sends_more(t *testing.T) {
	log := entries(1, 1, 1, 1, 1, 1)
	for next := Index(1); next <= 7; next++ {
		for _, probing := range []bool{true, false} {
			g := newGroup(t, options("", 0), log, log[:3], log)
			g.lead("n1")
			p := g.nodes["n1"].progress["n2"]
			*p = progress{nextIndex: next, probing: probing}
			g.propose("n1", "a")
			g.heartbeat()
			g.heartbeat()
			g.requireAgreement("n1")
			require.EqualValues(t, 7, p.matchIndex)
		}
	}
}

// Figure 8: an entry of an earlier term is on a majority, and is replaced all the same (d); unless the leader has first
// got one of its own term to a majority (e). n1 leads terms 2 and 4, and n5 leads 3 and 5.
func TestFigure_8(t *testing.T) {
	for _, figure := range []string{"d", "e"} {
		t.Run(figure, func(t *testing.T) {
			o := options("", 0)
			o.MaxBatch = len(`"x"`)
			one := entries(1, 1)
			g := newGroup(t, o, one, one, one, one, one)
			reach := func(ids string, what func(Entry) bool) { // no others get entries, but all hear heartbeats
				g.lost = func(m Message) bool {
					a := m.AppendEntries
					return a != nil && len(a.Entries) > 0 && (!strings.Contains(ids, m.To) || !what(lastOf(a.Entries)))
				}
			}
			all := func(Entry) bool { return true }

			// (a) n1 leads, and what it has reaches n2 alone.
			reach("n2", all)
			g.lead("n1")
			g.propose("n1", "x")
			g.propose("n1", "y")
			g.heartbeat()
			// (b) It is killed. n5 leads, and its entry stays with it.
			g.kill("n1")
			reach("", all)
			g.lead("n5")
			g.heartbeat()
			requireSame(t, append(one, noop(2, 3)), g.disks["n5"])
			// (c) It is killed. n1 leads again, and goes on with what it has. In (d), all that it gets through are entries
			// of its term before.
			g.kill("n5")
			g.start("n1")
			reach("n3 n4", func(e Entry) bool { return figure == "e" || e.Term < 4 })
			g.lead("n1")
			g.heartbeat()
			g.heartbeat()

			g.lost = nil
			x := []Entry{one[0], noop(2, 2), {Index: 3, Term: 2, Command: command("x")}}
			if figure == "d" {
				requireSame(t, x, g.disks["n3"])
				requireSame(t, x, g.disks["n4"])
				require.EqualValues(t, 3, g.nodes["n1"].progress["n3"].matchIndex, "and n1 knows")
				require.EqualValues(t, 3, g.nodes["n1"].progress["n4"].matchIndex)
				require.Zero(t, g.nodes["n1"].Status().CommitIndex)
				g.kill("n1")
				g.start("n5")
				g.lead("n5")
				g.heartbeat()
				requireSame(t, []Entry{one[0], noop(2, 3), noop(3, 5)}, g.applied["n3"])
			} else {
				requireSame(t, append(x, Entry{Index: 4, Term: 2, Command: command("y")}, noop(5, 4)), g.applied["n1"])
				g.kill("n1")
				g.start("n5")
				for range 2 { // it cannot win any more: of a majority somebody has an entry of term 4
					g.nodes["n5"].Campaign()
					g.run()
					require.Equal(t, Candidate, g.nodes["n5"].Status().Role)
				}
				g.lead("n3")
				g.heartbeat()
				require.Len(t, g.applied["n5"], 6)
			}
			g.start("n1")
			g.heartbeat()
			g.heartbeat()
			g.requireAgreement(map[string]string{"d": "n5", "e": "n3"}[figure])
		})
	}
}
