package sim

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A changer is a core that is told by whom to count, and does.
type changer struct {
	*fake
	now, applied Config
}

func (c *changer) Change(voters []string) error {
	if c.role != leader {
		return errors.New("not the leader")
	}
	c.now = Config{Voters: voters}
	return nil
}

func (c *changer) Transfer(to string) error  { return errors.New(to + " is not here") }
func (c *changer) Configs() (now, at Config) { return c.now, c.applied }

// changing returns the fake as an algorithm whose cluster changes.
func changing() Algorithm {
	a := broken("")
	start := a.Start
	a.Start = func(o Options, disk []any) Core {
		return &changer{fake: start(o, disk).(*fake), now: Config{Voters: o.Nodes}}
	}
	a.Bootstrap = func(members []string) Save {
		entries := []Entry{{Index: 1, Term: 1, Config: &Config{Voters: members}}}
		return Save{Record: fakeRecord{term: 1, entries: entries}, Term: 1, Entries: entries}
	}
	return a
}

// cluster returns the checker of nodes that have logs: each of which is given by the configurations in it, or - for another
// entry.
func cluster(logs ...string) *checker {
	var nodes []*node
	for i, id := range names(len(logs)) {
		nodes = append(nodes, &node{host: host{id: id, core: &changer{fake: &fake{}}}, number: i})
	}
	c := newChecker(nodes, false)
	for i, log := range logs {
		var entries []Entry
		for word := range strings.SplitSeq(log, "; ") {
			e := Entry{Index: uint64(len(entries)) + 1, Term: 1}
			if word != "-" {
				config := parsed(word)
				e.Config = &config
			}
			entries = append(entries, e)
		}
		c.saves(nodes[i], &Save{Term: 1, Entries: entries})
	}
	return &c
}

// parsed is the Config of which String is text.
func parsed(text string) (c Config) {
	now, next, changes := strings.Cut(text, ", and ")
	if c.Voters = strings.Fields(now); changes {
		next, learns := strings.CutPrefix(next, "then ")
		c.Next, c.Joint = strings.Fields(next), !learns
	}
	return c
}

func TestConfig_says_whose_majority_decides(t *testing.T) {
	for text, want := range map[string][][]string{
		"n1 n2":                 {{"n1", "n2"}},
		"n1 n2, and then n2 n3": {{"n1", "n2"}},
		"n1 n2, and n2 n3":      {{"n1", "n2"}, {"n2", "n3"}},
	} {
		c := parsed(text)
		require.Equal(t, text, c.String())
		require.Equal(t, want, c.quorums())
		require.True(t, c.equal(parsed(text)))
		require.False(t, c.equal(parsed("n1")))
	}
	require.False(t, parsed("n1, and n2").equal(parsed("n1, and then n2")))
}

func TestWhat_a_leader_commits_is_on_the_disks_of_a_majority_by_its_configuration(t *testing.T) {
	for _, c := range []struct {
		config string // in the leader's log
		have   string // the entry after that, n1 to n5
		want   string
	}{
		{"n1 n2 n3", "yy---", ""},
		{"n1 n2 n3", "y--yy", "n1 commits 2 in term 1, which 1 of 3 nodes have on their disks"},
		{"n2 n3", "yy---", "which 1 of 2 nodes have"},
		{"n2 n3", "yyy--", ""},
		{"n1 n2 n3, and then n1 n2 n3 n4 n5", "yy---", ""},
		{"n1 n2 n3, and n1 n2 n3 n4 n5", "yy---", "which 2 of 5 nodes have"},
		{"n1 n2 n3, and n1 n2 n3 n4 n5", "y--yy", "which 1 of 3 nodes have"},
		{"n1 n2 n3, and n1 n2 n3 n4 n5", "yy-y-", ""},
		{"n0 n1", "yyyyy", "which 1 of 2 nodes have"},
	} {
		var logs []string
		for _, have := range c.have {
			log := c.config
			if have == 'y' {
				log += "; -"
			}
			logs = append(logs, log)
		}
		checker := cluster(logs...)
		checker.nodes[0].state.Term = 1
		checker.decides(checker.nodes[0], 2)
		if c.want == "" {
			require.Empty(t, checker.found, "%v", c)
			continue
		}
		require.Len(t, checker.found, 1, "%v", c)
		require.Equal(t, Durability, checker.found[0].property)
		require.Contains(t, checker.found[0].text, c.want)
	}
}

