package server

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/linear"
	"raftworkbook/stage6-compaction/api"
	"raftworkbook/stage6-compaction/raft"
)

// beatLong is the time between two heartbeats.
const beatLong = heartbeat

// bound is how outdated a node says that it may be.
func (s *sea) bound(id string) time.Duration {
	s.t.Helper()
	resp := s.get(id, nil)
	require.NotNil(s.t, resp.StalenessMS, "%s: %+v", id, resp)
	return time.Duration(*resp.StalenessMS) * time.Millisecond
}

// get reads x at a node, which may be outdated by so much, or by any time if that is nil.
func (s *sea) get(id string, most *time.Duration) api.Response {
	s.t.Helper()
	r := bounded("x", 0, 0)
	if most != nil {
		r.MaxStalenessMS = new(uint64(most.Milliseconds()))
	}
	resp, ok := s.ask(id, r, time.Second)
	require.True(s.t, ok)
	return resp
}

// put writes x at a node.
func (s *sea) put(id, value string) {
	s.t.Helper()
	resp, ok := s.ask(id, put("x", value), time.Second)
	require.True(s.t, ok && resp.OK, "%+v", resp)
}

// A node that is not cut off knows that it is fresh.
func (s *sea) requireFresh(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		require.LessOrEqual(s.t, s.bound(id), 4*beatLong, id)
	}
}

// requireOutdated requires that a node says so, and refuses a read that wants it fresher than it is.
func (s *sea) requireOutdated(since time.Time, ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		age := s.bound(id)
		require.GreaterOrEqual(s.t, age, time.Since(since), id)
		require.LessOrEqual(s.t, age, time.Since(since)+4*beatLong, "%s, which was fresh then", id)
		require.True(s.t, s.get(id, &age).OK, id)
		require.Equal(s.t, api.Stale, s.get(id, new(age-time.Millisecond)).Error.Code, id)
	}
}

func TestIdle_cluster_is_fresh_everywhere(t *testing.T) {
	for _, size := range []int{1, 2, 3, 5} {
		embark(t, size, 1, func(t *testing.T, s *sea) {
			s.lead("n1")
			s.beat()
			worst := map[bool]time.Duration{}
			for range 300 {
				time.Sleep(7 * time.Millisecond)
				for _, m := range s.members {
					worst[m.ID == "n1"] = max(worst[m.ID == "n1"], s.bound(m.ID))
				}
			}
			t.Logf("%d nodes: the leader at most %v, the others %v", size, worst[true], worst[false])
			if size == 1 {
				require.LessOrEqual(t, worst[true], tick, "it needs nobody's word")
			}
			require.LessOrEqual(t, worst[true], beatLong+tick)
			require.LessOrEqual(t, worst[false], 3*beatLong+2*tick)
		})
	}
}

func TestNode_that_is_cut_off_says_for_how_long(t *testing.T) {
	for _, id := range []string{"n1", "n3"} { // the leader, a follower
		for _, long := range []time.Duration{time.Second, 30 * time.Second} {
			embark(t, 3, 1, func(t *testing.T, s *sea) {
				s.lead("n1")
				s.put("n1", "old")
				s.beat()
				s.isolate(id)
				cut := time.Now()
				for range 10 {
					time.Sleep(long / 10)
					s.requireOutdated(cut, id)
				}
				require.Equal(t, id == "n1", s.status(id).Role == raft.Leader)
				s.calm()
				time.Sleep(2 * maxPause)
				s.requireFresh("n1", "n2", "n3")
			})
		}
	}
}

// It goes on leading until it checks its quorum; and its followers believe it, and its word.
func TestLeader_without_a_majority_grows_old_and_its_followers_with_it(t *testing.T) {
	embark(t, 5, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.beat()
		s.part("n1", "n2")
		cut := time.Now()
		for range 10 {
			time.Sleep(time.Second)
			s.requireOutdated(cut, "n1", "n2", "n3", "n4", "n5")
		}
		require.Equal(t, raft.Leader, s.status("n1").Role)
	})
}

