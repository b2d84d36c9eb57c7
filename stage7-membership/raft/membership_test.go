package raft

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// learners is a configuration in which some are to be voters, joint one in which both count.
func learners(now, next string) Configuration {
	return Configuration{Voters: members(strings.Fields(now)...), Next: members(strings.Fields(next)...)}
}

func joint(now, next string) Configuration {
	c := learners(now, next)
	c.Joint = true
	return c
}

func of(now string) Configuration { return voters(strings.Fields(now)...) }

// configured is an entry that puts a configuration in force.
func configured(index Index, term Term, c Configuration) Entry {
	return Entry{Index: index, Term: term, Config: &c}
}

// among returns a leader of term 1, n1, once all that lead with it have this configuration: an entry says so, 2@1, which
// is not committed yet.
func among(t *testing.T, c Configuration) *Raft {
	t.Helper()
	o := options("n1", 0)
	o.nodes = idsOf(c.Voters)
	r := established(o)
	r.appendConfig(c)
	r.Ready()
	return r
}

// answers lets nodes say that they have the leader's log up to an index, of which it then takes notice.
func answers(r *Raft, index Index, ids ...string) {
	for _, id := range ids {
		m := answered(id, r.currentTerm, r.round)
		m.AppendEntriesReply.Index = index
		r.Step(m)
	}
	drain(r)
}

// configs are the configurations in a log.
func configs(log []Entry) (all []string) {
	for _, e := range log {
		if e.Config != nil {
			all = append(all, e.Config.String())
		}
	}
	return all
}

// join adds nodes that have nothing on their disks and know of nobody.
func (g *group) join(ids ...string) {
	for _, id := range ids {
		o := g.options[0]
		o.ID, o.nodes = id, nil
		g.options = append(g.options, o)
		g.disks[id] = nil
		g.start(id)
	}
}

// change has the leader change the members, and waits.
func (g *group) change(leader, next string) {
	g.t.Helper()
	require.NoError(g.t, g.nodes[leader].Change(members(strings.Fields(next)...)))
	g.run()
	for range 6 {
		g.heartbeat()
	}
}

// requireVoters requires that these nodes agree that they are the voters, and in all else; but for those that are down.
func (g *group) requireVoters(want string, down ...string) {
	g.t.Helper()
	leader := ""
	living := slices.DeleteFunc(strings.Fields(want), func(id string) bool { return slices.Contains(down, id) })
	for _, id := range living {
		c, committed := g.nodes[id].Configuration()
		require.Equal(g.t, want, c.String(), id)
		require.True(g.t, committed, id)
		if g.nodes[id].role == Leader {
			leader = id
		}
	}
	for _, id := range living {
		g.requireEqual(g.applied[leader], g.applied[id], id)
	}
}

func TestConfiguration_names_who_decides(t *testing.T) {
	for _, c := range []struct {
		c    Configuration
		want string
		all  []string
	}{
		{Configuration{}, "", nil},
		{of("n1 n2"), "n1 n2", []string{"n1", "n2"}},
		{learners("n2", "n3 n1"), "n2, and then n3 n1", []string{"n1", "n2", "n3"}},
		{joint("n1 n2", "n2 n3"), "n1 n2, and n2 n3", []string{"n1", "n2", "n3"}},
	} {
		require.Equal(t, c.want, c.c.String())
		require.Equal(t, c.all, idsOf(c.c.Members()))
	}
	c := Configuration{Voters: []Member{{ID: "n1", Peer: "old"}}, Next: []Member{{ID: "n1", Peer: "new"}}}
	require.Equal(t, c.Next, c.Members(), "where it will be")
}

func TestMajority_is_of_both_while_joint(t *testing.T) {
	for _, c := range []struct {
		c       Configuration
		reached string // by these
		want    bool
	}{
		{Configuration{}, "n1 n2 n3", false},
		{of("n1 n2 n3"), "n1 n2", true},
		{of("n1 n2 n3"), "n1 n4 n5", false},
		{learners("n1 n2 n3", "n1 n2 n3 n4 n5"), "n1 n2", true},
		{learners("n1 n2 n3", "n1 n2 n3 n4 n5"), "n1 n4 n5", false},
		{joint("n1 n2 n3", "n3 n4 n5"), "n1 n2", false},
		{joint("n1 n2 n3", "n3 n4 n5"), "n4 n5", false},
		{joint("n1 n2 n3", "n3 n4 n5"), "n2 n3 n4", true},
		{joint("n1 n2 n3", "n3 n4 n5"), "n1 n2 n4 n5", true},
		{joint("n1 n2 n3", "n1 n2 n3 n4 n5"), "n1 n2", false},
		{joint("n1 n2 n3", "n1 n2 n3 n4 n5"), "n3 n4 n5", false},
		{joint("n1", "n2"), "n1", false},
		{joint("n1", ""), "n1", false},
	} {
		config := newConfig(c.c, 1)
		got := config.majority(func(id string) Index {
			if slices.Contains(strings.Fields(c.reached), id) {
				return 7
			}
			return 0
		})
		require.Equal(t, c.want, got == 7, "%v: %s", &c.c, c.reached)
	}
}

func TestBootstrap_is_the_same_on_each_of_the_first_members_and_they_go_on_from_it(t *testing.T) {
	hard, log := Bootstrap(members("n1"))
	require.Equal(t, HardState{Term: 1}, hard)
	require.Equal(t, []Entry{configured(1, 1, of("n1"))}, log)
	_, same := Bootstrap(members("n1", "n2", "n10"))
	_, order := Bootstrap(members("n2", "n10", "n1"))
	require.Equal(t, same, order, "in whichever order they are told")
	require.Equal(t, "n1 n10 n2", ids(order[0].Config.Voters), "which is that of a change")
	r := New(options("n1", 0).Options, hard, Snapshot{}, log)
	require.Equal(t, &Configuration{Voters: members("n1")}, ready(r).Config, "the host hears of it")
	ticks(r, 31)
	drain(r)
	requireSame(t, Status{ID: "n1", Role: Leader, Term: 2, Leader: "n1", LastIndex: 2, LastTerm: 2, CommitIndex: 2, CommitTerm: 2, AppliedIndex: 2}, r.Status())
}

