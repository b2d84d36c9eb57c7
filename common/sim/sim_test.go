package sim

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// found returns the violations that seeds find in an algorithm, as text, until one of them is want.
func found(a Algorithm, careless bool, want string) (all string) {
	for seed := range uint64(60) {
		for _, v := range simulate(a, seed, careless, 0).found {
			if all += v.String() + "\n"; strings.Contains(v.String(), want) {
				return all
			}
		}
	}
	return all
}

func TestAlgorithm_that_is_right_passes(t *testing.T) {
	for seed := range uint64(50) {
		require.Empty(t, simulate(broken(""), seed, false, 0).found, "seed %d", seed)
		require.Empty(t, simulate(snapping(""), seed, false, 0).found, "seed %d, with snapshots", seed)
	}
}

// A check that cannot fail is none: each of them finds a bug.
func TestEach_violation_is_found(t *testing.T) {
	for _, c := range []struct{ bug, want string }{
		{"leads a term again", "has done"},
		{"leads as it starts", "as it starts"},
		{"overwrites what it leads with", "Leader Append-Only: n"},
		{"writes something else", "and not the same log up to there"},
		{"saves entries twice", "Log Matching: n"},
		{"leads without its last entry", "which was committed in term"},
		{"commits what it does not have", "and has only"},
		{"applies something else", "which is not what its log has there"},
		{"overwrites what is committed", "which is committed"},
		{"takes half for a majority", "nodes have on their disks"},
		{"saves no term", "and has saved term 0 only"},
		{"acknowledges before it has saved", "entries only"},
		{"keeps what conflicts", "does not have the same log up to there"},
		{"forgets its term", "starts in term"},
		{"forgets its last entry", "and has saved one that ends at"},
		{"drops its last entry in mind", "and has saved one that ends at"},
		{"changes an entry in mind", "which is not what it has saved there"},
		{"saves with a gap", "and has nothing before it"},
		{"takes commits back", "and now it is"},
		{"takes part in old terms", "and now it is"},
		{"saves an old term", "saves term 1 after"},
		{"applies twice", "Apply Order: n"},
		{"does not hear of commits", "Agreement: 10s after all faults n"},
		{"commits nothing", "Liveness: 10s after all faults"},
		{"panics", "No Panic: a bug\n"},
		{"wants no end", "always has more to do"},
	} {
		t.Run(c.bug, func(t *testing.T) {
			require.Contains(t, found(broken(c.bug), false, c.want), c.want)
		})
	}
}

func TestEach_violation_of_snapshots_is_found(t *testing.T) {
	for _, c := range []struct{ bug, want string }{
		{"takes a snapshot of what it has not applied", "State Machine Safety: n"},
		{"cuts its log too far", "Durability: n"},
		{"cuts the end of its log off", "and it went on to"},
		{"writes something else as it cuts", "as it cuts its log, which is not what was there"},
		{"goes back to an old snapshot", "Monotony: n"},
		{"drops what follows a snapshot", "which is committed"},
		{"sends half a snapshot", "which is not what the committed entries make"},
		{"sends a snapshot of what is to come", "entries are committed"},
		{"promises a snapshot and drops it", "entries only"},
		{"leaves out what follows a snapshot", "Apply Order: n"},
		{"starts with nothing applied", "starts as if it had applied 0"},
		{"forgets what it has applied", "has forgotten its log up to"},
		{"keeps what conflicts", "does not have the same log up to there"},
		{"forgets its last entry", "and has saved one that ends at"},
		{"changes an entry in mind", "which is not what it has saved there"},
		{"applies something else", "which is not what its log has there"},
		{"takes half for a majority", "nodes have on their disks"},
	} {
		t.Run(c.bug, func(t *testing.T) {
			require.Contains(t, found(snapping(c.bug), false, c.want), c.want)
		})
	}
}

// What nobody can keep who is ordered carelessly is missed, and the run goes on to its end.
func TestEach_violation_that_takes_care_to_prevent_is_found_in_the_right_algorithm(t *testing.T) {
	for _, want := range []string{
		"which was committed in term",
		"commits in term",
		"and not the same entries as were committed before",
		"Durability: n",
		"Agreement: 1s after all faults n",
		"Liveness: 1s after all faults",
		"was acknowledged and is lost",
	} {
		require.Contains(t, found(broken(""), true, want), want)
	}
}

func TestWithout_care_the_rest_holds(t *testing.T) {
	for seed := range uint64(50) {
		o := simulate(broken(""), seed, true, 0)
		require.False(t, o.failed, "seed %d: %v", seed, o.found)
	}
	require.True(t, simulate(broken("saves no term"), 1, true, 0).failed)
}

