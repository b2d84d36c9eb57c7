package raft

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

// names are n1, n2 and so on.
func names(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("n%d", i+1))
	}
	return ids
}

// options are those of one of n nodes, with bounds that no test meets by chance.
func options(id string, n int) Options {
	return Options{ID: id, Nodes: names(n), HeartbeatTicks: 5, MaxBatch: 1 << 20, MaxInflight: 16, MaxUncommitted: 1 << 20,
		ElectionTicks: 30, Random: func(int) int { return 0 }}
}

// entries are entries of the given terms, of which the first is at index first. Each has its place for a command.
func entries(first Index, terms ...Term) (all []Entry) {
	for i, term := range terms {
		e := Entry{Index: first + Index(i), Term: term}
		e.Command = command(e.String())
		all = append(all, e)
	}
	return all
}

func command(text string) json.RawMessage { return json.RawMessage(`"` + text + `"`) }

// noop is the entry with which a leader begins its term.
func noop(index Index, term Term) Entry { return Entry{Index: index, Term: term} }

// follower returns n2 of three nodes, whose disk has this term and this log.
func follower(term Term, log ...Entry) *Raft {
	return New(options("n2", 3), HardState{Term: term}, log)
}

// leader returns n1 of a cluster with this log. It leads term 1, or if there is a log one that is as many terms later as
// there are nodes: the campaigns of others were lost. What takes its first entry, without command, to the followers is
// carried out; nobody has answered.
func leader(o Options, log ...Entry) *Raft {
	hard := HardState{}
	if len(log) > 0 {
		hard.Term = lastOf(log).Term + Term(len(o.Nodes)) - 1
	}
	r := New(o, hard, log)
	elect(r)
	r.Ready()
	return r
}

// elect lets a node campaign, and all others vote for it. The Ready with which it asks them is carried out.
func elect(r *Raft) {
	r.Campaign()
	r.Ready()
	for _, id := range r.options.Nodes {
		if id != r.options.ID {
			r.Step(voted(id, r.options.ID, r.currentTerm, true))
		}
	}
}

// voted is an answer to a candidate.
func voted(by, to string, term Term, granted bool) Message {
	return Message{From: by, To: to, Term: term, RequestVoteReply: &RequestVoteReply{granted}}
}

// established returns such a leader once each follower has answered: all logs are the same, and committed.
func established(o Options, log ...Entry) *Raft {
	r := leader(o, log...)
	for _, id := range o.Nodes {
		if id != o.ID {
			r.Step(appended(id, r.currentTerm, r.log.lastIndex()))
		}
	}
	for ok := true; ok; _, ok = r.Ready() {
	}
	return r
}

// propose proposes the text, which r must take.
func propose(t *testing.T, r *Raft, text string) {
	t.Helper()
	_, _, err := r.Propose(command(text))
	require.NoError(t, err)
}

func lastOf(log []Entry) (last Entry) {
	if len(log) > 0 {
		last = log[len(log)-1]
	}
	return last
}

// following are AppendEntries of entries that follow a place.
func following(prev Index, term Term, entries []Entry, commit Index) AppendEntries {
	return AppendEntries{PrevLogIndex: prev, PrevLogTerm: term, Entries: entries, LeaderCommit: commit}
}

// Messages between n1, who leads, and the others.
func appendTo(to string, term Term, a AppendEntries) Message {
	return Message{From: "n1", To: to, Term: term, AppendEntries: &a}
}

func appended(by string, term Term, index Index) Message {
	return replied(by, term, AppendEntriesReply{Success: true, Index: index})
}

func replied(by string, term Term, reply AppendEntriesReply) Message {
	return Message{From: by, To: "n1", Term: term, AppendEntriesReply: &reply}
}

// requireReady requires that exactly this is to be done, one after the other, and then nothing.
func requireReady(t *testing.T, r *Raft, wants ...Ready) {
	t.Helper()
	for _, want := range wants {
		rd, ok := r.Ready()
		require.True(t, ok, "there is nothing to do")
		requireSame(t, want, rd)
	}
	rd, ok := r.Ready()
	requireSame(t, Ready{}, rd)
	require.False(t, ok)
}

// requireSame requires that two things are the same, but for rounds, which have tests of their own.
func requireSame(t *testing.T, want, got any, args ...any) {
	t.Helper()
	rounds := cmp.Options{cmpopts.IgnoreFields(AppendEntries{}, "Round"), cmpopts.IgnoreFields(AppendEntriesReply{}, "Round")}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), rounds); diff != "" {
		require.Fail(t, "not as wanted (-) but this (+)\n"+diff, args...)
	}
}

func TestNew_begins_with_what_is_on_disk_and_nothing_to_do(t *testing.T) {
	r := follower(5, entries(1, 1, 1, 4)...)
	requireReady(t, r)
	requireSame(t, Status{ID: "n2", Role: Follower, Term: 5, LastIndex: 3, LastTerm: 4}, r.Status())
}

