package server

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/linear"
	"raftworkbook/stage6-compaction/api"
	"raftworkbook/stage6-compaction/raft"
)

// wait begins a read at a node that must have applied an entry first, and returns where its answer will be.
func (s *sea) wait(id string, index, ms uint64) chan api.Response {
	s.t.Helper()
	r := bounded("x", index, ms)
	require.True(s.t, s.at(id).Behind(r))
	return s.await(id, r)
}

// await begins a read at a node, and returns where its answer will be.
func (s *sea) await(id string, r api.Request) chan api.Response {
	answer := make(chan api.Response, 2) // one too many is seen
	s.at(id).Await(r, func(resp api.Response) { answer <- resp })
	synctest.Wait()
	return answer
}

// parked is how many reads wait at a node.
func (s *sea) parked(id string) (n int) {
	s.at(id).do(func() { n = len(s.at(id).parked) })
	return n
}

// gets are those that wait at a node for a round, or to begin one.
func (s *sea) gets(id string) (waiting reads) {
	s.at(id).do(func() { waiting = s.at(id).reads })
	return waiting
}

func TestRead_waits_until_its_index_is_applied_and_no_longer(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "old")
		s.beat()
		s.change(func() { s.slow["n1>n3"] = 600 * time.Millisecond })
		s.put("n1", "new") // entry 3
		old := s.get("n3", nil)
		require.Equal(t, "old", *old.Value)
		require.EqualValues(t, 2, old.Index)
		for range 2 {
			answer := s.wait("n3", 3, 5000)
			require.Empty(t, answer)
		}
		answer := s.wait("n3", 3, 5000)
		for s.status("n3").AppliedIndex < 3 {
			require.Empty(t, answer)
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		require.Len(t, answer, 1)
		resp := <-answer
		require.Equal(t, "new", *resp.Value)
		require.EqualValues(t, 3, resp.Index)
		require.NotNil(t, resp.StalenessMS)
		require.Zero(t, s.parked("n3"))

		r := bounded("x", 3, 0)
		require.False(t, s.at("n3").Behind(r), "and later nobody waits for it")
	})
}

// What a node has is there for a read that comes when its index has just been applied, between two looks.
func TestRead_that_need_not_wait_after_all_is_answered_at_once(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "1")
		answer := make(chan api.Response, 1)
		s.at("n1").Await(bounded("x", 2, 0), func(resp api.Response) { answer <- resp })
		synctest.Wait()
		require.Len(t, answer, 1)
		require.Equal(t, "1", *(<-answer).Value)
	})
}

func TestRead_whose_index_does_not_come_in_time_is_refused(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.beat()
		for _, c := range []struct {
			index, ms uint64
			want      time.Duration
		}{
			{2, 50, 50 * time.Millisecond},
			{2, 0, writeLimit}, // as a write that does not say
			{math.MaxUint64, math.MaxUint64, maxLimit},
		} {
			for _, id := range []string{"n1", "n3"} {
				begin := time.Now()
				resp := <-s.wait(id, c.index, c.ms)
				require.Equal(t, api.Refuse(7, api.Errorf(api.Stale, "%s is not as far in time as the read wants", id)), resp)
				require.GreaterOrEqual(t, time.Since(begin), c.want)
				require.Less(t, time.Since(begin), c.want+2*tick)
				require.Zero(t, s.parked(id))
			}
		}
	})
}

func TestRead_that_waits_when_its_node_closes_is_refused(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.beat()
		n := s.at("n3")
		answer := s.wait("n3", 9, 5000)
		s.sink("n3")
		require.Len(t, answer, 1)
		require.Equal(t, api.Refuse(7, api.Errorf(api.Unavailable, "n3 is shutting down")), <-answer)
		n.Await(bounded("x", 9, 0), func(resp api.Response) { answer <- resp })
		require.Equal(t, api.Unavailable, (<-answer).Error.Code)
	})
}

