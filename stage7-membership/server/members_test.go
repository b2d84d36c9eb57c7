package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files/crash"
	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
)

// enlist gives nodes that are no members yet an empty disk, and starts them.
func (s *sea) enlist(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		s.members = append(s.members, raft.Member{ID: id, Peer: id + ":peer", Client: id + ":client"})
		s.disks[id], s.fuses[id] = crash.New(1), new(atomic.Int32)
		s.launch(id)
	}
}

// plus is the part of a change that adds a node which enlist knows.
func plus(id string) string { return fmt.Sprintf("+%s=%s:peer/%s:client", id, id, id) }

func changing(words ...string) api.Request {
	return api.Request{ID: 7, Op: api.Change, Value: new(strings.Join(words, " ")), TimeoutMS: 9000}
}

func transferring(to string) api.Request { return api.Request{ID: 7, Op: api.Transfer, Key: to} }

// alter changes the members at whoever leads, and requires that these are all.
func (s *sea) alter(change string, want ...string) {
	s.t.Helper()
	resp := <-s.await(s.elected(), changing(change))
	require.True(s.t, resp.OK, "%s: %v", change, resp.Error)
	require.Equal(s.t, want, names(resp.Members))
	time.Sleep(2 * heartbeat)
	for _, id := range want {
		require.Equal(s.t, want, names(s.at(id).Members()), id)
	}
}

// names are those of voters; of others also what they are.
func names(members []api.Member) (all []string) {
	for _, m := range members {
		if m.State != api.Voter {
			m.ID += " " + m.State
		}
		all = append(all, m.ID)
	}
	return all
}

func TestMembers_come_and_go_one_by_one_and_several_at_once(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		s.put(s.elected(), "1")
		s.enlist("n4", "n5", "n6", "n7")
		s.alter(plus("n4"), "n1", "n2", "n3", "n4")
		s.alter(plus("n5")+" "+plus("n6"), "n1", "n2", "n3", "n4", "n5", "n6")
		s.alter("-n5", "n1", "n2", "n3", "n4", "n6")
		s.alter("-n6 "+plus("n7"), "n1", "n2", "n3", "n4", "n7")
		s.alter("-n1 -n2", "n3", "n4", "n7")
		s.sink("n1")
		s.sink("n2")
		s.put(s.elected(), "2")
		s.sink("n3")
		s.put(s.elected(), "3")
		time.Sleep(2 * heartbeat)
		require.Equal(t, "3", s.read("n7", "x"))
	})
}

func TestChange_that_is_asked_for_again_is_one(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		s.enlist("n4")
		id := s.elected()
		first, again := s.await(id, changing(plus("n4"))), s.await(id, changing(plus("n4")))
		require.True(t, (<-first).OK)
		require.True(t, (<-again).OK)
		before := s.status(id).LastIndex
		require.True(t, (<-s.await(id, changing(plus("n4")))).OK)
		require.True(t, (<-s.await(id, changing("-n9"))).OK, "it is no member, as was wanted")
		require.LessOrEqual(t, s.status(id).LastIndex, before+1, "nothing but its directory is recorded")
	})
}

func TestChange_says_what_is_under_way_and_takes_no_other_meanwhile(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		id := s.elected()
		adding := s.await(id, changing(plus("n9")))
		require.Equal(t, []string{"n1", "n2", "n3", "n9 joining"}, names(s.at(id).Members()))
		require.Equal(t, api.Errorf(api.Unavailable, "another change of the members is under way"), (<-s.await(id, changing("-n3"))).Error)
		require.Empty(t, adding)
		time.Sleep(10 * time.Second)
		require.NotNil(t, (<-adding).Error)
		s.enlist("n4")
		other := s.members[slices.IndexFunc(s.members, func(m raft.Member) bool { return m.ID != id })].ID
		s.isolate("n4")
		replacing := s.await(id, changing(plus("n4"), "-"+other))
		require.Contains(t, names(s.at(id).Members()), other+" leaving")
		s.calm()
		require.True(t, (<-replacing).OK)
	})
}

