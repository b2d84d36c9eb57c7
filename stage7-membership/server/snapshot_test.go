package server

import (
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files/crash"
	"raftworkbook/common/trace"
	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
)

// These are files in the directory of a fleet's node.
const (
	snapshotIn = "data/" + snapshotName
	takenIn    = "data/" + takenName
	comeIn     = "data/" + comeName
)

// mark is a write that shows how often it was applied.
func mark(text string) api.Request {
	return api.Request{ID: 7, Op: api.Append, Key: "x", Value: &text}
}

// write has n1 carry out so many appends of a character.
func (f *fleet) write(times int) {
	f.t.Helper()
	for range times {
		require.True(f.t, first(f.do("n1", mark("a"))).OK)
	}
}

// reborn starts a node once more, after a power failure.
func (f *fleet) reborn(id string) *Node {
	f.t.Helper()
	f.nodes[id].Close()
	f.disks[id].Restart(crash.Nothing)
	n := f.start(id)
	time.Sleep(2 * maxPause)
	return n
}

// hinder makes each write of a file wait until the function that it returns is called, and counts those that have begun.
func hinder(d *crash.Disk, file string) (begun *atomic.Int32, release func()) {
	synctest.Wait() // nobody uses it now
	held := make(chan struct{})
	begun = new(atomic.Int32)
	d.Fault = func(op crash.Op, name string) error {
		if op == crash.Write && name == file {
			begun.Add(1)
			<-held
		}
		return nil
	}
	return begun, sync.OnceFunc(func() { close(held) })
}