func TestReads_that_wait_are_bounded_in_number(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.beat()
		answers := make(chan api.Response, maxWaiting+1)
		for range maxWaiting {
			s.at("n3").Await(bounded("x", 9, 0), func(resp api.Response) { answers <- resp })
		}
		synctest.Wait()
		require.Empty(t, answers)
		s.at("n3").Await(bounded("x", 9, 0), func(resp api.Response) { answers <- resp })
		require.Equal(t, api.Refuse(7, errBusy), <-answers)
		require.True(t, s.get("n3", nil).OK, "one that need not wait does not")
		require.Equal(t, api.NotLeader, (<-s.await("n3", put("x", "1"))).Error.Code, "nor does a write")
		require.Equal(t, api.NotLeader, (<-s.await("n3", newest)).Error.Code, "nor one that waits for a round")
		for range maxWaiting {
			require.Equal(t, api.Stale, (<-answers).Error.Code)
		}
		require.NotNil(t, s.bound("n3"))
	})
}

func TestRead_that_waits_keeps_no_other_request_of_its_connection_waiting(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.beat()
		s.serve("n3")
		u := s.dial("n3")
		u.send(`{"id":1,"op":"get","key":"x","min_index":2,"timeout_ms":1000,"max_staleness_ms":5000}` + "\n" +
			`{"id":2,"op":"get","key":"x","max_staleness_ms":5000}` + "\n" +
			`{"id":3,"op":"list","min_index":3,"timeout_ms":20,"max_staleness_ms":5000}` + "\n")
		u.hears(`{"id":2,"ok":true,"found":false}`)
		u.hears(`{"id":3,"ok":false,"error":{"code":"stale","message":"n3 is not as far in time as the read wants"}}`)
		s.put("n1", "1")
		u.hears(`{"id":1,"ok":true,"found":true,"value":"1"}`)
	})
}

func TestRead_says_how_outdated_it_may_be_and_is_refused_if_that_is_too_much(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "1")
		s.beat()
		s.isolate("n3")
		time.Sleep(10 * time.Second)
		age := s.bound("n3")
		resp := s.get("n3", &age)
		require.Equal(t, api.Response{ID: 7, OK: true, Found: new(true), Value: new("1"), Index: 2, StalenessMS: new(uint64(age.Milliseconds()))}, resp)
		require.Equal(t, api.Refuse(7, api.Errorf(api.Stale, "n3 may be outdated by %d ms, and %d are allowed", age.Milliseconds(), age.Milliseconds()-1)),
			s.get("n3", new(age-time.Millisecond)))
		require.Equal(t, api.Stale, s.get("n3", new(time.Duration(0))).Error.Code)
		for range 10 {
			time.Sleep(137 * time.Microsecond)
			exact := time.Since(s.at("n3").view.Load().asOf)
			require.GreaterOrEqual(t, s.bound("n3"), exact)
			require.Less(t, s.bound("n3"), exact+time.Millisecond)
		}
		age = s.bound("n3")

		s.serve("n3")
		u := s.dial("n3")
		u.send(`{"id":1,"op":"list","max_staleness_ms":1}` + "\n")
		u.hears(fmt.Sprintf(`{"id":1,"ok":false,"error":{"code":"stale","message":"n3 may be outdated by %d ms, and 1 are allowed"}}`, age.Milliseconds()))
		u.send(`{"id":2,"op":"list","max_staleness_ms":18446744073709551615}` + "\n")
		u.hears(`{"id":2,"ok":true,"keys":["x"]}`)
	})
}

func TestRead_is_answered_by_nobody_who_has_not_heard_what_is_committed(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		unheard := func(id string) {
			t.Helper()
			want := api.Refuse(7, api.Errorf(api.Unavailable, "%s has not heard yet what is committed", id))
			require.Equal(t, want, s.get(id, nil))
		}
		for _, m := range s.members {
			unheard(m.ID)
		}
		s.part("n1")
		s.crown("n1")
		unheard("n1") // it leads, and its first entry is not committed
		waits := s.wait("n2", 1, 5000)
		s.calm()
		time.Sleep(2 * maxPause)
		s.requireFresh("n1", "n2", "n3")
		if err := (<-waits).Error; err != nil { // it has the entry, and may have had it before it knew how old it is
			require.Equal(t, api.Stale, err.Code)
		}

		s.put("n1", "1")
		s.beat()
		s.sink("n2")
		s.launch("n2")
		unheard("n2") // it has all of it in its log
		waits = s.wait("n2", 2, 5000)
		time.Sleep(2 * maxPause)
		require.Equal(t, "1", *s.get("n2", nil).Value)
		require.Equal(t, api.Errorf(api.Stale, "n2 does not know how outdated it is"), (<-waits).Error, "nor did it when it had applied the entry")

		s.isolate("n1")
		s.isolate("n3")
		s.crown("n2")
		unheard("n2") // it was a follower who had, and is a leader who has not
	})
}

