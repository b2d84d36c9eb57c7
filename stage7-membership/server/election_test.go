package server

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files/crash"
	"raftworkbook/common/trace"
	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
)

// elected waits until somebody leads, and returns who. Two nodes that campaign at the same moment may need another try.
func (s *sea) elected() string {
	s.t.Helper()
	begin := time.Now()
	for s.leader() == "" {
		require.Less(s.t, time.Since(begin), 10*election)
		time.Sleep(tick)
	}
	return s.leader()
}

func TestCluster_elects_a_leader_by_itself_and_keeps_it(t *testing.T) {
	for _, size := range []int{1, 2, 3, 4, 5} {
		voyage(t, size, 1, election, func(t *testing.T, s *sea) {
			id := s.elected()
			term := s.status(id).Term
			for range 20 {
				s.put(id, "1")
				require.True(t, (<-s.await(id, newest)).OK)
				time.Sleep(election)
			}
			require.Equal(t, term, s.status(id).Term)
			s.sink(id)
			s.launch(id) // it remembers all, and may be elected again
			require.Greater(t, s.status(s.elected()).Term, term)
			require.Equal(t, "1", *(<-s.await(s.elected(), newest)).Value)
		})
	}
}

func TestCluster_elects_another_when_its_leader_dies(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		for range 5 {
			id := s.elected()
			s.put(id, id)
			s.sink(id)
			next := s.elected()
			require.NotEqual(t, id, next)
			require.Equal(t, id, *(<-s.await(next, newest)).Value)
			s.launch(id)
			time.Sleep(2 * maxPause)
		}
	})
}

func TestHalf_of_an_even_cluster_elects_nobody(t *testing.T) {
	voyage(t, 4, 1, election, func(t *testing.T, s *sea) {
		s.put(s.elected(), "1")
		s.part("n1", "n2")
		time.Sleep(2*election + tick) // until the leader knows
		for range 100 {
			time.Sleep(heartbeat)
			for _, m := range s.members {
				require.NotEqual(t, raft.Leader, s.status(m.ID).Role)
			}
		}
		s.calm()
		require.Equal(t, "1", *(<-s.await(s.elected(), newest)).Value)
	})
}

func TestLeader_without_a_majority_follows_and_tells_whoever_waits(t *testing.T) {
	voyage(t, 5, 1, election, func(t *testing.T, s *sea) {
		id := s.elected()
		s.put(id, "old")
		s.isolate(id)
		cut := time.Now()
		w, r := put("x", "new"), newest
		w.TimeoutMS, r.TimeoutMS = 5000, 5000
		write := s.begin(id, w)
		begun, arrived := s.await(id, r), s.await(id, r)
		require.Equal(t, api.Errorf(api.Timeout, "leadership was lost: it may have happened, or may yet"), (<-write).Error)
		require.LessOrEqual(t, time.Since(cut), 2*election)
		synctest.Wait()
		want := api.Errorf(api.Unavailable, "%s does not lead, and knows of nobody who does", id)
		require.Equal(t, want, (<-begun).Error)
		require.Equal(t, want, (<-arrived).Error)
		require.LessOrEqual(t, time.Since(cut), 2*election)
		require.NotEqual(t, raft.Leader, s.status(id).Role)
	})
}

// They come together with the vote that it needs.
func TestNode_that_is_just_elected_takes_requests_as_a_leader(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.isolate("n1")
		n := s.at("n1")
		n.Lead()
		answers := make(chan api.Response, 2)
		n.do(func() {
			n.deliver("n2", []byte(`{"from":"n2","to":"n1","term":2,"voted":{"granted":true}}`))
			n.Await(newest, func(resp api.Response) { answers <- resp })
			n.Write(put("x", "1"), func(resp api.Response) { answers <- resp })
		})
		synctest.Wait()
		require.Equal(t, raft.Leader, s.status("n1").Role)
		require.Empty(t, answers)
		s.calm()
		require.True(t, (<-answers).OK)
		require.True(t, (<-answers).OK)
	})
}