// A change.

func TestChange_makes_others_the_voters(t *testing.T) {
	for _, c := range []struct{ now, next string }{
		{"n1", "n1 n2"},
		{"n1 n2", "n1"},
		{"n1 n2", "n2"}, // and the leader goes
		{"n1 n2 n3", "n1 n2 n3 n4"},
		{"n1 n2 n3", "n1 n2"},
		{"n1 n2 n3", "n2 n3"},
		{"n1 n2 n3", "n1 n2 n3 n4 n5"},
		{"n1 n2 n3", "n4 n5 n6"}, // and none stays
		{"n1 n2 n3 n4 n5", "n1"},
		{"n1 n2 n3 n4 n5", "n5"},
	} {
		t.Run(c.now+" to "+c.next, func(t *testing.T) {
			g := newGroup(t, options("", 0), make([][]Entry, len(strings.Fields(c.now)))...)
			for _, id := range strings.Fields(c.next) {
				if g.nodes[id] == nil {
					g.join(id)
				}
			}
			g.lead("n1")
			g.propose("n1", "a")
			g.change("n1", c.next)
			for range 10 { // another leads, if need be
				g.heartbeat()
			}
			g.requireVoters(c.next)
			last := strings.Fields(c.next)[len(strings.Fields(c.next))-1]
			want := []string{c.now + ", and then " + c.next, c.now + ", and " + c.next, c.next}
			require.Equal(t, want, configs(g.applied[last]))
		})
	}
}

func TestChange_of_what_is_known_of_members_is_one_entry(t *testing.T) {
	r := established(options("n1", 3))
	next := []Member{{ID: "n1", Peer: "here"}, {ID: "n2"}, {ID: "n3"}}
	require.NoError(t, r.Change(next))
	c, committed := r.Configuration()
	require.Equal(t, Configuration{Voters: next}, c)
	require.False(t, committed)
	require.ErrorIs(t, r.Change(members("n1")), ErrChanging)
}

func TestChange_that_is_begun_or_done_is_no_error(t *testing.T) {
	r := established(options("n1", 3))
	for range 3 {
		require.NoError(t, r.Change(members("n1", "n2", "n3")))
	}
	require.EqualValues(t, 1, r.Status().LastIndex)
	for range 3 {
		require.NoError(t, r.Change(members("n1", "n2")))
		r.Ready()
	}
	require.EqualValues(t, 2, r.Status().LastIndex)
	answers(r, 2, "n2")
	require.True(t, r.config.Joint)
	require.NoError(t, r.Change(members("n1", "n2")))
	require.EqualValues(t, 3, r.Status().LastIndex)
}

func TestChange_is_refused_with_no_effect(t *testing.T) {
	next := members("n1", "n2", "n3", "n4")
	for _, c := range []struct {
		name string
		r    *Raft
		next []Member
		want error
	}{
		{"by a follower", follower(1), next, ErrNotLeader},
		{"if nobody is left", established(options("n1", 3)), nil, ErrNoVoters},
		{"before anything of the term is committed", leader(options("n1", 3), entries(1, 1)...), next, ErrNotReady},
		{"while others learn", among(t, learners("n1 n2 n3", "n1 n2")), next, ErrChanging},
		{"while two sets count", among(t, joint("n1 n2 n3", "n1 n2")), next, ErrChanging},
		{"back once two sets count", among(t, joint("n1 n2 n3", "n1 n2 n4")), members("n1", "n2", "n3"), ErrChanging},
		{"back before it is committed that others learn", among(t, learners("n1 n2 n3", "n1 n2 n4")), members("n1", "n2", "n3"), ErrChanging},
		{"until the last one is committed", among(t, of("n1 n2 n3 n5")), next, ErrChanging},
		{"while leadership is handed over", func() *Raft {
			r := established(options("n1", 3))
			require.NoError(t, r.Transfer("n2"))
			return r
		}(), next, ErrTransfer},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, last := c.r.config, c.r.Status().LastIndex
			require.ErrorIs(t, c.r.Change(c.next), c.want)
			require.Equal(t, before, c.r.config)
			require.Equal(t, last, c.r.Status().LastIndex)
		})
	}
}

// Each step waits until the one before is committed, and there is one of each.
func TestChange_goes_on_when_the_step_before_is_committed(t *testing.T) {
	r := established(options("n1", 3))
	require.NoError(t, r.Change(members("n1", "n2", "n4")))
	drain(r)
	answers(r, 2, "n4") // which counts nowhere
	require.Equal(t, "n1 n2 n3, and then n1 n2 n4", r.config.String())
	answers(r, 2, "n3")
	require.Equal(t, "n1 n2 n3, and n1 n2 n4", r.config.String())
	drain(r)
	require.EqualValues(t, 3, r.Status().LastIndex)
	answers(r, 3, "n3")
	require.EqualValues(t, 3, r.Status().LastIndex, "a majority of the new ones does not have it")
	answers(r, 3, "n4")
	require.Equal(t, "n1 n2 n4", r.config.String())
	drain(r)
	require.EqualValues(t, 4, r.Status().LastIndex)
	answers(r, 4, "n3") // it counts no more
	_, committed := r.Configuration()
	require.False(t, committed)
	answers(r, 4, "n4")
	_, committed = r.Configuration()
	require.True(t, committed)
	ticks(r, 20)
	require.EqualValues(t, 4, r.Status().LastIndex)
}