// Only a call in which it leads before and after, in one term, is one in which a leader finds anything.
func TestFollower_commits_only_what_a_leader_has(t *testing.T) {
	for _, found := range []bool{true, false} {
		c := cluster("n1 n2 n3; -", "n1 n2 n3; -", "n1 n2 n3; -")
		if found {
			n := c.nodes[0]
			core := n.core.(*changer)
			core.fake.role, core.fake.term, core.fake.log = leader, 1, make([]Entry, 2)
			c.stepped(n)
			core.fake.commit = 2
			c.stepped(n)
		}
		n := c.nodes[1]
		n.state.CommitIndex = 2
		c.commits(n)
		if found {
			require.Empty(t, c.found)
		} else {
			require.Equal(t, []violation{{Durability, "n2 commits 1@1, which no leader has found committed"}}, c.found)
		}
	}
}

func TestNode_counts_by_the_last_configuration_in_its_log(t *testing.T) {
	for _, is := range []string{"n1 n2", "n1", "n1 n2, and n1"} {
		c := cluster("n1 n2, and then n1; n1 n2, and n1; -")
		c.nodes[0].core.(*changer).now = parsed(is)
		c.counts(c.nodes[0])
		if is == "n1 n2, and n1" {
			require.Empty(t, c.found)
		} else {
			require.Equal(t, []violation{{Configuration, `n1 counts by "` + is + `", and the last in its log is "n1 n2, and n1"`}}, c.found)
		}
	}
	c := cluster("-")
	c.nodes[0].core.(*changer).now = Config{}
	c.counts(c.nodes[0])
	require.Empty(t, c.found, "it knows of nobody")
}

func TestSnapshot_has_the_configuration_that_was_in_force(t *testing.T) {
	for _, is := range []string{"n1 n2", "n1"} {
		c := cluster("n1 n2; -; n1")
		n := c.nodes[0]
		n.machine.Index, n.machine.Term = 2, 1
		c.snaps(n, Snapshot{Index: 2, Term: 1, Config: parsed(is)})
		if is == "n1 n2" {
			require.Empty(t, c.found)
		} else {
			require.Equal(t, []violation{{Configuration, `n1 takes a snapshot up to 2@1 with the configuration "n1", and there it was "n1 n2"`}}, c.found)
		}
	}
}

func TestLogs_with_other_configurations_are_not_the_same(t *testing.T) {
	c := cluster("n1", "n2")
	require.Len(t, c.found, 1)
	require.Equal(t, LogMatching, c.found[0].property)
}

// resting returns a simulation in which n1 leads for good.
func resting(log string) *simulation {
	c := cluster(log, log, log)
	s := &simulation{algorithm: changing(), nodes: c.nodes, checker: *c, healedAt: 1, now: 10 * quiet}
	s.clients.done = true
	for _, n := range c.nodes {
		n.state.CommitIndex, n.machine.Index = uint64(len(n.chain)), uint64(len(n.chain))
	}
	s.nodes[0].state.Role, s.nodes[0].state.Term = leader, 1
	return s
}

func TestEnd_is_when_all_has_been_well_for_a_while(t *testing.T) {
	s := resting("n1 n2")
	s.nodes[2].chain = nil // it is no member
	require.False(t, s.settled())
	s.now += quiet + 1
	require.True(t, s.settled())
	require.Empty(t, s.checker.found)

	s = resting("n1 n2")
	s.now = s.healedAt + quiet - 1
	require.False(t, s.settled())
	require.Zero(t, s.restsFrom, "something may come that was late")

	for _, disturb := range []func(n *node){
		func(n *node) { n.state.Term++ },
		func(n *node) { n.state.Role = "follower" },
	} {
		s = resting("n1 n2")
		require.False(t, s.settled())
		disturb(s.nodes[0])
		s.settled()
		require.Len(t, s.checker.found, 1)
		require.Equal(t, Calm, s.checker.found[0].property)
	}
}