func TestChange_that_makes_no_sense_is_refused(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		id := s.elected()
		before := s.status(id).LastIndex
		for _, c := range []struct{ change, says string }{
			{"+n1=a:1/b:1", "n1 is a member already, at peer n1/client n1"},
			{"+n4=a:1/b:1 +n5=a:1/c:1", "a:1/c:1 is where n4 is"},
			{"+n4=a:1/b:1 +n5=c:1/b:1", "c:1/b:1 is where n4 is"},
			{"+n4=a:1/a:1", "a:1 is there twice"},
			{"+n4", `"n4" is no member: n1=HOST:PORT/HOST:PORT, its address for nodes first`},
			{"-n1 -n2 -n3", "nobody would be left"},
		} {
			require.Equal(t, api.Errorf(api.BadRequest, "%s", c.says), (<-s.await(id, changing(c.change))).Error)
		}
		require.Equal(t, api.Errorf(api.BadRequest, `"n4" cannot lead: n1 n2 n3`), (<-s.await(id, transferring("n4"))).Error)
		require.Equal(t, before, s.status(id).LastIndex)
	})
}

func TestChange_at_a_follower_is_sent_to_the_leader(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		s.enlist("n4")
		s.alter(plus("n4"), "n1", "n2", "n3", "n4")
		require.True(t, (<-s.await(s.elected(), transferring("n4"))).OK)
		require.Equal(t, "n4", s.elected())
		for _, r := range []api.Request{changing("-n3"), transferring("n2")} {
			e := (<-s.await("n1", r)).Error
			require.Equal(t, api.NotLeader, e.Code)
			require.Equal(t, "n4:client", e.Leader, "it is no member of the first")
		}
	})
}

func TestNode_that_is_not_there_is_given_up(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		id := s.elected()
		resp := <-s.await(id, changing(plus("n9")))
		require.Equal(t, api.Errorf(api.NotLevel, "not all of the new members became level: the members are n1 n2 n3, as before"), resp.Error)
		require.Equal(t, []string{"n1", "n2", "n3"}, names(s.at(id).Members()))
		s.put(id, "1")
	})
}

func TestChange_is_withdrawn_by_what_would_undo_it(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		id := s.elected()
		adding := s.await(id, changing(plus("n9")))
		time.Sleep(2 * heartbeat)
		require.Equal(t, []string{"n1", "n2", "n3"}, names((<-s.await(id, changing("-n9"))).Members))
		require.Equal(t, api.NotLevel, (<-adding).Error.Code)
		s.enlist("n4")
		s.alter(plus("n4"), "n1", "n2", "n3", "n4")
	})
}

func TestChange_in_a_hurry_says_that_it_goes_on(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		r := changing(plus("n4"))
		r.TimeoutMS = 100
		begin := time.Now()
		require.Equal(t, api.Errorf(api.Timeout, "it is not done yet, but may be later: asking for it again does no harm"), (<-s.await(s.elected(), r)).Error)
		require.Less(t, time.Since(begin), election)
		s.enlist("n4")
		s.alter(plus("n4"), "n1", "n2", "n3", "n4")
	})
}

func TestChange_goes_on_when_its_leader_is_lost(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		id := s.elected()
		change := s.await(id, changing(plus("n4")))
		time.Sleep(2 * heartbeat)
		s.isolate(id)
		require.Equal(t, api.Errorf(api.Timeout, "leadership was lost: the change may go on, and asking for it again does no harm"), (<-change).Error)
		require.NotEqual(t, id, s.elected())
		s.calm()
		time.Sleep(2 * maxPause)
		s.enlist("n4")
		s.alter(plus("n4"), "n1", "n2", "n3", "n4")
	})
}