// Whatever a leader of before had begun, the next goes on with, once: when something of its own term is committed.
func TestChange_goes_on_with_the_next_leader(t *testing.T) {
	for _, c := range []struct {
		begun Configuration
		want  []string
	}{
		{learners("n1 n2 n3", "n1 n2"), []string{"n1 n2 n3, and then n1 n2", "n1 n2 n3, and n1 n2", "n1 n2"}},
		{joint("n1 n2 n3", "n1 n2"), []string{"n1 n2 n3, and n1 n2", "n1 n2"}},
		{of("n1 n2"), []string{"n1 n2"}},
	} {
		log := append(entries(1, 1), configured(2, 1, c.begun))
		r := leader(options("n1", 3), log...)
		require.Equal(t, c.want[:1], configs(r.Entries(0)))
		answers(r, 2, "n2")
		require.Equal(t, c.want[:1], configs(r.Entries(0)), "nothing of this term is committed")
		for range 5 {
			answers(r, r.Status().LastIndex, "n2")
		}
		require.Equal(t, c.want, configs(r.Entries(0)))
		_, committed := r.Configuration()
		require.True(t, committed)
	}
}

// Though it knows that the last step is committed (D§4.1).
func TestChange_goes_on_once_a_new_leader_has_committed_something(t *testing.T) {
	for _, begun := range []Configuration{learners("n1 n2 n3", "n1 n2"), joint("n1 n2 n3", "n1 n2"), of("n2 n3")} {
		r := start(options("n1", 3), HardState{Term: 1}, Snapshot{}, []Entry{noop(1, 1), configured(2, 1, begun)})
		r.Step(Message{From: "n2", To: "n1", Term: 1, AppendEntries: &AppendEntries{PrevLogIndex: 2, PrevLogTerm: 1, LeaderCommit: 2}})
		drain(r)
		require.EqualValues(t, 2, r.commitIndex)
		r.currentTerm, r.role, r.votes = 2, Candidate, map[string]bool{"n1": true, "n2": true, "n3": true}
		r.countVotes()
		drain(r)
		require.Equal(t, Leader, r.role)
		require.Equal(t, begun, r.config.Configuration)
		answers(r, 3, "n2", "n3")
		require.True(t, r.role == Follower || r.config.index > 3)
	}
}

// §6: a configuration is in force as soon as it is in the log.
func TestConfiguration_is_in_force_before_it_is_committed(t *testing.T) {
	r := follower(1, entries(1, 1)...)
	c := joint("n1 n2 n3", "n2 n4")
	r.Step(appendTo("n2", 1, following(1, 1, []Entry{configured(2, 1, of("n1 n2")), configured(3, 1, c)}, 2)))
	is, committed := r.Configuration()
	require.Equal(t, c, is)
	require.False(t, committed)
	require.Equal(t, &c, ready(r).Config)
	require.Nil(t, ready(r).Config, "the host hears of it once")
	r.Step(appendTo("n2", 1, following(3, 1, nil, 3)))
	_, committed = r.Configuration()
	require.True(t, committed)
	require.Nil(t, ready(r).Config)

	ticks(r, 30)
	for _, id := range []string{"n1", "n3"} {
		r.Step(would(id, "n2", 1, true))
	}
	require.Equal(t, PreCandidate, r.role, "of n2 and n4 it takes both")
	r.Step(would("n4", "n2", 1, true))
	require.Equal(t, Candidate, r.role)
}

// D§4.1
func TestConfiguration_that_is_cut_off_is_in_force_no_more(t *testing.T) {
	r := start(options("n2", 3), HardState{Term: 4}, snapshotAt(2, 1), entries(3, 1))
	r.Step(appendTo("n2", 4, following(3, 1, []Entry{configured(4, 4, of("n1 n2")), noop(5, 4), configured(6, 4, joint("n1 n2", "n2 n9"))}, 0)))
	ready(r)
	r.Step(appendTo("n2", 5, following(5, 4, entries(6, 5), 0)))
	require.Equal(t, "n1 n2", r.config.String())
	require.Equal(t, "n1 n2", ready(r).Config.String())
	r.Step(appendTo("n2", 6, following(3, 1, entries(4, 6, 6, 6), 0)))
	require.Equal(t, "n1 n2 n3", r.config.String(), "as the snapshot says")
	require.Equal(t, "n1 n2 n3", ready(r).Config.String())
	r.Step(appendTo("n2", 7, following(5, 6, []Entry{noop(6, 7), configured(7, 7, of("n2"))}, 0)))
	require.Equal(t, "n2", r.config.String())
	r.Step(appendTo("n2", 8, following(6, 7, entries(7, 8), 0)))
	require.Equal(t, "n1 n2 n3", r.config.String())
}

func TestConfiguration_is_found_again_after_a_restart(t *testing.T) {
	old, uncommitted := configured(2, 1, of("n1 n2")), configured(5, 1, joint("n1 n2", "n2 n3"))
	snapshot := snapshotAt(3, 1)
	snapshot.Config = of("n1 n2")
	for _, c := range []struct {
		name string
		s    Snapshot
		log  []Entry
		want string
	}{
		{"in the log", Snapshot{}, []Entry{noop(1, 1), old, noop(3, 1)}, "n1 n2"},
		{"in the log, and not committed", Snapshot{}, []Entry{noop(1, 1), old, noop(3, 1), noop(4, 1), uncommitted, noop(6, 1)}, "n1 n2, and n2 n3"},
		{"in the snapshot", snapshot, []Entry{noop(3, 1), noop(4, 1)}, "n1 n2"},
		{"in the log after the snapshot", snapshot, []Entry{noop(3, 1), noop(4, 1), uncommitted}, "n1 n2, and n2 n3"},
		{"in what is kept before the snapshot", snapshot, []Entry{noop(1, 1), old, noop(3, 1)}, "n1 n2"},
		{"nowhere", Snapshot{}, nil, ""},
	} {
		r := New(options("n2", 0).Options, HardState{Term: 1}, c.s, c.log)
		require.Equal(t, c.want, ready(r).Config.String(), c.name)
	}
}