func TestLeader_that_was_replaced_does_not_pass_for_a_new_one(t *testing.T) {
	embark(t, 5, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "old")
		s.beat()
		s.part("n1", "n2")
		cut := time.Now()
		s.lead("n3")
		s.put("n3", "new")
		for range 5 {
			time.Sleep(time.Second)
			s.requireOutdated(cut, "n1", "n2")
			s.requireFresh("n3", "n4", "n5")
			require.Equal(t, "old", *s.get("n2", nil).Value)
			require.Equal(t, "new", *s.get("n4", nil).Value)
		}
		require.Equal(t, raft.Leader, s.status("n1").Role, "and n3 leads too")

		s.change(func() { delete(s.torn, "n1>n4") }) // the word of the old leader is heard, and its age goes with it
		time.Sleep(2 * time.Second)
		s.requireFresh("n3", "n4", "n5")
		s.requireOutdated(cut, "n1", "n2")

		s.calm()
		time.Sleep(2 * maxPause)
		s.requireFresh("n1", "n2", "n3", "n4", "n5")
	})
}

// It has all that is written, and cannot know: the leader never says what it has heard of this node last.
func TestNode_whose_answers_are_lost_grows_old_by_its_own_word(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.beat()
		s.change(func() { s.torn["n3>n1"] = true })
		cut := time.Now()
		for n := range maxInflight {
			s.put("n1", fmt.Sprint(n))
			time.Sleep(time.Second)
			require.Equal(t, fmt.Sprint(n), *s.get("n3", nil).Value)
			s.requireOutdated(cut, "n3")
		}
	})
}

func TestNode_that_was_paused_knows_it(t *testing.T) {
	for _, id := range []string{"n1", "n2"} {
		embark(t, 3, 1, func(t *testing.T, s *sea) {
			s.lead("n1")
			s.put("n1", "old")
			s.beat()
			begin := time.Now()
			s.pause(id, time.Minute)
			if id != "n1" {
				s.put("n1", "new")
			}
			time.Sleep(time.Minute - time.Millisecond)
			require.GreaterOrEqual(t, s.bound(id), time.Since(begin))
			s.beat()
			s.beat()
			s.requireFresh("n1", "n2", "n3")
		})
	}
}

func TestNode_that_starts_knows_nothing_until_it_is_answered(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "1")
		s.beat()
		s.sink("n3")
		s.launch("n3")
		s.change(func() { s.torn["n3>n1"] = true })
		time.Sleep(2 * maxPause)
		require.EqualValues(t, 2, s.status("n3").AppliedIndex, "it has heard what is committed")
		require.Equal(t, api.Errorf(api.Stale, "n3 does not know how outdated it is"), s.get("n3", new(time.Hour)).Error)
		s.calm()
		time.Sleep(2 * maxPause)
		s.requireFresh("n3")
	})
}

func TestLetter_to_an_earlier_life_proves_nothing(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "1")
		s.beat()
		s.change(func() { s.again = 1 }) // all that is sent now comes once more, within two seconds
		s.beat()
		s.sink("n3")
		s.launch("n3")
		s.change(func() { s.torn["n3>n1"] = true })
		for range 500 { // until this life is as long as that one was
			time.Sleep(tick)
			require.False(t, s.get("n3", nil).OK)
		}
		require.EqualValues(t, 2, s.status("n3").AppliedIndex)
	})
}

func TestReads_are_never_more_outdated_than_they_say(t *testing.T) {
	fresh, old := 0, 0
	for seed := range uint64(5) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			for _, age := range readAtSea(t, seed) {
				if age > 4*beatLong {
					old++
				} else {
					fresh++
				}
			}
		})
	}
	require.Greater(t, fresh, 1000)
	require.Greater(t, old, 100)
}