// R39: whoever says what it has seen never sees less, wherever it asks. Values only grow; reads and the entries that
// make them grow come between each other as they can.
func TestClient_that_says_what_it_has_seen_never_goes_back_in_time(t *testing.T) {
	embark(t, 5, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.change(func() {
			s.again = 0.2
			for _, id := range []string{"n2", "n3", "n4", "n5"} {
				s.slow["n1>"+id] = 20 * time.Millisecond
			}
		})
		h := s.history()
		var all sync.WaitGroup
		steps := make([]int, 6)
		for n := range 6 {
			c := s.sailor(h, n+1)
			all.Go(func() {
				last, own := 0, ""
				c.register()
				for range 100 {
					time.Sleep(time.Duration(c.intN(int(10 * time.Millisecond))))
					if n < 2 && c.chance(0.3) {
						if piece, done := c.write(linear.Append, "x"); done {
							own = piece
						}
					}
					resp, ok := c.read("x")
					if !ok || resp.Value == nil {
						continue
					}
					require.GreaterOrEqual(t, len(*resp.Value), last)
					require.Contains(t, *resp.Value, own)
					if len(*resp.Value) > last {
						steps[n]++
					}
					last = len(*resp.Value)
				}
			})
		}
		all.Wait()
		for _, n := range steps {
			require.Greater(t, n, 5)
		}
	})
}

// newest is a read that may not be outdated.
var newest = api.Request{ID: 7, Op: api.Get, Key: "x"}

func TestGet_at_the_leader_costs_a_round_and_no_time(t *testing.T) {
	for _, size := range []int{1, 3, 4} {
		embark(t, size, 1, func(t *testing.T, s *sea) {
			s.lead("n1")
			s.put("n1", "1")
			s.beat()
			before, begin := s.words["n1>n2"], time.Now()
			resp := <-s.await("n1", newest)
			require.Zero(t, time.Since(begin))
			require.Equal(t, api.Response{ID: 7, OK: true, Found: new(true), Value: new("1"), Index: 2}, resp)
			require.Equal(t, min(size-1, 1), s.words["n1>n2"]-before)
		})
	}
}

// Many clients that ask a leader at once cost no more than one, or two.
func TestGets_that_come_during_a_round_share_the_next(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.beat()
		s.tear("n2>n1", "n3>n1")
		before := s.words["n1>n2"]
		var answers []chan api.Response
		for range 100 {
			answers = append(answers, s.await("n1", newest))
		}
		require.Equal(t, 1, s.words["n1>n2"]-before)
		s.calm()
		time.Sleep(heartbeat)
		synctest.Wait()
		for _, answer := range answers {
			require.True(t, (<-answer).OK)
		}
		require.Equal(t, 3, s.words["n1>n2"]-before, "the heartbeat, whose answer vouches for the first, and a round for all others")
	})
}

func TestGet_without_a_majority_is_refused_in_time(t *testing.T) {
	embark(t, 5, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "1")
		s.beat()
		s.isolate("n3", "n4", "n5")
		for ms, want := range map[uint64]time.Duration{50: 50 * time.Millisecond, 0: writeLimit, math.MaxUint64: maxLimit} {
			r := newest
			r.TimeoutMS = ms
			begin := time.Now()
			first, next := s.await("n1", r), s.await("n1", r)
			require.Equal(t, api.Refuse(7, api.Errorf(api.Unavailable, "n1 does not know in time whether it still leads")), <-first)
			require.Equal(t, api.Unavailable, (<-next).Error.Code)
			require.GreaterOrEqual(t, time.Since(begin), want)
			require.Less(t, time.Since(begin), want+2*tick)
			waiting := s.gets("n1")
			require.Zero(t, waiting.len())
		}
	})
}