func TestSnapshot_has_the_configuration_of_its_place(t *testing.T) {
	r := follower(1)
	log := []Entry{noop(1, 1), configured(2, 1, of("n1 n2")), noop(3, 1), configured(4, 1, of("n2"))}
	r.Step(appendTo("n2", 1, following(0, 0, log, 0)))
	for index, want := range []string{"n1 n2 n3", "n1 n2 n3", "n1 n2", "n1 n2", "n2"} {
		r.Step(appendTo("n2", 1, following(4, 1, nil, Index(index))))
		ready(r)
		s := r.Applied()
		require.EqualValues(t, index, s.LastIncludedIndex)
		require.Equal(t, want, s.Config.String())
		if index == 3 {
			r.Compact(s, 0)
			require.Equal(t, "n2", r.config.String())
			require.Equal(t, s.Config, r.Applied().Config, "its entry is gone")
		}
	}
}

func TestSnapshot_brings_its_configuration_to_who_gets_it(t *testing.T) {
	lead := among(t, of("n1 n2"))
	propose(t, lead, "a")
	drain(lead)
	answers(lead, 3, "n2")
	snapshot := lead.Applied()
	snapshot.Data = []byte(text)
	lead.Compact(snapshot, 0)
	require.NoError(t, lead.Change(members("n1", "n2", "n4")))
	drain(lead)
	lead.Step(replied("n4", 1, AppendEntriesReply{Index: 2}))
	r := New(options("n4", 0).Options, HardState{}, Snapshot{}, nil)
	r.Ready()
	for _, m := range to("n4", ready(lead).Appends) {
		r.Step(m)
	}
	rd := ready(r)
	requireSame(t, &snapshot, rd.Snapshot)
	requireSame(t, &snapshot.Config, rd.Config)
	require.Equal(t, "n1 n2", r.config.String())
}

// Learners.

func TestLearner_counts_nowhere(t *testing.T) {
	r := among(t, learners("n1 n2 n3", "n1 n2 n3 n4 n5"))
	propose(t, r, "a")
	drain(r)
	answers(r, 3, "n4", "n5")
	require.EqualValues(t, 1, r.Status().CommitIndex)
	require.Zero(t, r.AnsweredRound())
	for range 60 {
		r.Tick()
		answers(r, 3, "n4", "n5")
	}
	require.NotEqual(t, Leader, r.role, "they are no majority")

	r.preCampaign()
	requireSame(t, []Message{wonders("n1", "n2", 1, 3, 1), wonders("n1", "n3", 1, 3, 1)}, ready(r).Messages)
	for _, id := range []string{"n4", "n5"} {
		r.Step(would(id, "n1", 1, true))
	}
	require.Equal(t, PreCandidate, r.role)
}

// A node may be a voter by now, and not know it: it votes for whoever asks, as soon as it hears of no leader.
func TestLearner_never_campaigns_and_votes_if_it_is_asked(t *testing.T) {
	for _, c := range []Configuration{{}, of("n1 n2 n3"), learners("n1 n2 n3", "n1 n2 n3 n4")} {
		o := options("n4", 0)
		r := start(o, HardState{Term: 1}, Snapshot{Config: c}, nil)
		r.Step(appendTo("n4", 1, AppendEntries{}))
		r.Ready()
		r.Step(Message{From: "n1", To: "n4", Term: 1, TimeoutNow: &TimeoutNow{}})
		r.Campaign()
		requireReady(t, r)
		r.Step(wonders("n2", "n4", 1, 0, 0))
		requireReady(t, r)
		for range 100 {
			r.Tick()
			requireReady(t, r)
		}
		require.Equal(t, Follower, r.role)
		require.Equal(t, None, r.leader)
		r.Step(wonders("n2", "n4", 1, 0, 0))
		require.True(t, granted(t, r))
		r.Step(Message{From: "n2", To: "n4", Term: 2, RequestVote: &RequestVote{}})
		require.True(t, granted(t, r))
	}
}

// learn has n4 answer that it has all, as slowly as it is told, while a client writes.
func learn(t *testing.T, r *Raft, ids string, slow int) {
	t.Helper()
	last := r.Status().LastIndex
	for range slow {
		r.Tick()
		drain(r)
		answers(r, r.progress["n2"].matchIndex, "n2", "n3")
	}
	propose(t, r, "a")
	drain(r)
	answers(r, last, strings.Fields(ids)...)
}

func TestLearner_becomes_a_voter_once_a_round_takes_no_longer_than_an_election(t *testing.T) {
	for rounds := range maxRounds + 2 {
		r := among(t, learners("n1 n2 n3", "n1 n2 n3 n4"))
		answers(r, 2, "n2")
		for range rounds {
			require.Equal(t, "n1 n2 n3, and then n1 n2 n3 n4", r.config.String())
			learn(t, r, "n4", 30) // too long
		}
		if rounds >= maxRounds {
			require.Equal(t, "n1 n2 n3", r.config.String(), "it cannot keep up")
			return
		}
		learn(t, r, "n4", 29)
		require.Equal(t, "n1 n2 n3, and n1 n2 n3 n4", r.config.String(), "after %d slow rounds", rounds)
	}
}

func TestLearner_that_is_silent_is_given_up(t *testing.T) {
	for _, other := range []string{"", "n5"} { // be another level or not
		r := among(t, learners("n1 n2 n3", "n1 n2 n3 n4 n5"))
		answers(r, 2, "n2")
		for range maxRounds * 30 {
			require.Equal(t, "n1 n2 n3, and then n1 n2 n3 n4 n5", r.config.String())
			r.Tick()
			drain(r)
			answers(r, 2, "n2", "n3")
			if other != "" {
				answers(r, 2, other)
			}
		}
		r.Tick()
		drain(r)
		require.Equal(t, "n1 n2 n3", r.config.String())
		require.Nil(t, r.progress["n4"])
		answers(r, 3, "n2")
		require.NoError(t, r.Change(members("n1", "n2")), "another may begin")
	}
}