func TestNew_applies_all_of_its_log_again_once_it_hears_what_is_committed(t *testing.T) {
	r := follower(4, entries(1, 1, 1, 4)...)
	r.Step(appendTo("n2", 4, AppendEntries{PrevLogIndex: 3, PrevLogTerm: 4, LeaderCommit: 2}))
	requireReady(t, r, Ready{
		Messages:  []Message{{From: "n2", To: "n1", Term: 4, AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 3}}},
		Committed: entries(1, 1, 1),
	})
}

// Figure 2, rules for all servers: "If RPC request or response contains term T > currentTerm: set currentTerm = T,
// convert to follower."
func TestNode_follows_a_newer_term_whatever_brings_it(t *testing.T) {
	from := func(m Message) Message { m.From, m.To, m.Term = "n3", "n1", 6; return m }
	reply := Message{From: "n1", To: "n3", Term: 6, AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 2}}
	for _, c := range []struct {
		name string
		m    Message
		want Status
		send []Message
	}{
		{"append",
			from(Message{AppendEntries: &AppendEntries{PrevLogIndex: 2, PrevLogTerm: 4}}),
			Status{ID: "n1", Term: 6, Leader: "n3", LastIndex: 2, LastTerm: 4, CommitIndex: 2, CommitTerm: 4, AppliedIndex: 2},
			[]Message{reply}},
		{"success",
			from(Message{AppendEntriesReply: &AppendEntriesReply{Success: true, Index: 2}}),
			Status{ID: "n1", Term: 6, LastIndex: 2, LastTerm: 4, CommitIndex: 2, CommitTerm: 4, AppliedIndex: 2},
			nil},
		{"refusal",
			from(Message{AppendEntriesReply: &AppendEntriesReply{Index: 2}}),
			Status{ID: "n1", Term: 6, LastIndex: 2, LastTerm: 4, CommitIndex: 2, CommitTerm: 4, AppliedIndex: 2},
			nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			lead := established(options("n1", 3), entries(1, 1)...)
			lead.Step(c.m)
			requireSame(t, c.want, lead.Status())
			requireReady(t, lead, Ready{HardState: &HardState{Term: 6}, Messages: c.send})
			_, _, err := lead.Propose(command("a"))
			require.ErrorIs(t, err, ErrNotLeader)

			follow := New(options("n1", 3), HardState{Term: 4}, entries(1, 1, 4))
			follow.Step(c.m)
			c.want.CommitIndex, c.want.CommitTerm, c.want.AppliedIndex = 0, 0, 0
			requireSame(t, c.want, follow.Status())
			requireReady(t, follow, Ready{HardState: &HardState{Term: 6}, Messages: c.send})
		})
	}
}

func TestNode_says_no_more_who_leads_once_that_term_is_over(t *testing.T) {
	r := follower(0)
	r.Step(appendTo("n2", 1, AppendEntries{}))
	require.Equal(t, "n1", r.Status().Leader)
	r.Step(Message{From: "n3", To: "n2", Term: 3, AppendEntriesReply: &AppendEntriesReply{}})
	require.Equal(t, None, r.Status().Leader)
}

func TestStep_ignores_what_is_no_message(t *testing.T) {
	good := AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1, Entries: entries(3, 4, 6)}
	for _, c := range []struct {
		name string
		m    Message
	}{
		{"from a stranger", Message{From: "n4", To: "n2", Term: 9, AppendEntries: &good}},
		{"from nobody", Message{To: "n2", Term: 9, AppendEntries: &good}},
		{"from itself", Message{From: "n2", To: "n2", Term: 9, AppendEntries: &good}},
		{"to another", Message{From: "n1", To: "n3", Term: 9, AppendEntries: &good}},
		{"to nobody", Message{From: "n1", Term: 9, AppendEntries: &good}},
		{"no body", Message{From: "n1", To: "n2", Term: 9}},
		{"two bodies", Message{From: "n1", To: "n2", Term: 9, AppendEntries: &good, AppendEntriesReply: &AppendEntriesReply{}}},
		{"a gap before the entries", appendTo("n2", 9, following(1, 1, entries(3, 4), 0))},
		{"a gap between entries", appendTo("n2", 9, following(2, 1, append(entries(3, 4), entries(5, 4)...), 0))},
		{"a term that others might follow with 0", appendTo("n2", math.MaxUint64, following(2, 1, nil, 0))},
		{"an entry twice", appendTo("n2", 9, following(2, 1, append(entries(3, 4), entries(3, 4)...), 0))},
		{"entries whose term is older than what they follow", appendTo("n2", 9, following(2, 4, entries(3, 3), 0))},
		{"entries whose terms fall", appendTo("n2", 9, following(2, 1, entries(3, 4, 3), 0))},
		{"an entry of a term that is yet to come", appendTo("n2", 9, following(2, 1, entries(3, 4, 10), 0))},
		{"entries after one of a term that is yet to come", appendTo("n2", 9, following(2, 10, nil, 0))},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := follower(1, entries(1, 1, 1)...)
			before := r.Status()
			r.Step(c.m)
			requireReady(t, r)
			requireSame(t, before, r.Status())
		})
	}
	r := follower(1, entries(1, 1, 1)...)
	r.Step(appendTo("n2", 9, good)) // this one is good
	requireSame(t, Status{ID: "n2", Term: 9, Leader: "n1", LastIndex: 4, LastTerm: 6}, r.Status())
}