// The first append of the next leader ends a reign and takes its last entry out of the log, in one step: the members are as
// they were before. But a third node may have that entry, and lead yet.
func TestChange_that_is_cut_off_may_go_on(t *testing.T) {
	for _, change := range []string{plus("n4"), "-n3", "-n3 +n3=elsewhere:peer/elsewhere:client"} {
		for _, again := range []bool{false, true} { // whether the node leads once more when it comes to answer
			embark(t, 3, 1, func(t *testing.T, s *sea) {
				s.lead("n1")
				time.Sleep(2 * heartbeat)
				s.isolate("n1")
				answer := s.await("n1", changing(change))
				require.Empty(t, answer)
				n, last := s.at("n1"), s.status("n1")
				n.do(func() {
					n.core.Step(raft.Message{From: "n2", To: "n1", Term: last.Term + 1, AppendEntries: &raft.AppendEntries{
						PrevLogIndex: last.LastIndex - 1, PrevLogTerm: last.Term,
						Entries: []raft.Entry{{Index: last.LastIndex, Term: last.Term + 1}}}})
					if again {
						n.core.Campaign()
						n.core.Step(raft.Message{From: "n2", To: "n1", Term: last.Term + 2,
							RequestVoteReply: &raft.RequestVoteReply{Granted: true}})
					}
				})
				require.Equal(t, again, s.status("n1").Role == raft.Leader)
				lost := api.Errorf(api.Timeout, "leadership was lost: the change may go on, and asking for it again does no harm")
				require.Equal(t, lost, (<-answer).Error, change)
				require.Equal(t, s.members, n.config.Load().Voters)
			})
		}
	}
}

func TestChange_ends_with_the_node(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		id := s.elected()
		change := s.await(id, changing(plus("n4")))
		s.sink(id)
		require.Equal(t, api.Errorf(api.Timeout, "%s is shutting down: it may go on", id), (<-change).Error)
	})
}

func TestLeader_removes_itself_and_another_leads_at_once(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		id := s.elected()
		resp := <-s.await(id, changing("-"+id))
		require.True(t, resp.OK, "%v", resp.Error)
		begin := time.Now()
		require.NotEqual(t, id, s.elected())
		require.Less(t, time.Since(begin), election, "it need not be missed first")
		next := s.elected()
		term := s.status(next).Term
		time.Sleep(10 * election)
		require.Equal(t, term, s.status(next).Term, "who is no member disturbs nobody")
		s.put(next, "1")
		require.NotEqual(t, "1", s.read(id, "x"))
	})
}

// It has forgotten its promises, and would count at once as if it had not.
func TestVoter_keeps_its_directory_though_it_goes_and_comes_in_one_change(t *testing.T) {
	voyage(t, 4, 1, election, func(t *testing.T, s *sea) {
		require.True(t, (<-s.await(s.elected(), transferring("n1"))).OK)
		s.put(s.elected(), "1")
		time.Sleep(time.Second)
		s.sink("n3")
		s.disks["n3"] = crash.New(1)
		s.members[2].Peer = "n3:peer"
		s.launch("n3")
		s.enlist("n5")
		for _, change := range []string{"-n3 " + plus("n3"), "-n3 " + plus("n3") + " " + plus("n5")} {
			require.True(t, (<-s.await("n1", changing(change))).OK, "it may have moved")
			time.Sleep(time.Minute)
			require.Zero(t, s.status("n3").LastIndex, "it is let in by nobody")
		}
		s.sink("n2")
		s.put(s.elected(), "2")
		s.sink("n4")
		time.Sleep(time.Second)
		require.False(t, (<-s.await("n1", put("x", "3"))).OK, "and counts nowhere")
	})
}

// Its answers went to where its configuration says that the other is.
func TestMember_that_lags_answers_one_that_has_moved(t *testing.T) {
	for _, change := range [][]string{{"-n4 " + plus("n4")}, {"-n4", plus("n4")}} {
		voyage(t, 4, 1, election, func(t *testing.T, s *sea) {
			require.True(t, (<-s.await(s.elected(), transferring("n2"))).OK)
			s.put(s.elected(), "1")
			time.Sleep(time.Second)
			s.sink("n1")
			for i, c := range change {
				if i > 0 || len(change) == 1 {
					s.sink("n4")
					s.members[3].Peer = "n4:peer"
					s.launch("n4")
				}
				require.True(t, (<-s.await(s.elected(), changing(c))).OK)
			}
			s.put(s.elected(), "2")
			time.Sleep(time.Second)
			require.True(t, (<-s.await(s.elected(), transferring("n4"))).OK)
			s.launch("n1")
			time.Sleep(time.Minute)
			require.Equal(t, s.status("n4").LastIndex, s.status("n1").LastIndex)
		})
	}
}