func TestLearner_that_answers_and_comes_no_further_is_given_up(t *testing.T) {
	const long = maxRounds*30 - 1 // ticks
	for _, c := range []struct {
		name string
		does func(r *Raft, tick int)
		want string
	}{
		{"it has one entry of two", func(r *Raft, _ int) { answers(r, 1, "n4") }, "n1 n2 n3"},
		{"it has one more now and then", func(r *Raft, tick int) { answers(r, Index(1+tick/long), "n4") }, "n1 n2 n3, and then n1 n2 n3 n4"},
		{"it has more of a snapshot now and then", func(r *Raft, tick int) {
			r.progress["n4"].transfer = &transfer{offset: 1 + tick/long}
		}, "n1 n2 n3, and then n1 n2 n3 n4"},
		{"it has no more of a snapshot", func(r *Raft, _ int) { r.progress["n4"].transfer = &transfer{offset: 1} }, "n1 n2 n3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := among(t, learners("n1 n2 n3", "n1 n2 n3 n4"))
			for range 10 {
				propose(t, r, "a")
			}
			for tick := 0; tick < 3*maxRounds*30 && r.progress["n4"] != nil; tick++ {
				r.Tick()
				drain(r)
				answers(r, r.Status().LastIndex, "n2", "n3")
				if r.progress["n4"] != nil {
					c.does(r, tick)
				}
			}
			require.Equal(t, c.want, r.config.String())
		})
	}
}

// Nobody counts otherwise yet.
func TestChange_waits_for_a_majority_of_those_who_are_to_count(t *testing.T) {
	for _, before := range []int{0, 20} { // heartbeats from the election, or the failure, to the change
		for _, withdrawn := range []bool{true, false} {
			g := newGroup(t, options("", 0), nil, nil, nil)
			g.kill("n3")
			g.lead("n1")
			for range before {
				g.heartbeat()
			}
			g.change("n1", "n1 n3")
			for range 50 {
				g.heartbeat()
			}
			require.Equal(t, Leader, g.nodes["n1"].role)
			require.Equal(t, "n1 n2 n3, and then n1 n3", g.nodes["n1"].config.String())
			if withdrawn {
				g.change("n1", "n1 n2 n3")
				g.requireVoters("n1 n2 n3", "n3")
				continue
			}
			g.start("n3")
			for range 50 {
				g.heartbeat()
			}
			g.requireVoters("n1 n3")
		}
	}
}

func TestChange_can_be_withdrawn_while_the_new_members_learn(t *testing.T) {
	r := among(t, learners("n1 n2 n3", "n1 n2 n4"))
	answers(r, 2, "n2")
	require.NoError(t, r.Change(members("n1", "n2", "n3")))
	require.Equal(t, "n1 n2 n3", r.config.String())
	require.Nil(t, r.progress["n4"])
	require.ErrorIs(t, r.Change(members("n1", "n2")), ErrChanging, "that is not committed")
	answers(r, 3, "n3")
	require.NoError(t, r.Change(members("n1", "n2")))
}

func TestLearner_that_is_level_stays_so_while_another_learns(t *testing.T) {
	r := among(t, learners("n1 n2 n3", "n1 n2 n3 n4 n5"))
	answers(r, 2, "n2")
	learn(t, r, "n4", 5)
	learn(t, r, "n4 n5", 40)
	require.Equal(t, "n1 n2 n3, and then n1 n2 n3 n4 n5", r.config.String())
	learn(t, r, "n5", 5) // n4 is behind by now
	require.Equal(t, "n1 n2 n3, and n1 n2 n3 n4 n5", r.config.String())
}

func TestChange_needs_no_old_member_that_is_down(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.kill("n3")
	g.join("n4")
	g.change("n1", "n1 n2 n3 n4")
	g.requireVoters("n1 n2 n3 n4", "n3")
	g.change("n1", "n1 n2 n4")
	g.requireVoters("n1 n2 n4")
}

// Figure 4.4 of the dissertation: however empty those are that come, what a majority has goes on.
func TestLearners_do_not_hold_up_what_is_committed(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.join("n4", "n5", "n6")
	g.lost = func(m Message) bool { return slices.Contains([]string{"n3", "n4", "n5", "n6"}, m.To) }
	require.NoError(t, g.nodes["n1"].Change(members(names(6)...)))
	for i := range 20 {
		index, _ := g.propose("n1", fmt.Sprint(i))
		require.Equal(t, index, g.nodes["n1"].Status().CommitIndex)
		g.heartbeat()
	}
	require.Equal(t, Leader, g.nodes["n1"].role)
	g.lost = nil
	for range 8 {
		g.heartbeat()
	}
	g.requireVoters("n1 n2 n3 n4 n5 n6")
}

// Two sets that decide.

func TestLeader_needs_a_majority_of_both_to_commit_and_to_read_and_to_lead(t *testing.T) {
	for _, ids := range []string{"n2 n3", "n4 n5 n6", "n2 n4 n5"} {
		both := ids == "n2 n4 n5"
		r := among(t, joint("n1 n2 n3", "n4 n5 n6"))
		drain(r)
		r.commitIndex, r.uncommitted = 1, 0
		round := r.round
		for _, id := range strings.Fields(ids) {
			r.Step(answered(id, 1, round))
			r.progress[id].matchIndex = 2
		}
		require.Equal(t, both, r.AnsweredRound() == round, ids)
		r.advanceCommit()
		require.Equal(t, both, r.commitIndex == 2, ids)

		r = among(t, joint("n1 n2 n3", "n4 n5 n6"))
		for range 60 {
			r.Tick()
			for _, id := range strings.Fields(ids) {
				if r.role == Leader {
					r.Step(answered(id, 1, r.round))
				}
			}
			r.replicate()
		}
		require.Equal(t, both, r.role == Leader, ids)
	}
}