// The other has been elected before this one knows, or after: at every moment one of the two refuses.
func TestLeader_that_was_cut_off_answers_no_get_once_another_has_committed(t *testing.T) {
	for seed := range uint64(5) {
		voyage(t, 5, seed, election, func(t *testing.T, s *sea) {
			old := s.elected()
			s.put(old, "old")
			s.isolate(old)
			next := s.elected()
			s.put(next, "new")
			for range 100 {
				time.Sleep(tick)
				resp, ok := s.ask(old, newest, time.Nanosecond)
				require.False(t, ok && resp.OK, "%+v", resp)
				require.Equal(t, "new", *(<-s.await(next, newest)).Value)
			}
			s.calm()
			time.Sleep(2 * maxPause)
			require.Equal(t, "new", *(<-s.await(s.elected(), newest)).Value)
		})
	}
}

// says returns what a node sends from now on, as its trace has it.
func (s *sea) says(id string) *[]string {
	sent := &[]string{}
	s.at(id).Explain = func(e trace.Event) {
		for _, m := range e.Sends {
			*sent = append(*sent, m.To+" "+m.Text)
		}
	}
	s.at(id).Trace(true)
	return sent
}

func TestVote_is_remembered_when_the_power_fails(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		asks := func(from string) {
			s.at("n3").deliver(from, fmt.Appendf(nil, `{"from":%q,"to":"n3","term":5,"request_vote":{"last_index":9,"last_term":4}}`, from))
			synctest.Wait()
		}
		s.isolate("n3")
		s.at("n3").deliver("n2", []byte(`{"from":"n2","to":"n3","term":5,"voted":{"granted":false}}`)) // so its term is saved before
		sent := s.says("n3")
		asks("n1")
		require.Equal(t, []string{"n1 t5 votes for it"}, *sent)
		s.nodes["n3"].Close()
		s.disks["n3"].Restart(crash.Nothing)
		d, m, err := openDisk(s.disks["n3"], "data", "n3", beginning{})
		require.NoError(t, err)
		require.Equal(t, raft.HardState{Term: 5, VotedFor: "n1"}, m.hard)
		require.NoError(t, d.close())
		s.launch("n3")
		s.isolate("n3")
		require.EqualValues(t, 5, s.status("n3").Term)
		sent = s.says("n3")
		asks("n2")
		require.Equal(t, []string{"n2 t5 does not vote for it"}, *sent)
	})
}

func TestCandidate_remembers_that_it_has_voted_for_itself(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.isolate("n3")
		s.at("n3").Lead()
		s.at("n3").Lead()
		s.nodes["n3"].Close()
		s.disks["n3"].Restart(crash.Nothing)
		s.launch("n3")
		s.isolate("n3")
		require.EqualValues(t, 3, s.status("n3").Term)
		sent := s.says("n3")
		s.at("n3").deliver("n1", []byte(`{"from":"n1","to":"n3","term":3,"request_vote":{"last_index":9,"last_term":1}}`))
		synctest.Wait()
		require.Equal(t, []string{"n1 t3 does not vote for it"}, *sent)
	})
}

func TestVote_leaves_when_it_is_saved(t *testing.T) {
	sail(t, 3, []string{"n1"}, func(t *testing.T, f *fleet) {
		release := f.hold("n2")
		defer release()
		f.nodes["n3"].Lead()
		f.beat()
		require.Equal(t, "candidate", f.nodes["n3"].Status().Role)
		release()
		f.beat()
		require.Equal(t, "leader", f.nodes["n3"].Status().Role)
	})
}

func TestVote_of_a_disk_that_fails_is_never_given(t *testing.T) {
	sail(t, 3, []string{"n1"}, func(t *testing.T, f *fleet) {
		f.disks["n2"].Fault = crash.Nth(1, crash.ErrPowerFailure, crash.Sync)
		f.nodes["n3"].Lead()
		<-f.nodes["n2"].Life().Done()
		f.beat()
		require.Equal(t, "candidate", f.nodes["n3"].Status().Role)
	})
}

func TestTrace_tells_why_a_node_campaigns(t *testing.T) {
	voyage(t, 1, 1, election, func(t *testing.T, s *sea) {
		s.elected()
		s.sink("n1")
		n := s.launch("n1")
		var told []string
		n.Explain = func(e trace.Event) { told = append(told, e.String()) }
		n.Trace(true)
		s.elected()
		require.NotEmpty(t, told)
		require.Regexp(t, `because  §5.2: no sign of a leader for \d+ ticks`, told[0])
		require.Contains(t, strings.Join(told, ""), "saves    term 3 (votes for n1) 3@3 no-op")
	})
}