func TestGet_is_refused_by_whoever_does_not_lead(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		require.Equal(t, api.Errorf(api.Unavailable, "n2 does not lead, and knows of nobody who does"), (<-s.await("n2", newest)).Error)
		s.lead("n1")
		s.put("n1", "1")
		s.beat()
		want := &api.Error{Code: api.NotLeader, Message: "n2 does not lead: ask n1", Leader: "client n1"}
		require.Equal(t, want, (<-s.await("n2", newest)).Error)
		require.Equal(t, want, (<-s.await("n2", api.Request{ID: 7, Op: api.List})).Error)

		s.serve("n2")
		u := s.dial("n2")
		u.send(`{"id":1,"op":"get","key":"x"}` + "\n")
		u.hears(`{"id":1,"ok":false,"error":{"code":"not_leader","message":"n2 does not lead: ask n1","leader":"client n1"}}`)
		u.send(`{"id":2,"op":"get","key":"x","max_staleness_ms":1000}` + "\n")
		u.hears(`{"id":2,"ok":true,"found":true,"value":"1"}`)

		s.isolate("n2")
		s.at("n2").Lead()
		require.Equal(t, raft.Candidate, s.status("n2").Role)
		require.Equal(t, api.Errorf(api.Unavailable, "n2 does not lead, and knows of nobody who does"), (<-s.await("n2", newest)).Error)

		s.at("n1").deliver("n3", []byte(`{"from":"n3","to":"n1","term":9,"request_vote":{"last_index":0,"last_term":0}}`))
		require.Equal(t, api.Errorf(api.Unavailable, "n1 does not lead, and knows of nobody who does"), (<-s.await("n1", newest)).Error)
	})
}

// There are two leaders, and a majority's answers are on the way to the old one. They were given before the other was
// elected, so they vouch for what was asked before, and for nothing that is asked now.
func TestLeader_that_was_replaced_never_answers_a_get_with_what_was(t *testing.T) {
	embark(t, 5, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "old")
		s.beat()
		s.tear("n2>n1", "n3>n1", "n4>n1", "n5>n1") // the answers are late
		before := s.await("n1", newest)
		round := s.gets("n1").round
		s.isolate("n1")
		s.lead("n3")
		s.put("n3", "new")
		require.Equal(t, raft.Leader, s.status("n1").Role)
		after := s.await("n1", newest)
		for _, id := range []string{"n2", "n3"} {
			s.at("n1").deliver(id, fmt.Appendf(nil, `{"from":%q,"to":"n1","term":1,"appended":{"success":true,"index":2,"round":%d}}`, id, round))
		}
		synctest.Wait()
		require.Len(t, before, 1)
		require.Equal(t, "old", *(<-before).Value, "it came before the new value did")
		require.Empty(t, after)
		s.calm()
		time.Sleep(2 * heartbeat)
		require.False(t, (<-after).OK)
		require.Equal(t, "client n3", (<-s.await("n1", newest)).Error.Leader)
		require.Equal(t, "new", *(<-s.await("n3", newest)).Value)
	})
}

// It has what was acknowledged, and does not know that it is committed. Whoever asks may know.
func TestGet_at_a_new_leader_waits_for_its_first_entry(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "old")
		s.beat()
		s.tear("n1>n3")
		s.put("n1", "new")
		seen := s.get("n1", nil)
		require.Equal(t, "new", *seen.Value)
		s.isolate("n1", "n3")
		s.crown("n2")
		require.EqualValues(t, 2, s.status("n2").AppliedIndex)
		r := newest
		r.MinIndex = seen.Index
		plain, withIndex := s.await("n2", newest), s.await("n2", r)
		require.Empty(t, plain)
		require.Empty(t, withIndex)
		s.change(func() { delete(s.alone, "n3") }) // which refuses at first, and so answers a round
		time.Sleep(2 * heartbeat)
		require.Equal(t, "new", *(<-plain).Value)
		resp := <-withIndex
		require.Equal(t, "new", *resp.Value)
		require.GreaterOrEqual(t, resp.Index, seen.Index)
	})
}