// Four nodes, two of which are cut off: the leader cannot get rid of them with the one that it reaches.
func TestChange_that_no_majority_of_the_old_members_has_is_not_committed(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil, nil)
	g.lead("n1")
	g.lost = func(m Message) bool { return (m.To > "n2") != (m.From > "n2") }
	require.NoError(t, g.nodes["n1"].Change(members("n1", "n2")))
	g.run()
	for range 20 {
		g.heartbeat()
	}
	require.Equal(t, "n1 n2 n3 n4, and then n1 n2", g.nodes["n1"].config.String())
	require.EqualValues(t, 1, g.nodes["n1"].Status().CommitIndex)
}

func TestEntries_are_committed_when_fewer_have_to_have_them(t *testing.T) {
	r := among(t, joint("n1 n2 n3 n4", "n1 n2"))
	propose(t, r, "a")
	drain(r)
	answers(r, 3, "n2")
	require.EqualValues(t, 1, r.Status().CommitIndex)
	answers(r, 2, "n3") // both sets have the configuration, and from here on only the new one counts
	require.Equal(t, "n1 n2", r.config.String())
	require.EqualValues(t, 3, r.Status().CommitIndex)
}

// Who is removed.

// §6: it leads without counting itself, and no longer than it must.
func TestLeader_that_is_removed_leads_until_that_is_committed(t *testing.T) {
	r := among(t, joint("n1 n2 n3", "n2 n3"))
	answers(r, 2, "n2", "n3")
	require.Equal(t, "n2 n3", r.config.String())
	propose(t, r, "it takes writes")
	drain(r)
	require.EqualValues(t, 4, r.Status().LastIndex)
	r.Step(appended("n3", 1, 4))
	rd := ready(r)
	require.Empty(t, rd.Messages)
	require.Equal(t, Leader, r.role, "it does not count itself")
	require.EqualValues(t, 2, r.Status().CommitIndex)
	r.Step(appended("n2", 1, 3))
	rd = ready(r)
	require.Equal(t, []Message{{From: "n1", To: "n3", Term: 1, TimeoutNow: &TimeoutNow{}}}, rd.Messages, "who has most need not wait")
	require.Equal(t, Follower, r.role)
	require.EqualValues(t, 3, r.Status().CommitIndex)
	for range 100 {
		r.Tick()
		requireReady(t, r)
	}
}

// §6: whoever is in one of the two sets may lead while both count.
func TestNode_of_either_set_may_lead_while_two_sets_count(t *testing.T) {
	for _, c := range []Configuration{joint("n1", "n2"), joint("n2", "n1")} {
		r := New(options("n1", 0).Options, HardState{Term: 1}, Snapshot{}, []Entry{configured(1, 1, of(ids(c.Voters))), configured(2, 1, c)})
		r.Ready()
		ticks(r, 29)
		r.Tick()
		requireSame(t, []Message{wonders("n1", "n2", 1, 2, 1)}, ready(r).Messages)
		r.Step(would("n2", "n1", 1, true))
		r.Ready()
		r.Step(voted("n2", "n1", 2, true))
		require.Equal(t, Leader, r.role, &c)
	}
}

// D§4.2.2. It may be the only one that can lead: until it is committed that it does not count.
func TestNode_that_has_removed_itself_may_lead_until_that_is_committed(t *testing.T) {
	log := []Entry{configured(1, 1, of("n1 n2")), configured(2, 1, joint("n1 n2", "n2")), configured(3, 1, of("n2"))}
	for _, started := range []bool{true, false} { // has it heard that the second is committed?
		r := New(options("n1", 0).Options, HardState{Term: 1}, Snapshot{}, log)
		if !started {
			r.Step(Message{From: "n2", To: "n1", Term: 1, AppendEntries: &AppendEntries{PrevLogIndex: 3, PrevLogTerm: 1, LeaderCommit: 2}})
		}
		r.Ready()
		ticks(r, 29)
		r.Tick()
		requireSame(t, []Message{wonders("n1", "n2", 1, 3, 1)}, ready(r).Messages)
		r.Step(would("n2", "n1", 1, true))
		r.Ready()
		r.Step(voted("n2", "n1", 2, true))
		require.Equal(t, Leader, r.role)
		drain(r)
		require.Less(t, r.commitIndex, Index(3))
		answers(r, 4, "n2")
		require.Equal(t, Follower, r.role)
		require.EqualValues(t, 4, r.commitIndex)
		ticks(r, 100)
		require.Equal(t, Follower, r.role)
	}
}

func TestNode_that_has_removed_itself_does_not_count_its_own_vote(t *testing.T) {
	log := []Entry{configured(1, 1, of("n1 n2 n3")), configured(2, 1, joint("n1 n2 n3", "n2 n3")), configured(3, 1, of("n2 n3"))}
	r := New(options("n1", 0).Options, HardState{Term: 1}, Snapshot{}, log)
	ticks(r, 30)
	r.Step(would("n2", "n1", 1, true))
	require.Equal(t, PreCandidate, r.role)
	r.Step(would("n3", "n1", 1, true))
	r.Step(voted("n2", "n1", 2, true))
	require.Equal(t, Candidate, r.role)
	r.Step(voted("n3", "n1", 2, true))
	require.Equal(t, Leader, r.role)
}

func TestNode_that_is_removed_disturbs_nobody(t *testing.T) {
	for _, heard := range []bool{true, false} { // of its removal
		g := newGroup(t, options("", 0), nil, nil, nil, nil)
		g.lead("n1")
		if !heard {
			g.lost = isolate("n4")
		}
		g.change("n1", "n1 n2 n3")
		g.lost = nil
		for range 50 {
			g.heartbeat()
		}
		g.requireVoters("n1 n2 n3")
		require.EqualValues(t, 1, g.nodes["n1"].currentTerm)
		require.Equal(t, Leader, g.nodes["n1"].role)
		g.change("n1", "n1 n2 n3 n4") // under the same name
		g.requireVoters("n1 n2 n3 n4")
	}
}