func TestNode_that_does_not_lead_refuses_no_change_by_what_it_knows(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		require.True(t, (<-s.await(s.elected(), transferring("n1"))).OK)
		require.Equal(t, "n1", s.elected())
		for _, change := range []string{"+n4=n2:peer/n2:client", "rubbish", "-n1 -n2 -n3"} {
			require.Equal(t, api.NotLeader, (<-s.await("n3", changing(change))).Error.Code)
		}
	})
}

func TestChange_is_bounded(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		var words []string
		for i := range maxMembers - 2 {
			words = append(words, fmt.Sprintf("+m%d=m%d:1/m%d:2", i, i, i))
		}
		err := (<-s.await(s.elected(), changing(words...))).Error
		require.Equal(t, api.Errorf(api.TooLarge, "there would be 33 members, at most 32 are allowed"), err)
		long := strings.Repeat("m", maxName)
		require.Equal(t, api.BadRequest, (<-s.await(s.elected(), changing("+m"+long+"=a:1/a:2"))).Error.Code)
	})
}

// Without TLS anybody who knows the cluster may say any name.
func TestStrangers_are_not_remembered(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		s.elected()
		n := s.at("n1")
		for i := range 100 {
			name := fmt.Sprint("stranger", i)
			line, err := json.Marshal(letter{Message: raft.Message{From: name, To: "n1", AppendEntriesReply: &raft.AppendEntriesReply{}}, Stamp: 1})
			require.NoError(t, err)
			require.NoError(t, n.deliver(name, line))
		}
		s.enlist("n4")
		s.alter(plus("n4"), "n1", "n2", "n3", "n4")
		s.alter("-n4", "n1", "n2", "n3")
		time.Sleep(time.Second)
		var heard []string
		n.do(func() { heard = slices.Collect(maps.Keys(n.fresh.heard)) })
		require.Subset(t, []string{"n2", "n3"}, heard)
	})
}

func TestTransfer_is_done_when_the_other_leads(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		for range 3 {
			for _, id := range []string{"n1", "n2", "n3"} {
				begin := time.Now()
				require.True(t, (<-s.await(s.elected(), transferring(id))).OK)
				require.Less(t, time.Since(begin), election)
				require.Equal(t, id, s.elected())
			}
		}
	})
}

func TestTransfer_to_a_node_that_is_gone_ends_in_time(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		require.True(t, (<-s.await(s.elected(), transferring("n1"))).OK)
		s.elected()
		s.sink("n3")
		begin := time.Now()
		transfer := s.await("n1", transferring("n3"))
		require.Equal(t, api.Errorf(api.Unavailable, "leadership is being handed over"), first(s.do("n1", put("x", "1"))).Error)
		time.Sleep(election + 2*tick)
		s.put("n1", "1")
		require.Equal(t, api.Timeout, (<-transfer).Error.Code)
		require.Less(t, time.Since(begin), writeLimit+2*tick)
	})
}

func TestRestart_finds_the_members_on_its_disk_and_not_in_its_flags(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
			s.enlist("n4")
			s.alter(plus("n4")+" -n1", "n2", "n3", "n4")
			if snapshot {
				s.at("n3").Snapshot()
			}
			s.sink("n3")
			n, err := NewNode(Config{ID: "n3", Peer: s.peer("n3"), Bootstrap: []raft.Member{member("n1"), member("n3")}, Data: "data", Files: s.disks["n3"],
				Log: t.Logf, Heartbeat: heartbeat, Election: election, SnapshotBytes: large, Dial: s.at("n4").Dial})
			require.NoError(t, err)
			defer n.Close()
			n.Status()
			synctest.Wait() // until it has done what there was to do
			require.Equal(t, []string{"n2", "n3", "n4"}, names(n.Members()))
			require.Equal(t, s.cluster, n.Status().Cluster)
		})
	}
}