// readAtSea returns how outdated the answers to reads were at most, by their own word.
func readAtSea(t *testing.T, seed uint64) (ages []time.Duration) {
	var h *linear.History
	voyage(t, 3+2*int(seed%2), seed, election, func(t *testing.T, s *sea) {
		h = s.history()
		write := func(c *sailor) { c.write(linear.Put, keys[c.intN(len(keys))]) }
		read := func(c *sailor) {
			for range 5 {
				resp, ok := c.read(keys[c.intN(len(keys))])
				if ok {
					s.mu.Lock()
					ages = append(ages, time.Duration(*resp.StalenessMS)*time.Millisecond)
					s.mu.Unlock()
				}
			}
		}
		get := func(c *sailor) { c.get(keys[c.intN(len(keys))]) }
		s.sail(4*time.Second, h, write, write, write, read, read, read, get, get, get)
	})
	linear.Require(t, h)
	return ages
}

// The rest is about the clocks alone: two of them, without nodes.

// lead and follow are how things are at a leader whose first entry is committed, and at a follower.
func leading(commit raft.Index) raft.Status {
	return raft.Status{Role: raft.Leader, Term: 2, CommitTerm: 2, CommitIndex: commit, AppliedIndex: commit}
}

func following(applied raft.Index) raft.Status {
	return raft.Status{Role: raft.Follower, Term: 2, AppliedIndex: applied}
}

// appendOf is the message of a round, which says what is committed.
func appendOf(number uint64, commit raft.Index) raft.Message {
	return raft.Message{From: "n1", To: "n2", AppendEntries: &raft.AppendEntries{Round: number, LeaderCommit: commit}}
}

var reply = raft.Message{From: "n2", To: "n1", AppendEntriesReply: &raft.AppendEntriesReply{}}

func TestLeader_vouches_for_when_it_sent_the_last_round_that_was_answered(t *testing.T) {
	f := newFreshness()
	at := func(ms int) time.Time { return f.born.Add(time.Duration(ms) * time.Millisecond) }
	for n := 1; n <= 6; n++ {
		f.seal(appendOf(uint64(n), 0), at(100*n))
		f.seal(appendOf(uint64(n), 0), at(100*n+50)) // to another follower, later
	}
	unsure := leading(3)
	unsure.CommitTerm = 1
	for _, c := range []struct {
		name     string
		s        raft.Status
		answered uint64
		want     int // ms; 0: not known
	}{
		{"nobody has answered", leading(3), 0, 0},
		{"no entry of its term is committed", unsure, 1, 0},
		{"one is", leading(3), 1, 100},
		{"of two rounds the answers are lost", leading(3), 4, 400},
		{"that answer comes twice", leading(3), 4, 400},
		{"an older one comes late", leading(3), 2, 400},
		{"the last is answered", leading(3), 6, 600},
		{"it leads no more", following(3), 0, 600}, // what was true stays true
		{"it leads again, and has not sent anything", unsure, 0, 600},
	} {
		f.settle(c.s, c.answered, at(1000))
		want := at(c.want)
		if c.want == 0 {
			want = time.Time{}
		}
		require.Equal(t, want, f.asOf, c.name)
	}
}

func TestRounds_of_an_earlier_reign_are_not_taken_for_those_of_a_new_one(t *testing.T) {
	f := newFreshness()
	at := func(ms int) time.Time { return f.born.Add(time.Duration(ms) * time.Millisecond) }
	for n := 1; n <= 10; n++ {
		f.seal(appendOf(uint64(n), 0), at(100*n))
	}
	f.settle(leading(3), 10, at(1050))
	for n := 1; n <= 3; n++ { // it was elected again
		f.seal(appendOf(uint64(n), 0), at(2000+100*n))
	}
	f.settle(leading(4), 2, at(2400))
	require.Equal(t, at(2200), f.asOf)
}

func TestRounds_without_an_answer_are_bounded_in_number(t *testing.T) {
	f := newFreshness()
	at := func(n int) time.Time { return f.born.Add(time.Duration(n) * time.Second) }
	const many = 5 * maxRounds
	for n := 1; n <= many; n++ {
		f.seal(appendOf(uint64(n), 0), at(n))
		f.settle(leading(1), 0, at(n))
		require.LessOrEqual(t, len(f.sent), maxRounds)
	}
	f.settle(leading(1), 5, at(many))
	require.Zero(t, f.asOf, "when that was sent nobody knows any more")
	f.settle(leading(1), many-maxRounds+1, at(many))
	require.Equal(t, at(many-maxRounds+1), f.asOf)
}