func TestCluster_that_has_shrunk_to_one_grows_again(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.change("n1", "n1")
	g.kill("n2")
	g.kill("n3")
	g.propose("n1", "alone")
	require.EqualValues(t, g.nodes["n1"].log.lastIndex(), g.nodes["n1"].commitIndex)
	g.start("n2")
	g.start("n3")
	g.change("n1", "n1 n2 n3")
	g.requireVoters("n1 n2 n3")
}

// A node that has had a life of its own has a term that nobody has heard of.
func TestCluster_bears_a_new_member_with_a_late_term(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.join("n4")
	g.terms["n4"] = HardState{Term: 50}
	g.start("n4")
	require.NoError(t, g.nodes["n1"].Change(members(names(4)...)))
	for range 40 {
		g.heartbeat()
	}
	for id, r := range g.nodes {
		if r.role == Leader {
			if r.config.Next == nil && len(r.config.Voters) == 3 {
				g.change(id, "n1 n2 n3 n4")
			}
		}
	}
	g.requireVoters("n1 n2 n3 n4")
	require.Greater(t, g.nodes["n4"].currentTerm, Term(50))
}

func TestLeader_ignores_who_is_no_member(t *testing.T) {
	r := among(t, of("n1 n2"))
	before := r.Status()
	for _, m := range []Message{
		appended("n3", 1, 2),
		replied("n3", 1, AppendEntriesReply{Index: 1}),
		installed("n3", 1, InstallSnapshotReply{Done: true}),
		installed("n3", 1, InstallSnapshotReply{}),
		voted("n3", "n1", 1, true),
	} {
		r.Step(m)
		requireReady(t, r)
	}
	require.Equal(t, before, r.Status())
}

// Whether there would be votes (D§9.6).

func TestPreVote_changes_nothing_on_who_is_asked(t *testing.T) {
	for _, c := range []struct {
		name     string
		term     Term
		index    Index
		lastTerm Term
		want     bool
	}{
		{"a log that lacks nothing", 4, 2, 1, true},
		{"a log that lacks something", 4, 1, 1, false},
		{"a term that is over", 3, 9, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(options("n2", 3), HardState{4, "n3"}, Snapshot{}, entries(1, 1, 1)) // it has voted
			ticks(r, 20)
			r.Step(wonders("n1", "n2", c.term, c.index, c.lastTerm))
			requireReady(t, r, Ready{Messages: []Message{would("n2", "n1", 4, c.want)}})
			require.Equal(t, "n3", r.votedFor)
			require.Equal(t, 20, r.electionElapsed)
		})
	}
}

func TestPreVote_of_whoever_is_behind_tells_it_the_term(t *testing.T) {
	r := start(options("n1", 3), HardState{Term: 3}, Snapshot{}, entries(1, 1, 1))
	ticks(r, 30)
	require.Equal(t, PreCandidate, r.role)
	r.Step(would("n2", "n1", 5, false))
	requireSame(t, Status{ID: "n1", Term: 5, LastIndex: 2, LastTerm: 1}, r.Status())
	ticks(r, 30)
	r.Step(would("n2", "n1", 5, true))
	require.Equal(t, Candidate, r.role)
	require.EqualValues(t, 6, r.currentTerm)
}

func TestPreVote_is_no_vote_nor_a_vote_one(t *testing.T) {
	r := start(options("n1", 3), HardState{Term: 3}, Snapshot{}, nil)
	ticks(r, 30)
	r.Step(voted("n2", "n1", 3, true))
	require.Equal(t, PreCandidate, r.role)
	r.Step(would("n2", "n1", 3, true))
	require.Equal(t, Candidate, r.role)
	r.Step(would("n2", "n1", 4, true))
	r.Step(would("n3", "n1", 3, true))
	require.Equal(t, Candidate, r.role)
	r.Step(voted("n2", "n1", 4, true))
	require.Equal(t, Leader, r.role)
}

func TestPreCandidate_follows_a_leader_whom_it_hears(t *testing.T) {
	r := start(options("n1", 3), HardState{Term: 3}, Snapshot{}, nil)
	ticks(r, 30)
	r.Step(Message{From: "n2", To: "n1", Term: 3, AppendEntries: &AppendEntries{}})
	require.Equal(t, Follower, r.role)
	r.Step(would("n3", "n1", 3, true))
	require.Equal(t, Follower, r.role)
}

// D§4.2.3. Whoever hears a leader has no vote to give, whatever the term.
func TestRequest_is_ignored_by_who_hears_a_leader(t *testing.T) {
	for _, elapsed := range []int{0, 29, 30} {
		for _, pre := range []bool{true, false} {
			for _, r := range []*Raft{follower(4), established(options("n2", 3))} {
				leads := r.role == Leader
				if !leads {
					o := options("n2", 3)
					o.Random = func(int) int { return 29 } // it waits for longer itself
					r = start(o, HardState{Term: 1}, Snapshot{}, nil)
					r.Step(appendTo("n2", 1, AppendEntries{}))
					r.Ready()
					ticks(r, elapsed)
				}
				r.Step(Message{From: "n3", To: "n2", Term: 9, RequestVote: &RequestVote{9, 9, pre, false}})
				if leads || elapsed < 30 {
					requireReady(t, r)
					require.EqualValues(t, 1, r.currentTerm)
				} else {
					require.True(t, granted(t, r))
				}
			}
		}
	}
}

func TestNode_that_comes_back_deposes_nobody(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.lost = isolate("n3")
	for range 50 {
		g.heartbeat()
	}
	require.EqualValues(t, 1, g.nodes["n3"].currentTerm)
	g.propose("n1", "a")
	g.lost = nil
	for range 5 {
		g.heartbeat()
	}
	g.requireAgreement("n1")
	require.EqualValues(t, 1, g.nodes["n1"].currentTerm)
}