func TestDirectory_of_each_member_is_recorded(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		s.enlist("n4")
		s.alter(plus("n4"), "n1", "n2", "n3", "n4")
		time.Sleep(2 * heartbeat)
		for _, m := range s.at("n1").config.Load().Voters {
			require.Equal(t, s.at(m.ID).disk.head.Directory, m.Directory, m.ID)
		}
	})
	synctest.Test(t, func(t *testing.T) { // its own too
		n := alone(t)
		defer n.Close()
		time.Sleep(2 * tick)
		n.Status()
		require.Equal(t, n.disk.head.Directory, n.config.Load().Voters[0].Directory)
	})
}

func TestNode_that_has_lost_its_disk_is_not_let_back_in(t *testing.T) {
	voyage(t, 3, 1, election, func(t *testing.T, s *sea) {
		require.True(t, (<-s.await(s.elected(), transferring("n1"))).OK)
		s.elected()
		s.sink("n3")
		s.disks["n3"] = crash.New(1)
		s.launch("n3")
		time.Sleep(10 * time.Second)
		require.Zero(t, s.status("n3").LastIndex, "nobody sends it anything")
		require.Zero(t, s.at("n3").Status().Peers)
		require.Equal(t, 1, s.at("n1").Status().Peers)
		s.put("n1", "1")
		s.enlist("n4")
		s.alter("-n3 "+plus("n4"), "n1", "n2", "n4")
	})
}

func TestNode_with_nothing_on_its_disk_must_be_told_whether_the_cluster_is_new(t *testing.T) {
	sys := crash.New(1)
	_, _, err := openDisk(sys, "n1", "n1", beginning{})
	require.EqualError(t, err, "there is nothing in its directory: -bootstrap begins a new cluster, -join takes part in one that is there")
	hard, entries := raft.Bootstrap([]raft.Member{member("n1")})
	first, m, err := openDisk(sys, "n1", "n1", beginning{"c1", hard, entries})
	require.NoError(t, err)
	require.True(t, kept{hard, entries}.equal(whole(m)))
	require.Equal(t, entries[0].Config, m.entries[0].Config)
	require.NoError(t, first.close())
	again, m, err := openDisk(sys, "n1", "n1", beginning{cluster: "c2"})
	require.NoError(t, err)
	require.Equal(t, first.head, again.head)
	require.True(t, kept{hard, entries}.equal(whole(m)))
	require.NoError(t, again.close())
	other, _, err := openDisk(crash.New(1), "n1", "n1", beginning{"c1", hard, entries})
	require.NoError(t, err)
	require.NotEqual(t, first.head.Directory, other.head.Directory)
	require.NoError(t, other.close())
}

func TestWhoever_has_asked_for_the_members_is_told_when_they_are_others(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		asks, silent := h.dial(), h.dial()
		asks.send(`{"id":1,"op":"members"}` + "\n")
		asks.hears(`{"id":1,"ok":true,"members":[{"id":"n1","peer":"","client":"","state":"voter"}]}`)
		asks.send(`{"id":2,"op":"get","key":"x"}` + "\n")
		asks.hears(`{"id":2,"ok":true,"found":false}`)
		one, two := raft.Member{ID: "n1"}, raft.Member{ID: "n2", Peer: "a:1", Client: "b:1"}
		h.node.config.Store(&raft.Configuration{Voters: []raft.Member{one}, Next: []raft.Member{one, two}})
		asks.send(`{"id":3,"op":"cas"}` + "\n" + `{"id":4,"op":"get","key":"x"}` + "\n")
		require.Contains(t, asks.line(), `"ok":false`, "an error is about the request alone")
		asks.hears(`{"id":4,"ok":true,"found":false,"members":[` +
			`{"id":"n1","peer":"","client":"","state":"voter"},{"id":"n2","peer":"a:1","client":"b:1","state":"joining"}]}`)
		for _, u := range []*user{asks, silent} {
			u.send(`{"id":5,"op":"get","key":"x"}` + "\n")
			u.hears(`{"id":5,"ok":true,"found":false}`)
		}
	})
}
