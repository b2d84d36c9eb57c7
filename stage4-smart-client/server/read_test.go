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
	"raftworkbook/stage4-smart-client/api"
)

// wait begins a read at a node that must have applied an entry first, and returns where its answer will be.
func (s *sea) wait(id string, index, ms uint64) chan api.Response {
	s.t.Helper()
	r := api.Request{ID: 7, Op: api.Get, Key: "x", MinIndex: index, TimeoutMS: ms}
	require.True(s.t, s.at(id).Behind(r))
	answer := make(chan api.Response, 1)
	s.at(id).Await(r, func(resp api.Response) { answer <- resp })
	synctest.Wait()
	return answer
}

// parked is how many reads wait at a node.
func (s *sea) parked(id string) (n int) {
	s.at(id).do(func() { n = len(s.at(id).parked) })
	return n
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

		r := api.Request{ID: 7, Op: api.Get, Key: "x", MinIndex: 3}
		require.False(t, s.at("n3").Behind(r), "and later nobody waits for it")
	})
}

// What a node has is there for a read that comes when its index has just been applied, between two looks.
func TestRead_that_need_not_wait_after_all_is_answered_at_once(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.put("n1", "1")
		answer := make(chan api.Response, 1)
		s.at("n1").Await(api.Request{ID: 7, Op: api.Get, Key: "x", MinIndex: 2}, func(resp api.Response) { answer <- resp })
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
				require.Equal(t, api.Refuse(7, api.Errorf(api.Stale, "%s has not applied entry %d in time", id, c.index)), resp)
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
		n.Await(api.Request{ID: 8, Op: api.Get, Key: "x", MinIndex: 9}, func(resp api.Response) { answer <- resp })
		require.Equal(t, api.Unavailable, (<-answer).Error.Code)
	})
}

func TestReads_that_wait_are_bounded_in_number(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.beat()
		answers := make(chan api.Response, maxWaiting+1)
		for range maxWaiting {
			s.at("n3").Await(api.Request{ID: 7, Op: api.Get, Key: "x", MinIndex: 9}, func(resp api.Response) { answers <- resp })
		}
		synctest.Wait()
		require.Empty(t, answers)
		s.at("n3").Await(api.Request{ID: 8, Op: api.Get, Key: "x", MinIndex: 9}, func(resp api.Response) { answers <- resp })
		require.Equal(t, api.Refuse(8, errBusy), <-answers)
		require.True(t, s.get("n3", nil).OK, "one that need not wait does not")
		s.at("n3").Write(put("x", "1"), func(resp api.Response) { answers <- resp })
		require.Equal(t, api.NotLeader, (<-answers).Error.Code, "nor does a write")
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
		u.send(`{"id":1,"op":"get","key":"x","min_index":2,"timeout_ms":1000}` + "\n" + `{"id":2,"op":"get","key":"x"}` + "\n" +
			`{"id":3,"op":"list","min_index":3,"timeout_ms":20}` + "\n")
		u.hears(`{"id":2,"ok":true,"found":false}`)
		u.hears(`{"id":3,"ok":false,"error":{"code":"stale","message":"n3 has not applied entry 3 in time"}}`)
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
		u.send(`{"id":1,"op":"list","max_staleness_ms":1}` + "\n" + `{"id":2,"op":"list","max_staleness_ms":18446744073709551615}` + "\n")
		u.hears(fmt.Sprintf(`{"id":1,"ok":false,"error":{"code":"stale","message":"n3 may be outdated by %d ms, and 1 are allowed"}}`, age.Milliseconds()))
		u.hears(`{"id":2,"ok":true,"keys":["x"]}`)
	})
}

func TestRead_is_answered_by_nobody_who_has_not_heard_what_is_committed(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		unheard := func(id string) {
			t.Helper()
			want := api.Refuse(7, api.Errorf(api.Unavailable, "%s has not heard yet what is committed", id))
			require.Equal(t, want, s.get(id, nil))
			require.Equal(t, want, s.get(id, new(time.Hour)))
		}
		for _, m := range s.members {
			unheard(m.ID)
		}
		s.part("n1")
		s.lead("n1")
		unheard("n1") // it leads, and its first entry is not committed
		waits := s.wait("n2", 1, 5000)
		s.calm()
		time.Sleep(2 * maxPause)
		s.requireFresh("n1", "n2", "n3")
		require.True(t, (<-waits).OK)

		s.put("n1", "1")
		s.beat()
		s.sink("n2")
		s.launch("n2")
		unheard("n2") // it has all of it in its log
		waits = s.wait("n2", 2, 5000)
		time.Sleep(2 * maxPause)
		require.Equal(t, "1", *s.get("n2", nil).Value)
		require.Equal(t, "1", *(<-waits).Value)

		s.isolate("n1")
		s.isolate("n3")
		s.lead("n2")
		unheard("n2") // it was a follower who had, and is a leader who has not
	})
}

// R39: whoever says what it has seen never sees less, wherever it asks. Values only grow; reads and the entries that
// make them grow come between each other as they can.
func TestClient_that_says_what_it_has_seen_never_goes_back_in_time(t *testing.T) {
	embark(t, 5, 1, func(t *testing.T, s *sea) {
		s.change(func() {
			s.again = 0.2
			for _, id := range []string{"n2", "n3", "n4", "n5"} {
				s.slow["n1>"+id] = 20 * time.Millisecond
			}
		})
		s.lead("n1")
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