// One that is in nobody's configuration may be in a newer one: a fresh log is what counts (D§4.1).
func TestVote_is_for_a_stranger_too(t *testing.T) {
	r := follower(4, entries(1, 1)...)
	r.Step(Message{From: "n9", To: "n2", Term: 5, RequestVote: &RequestVote{LastLogIndex: 1, LastLogTerm: 1}})
	require.True(t, granted(t, r))
	r.Step(Message{From: "n9", To: "n2", Term: 6, RequestVote: &RequestVote{}})
	require.False(t, granted(t, r))
}

// Leadership is handed over (D§3.10).

func timeoutNow(from, to string, term Term) Message {
	return Message{From: from, To: to, Term: term, TimeoutNow: &TimeoutNow{}}
}

func TestTransfer_tells_a_node_to_campaign_once_it_has_all(t *testing.T) {
	r := established(options("n1", 3))
	require.NoError(t, r.Transfer("n2"))
	requireReady(t, r, Ready{Messages: []Message{timeoutNow("n1", "n2", 1)}})
	ticks(r, 5)
	requireReady(t, r) // once

	r = established(options("n1", 3))
	propose(t, r, "a")
	r.Ready()
	require.NoError(t, r.Transfer("n2"))
	requireReady(t, r)
	r.Step(appended("n3", 1, 2))
	require.Empty(t, ready(r).Messages)
	r.Step(appended("n2", 1, 2))
	requireSame(t, []Message{timeoutNow("n1", "n2", 1)}, ready(r).Messages)
}

func TestTransfer_is_refused(t *testing.T) {
	require.ErrorIs(t, follower(1).Transfer("n1"), ErrNotLeader)
	r := among(t, learners("n1 n2 n3", "n1 n2 n3 n4"))
	require.ErrorIs(t, r.Transfer("n4"), ErrNoVoter)
	require.ErrorIs(t, r.Transfer("n9"), ErrNoVoter)
	require.NoError(t, r.Transfer("n1"), "it leads already")
	_, _, err := r.Propose(command("a"))
	require.NoError(t, err)
}

func TestTransfer_takes_no_writes_meanwhile_and_is_given_up(t *testing.T) {
	r := established(options("n1", 3))
	ticks(r, 20)
	answers(r, 1, "n2", "n3")
	require.NoError(t, r.Transfer("n2"))
	for range 29 {
		_, _, err := r.Propose(command("a"))
		require.ErrorIs(t, err, ErrTransfer)
		ticks(r, 1)
		answers(r, 1, "n2", "n3")
	}
	ticks(r, 1)
	propose(t, r, "a")
	requireSame(t, Status{ID: "n1", Role: Leader, Term: 1, Leader: "n1", LastIndex: 2, LastTerm: 1, CommitIndex: 1, CommitTerm: 1, AppliedIndex: 1}, r.Status())
}

func TestTransfer_goes_to_the_last_who_was_named(t *testing.T) {
	r := established(options("n1", 3))
	require.NoError(t, r.Transfer("n2"))
	drain(r)
	require.NoError(t, r.Transfer("n3"))
	requireReady(t, r, Ready{Messages: []Message{timeoutNow("n1", "n3", 1)}})
}

func TestTransfer_that_is_ordered_again_gets_no_more_time(t *testing.T) {
	r := established(options("n1", 3))
	for range r.options.ElectionTicks {
		require.NoError(t, r.Transfer("n2"))
		drain(r)
		r.Tick()
		r.electionElapsed = 0 // its followers answer
	}
	propose(t, r, "a")
}

func TestTransfer_ends_with_the_reign(t *testing.T) {
	r := established(options("n1", 3))
	require.NoError(t, r.Transfer("n2"))
	r.Step(asks("n2", "n1", 2, 1, 1)) // though it hears a leader, itself
	require.True(t, r.votedFor == "n2")
	elect(r)
	propose(t, r, "a")
}

func TestTransfer_changes_who_leads(t *testing.T) {
	g := newGroup(t, options("", 0), nil, nil, nil)
	g.lead("n1")
	g.propose("n1", "a")
	for _, c := range []struct{ from, to string }{{"n1", "n2"}, {"n2", "n1"}, {"n1", "n3"}} {
		require.NoError(t, g.nodes[c.from].Transfer(c.to))
		g.run() // no time passes
		require.Equal(t, Leader, g.nodes[c.to].role)
		require.Equal(t, Follower, g.nodes[c.from].role)
	}
	g.propose("n3", "b")
}

// A change that is under way is left to the next leader.
func TestTransfer_in_the_midst_of_a_change(t *testing.T) {
	r := among(t, joint("n1 n2 n3", "n1 n2 n4"))
	require.NoError(t, r.Transfer("n2"))
	answers(r, 2, "n2", "n3", "n4")
	require.Equal(t, "n1 n2 n3, and n1 n2 n4", r.config.String())
	ticks(r, 30)
	require.Equal(t, "n1 n2 n4", r.config.String())
}

func TestTimeoutNow_counts_only_from_the_leader_of_the_term(t *testing.T) {
	hearing := func() *Raft {
		r := follower(4)
		r.Step(appendTo("n2", 4, AppendEntries{}))
		r.Ready()
		return r
	}
	for name, m := range map[string]Message{
		"of a term that is over": timeoutNow("n1", "n2", 3),
		"of another member":      timeoutNow("n3", "n2", 4),
		"of a stranger":          timeoutNow("n9", "n2", 4),
		"of nobody":              timeoutNow(None, "n2", 4),
		"of a newer term":        timeoutNow("n1", "n2", 5),
	} {
		r := hearing()
		r.Step(m)
		require.Equal(t, Follower, r.role, name)
		require.Empty(t, ready(r).Messages, name)
	}
	r := hearing()
	r.Step(timeoutNow("n1", "n2", 4))
	requireReady(t, r, Ready{HardState: &HardState{5, "n2"}, Messages: []Message{asks("n2", "n1", 5, 0, 0), asks("n2", "n3", 5, 0, 0)}})

	lead := established(options("n1", 3))
	lead.Step(timeoutNow("n2", "n1", 1))
	requireReady(t, lead)
}