func TestGet_at_a_leader_whose_first_entry_is_not_committed_is_refused_in_time(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.isolate("n1")
		s.crown("n1")
		begin := time.Now()
		require.Equal(t, api.Errorf(api.Unavailable, "n1 does not know in time what is committed"), (<-s.await("n1", newest)).Error)
		require.Less(t, time.Since(begin), writeLimit+2*tick)
	})
}

// The reads of one reign wait for its rounds, and those of the next have the same numbers.
func TestGets_that_wait_end_with_the_reign(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "old")
		s.beat()
		s.isolate("n1")
		var answers []chan api.Response
		for range 3 { // one has begun, two are to share the next round
			answers = append(answers, s.await("n1", newest))
		}
		s.at("n1").deliver("n2", []byte(`{"from":"n2","to":"n1","term":2,"append":{"prev_index":2,"prev_term":1,"commit":0}}`))
		synctest.Wait()
		for _, answer := range answers {
			require.Len(t, answer, 1, "at once")
			require.Equal(t, "client n2", (<-answer).Error.Leader)
		}
		s.calm()
		s.lead("n1")
		s.beat()
		require.Equal(t, "old", *(<-s.await("n1", newest)).Value)
		for _, answer := range answers {
			require.Empty(t, answer)
		}
	})
}

func TestGets_that_wait_when_their_node_closes_are_refused(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.isolate("n1")
		begun, arrived := s.await("n1", newest), s.await("n1", newest)
		s.sink("n1")
		want := api.Refuse(7, api.Errorf(api.Unavailable, "n1 is shutting down"))
		require.Len(t, begun, 1)
		require.Len(t, arrived, 1)
		require.Equal(t, want, <-begun)
		require.Equal(t, want, <-arrived)
	})
}

func TestGets_that_wait_are_bounded_in_number(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.isolate("n1")
		answers := make(chan api.Response, maxWaiting+1)
		for range maxWaiting {
			s.at("n1").Await(newest, func(resp api.Response) { answers <- resp })
		}
		synctest.Wait()
		require.Empty(t, answers)
		require.Equal(t, api.Refuse(7, errBusy), <-s.await("n1", newest))
		for range maxWaiting {
			require.Equal(t, api.Unavailable, (<-answers).Error.Code)
		}
		waiting := s.gets("n1")
		require.Zero(t, waiting.len())
	})
}

// A list looks at every key: that takes 40 ms with 100,000 of them.
func TestLists_keep_the_node_from_nothing_else(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "1")
		n := s.at("n1")
		list := api.Request{ID: 7, Op: api.List, TimeoutMS: 1000}
		n.listing <- struct{}{} // as if a long one were being made
		first, late := s.await("n1", list), s.await("n1", list)
		s.put("n1", "2")
		require.Equal(t, "2", *(<-s.await("n1", newest)).Value)
		require.Empty(t, first)
		<-n.listing
		require.Equal(t, []string{"x"}, (<-first).Keys)
		require.True(t, (<-late).OK)

		n.listing <- struct{}{}
		late = s.await("n1", list)
		time.Sleep(time.Second + time.Millisecond)
		require.Len(t, late, 1)
		require.Equal(t, api.Refuse(7, api.Errorf(api.Unavailable, "n1 does not come to it in time")), <-late)

		for _, list.MaxStalenessMS = range []*uint64{nil, new(uint64(1000))} {
			require.True(t, n.Behind(list), "each waits for its turn")
		}
		late = s.await("n1", list)
		synctest.Wait()
		require.Empty(t, late)
		n.end()
		synctest.Wait()
		require.Len(t, late, 1)
		require.Equal(t, api.Unavailable, (<-late).Error.Code, "whoever closes a node does not wait for lists")
	})
}

func TestLists_that_wait_are_bounded_in_number(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "1")
		n := s.at("n1")
		n.listing <- struct{}{} // as if a long one were being made
		answers := make(chan api.Response, maxWaiting)
		for range maxWaiting {
			n.Await(api.Request{ID: 7, Op: api.List}, func(resp api.Response) { answers <- resp })
			synctest.Wait()
		}
		require.Equal(t, api.Refuse(7, errBusy), <-s.await("n1", api.Request{ID: 7, Op: api.List}))
		require.Empty(t, answers)
		<-n.listing
		for range maxWaiting {
			require.True(t, (<-answers).OK)
		}
	})
}