func TestNode_that_is_alone_is_as_fresh_as_can_be(t *testing.T) {
	f := newFreshness()
	now := f.born.Add(time.Second)
	f.settle(leading(1), 7, now)
	require.Equal(t, now, f.asOf)
}

func TestRounds_of_an_earlier_reign_say_nothing(t *testing.T) {
	f := newFreshness()
	now := f.born.Add(time.Second)
	f.seal(appendOf(1000, 1), now)
	f.settle(leading(1), 1000, now)
	f.settle(following(1), 0, now)
	now = now.Add(time.Second)
	f.settle(leading(3), 7, now)
	require.Equal(t, now, f.asOf, "it is alone in this one")
}

// correspond lets a follower write to a leader and the leader answer, with clocks that were born at different times.
// Times are since the birth of the leader, except for the age, which is at the moment when the leader writes.
func correspond(leader, follower *freshness, wrote, answered, age time.Duration) letter {
	leader.open(follower.seal(reply, leader.born.Add(wrote)), leader.born.Add(answered))
	now := leader.born.Add(answered)
	leader.asOf = now.Add(-age)
	return leader.seal(appendOf(1, 9), now)
}

// twoClocks are born at different times, and show different numbers.
func twoClocks() (leader, follower *freshness) {
	a, b := newFreshness(), newFreshness()
	b.born = a.born.Add(-3 * time.Second)
	return &a, &b
}

func TestFollower_is_as_old_as_the_leader_was_when_its_own_last_word_left(t *testing.T) {
	a, b := twoClocks()
	l := correspond(a, b, time.Second, 2*time.Second, 300*time.Millisecond)
	now := a.born.Add(5 * time.Second) // however late the letter is
	b.open(l, now)
	b.settle(following(8), 0, now)
	require.Zero(t, b.asOf, "the leader had applied 9 entries then")
	b.settle(following(9), 0, now)
	require.WithinDuration(t, a.born.Add(700*time.Millisecond), b.asOf, 3*time.Microsecond)
	was := b.asOf

	b.open(l, now) // twice
	b.settle(following(9), 0, now)
	require.Equal(t, was, b.asOf)
	b.open(correspond(a, b, 0, 6*time.Second, 300*time.Millisecond), a.born.Add(7*time.Second)) // an old echo
	b.settle(following(9), 0, now)
	require.Equal(t, was, b.asOf, "it knows better already")
}

// A follower that is behind takes letter after letter, each of which says more than it has applied. If it took the last
// at its word, it would never be as far.
func TestFollower_that_is_behind_keeps_the_claim_that_it_will_meet_first(t *testing.T) {
	a, b := twoClocks()
	b.open(correspond(a, b, time.Second, time.Second, 0), a.born.Add(time.Second))
	later := correspond(a, b, 2*time.Second, 2*time.Second, 0)
	later.AppendEntries.LeaderCommit = 50
	b.open(later, a.born.Add(2*time.Second))
	b.settle(following(10), 0, a.born.Add(2*time.Second))
	require.WithinDuration(t, a.born.Add(time.Second), b.asOf, 3*time.Microsecond)
}

// An old leader that does not know that it was replaced may be heard in between.
func TestFollower_does_not_keep_a_claim_that_says_nothing_new(t *testing.T) {
	a, b := twoClocks()
	b.asOf = a.born.Add(time.Second)
	b.open(correspond(a, b, time.Second/2, time.Second/2, 0), a.born.Add(2*time.Second))
	b.open(correspond(a, b, 2*time.Second, 2*time.Second, 0), a.born.Add(2*time.Second))
	b.settle(following(10), 0, a.born.Add(2*time.Second))
	require.WithinDuration(t, a.born.Add(2*time.Second), b.asOf, 3*time.Microsecond)
}