// order has a node take a snapshot, and returns what is closed when that is done.
func order(n *Node) (done chan struct{}) {
	done = make(chan struct{})
	go func() { n.Snapshot(); close(done) }()
	synctest.Wait()
	return done
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestLog_stays_short_however_much_is_written(t *testing.T) {
	const bytes = 20_000
	sailCompacting(t, 3, bytes, nil, func(t *testing.T, f *fleet) {
		value := strings.Repeat("x", 1000)
		for i := range 1000 {
			require.True(t, first(f.do("n1", put(fmt.Sprint(i%5), value))).OK)
			synctest.Wait() // or a snapshot may take as long as many puts, whose entries stay
		}
		f.beat()
		for _, m := range f.members {
			for _, s := range []*api.NodeStatus{f.nodes[m.ID].Status(), f.reborn(m.ID).Status()} {
				require.Greater(t, s.SnapshotIndex, uint64(900), m.ID)
				require.Less(t, s.LogBytes, int64(2*bytes), m.ID)
			}
			_, err := f.disks[m.ID].Open(takenIn)
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	})
}

func TestSnapshot_is_not_taken_while_the_log_is_short(t *testing.T) {
	sailCompacting(t, 3, 100_000, nil, func(t *testing.T, f *fleet) {
		f.write(500)
		f.beat()
		for id, n := range f.nodes {
			require.Zero(t, n.Status().SnapshotIndex)
			require.Less(t, n.Status().LogBytes, int64(100_000))
			_, err := f.disks[id].Open(snapshotIn)
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	})
}

func TestSnapshot_that_was_ordered_is_there_when_the_order_is_answered(t *testing.T) {
	sailCompacting(t, 3, 4000, nil, func(t *testing.T, f *fleet) {
		f.write(10)
		n := f.nodes["n1"]
		before := n.Status()
		require.Zero(t, before.SnapshotIndex)
		n.Snapshot()
		require.EqualValues(t, 12, n.Status().SnapshotIndex)
		n = f.reborn("n1")
		require.EqualValues(t, 12, n.Status().SnapshotIndex)
		require.Equal(t, strings.Repeat("a", 10), f.read("n1", "x"), "at once, and before anybody leads")
		require.EqualValues(t, 12, n.store.Do(api.Request{Op: api.Get, Key: "x"}).Index)
	})
}

func TestSnapshot_of_nothing_new_is_there_already(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		f.write(1)
		f.nodes["n1"].Snapshot()
		f.disks["n1"].Fault = func(op crash.Op, name string) error { t.Error(op, name); return nil }
		require.True(t, isClosed(order(f.nodes["n1"])))
		f.disks["n1"].Fault = nil
	})
	synctest.Test(t, func(t *testing.T) { // nor is there one of nothing at all
		n, err := NewNode(Config{ID: "n1", Bootstrap: []raft.Member{{ID: "n1"}}, Data: "data", Files: crash.New(1), Log: t.Logf,
			Heartbeat: heartbeat, Election: time.Hour, SnapshotBytes: large})
		require.NoError(t, err)
		require.True(t, isClosed(order(n)))
		require.Zero(t, n.Status().SnapshotIndex)
		require.NoError(t, n.Close())
	})
}

// A node that took no writes, or sent no heartbeats, would cost an election with every snapshot (D§5.1.1).
func TestNode_goes_on_while_it_takes_a_snapshot(t *testing.T) {
	sailCompacting(t, 3, 2000, nil, func(t *testing.T, f *fleet) {
		f.write(3)
		n := f.nodes["n1"]
		begun, release := hinder(f.disks["n1"], takenIn)
		defer release()
		ordered := order(n)
		require.EqualValues(t, 1, begun.Load())
		for range 100 { // long enough for another snapshot
			resp, took := f.do("n1", mark("b"))
			require.True(t, resp.OK)
			require.Zero(t, took)
		}
		require.False(t, isClosed(ordered))
		require.EqualValues(t, 1, begun.Load(), "one at a time")
		require.Zero(t, n.Status().SnapshotIndex)
		f.beat()
		resp := n.Read(api.Request{ID: 1, Op: api.Get, Key: "x", MaxStalenessMS: new(uint64(2 * heartbeat.Milliseconds()))})
		require.True(t, resp.OK, "it is answered by a majority all the time: %v", resp.Error)

		release()
		synctest.Wait()
		require.True(t, isClosed(ordered))
		require.EqualValues(t, 5, n.Status().SnapshotIndex)
		f.write(3)
		n = f.reborn("n1")
		n.Lead()
		require.Equal(t, "aaa"+strings.Repeat("b", 100)+"aaa", f.read("n1", "x"))
	})
}

// What is written while a snapshot is made is in the log that is left, and not in the snapshot: it is applied once.
func TestRestart_applies_what_came_after_the_snapshot(t *testing.T) {
	sail(t, 1, nil, func(t *testing.T, f *fleet) {
		_, release := hinder(f.disks["n1"], takenIn)
		f.write(10)
		ordered := order(f.nodes["n1"])
		f.write(10)
		release()
		<-ordered
		f.reborn("n1").Lead()
		require.Equal(t, strings.Repeat("a", 20), f.read("n1", "x"))
	})
}

func TestRestart_applies_nothing_of_the_log_that_the_snapshot_has(t *testing.T) {
	sailCompacting(t, 1, 2000, nil, func(t *testing.T, f *fleet) {
		f.write(100)
		synctest.Wait() // until the last snapshot is there
		f.nodes["n1"].Close()
		d, m, err := openDisk(f.disks["n1"], "data", "n1", beginning{})
		require.NoError(t, err)
		require.NoError(t, d.close())
		require.Less(t, m.entries[0].Index+1, m.snapshot.LastIncludedIndex, "some are left")
		f.reborn("n1").Lead()
		require.Equal(t, strings.Repeat("a", 100), f.read("n1", "x"))
	})
}

func TestRestart_finds_what_was_there_when_each_snapshot_was_taken(t *testing.T) {
	sailCompacting(t, 3, 400, nil, func(t *testing.T, f *fleet) {
		for range 20 {
			f.write(3) // each tells of the commit of the one before
			f.beat()
			n := f.reborn("n2")
			at := n.Status().SnapshotIndex
			if at > 0 { // entry 2 is the leader's first
				resp := n.store.Do(api.Request{Op: api.Get, Key: "x"})
				require.Len(t, *resp.Value, int(resp.Index-2))
				require.GreaterOrEqual(t, resp.Index, at)
			}
		}
		require.NotZero(t, f.nodes["n2"].Status().SnapshotIndex)
	})
}

// The node that answered the first time is gone, and so is the entry.
func TestRetry_is_answered_as_the_first_time_across_snapshot_and_restart(t *testing.T) {
	sailCompacting(t, 1, 4, nil, func(t *testing.T, f *fleet) {
		session := first(f.do("n1", api.Request{ID: 1, Op: api.Register})).Session
		w := mark("a")
		w.Session, w.Seq, w.Done = session, 1, 1
		before := first(f.do("n1", w))
		require.Equal(t, 1, *before.Length)
		f.write(1)
		f.nodes["n1"].Snapshot()
		n := f.reborn("n1")
		n.Lead()
		f.beat()
		after := first(f.do("n1", w))
		after.Index = before.Index
		require.Equal(t, before, after)
		require.Equal(t, "aa", f.read("n1", "x"))
	})
}

func TestFollower_that_was_away_gets_a_snapshot_then_entries_and_may_lead(t *testing.T) {
	sailCompacting(t, 3, 2000, []string{"n3"}, func(t *testing.T, f *fleet) {
		f.write(100)
		snapshot := f.nodes["n1"].Status().SnapshotIndex
		require.NotZero(t, snapshot)
		_, release := hinder(f.disks["n3"], comeIn)
		defer release()
		n := f.start("n3")
		read := make(chan api.Response, 1)
		r := bounded("x", snapshot, 5000)
		require.True(t, n.Behind(r))
		n.Await(r, func(resp api.Response) { read <- resp })
		release()
		time.Sleep(2 * maxPause)
		require.EqualValues(t, 102, n.Status().AppliedIndex)
		installed := n.Status().SnapshotIndex
		require.NotZero(t, installed)
		require.Equal(t, strings.Repeat("a", 100), f.read("n3", "x"))
		require.Len(t, read, 1)
		resp := <-read
		if resp.OK {
			require.GreaterOrEqual(t, resp.Index, snapshot)
		} else {
			require.Equal(t, api.Stale, resp.Error.Code, "it does not know yet how old what it has is")
		}
		r.MinIndex = 102
		require.False(t, n.Behind(r))
		resp = n.Read(r)
		require.Equal(t, strings.Repeat("a", 100), *resp.Value)
		require.LessOrEqual(t, *resp.StalenessMS, uint64(3*heartbeat.Milliseconds()))
		r.MinIndex = 103
		require.True(t, n.Behind(r))

		n = f.reborn("n3")
		require.GreaterOrEqual(t, n.Status().AppliedIndex, installed)
		n.Lead()
		f.beat()
		require.True(t, first(f.do("n3", mark("b"))).OK)
		for id := range f.nodes {
			require.Equal(t, strings.Repeat("a", 100)+"b", f.read(id, "x"), id)
		}
	})
}

func TestTrace_tells_of_a_snapshot_that_is_installed(t *testing.T) {
	sailCompacting(t, 2, 200, nil, func(t *testing.T, f *fleet) {
		n := f.nodes["n2"]
		var told strings.Builder
		n.Explain = func(e trace.Event) { told.WriteString(e.String()) }
		n.Trace(true)
		n.deliver("n1", []byte(`{"from":"n1","to":"n2","term":2,"snapshot":{"last_index":9,"last_term":1,"offset":0,"data":"","done":true,"round":5}}`))
		synctest.Wait()
		require.Contains(t, told.String(), "saves    snapshot up to 9@1")
	})
}

func TestOrder_for_a_snapshot_ends_with_the_node(t *testing.T) {
	sail(t, 1, nil, func(t *testing.T, f *fleet) {
		f.write(1)
		_, release := hinder(f.disks["n1"], takenIn)
		ordered := order(f.nodes["n1"])
		closed := make(chan struct{})
		go func() { f.nodes["n1"].Close(); close(closed) }()
		synctest.Wait()
		require.True(t, isClosed(ordered))
		require.False(t, isClosed(closed), "the directory is not let go while it is written to")
		release()
		<-closed
		f.nodes["n1"].Snapshot()
		f.reborn("n1").Lead()
		require.Equal(t, "a", f.read("n1", "x"))
	})
}

// fail makes a disk fail at the nth operation that changes something, from when a file is made on.
func fail(d *crash.Disk, file string, nth int) {
	synctest.Wait()
	var mu sync.Mutex
	begun, fault := false, crash.Nth(nth, syscall.EIO)
	d.Fault = func(op crash.Op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		begun = begun || op == crash.Create && name == file
		if !begun {
			return nil
		}
		return fault(op, name)
	}
}

// ended reports whether a node has ended by itself, because of its disk.
func (f *fleet) ended(id string) bool {
	if f.nodes[id].Life().Err() == nil {
		return false
	}
	require.ErrorIs(f.t, f.nodes[id].Close(), syscall.EIO)
	return true
}

func TestDisk_that_fails_while_a_snapshot_is_taken_ends_the_node_and_loses_nothing(t *testing.T) {
	failures := 0
	for more := true; more; {
		sailCompacting(t, 1, 4000, nil, func(t *testing.T, f *fleet) {
			f.write(10)
			fail(f.disks["n1"], takenIn, failures+1)
			<-order(f.nodes["n1"])
			if more = f.ended("n1"); more {
				failures++
			}
			f.reborn("n1").Lead()
			require.Equal(t, strings.Repeat("a", 10), f.read("n1", "x"))
		})
	}
	require.Equal(t, 10, failures, "two files are made, written, flushed and renamed, and two names flushed")
}

func TestDisk_that_fails_while_a_snapshot_is_installed_ends_the_node_and_loses_nothing(t *testing.T) {
	for nth := 1; nth <= 10; nth++ {
		sailCompacting(t, 3, 2000, []string{"n3"}, func(t *testing.T, f *fleet) {
			f.write(100)
			fail(f.disks["n3"], comeIn, nth)
			f.start("n3")
			time.Sleep(2 * maxPause)
			require.True(t, f.ended("n3"), nth)
			f.reborn("n3")
			require.Equal(t, strings.Repeat("a", 100), f.read("n3", "x"))
		})
	}
}

func TestIndex_never_goes_back_though_all_nodes_lose_power_again_and_again(t *testing.T) {
	sailCompacting(t, 3, 1000, nil, func(t *testing.T, f *fleet) {
		for round := range 10 {
			f.write(1 + 7*round%20)
			before := map[string]*api.NodeStatus{}
			for id, n := range f.nodes {
				before[id] = n.Status()
			}
			value := f.read("n1", "x")
			for id, n := range f.nodes {
				n.Close()
				f.disks[id].Restart(crash.Some)
			}
			for _, m := range f.members {
				f.start(m.ID)
			}
			for id, n := range f.nodes {
				now := n.Status()
				require.GreaterOrEqual(t, now.SnapshotIndex, before[id].SnapshotIndex)
				require.Equal(t, now.SnapshotIndex, now.AppliedIndex)
				require.GreaterOrEqual(t, now.LastIndex, before[id].LastIndex)
			}
			time.Sleep(2 * maxPause)
			f.nodes["n1"].Lead()
			for id := range f.nodes {
				require.Equal(t, value, f.read(id, "x"), id)
			}
		}
		require.Greater(t, f.nodes["n1"].Status().SnapshotIndex, uint64(80))
	})
}

// A node takes a snapshot, and that takes long. Meanwhile the leader sends it a newer one.
func TestSnapshot_that_was_taken_never_replaces_a_newer_one_from_the_leader(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		write := func(times int) {
			for range times {
				resp, _ := s.ask("n1", mark("a"), time.Second)
				require.True(t, resp.OK)
			}
		}
		write(3)
		time.Sleep(2 * heartbeat)
		begun, release := hinder(s.disks["n3"], takenIn)
		defer release()
		ordered := order(s.at("n3"))
		require.EqualValues(t, 1, begun.Load())
		s.isolate("n3")
		write(100)
		s.calm()
		time.Sleep(4 * maxPause)
		installed := s.status("n3").SnapshotIndex
		require.Greater(t, installed, raft.Index(5), "which is up to where the other one goes")
		require.True(t, isClosed(ordered), "what was ordered is there, and more")
		release()
		synctest.Wait()
		require.GreaterOrEqual(t, s.status("n3").SnapshotIndex, installed)
		s.nodes["n3"].Close()
		s.disks["n3"].Restart(crash.Nothing)
		s.launch("n3")
		require.GreaterOrEqual(t, s.status("n3").SnapshotIndex, installed)
		time.Sleep(4 * maxPause)
		require.Equal(t, strings.Repeat("a", 103), s.read("n3", "x"))
	})
}