func TestClients_are_told_the_truth(t *testing.T) {
	at := func(proposed, answered int) command { return command{acknowledged, proposed, answered} }
	for _, c := range []struct {
		name     string
		commands []command
		log      string // numbers of commands, - for a leader's first entry
		want     string
	}{
		{"in order", []command{at(1, 2), at(3, 4)}, "- 0 - 1", ""},
		{"at the same time", []command{at(1, 4), at(3, 5)}, "1 0", ""},
		{"an answer and a proposal in one event", []command{at(1, 3), at(3, 5)}, "1 0", ""},
		{"one after the other", []command{at(1, 2), at(3, 4)}, "1 0",
			"0 was acknowledged before 1 was proposed, and comes after it in the log"},
		{"after one whose fate is unknown", []command{at(1, 2), {unknown, 3, 0}}, "1 0",
			"0 was acknowledged before 1 was proposed, and comes after it in the log"},
		{"lost", []command{at(1, 2)}, "-", "0 was acknowledged and is lost: the log does not have it"},
		{"twice", []command{at(1, 2)}, "0 0", "0 was proposed once, and is in the log 2 times"},
		{"unknown", []command{{unknown, 1, 0}, {unknown, 2, 0}}, "1", ""},
		{"unknown and twice", []command{{unknown, 1, 0}}, "0 0", "0 was proposed once, and is in the log 2 times"},
		{"refused", []command{{refused, 1, 0}}, "-", ""},
		{"refused and done", []command{{refused, 1, 0}}, "0", "0 is in the log, though its client was told that it is not"},
		{"overwritten and done", []command{{overwritten, 1, 0}}, "0", "0 is in the log, though its client was told that it is not"},
		{"of nobody", nil, "0", `the log has "0" at 1@1, which nobody proposed`},
		{"nonsense", []command{at(1, 2)}, "0 x", `the log has "x" at 2@1, which nobody proposed`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := simulation{clients: clients{commands: c.commands}}
			var log []Entry
			for i, word := range strings.Fields(c.log) {
				log = append(log, Entry{Index: uint64(i) + 1, Term: 1, Command: []byte(strings.Trim(word, "-"))})
			}
			s.honest(log)
			if c.want == "" {
				require.Empty(t, s.checker.found)
			} else {
				require.Equal(t, []violation{{Honesty, c.want}}, s.checker.found)
			}
		})
	}
}

func TestSeed_is_the_same_run_to_the_letter(t *testing.T) {
	Repeats(t, broken(""))
	require.NotEqual(t, tale(simulate(broken(""), 1, false, 1<<20)), tale(simulate(broken(""), 2, false, 1<<20)))
	require.Contains(t, record(t, func(t testing.TB) { Repeats(t, forgetful()) }), "seed 0 is not the same run again: line ")
}

// forgetful is an algorithm that is another one each time.
func forgetful() Algorithm {
	runs := 0
	a := broken("")
	start := a.Start
	a.Start = func(o Options, disk []any) Core {
		runs++ // nothing in a core may outlive it
		o.HeartbeatTicks = 1 + runs%7
		return start(o, disk)
	}
	return a
}

// A seed that is run with explanations is the same run.
func TestSeed_is_the_same_run_if_it_is_watched(t *testing.T) {
	for seed := range uint64(5) {
		require.Equal(t, simulate(broken(""), seed, false, 0).hash, simulate(broken(""), seed, false, lastEvents).hash)
	}
}

func TestSeed_that_is_another_run_each_time_is_found(t *testing.T) {
	o := twice(forgetful(), 1, false)
	require.True(t, o.failed)
	require.Equal(t, Determinism, o.found[len(o.found)-1].property)
	require.False(t, twice(broken(""), 1, false).failed)
}

func TestReport_says_how_to_run_the_seed_again_and_what_happened_last(t *testing.T) {
	a := broken("saves no term")
	said := report(simulate(a, 7, false, 0), simulate(a, 7, false, 5))
	require.Contains(t, said, "seed 7: Saved First: n")
	require.Contains(t, said, "\tgo test ./common/sim -run Sim -seed=7\n")
	require.Contains(t, said, "nodes, a heartbeat every")
	require.Contains(t, said, "is       leader")
	require.Equal(t, 5, strings.Count(said, " at       "))
	require.NotContains(t, said, "another run")

	require.Contains(t, report(simulate(a, 7, false, 0), simulate(broken(""), 7, false, 5)), "another run")
}

// A recorder is a test that may fail.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Fatal(args ...any) {
	r.said += fmt.Sprintln(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }
func (r *recorder) Log(args ...any)                   { r.said += fmt.Sprintln(args...) }
func (r *recorder) Logf(format string, args ...any)   { r.Log(fmt.Sprintf(format, args...)) }

// record returns what a test says until it ends.
func record(t *testing.T, test func(t testing.TB)) string {
	r, done := &recorder{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return r.said
}

func TestSuite(t *testing.T) {
	for _, c := range []struct {
		name, says string
		test       func(t testing.TB)
	}{
		{"one seed at least", "1 seeds, each twice: ", func(t testing.TB) { Careful(t, broken(""), 0, 0) }},
		{"no more than one", "1 seeds, each twice: ", func(t testing.TB) { Careful(t, broken(""), 3, time.Hour) }},
		{"the one that is asked for", "go test ./common/sim -run Sim -seed=7\n", func(t testing.TB) { Careful(t, broken("saves no term"), 7, 0) }},
		{"a violation", "seed 1: Saved First: n", func(t testing.TB) { Careful(t, broken("saves no term"), 0, 0) }},
		{"a violation that needs no care", "seed 1: Saved First: n", func(t testing.TB) { Careless(t, broken("saves no term"), 0, 0) }},
		{"a loss", "was acknowledged and is lost", func(t testing.TB) { Careless(t, broken(""), 0, 0) }},
		{"no loss", "of 50 seeds with a careless operator none lost what was acknowledged", func(t testing.TB) { Careless(t, broken("commits nothing"), 0, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, record(t, c.test), c.says)
		})
	}
}

// What a mix may have is there in some seeds, and it happens.
func TestEverything_happens(t *testing.T) {
	var b strings.Builder
	for seed := range uint64(6) {
		b.WriteString(tale(simulate(broken(""), seed, false, 1<<20)))
	}
	for _, what := range []string{
		"ticks\n", "LOST\n", "TWICE\n", "ordered  to lead\n", ": not the leader\n", ": it is ", "because  the operator's order\n",
		"pauses\n", "resumes\n", "starts\n", "crashes\n", "crashes  what was being saved is lost\n", "crashes  what was being saved is there\n",
		"cuts     n1>n2\n", "isolates n1\n", "splits   ", "heals\n",
	} {
		require.Contains(t, b.String(), what)
	}
}

func TestSnapshots_happen(t *testing.T) {
	var b strings.Builder
	seen := map[string]bool{}
	for seed := range uint64(20) {
		o := simulate(snapping(""), seed, false, 1<<20)
		b.WriteString(tale(o))
		for what, there := range map[string]bool{
			"never": o.mix.snapshots == 0, "after each entry": o.mix.snapshots == 1000,
			"nothing is kept": o.mix.options.KeepBytes == 0, "all is kept": o.mix.options.KeepBytes == 1<<20,
			"in the mix": strings.Contains(o.mix.String(), "snapshots: "),
		} {
			seen[what+": "+strconv.FormatBool(there)] = true
		}
	}
	require.Len(t, seen, 2*5)
	for _, what := range []string{"   saves    a snapshot up to ", "   compacts a snapshot up to ", "   hears    n1 a snapshot up to "} {
		require.Contains(t, b.String(), what)
	}
}

func TestMachine_is_what_its_snapshot_says(t *testing.T) {
	var m machine
	for i := range uint64(5) {
		m.apply(Entry{Index: i + 1, Term: 2, Command: []byte("x")})
	}
	for longer := range 50 {
		s := m.snapshot(longer)
		back, ok := restored(s)
		require.True(t, ok)
		require.Equal(t, m, back)
		for i := range s.Data {
			for _, bad := range []Snapshot{
				{Index: s.Index, Term: s.Term, Data: s.Data[:i]},
				{Index: s.Index, Term: s.Term, Data: append(s.Data[:i:i], s.Data...)},
				{Index: s.Index + 1, Term: s.Term, Data: s.Data},
				{Index: s.Index, Term: s.Term + 1, Data: s.Data},
			} {
				if string(bad.Data) == string(s.Data) && bad.Index == s.Index && bad.Term == s.Term {
					continue // nothing there twice
				}
				_, ok = restored(bad)
				require.False(t, ok, "%d longer: %q", longer, bad.Data)
			}
		}
	}
	_, ok := restored(Snapshot{})
	require.True(t, ok, "it has applied nothing")
}

func TestClients_learn_everything_that_there_is_to_learn(t *testing.T) {
	sizes, fates := map[int]bool{}, map[fate]bool{}
	for seed := range uint64(60) {
		s := newSimulation(broken(""), seed, true, 0) // a careful operator leaves no leader to see its entries overwritten
		s.run()
		sizes[len(s.nodes)] = true
		for _, c := range s.clients.commands {
			fates[c.fate] = true
		}
	}
	require.Len(t, fates, 4)
	require.Len(t, sizes, 7)
}

func TestMix_is_what_its_seed_draws(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(500) {
		m := newSimulation(broken(""), seed, false, 0).mix
		require.Equal(t, m, newSimulation(broken(""), seed, false, 0).mix)
		for what, there := range map[string]bool{
			"loss": m.loss > 0, "twice": m.twice > 0, "late": m.late > 0, "in order": m.inOrder, "slow links": m.delay.most > swift.most,
			"a slow disk": m.disk.most > swift.most, "a small inbox": m.inbox < roomy, "uneven clocks": m.rates[0] != 100,
			"small messages": m.options.MaxBatch < 100, "few messages": m.options.MaxInflight < 10, "little uncommitted": m.options.MaxUncommitted < 1000,
			"faults": m.faultEvery > 0, "large calls": m.batch > 1, "leaders that are replaced": m.move > 0,
		} {
			seen[what+": "+strconv.FormatBool(there)] = true
		}
		for f, weight := range m.weights {
			seen[fmt.Sprint(fault(f), ": ", weight > 0)] = true
		}
	}
	require.Len(t, seen, 2*(14+int(faults)))
}

func TestQueue_is_in_the_order_of_time_and_then_of_planning(t *testing.T) {
	var q queue
	for i := range 1000 {
		q.push(event{at: time.Duration(i * 7919 % 100), life: i})
	}
	var last event
	for i := range 1000 {
		e := q.pop()
		require.True(t, i == 0 || last.at < e.at || last.at == e.at && last.life < e.life)
		last = e
	}
	require.Empty(t, q.events)
}

func TestNetwork_in_order_lets_nothing_overtake(t *testing.T) {
	for _, inOrder := range []bool{true, false} {
		s := newSimulation(broken(""), 1, false, 0)
		s.mix = mix{delay: span{1, time.Second}, inOrder: inOrder}
		s.queue = queue{}
		for i := range uint64(100) {
			s.dispatch(s.nodes[0], &Message{From: "n1", To: "n2", Term: i})
		}
		overtook := false
		for i := range uint64(100) {
			overtook = s.queue.pop().message.Term != i || overtook
		}
		require.Equal(t, !inOrder, overtook)
	}
}

// The careful operator looks for the best log among those that live, if they are a majority.
func TestOperator_who_is_careful_picks_the_best_log_of_a_living_majority(t *testing.T) {
	for _, c := range []struct {
		logs string // last entry of each node; dead nodes have +, paused ones -
		want string
	}{
		{"1@1 2@1 1@1", "n2"},
		{"9@1 2@2 8@1", "n2"}, // the last term comes first
		{"1@1 2@1+ 1@1", "n1 or n3"},
		{"1@1 2@1- 2@1", "n3"},
		{"1@1 2@1- 2@1+", "nobody"},
		{"1@1 2@1 2@1+ 2@1+", "nobody"}, // half is no majority
		{"5@5", "n1"},
	} {
		words := strings.Fields(c.logs)
		for seed := range uint64(20) {
			s := newSimulation(broken(""), seed, false, 0)
			s.nodes = s.nodes[:0]
			for i, word := range words {
				n := &node{host: host{id: "n" + strconv.Itoa(i+1), core: &fake{}}, paused: strings.HasSuffix(word, "-")}
				if strings.HasSuffix(word, "+") {
					n.core = nil
				}
				_, err := fmt.Sscanf(word, "%d@%d", &n.state.LastIndex, &n.state.LastTerm)
				require.NoError(t, err)
				s.nodes = append(s.nodes, n)
			}
			picked := "nobody"
			if best := s.best(); best != nil {
				picked = best.id
			}
			require.Contains(t, c.want, picked)
		}
	}
}

// n1 led a late term and died before anybody heard of it. Were it not for the number that goes with the order, n2 could
// lead an earlier term and commit; and n1, back with the later term, would seem to have the better log.
func TestOperator_who_is_careful_goes_on_to_later_terms_only(t *testing.T) {
	s := newSimulation(broken(""), 1, false, 0)
	for _, n := range s.nodes {
		s.start(n)
	}
	last := uint64(0)
	for i := range 20 {
		n := s.nodes[i%len(s.nodes)]
		s.order(n)
		require.Greater(t, n.state.Term, last)
		last = n.state.Term
		s.crash(n)
		s.start(n)
	}
}