// It was made to a follower that leads by now, and knows of something later.
func TestClaim_that_comes_true_late_makes_no_node_older(t *testing.T) {
	a, b := twoClocks()
	b.open(correspond(a, b, time.Second, time.Second, 0), a.born.Add(time.Second))
	b.settle(following(8), 0, a.born.Add(time.Second))
	left := a.born.Add(3 * time.Second)
	b.seal(appendOf(1, 9), left)
	b.settle(leading(10), 1, a.born.Add(4*time.Second))
	require.Equal(t, left, b.asOf)
}

// Whatever the clocks show, rounded or not: the follower does not claim to know of anything later than the leader does.
func TestFollower_never_claims_more_than_the_leader_knows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	short := func() time.Duration { return time.Duration(r.IntN(5000)) } // ns: the letters count microseconds
	for range 10_000 {
		a, b := twoClocks()
		b.born = b.born.Add(short())
		wrote := time.Second + short()
		answered := wrote + short()
		age := short() + 1
		knows := a.born.Add(answered - age)
		b.open(correspond(a, b, wrote, answered, age), a.born.Add(answered+short()))
		require.False(t, b.claim.asOf.IsZero())
		require.False(t, b.claim.asOf.After(knows), "%v after what it knows", b.claim.asOf.Sub(knows))
		require.WithinDuration(t, knows.Add(wrote-answered), b.claim.asOf, 3*time.Microsecond)
	}
}

func TestLetter_that_makes_no_sense_proves_nothing(t *testing.T) {
	const most = math.MaxUint64
	for _, c := range []struct {
		name  string
		spoil func(l *letter)
	}{
		{"no age", func(l *letter) { l.Age = 0 }},
		{"an age beyond all", func(l *letter) { l.Age = most }},
		{"one that would make up for the echo", func(l *letter) { l.Age = most - 500_000 }},
		{"more than a day", func(l *letter) { l.Age = micros(maxAge) + 1 }},
		{"no echo", func(l *letter) { l.Echo = 0 }},
		{"an echo of an earlier life", func(l *letter) { l.Echo -= 10_000_000 }},
		{"one that is yet to come", func(l *letter) { l.Echo += 10_000_000 }},
		{"the largest", func(l *letter) { l.Echo = most }},
		{"the largest of all", func(l *letter) { l.Echo, l.Age, l.Stamp = most, most, most }},
		{"an answer", func(l *letter) { l.Message = reply }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := twoClocks()
			l := correspond(a, b, time.Second, 2*time.Second, 300*time.Millisecond)
			good := l
			c.spoil(&l)
			now := a.born.Add(3 * time.Second)
			b.open(l, now)
			b.settle(following(9), 0, now)
			require.Zero(t, b.asOf)

			b.seal(reply, now) // whatever it is told, it goes on
			b.open(good, now)
			b.settle(following(9), 0, now)
			require.NotZero(t, b.asOf)
		})
	}
}

func TestAnswer_carries_no_age(t *testing.T) {
	f := newFreshness()
	f.asOf = f.born
	require.Zero(t, f.seal(reply, f.born.Add(time.Second)).Age)
	require.NotZero(t, f.seal(appendOf(1, 0), f.born.Add(time.Second)).Age)
	require.Empty(t, newSealed().Age, "nor does a letter of one who knows nothing")
}

func newSealed() letter {
	f := newFreshness()
	return f.seal(appendOf(1, 0), f.born.Add(time.Second))
}

func TestEach_life_has_stamps_of_its_own(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at the same moment
		seen := map[uint64]bool{}
		for range 100 {
			stamp := newSealed().Stamp
			require.False(t, seen[stamp])
			seen[stamp] = true
		}
	})
}

func TestLetter_has_this_form(t *testing.T) {
	l := letter{Message: raft.Message{From: "n1", To: "n2", Term: 3, AppendEntries: &raft.AppendEntries{Round: 4}}, Stamp: 5, Echo: 6, Age: 7}
	line, err := json.Marshal(l)
	require.NoError(t, err)
	require.Equal(t, `{"from":"n1","to":"n2","term":3,"append":{"prev_index":0,"prev_term":0,"commit":0,"round":4},"stamp":5,"echo":6,"age":7}`, string(line))
	var back letter
	require.NoError(t, json.Unmarshal(line, &back))
	require.Equal(t, l, back)
}