// Any index and any term can come: sums of them must not overflow into something that makes sense.
func TestStep_bears_the_largest_numbers(t *testing.T) {
	const most = math.MaxUint64
	for _, m := range []Message{
		appendTo("n2", 4, AppendEntries{PrevLogIndex: most, PrevLogTerm: 4, Entries: []Entry{{Index: 0, Term: 4}}, LeaderCommit: most}),
		appendTo("n2", 4, AppendEntries{PrevLogIndex: most - 1, PrevLogTerm: 0, Entries: []Entry{{Index: most}, {Index: 0}}, LeaderCommit: most}),
		appendTo("n2", 4, AppendEntries{PrevLogIndex: most, PrevLogTerm: 0, LeaderCommit: most}),
	} {
		r := follower(4, entries(1, 1, 1)...)
		r.Step(m)
		rd, _ := r.Ready()
		require.Empty(t, append(rd.Entries, rd.Committed...))
		require.False(t, rd.Messages[0].AppendEntriesReply.Success)
		requireSame(t, entries(1, 1, 1), r.log.entries)
	}
	for _, reply := range []AppendEntriesReply{
		{Success: true, Index: most},
		{Index: most, HintIndex: most, HintTerm: most},
		{Index: 3, HintIndex: most, HintTerm: most},
		{Index: 3, HintIndex: most},
		{Index: 3, HintTerm: most},
	} {
		r := leader(options("n1", 3), entries(1, 1, 1)...)
		r.Step(replied("n2", 4, reply))
		for ok := true; ok; _, ok = r.Ready() {
		}
		requireSame(t, Status{ID: "n1", Role: Leader, Term: 4, Leader: "n1", LastIndex: 3, LastTerm: 4}, r.Status())
	}
}

func TestPropose_is_refused_on_a_follower(t *testing.T) {
	r := follower(1)
	_, _, err := r.Propose(command("a"))
	require.ErrorIs(t, err, ErrNotLeader)
	requireReady(t, r)
	requireSame(t, Status{ID: "n2", Term: 1}, r.Status())
}

func TestPropose_gives_each_command_the_next_place_the_same_command_too(t *testing.T) {
	r := established(options("n1", 3), entries(1, 1)...) // and 2@4, without command
	for want := Index(3); want < 6; want++ {
		index, term, err := r.Propose(command("a"))
		require.NoError(t, err)
		require.Equal(t, want, index)
		require.EqualValues(t, 4, term)
	}
	requireSame(t, []Entry{{3, 4, command("a")}, {4, 4, command("a")}, {5, 4, command("a")}}, r.Entries(2))
}

func TestPropose_takes_a_bounded_number_of_bytes_without_a_majority(t *testing.T) {
	o := options("n1", 3)
	o.MaxUncommitted = 8
	r := established(o)
	try := func(text string) error { _, _, err := r.Propose(command(text)); return err }

	require.NoError(t, try("12"))
	require.ErrorIs(t, try("123"), ErrTooMuch, "4 and 5 bytes")
	require.NoError(t, try("ab"), "4 and 4 bytes")
	require.ErrorIs(t, try(""), ErrTooMuch)
	require.EqualValues(t, 3, r.Status().LastIndex, "what was refused has no effect")
	r.Ready()
	r.Step(appended("n2", 1, 2))
	requireReady(t, r, Ready{Committed: []Entry{{2, 1, command("12")}}})
	require.ErrorIs(t, try("123"), ErrTooMuch, "half is committed")
	require.NoError(t, try("cd"))

	// In a new term all still counts, what was left by others too: nothing of it is committed. A longer log than
	// the bound is a fact, and only stops what would be added.
	r.Step(Message{From: "n2", To: "n1", Term: 5, AppendEntries: &AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1, Entries: entries(3, 5, 5)}})
	elect(r)
	require.Equal(t, len(`"3@5""4@5"`), r.uncommitted)
	require.ErrorIs(t, try(""), ErrTooMuch)
	r.Ready()
	r.Step(appended("n2", 6, 5))
	r.Ready()
	require.Zero(t, r.uncommitted)
	require.NoError(t, try("123456"))
}