func TestEnd_is_not_while_a_change_is_under_way(t *testing.T) {
	for log, want := range map[string]string{
		"n1 n2, and then n1": `Liveness: 30s after all faults n1 is leader of "n1 n2, and then n1"`,
		"n1 n2, and n1":      `Liveness: 30s after all faults n1 is leader of "n1 n2, and n1"`,
		"n2 n3":              `Liveness: 30s after all faults n1 is leader of "n2 n3"`,
	} {
		s := resting(log)
		require.Equal(t, s.nodes[0], s.differing(), log)
		for _, n := range s.nodes {
			n.core.(*changer).now = parsed(log)
		}
		s.end()
		require.Equal(t, want, s.checker.found[0].String())
	}
	s := resting("n1 n2 n3")
	s.nodes[1].state.CommitIndex = 0
	require.Equal(t, s.nodes[1], s.differing())
}

func TestOperator_wishes_for_any_members(t *testing.T) {
	seen, sizes := map[string]bool{}, map[int]bool{}
	for seed := range uint64(50) {
		s := newSimulation(changing(), seed, false, 0)
		require.LessOrEqual(t, len(s.nodes), most+1)
		require.Len(t, s.mix.rates, len(s.nodes))
		for _, n := range s.nodes {
			require.Equal(t, n.number < len(s.mix.options.Nodes), len(n.disk) == 1, "only the first members have something on their disks")
		}
		s.operator.ordered = 0
		now := s.checker.inForce(s.nodes[0]).Voters
		require.Equal(t, s.mix.options.Nodes, now)
		for range 50 {
			wish := s.wish()
			require.NotEmpty(t, wish)
			require.True(t, slices.IsSorted(wish))
			require.Equal(t, len(wish), len(slices.Compact(slices.Clone(wish))))
			require.LessOrEqual(t, len(wish), most+1)
			sizes[len(wish)] = true
			for what, there := range map[string]bool{
				"the same": slices.Equal(wish, now), "somebody new": !within(wish, now), "somebody goes": !within(now, wish),
				"nobody": slices.Contains(wish, nobody), "the leader goes": !slices.Contains(wish, "n1"),
				"all are new": !slices.ContainsFunc(wish, func(id string) bool { return slices.Contains(now, id) }),
			} {
				if there {
					seen[what] = true
				}
			}
		}
	}
	require.Len(t, seen, 6)
	require.GreaterOrEqual(t, len(sizes), most)
}

func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(id string) bool { return !slices.Contains(all, id) })
}

func TestPlayer_changes_members(t *testing.T) {
	for _, c := range []struct{ lines, says, wrong string }{
		{"lead n1\nchange n1 n1 n4", "n1   ordered  the voters are to be n1 n4\n", ""},
		{"change n1 n1 n4", "n1   ordered  the voters are to be n1 n4: not the leader\n", ""},
		{"transfer n1 n2", "n1   ordered  n2 is to lead: n2 is not here\n", ""},
		{"expect n1 voters n1 n2", "", ""},
		{"expect n1 voters n1", "", "expect n1 voters n1: it is n1 n2"},
		{"start n3", "n3   starts\n     is       follower t0 last=0@0 commit=0 applied=0\n", ""},
		{"start n3 n4\nexpect n3 voters n4", "", ""},
		{"crash n1\nstart n1 n1 n5\nexpect n1 voters n1 n5", "n1   starts\n", ""},
		{"crash n1\nstart n1 n1 n5\ncrash n1\nrestart n1\nexpect n1 voters n1 n5", "n1   starts\n", ""},
		{"start n1", "", "start n1: it lives"},
	} {
		p := newPlayer(changing())
		require.NoError(t, p.play("nodes 2"))
		var err error
		for line := range strings.Lines(c.lines) {
			err = errors.Join(err, p.play(line))
		}
		if c.wrong != "" {
			require.EqualError(t, err, c.wrong)
			continue
		}
		require.NoError(t, err, c.lines)
		require.Contains(t, p.out.String(), c.says)
	}
}