// While a follower is sent a snapshot it answers nothing else. Its answers say all the same that nobody leads a newer
// term.
func TestLeader_knows_that_it_leads_while_a_snapshot_is_all_that_it_sends(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.lead("n1")
		s.isolate("n3")
		for i := range 30 {
			resp, _ := s.ask("n1", put(fmt.Sprint(i), strings.Repeat("x", api.MaxValue)), time.Second)
			require.True(t, resp.OK)
		}
		s.at("n1").Snapshot()
		s.sink("n2")
		s.change(func() {
			clear(s.alone)
			s.slow["n1>n3"] = 400 * time.Millisecond
		})
		time.Sleep(3 * maxPause)
		require.Zero(t, s.status("n3").SnapshotIndex, "it is on its way")
		resp := s.at("n1").Read(api.Request{ID: 1, Op: api.Get, Key: "0", MaxStalenessMS: new(uint64(2000))})
		require.True(t, resp.OK, "%v", resp.Error)
		resp, _ = s.ask("n1", api.Request{ID: 1, Op: api.Get, Key: "0", TimeoutMS: 2000}, 3*time.Second)
		require.True(t, resp.OK, "%v", resp.Error)
		require.Zero(t, s.status("n3").SnapshotIndex, "it is still on its way")
		time.Sleep(40 * time.Second)
		require.NotZero(t, s.status("n3").SnapshotIndex)
		require.EqualValues(t, 32, s.status("n3").AppliedIndex)
	})
}

func TestAnswer_to_a_snapshot_says_how_outdated_the_leader_is(t *testing.T) {
	f := newFreshness()
	left := time.Now()
	f.seal(raft.Message{To: "n2", InstallSnapshot: &raft.InstallSnapshot{Round: 5}}, left)
	f.settle(raft.Status{Role: raft.Leader, Term: 1, CommitTerm: 1}, 5, left.Add(time.Second))
	require.Equal(t, left, f.asOf)
}
