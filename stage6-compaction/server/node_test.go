package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files/crash"
	"raftworkbook/common/memnet"
	"raftworkbook/common/trace"
	"raftworkbook/stage6-compaction/api"
)

// What nodes are started with, unless nobody is to campaign before the test says so: they wait for an hour then.
const (
	heartbeat = 50 * time.Millisecond
	election  = 300 * time.Millisecond
)

// large is by how much a log may grow in a test in which nobody is to take a snapshot.
const large = 64 << 20

// A fleet is a cluster in a bubble, of which some nodes may be missing. n1 leads.
type fleet struct {
	memnet.Network
	t       *testing.T
	members []Member
	nodes   map[string]*Node
	disks   map[string]*crash.Disk

	snapshotBytes int64
}

// sail starts size nodes, has n1 elected, ends those that are to be missing, and runs a test.
func sail(t *testing.T, size int, missing []string, test func(t *testing.T, f *fleet)) {
	t.Helper()
	sailCompacting(t, size, large, missing, test)
}

// sailCompacting is the same with nodes that take snapshots.
func sailCompacting(t *testing.T, size int, snapshotBytes int64, missing []string, test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, nodes: map[string]*Node{}, disks: map[string]*crash.Disk{}, snapshotBytes: snapshotBytes}
		for i := range size {
			id := fmt.Sprintf("n%d", i+1)
			f.members = append(f.members, Member{ID: id, Peer: "peer " + id, Client: "client " + id})
			f.disks[id] = crash.New(1)
		}
		for _, m := range f.members {
			f.start(m.ID)
		}
		time.Sleep(2 * maxPause)
		f.nodes["n1"].Lead()
		f.beat()
		require.Equal(t, "leader", f.nodes["n1"].Status().Role)
		for _, id := range missing {
			f.nodes[id].Close()
			delete(f.nodes, id)
		}
		synctest.Wait()
		test(t, f)
	})
}

func (f *fleet) start(id string) *Node {
	f.t.Helper()
	n, err := NewNode(Config{ID: id, Members: f.members, Data: "data", Files: f.disks[id], Log: f.t.Logf,
		Heartbeat: heartbeat, Election: time.Hour, SnapshotBytes: f.snapshotBytes,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return f.DialContext(ctx, "mem", addr)
		}})
	require.NoError(f.t, err)
	f.nodes[id] = n
	l, err := f.Listen("peer " + id)
	require.NoError(f.t, err)
	served := make(chan struct{})
	go func() { n.ServePeers(l); close(served) }()
	f.t.Cleanup(func() { <-served })
	f.t.Cleanup(func() { n.Close() })
	return n
}

// beat lets followers hear what is committed.
func (f *fleet) beat() {
	time.Sleep(2 * heartbeat)
	synctest.Wait()
}

// do carries out a write at a node and returns the answer, and how long that took.
func (f *fleet) do(node string, r api.Request) (api.Response, time.Duration) {
	f.t.Helper()
	begin := time.Now()
	answer := make(chan api.Response, 1)
	go f.nodes[node].Write(r, func(resp api.Response) { answer <- resp })
	select {
	case resp := <-answer:
		return resp, time.Since(begin)
	case <-time.After(2 * maxLimit):
		require.FailNow(f.t, "no answer")
		return api.Response{}, 0
	}
}

func put(key, value string) api.Request {
	return api.Request{ID: 7, Op: api.Put, Key: key, Value: &value}
}

// read returns what a node has at key.
func (f *fleet) read(node, key string) string {
	f.beat()
	resp := f.nodes[node].store.Do(api.Request{Op: api.Get, Key: key})
	if resp.Value == nil {
		return "absent"
	}
	return *resp.Value
}

func TestPut_reaches_all_nodes(t *testing.T) {
	sail(t, 5, nil, func(t *testing.T, f *fleet) {
		resp, took := f.do("n1", put("x", "1"))
		require.Equal(t, api.Response{ID: 7, OK: true, Index: 2}, resp)
		require.Zero(t, took)
		for id := range f.nodes {
			require.Equal(t, "1", f.read(id, "x"), id)
		}
	})
}

func TestPut_needs_a_majority_of_the_whole_cluster(t *testing.T) {
	for size := 1; size <= 7; size++ {
		for down := range size {
			t.Run(fmt.Sprintf("%d of %d down", down, size), func(t *testing.T) {
				var missing []string
				for i := range down {
					missing = append(missing, fmt.Sprintf("n%d", size-i))
				}
				sail(t, size, missing, func(t *testing.T, f *fleet) {
					resp, took := f.do("n1", put("x", "1"))
					if size-down > size/2 {
						require.True(t, resp.OK)
						require.Zero(t, took, "nobody waits for the dead")
						return
					}
					require.False(t, resp.OK)
					require.Equal(t, api.Timeout, resp.Error.Code)
					require.GreaterOrEqual(t, took, writeLimit)
					require.Less(t, took, writeLimit+2*tick)
				})
			})
		}
	}
}

func TestPut_that_timed_out_is_applied_nowhere_and_may_yet_be_everywhere(t *testing.T) {
	sail(t, 5, []string{"n3", "n4", "n5"}, func(t *testing.T, f *fleet) {
		resp, _ := f.do("n1", put("x", "1"))
		require.Equal(t, api.Timeout, resp.Error.Code)
		require.Equal(t, "absent", f.read("n1", "x"))
		require.Equal(t, "absent", f.read("n2", "x"))
		f.start("n3")
		time.Sleep(2 * maxPause)
		for _, id := range []string{"n1", "n2", "n3"} {
			require.Equal(t, "1", f.read(id, "x"), id)
		}
	})
}

func TestPut_takes_as_long_as_its_client_says(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		for ms, want := range map[uint64]time.Duration{50: 50 * time.Millisecond, 3000: 3 * time.Second, 1 << 62: maxLimit} {
			r := put("x", "1")
			r.TimeoutMS = ms
			resp, took := f.do("n1", r)
			require.Equal(t, api.Timeout, resp.Error.Code)
			require.GreaterOrEqual(t, took, want)
			require.Less(t, took, want+2*tick)
		}
	})
}

// Six bytes stand for each of these letters in a command, and a message holds maxBatch bytes of others before it.
func TestLongest_command_fits_a_line_between_nodes(t *testing.T) {
	letters := func(n int) string { return strings.Repeat("<", n) }
	r := api.Request{ID: 1, Op: api.CAS, Key: letters(api.MaxKey), Value: new(letters(api.MaxValue)), Expect: new(letters(api.MaxValue)),
		Prefix: letters(api.MaxKey), Delimiter: letters(api.MaxKey), After: letters(api.MaxKey)}
	require.Nil(t, r.Check())
	command, err := json.Marshal(r)
	require.NoError(t, err)
	require.Greater(t, len(command), 6*2*api.MaxValue)
	require.Less(t, len(command)+4*maxBatch, maxPeerLine)
}

func TestFollower_sends_a_client_to_the_leader(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		resp, took := f.do("n2", put("x", "1"))
		require.Equal(t, api.Response{ID: 7, Error: &api.Error{
			Code: api.NotLeader, Message: "n2 does not lead: ask n1", Leader: "client n1"}}, resp)
		require.Zero(t, took)
		require.Equal(t, "absent", f.read("n1", "x"))
	})
}

func TestFollower_that_comes_back_has_all_and_gets_what_it_missed(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		f.do("n1", put("x", "1"))
		f.nodes["n2"].Close()
		f.do("n1", put("y", "1"))
		f.start("n2")
		time.Sleep(2 * maxPause)
		require.Equal(t, "1", f.read("n2", "x"))
		require.Equal(t, "1", f.read("n2", "y"))
	})
}

func TestFollower_is_reached_again_after_each_of_20_restarts(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		for i := range 20 {
			f.nodes["n2"].Close()
			resp, took := f.do("n1", put("x", "while it is down"))
			require.True(t, resp.OK)
			require.Zero(t, took)
			f.start("n2")
			time.Sleep(2 * maxPause)
			value := fmt.Sprint(i)
			f.do("n1", put("x", value))
			require.Equal(t, value, f.read("n2", "x"))
		}
	})
}

func TestFollower_that_is_silent_delays_nobody(t *testing.T) {
	sail(t, 3, []string{"n2"}, func(t *testing.T, f *fleet) {
		l, err := f.Listen("peer n2")
		require.NoError(t, err)
		defer l.Close()
		for range 2 { // takes the hellos of n1 and n3, then reads no more
			conn, err := l.Accept()
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write([]byte("{}\n"))
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, 2, f.nodes["n1"].peers.Up())
		large := strings.Repeat("x", api.MaxValue)
		for range maxQueued / api.MaxValue { // as many bytes as the link holds, and more
			resp, took := f.do("n1", put("x", large))
			require.True(t, resp.OK)
			require.Zero(t, took)
		}
		go func() { // as many lines, and more
			for range maxLines + 1 {
				f.nodes["n1"].peers.Send("n2", []byte("\n"))
			}
		}()
		f.beat() // there is something to send to n2 again
		resp, took := f.do("n1", put("x", "1"))
		require.True(t, resp.OK)
		require.Zero(t, took)
	})
}

func TestWrites_without_a_majority_are_bounded_in_number(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		answers := make(chan api.Response, maxWaiting)
		for range maxWaiting {
			f.nodes["n1"].Write(put("x", "1"), func(resp api.Response) { answers <- resp })
		}
		synctest.Wait() // until all are in the log
		resp, took := f.do("n1", put("x", "1"))
		require.Equal(t, api.Unavailable, resp.Error.Code)
		require.Zero(t, took)
		for range maxWaiting {
			require.Equal(t, api.Timeout, (<-answers).Error.Code)
		}
		require.Empty(t, f.nodes["n1"].waiting)
	})
}

func TestWrite_is_answered_once(t *testing.T) {
	for name, missing := range map[string][]string{"done": nil, "given up": {"n2", "n3"}} {
		t.Run(name, func(t *testing.T) {
			sail(t, 3, missing, func(t *testing.T, f *fleet) {
				var answers atomic.Int32
				f.nodes["n1"].Write(put("x", "1"), func(api.Response) { answers.Add(1) })
				time.Sleep(2 * writeLimit)
				synctest.Wait()
				require.EqualValues(t, 1, answers.Load())
			})
		})
	}
}

func TestWrite_that_was_given_up_is_forgotten(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		resp, _ := f.do("n1", put("x", "1"))
		require.Equal(t, api.Timeout, resp.Error.Code)
		require.Empty(t, f.nodes["n1"].waiting)
	})
}

func TestClose_tells_whoever_waits_that_nobody_knows(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		answers := make(chan api.Response, 2)
		n := f.nodes["n1"]
		n.Write(put("x", "1"), func(resp api.Response) { answers <- resp })
		n.Close()
		require.Len(t, answers, 1)
		require.Equal(t, api.Timeout, (<-answers).Error.Code)
		n.Write(put("x", "1"), func(resp api.Response) { answers <- resp })
		require.Len(t, answers, 1)
		require.Equal(t, api.Unavailable, (<-answers).Error.Code)
	})
}

func TestNode_survives_what_is_no_message(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		n := f.nodes["n1"]
		for _, line := range []string{"", "null", "[]", `{"from":"n3","to":"n1","term":1}`, `{"from":"n2","to":"n9","term":1}`,
			`{"from":"n2","to":"n1","term":1}`, `{"from":"n2","to":"n1","term":-1,"append":{}}`,
			`{"from":"n2","to":"n1","term":1,"appended":{"success":true,"index":9}}`} {
			n.deliver("n2", []byte(line))
		}
		for i, command := range []string{`"x"`, `{}`, `{"id":1,"op":"put","key":"x"}`, `{"id":1,"op":"get","key":"x"}`, `{"id":1,"op":"status"}`} {
			f.nodes["n2"].deliver("n1", fmt.Appendf(nil,
				`{"from":"n1","to":"n2","term":1,"append":{"prev_index":%d,"prev_term":1,"commit":9,"entries":[{"index":%d,"term":1,"command":%s}]}}`, i+1, i+2, command))
		}
		f.beat()
		require.EqualValues(t, 6, f.nodes["n2"].Status().AppliedIndex)
		require.Zero(t, f.nodes["n2"].store.Len())
	})
}

func TestNode_believes_a_peer_in_its_own_name_only(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		f.begin("n1", put("x", "1"))
		f.nodes["n1"].deliver("n2", []byte(`{"from":"n3","to":"n1","term":1,"appended":{"success":true,"index":2}}`))
		require.Equal(t, "absent", f.read("n1", "x"))
		f.nodes["n1"].deliver("n3", []byte(`{"from":"n3","to":"n1","term":1,"appended":{"success":true,"index":2}}`))
		require.Equal(t, "1", f.read("n1", "x"))
	})
}

// serve lets clients in at a node.
func (f *fleet) serve(id string) *Server {
	f.t.Helper()
	s := New(f.nodes[id])
	l, err := f.Listen("client " + id)
	require.NoError(f.t, err)
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	f.t.Cleanup(func() { require.NoError(f.t, <-served) })
	f.t.Cleanup(s.Shutdown)
	return s
}

// dial connects a client to a node.
func (f *fleet) dial(id string) *user {
	f.t.Helper()
	conn, err := f.DialContext(f.t.Context(), "mem", "client "+id)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { conn.Close() })
	return &user{conn, bufio.NewReader(conn), f.t}
}

func TestClient_that_reads_no_answers_delays_no_write_of_others(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		f.do("n1", put("large", strings.Repeat("x", api.MaxValue)))
		here, there := memnet.Pipe(0)
		defer here.Close()
		s := f.serve("n1")
		deaf := newClient(s, there)
		// It has all requests at once, so that reading them needs no lock: to the bubble, who waits for a lock
		// is busy, and this one is held by a goroutine that waits for the deaf.
		deaf.lines = api.NewLineReader(bufio.NewReaderSize(there, memnet.DefaultBuffer))
		_, err := io.WriteString(here, strings.Repeat(`{"id":1,"op":"cas","key":"large","value":""}`+"\n", 10*maxOwed))
		require.NoError(t, err)
		require.Equal(t, 1, s.add(deaf))
		go s.run(deaf, deaf.serve)
		synctest.Wait()
		resp, took := f.do("n1", put("x", "1"))
		require.Zero(t, took)
		require.True(t, resp.OK)
	})
}

func TestClient_has_a_bounded_number_of_writes_waiting(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		f.serve("n1")
		u := f.dial("n1")
		u.send(strings.Repeat(`{"id":1,"op":"put","key":"x","value":"1"}`+"\n", 2*maxOwed))
		begin := time.Now()
		for i := range 2 * maxOwed {
			require.Contains(t, u.line(), `{"id":1,"ok":false,"error":{"code":"timeout"`)
			turn := 1 + i/maxOwed // the second half is taken in when the first is answered
			require.GreaterOrEqual(t, time.Since(begin), time.Duration(turn)*writeLimit)
		}
	})
}

func TestClient_that_has_said_all_hears_what_became_of_it(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		f.serve("n1")
		u := f.dial("n1")
		u.send(`{"id":1,"op":"put","key":"x","value":"1"}` + "\n")
		u.Conn.(*memnet.Conn).CloseWrite()
		require.Contains(t, u.line(), `{"id":1,"ok":false,"error":{"code":"timeout"`)
		u.hearsEnd()
	})
}

func TestParseCluster_says_what_is_wrong(t *testing.T) {
	members, err := ParseCluster("n1=127.0.0.1:7101/127.0.0.1:7001,n2=[::1]:7102/localhost:7002")
	require.NoError(t, err)
	require.Equal(t, []Member{{"n1", "127.0.0.1:7101", "127.0.0.1:7001"}, {"n2", "[::1]:7102", "localhost:7002"}}, members)
	for _, c := range []struct{ text, says string }{
		{"", `"" is no member: n1=HOST:PORT/HOST:PORT`},
		{"n1", `"n1" is no member`},
		{"n1=a:1", `"n1=a:1" is no member`},
		{"=a:1/a:2", `"=a:1/a:2" is no member`},
		{"n1=a:1/a:2,", `"" is no member`},
		{"n1=a:1/a:2,n1=a:3/a:4", "n1 is there twice"},
		{"n1=a:1/a:2,n2=a:3/a:2", "a:2 is there twice"},
		{"n1=a:1/a:1", "a:1 is there twice"},
	} {
		_, err := ParseCluster(c.text)
		require.ErrorContains(t, err, c.says)
	}
}

// hold makes every flush of a node's disk wait until the function that it returns is called.
func (f *fleet) hold(id string) (release func()) {
	held := make(chan struct{})
	f.disks[id].Fault = func(op crash.Op, _ string) error {
		if op == crash.Sync {
			<-held
		}
		return nil
	}
	return sync.OnceFunc(func() { close(held) })
}

// begin carries out a write at a node, and returns where its answer will be.
func (f *fleet) begin(node string, r api.Request) chan api.Response {
	answer := make(chan api.Response, 1)
	f.nodes[node].Write(r, func(resp api.Response) { answer <- resp })
	synctest.Wait()
	return answer
}

func TestMany_clients_share_one_flush(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		const writes = 100
		flushes := map[string]*atomic.Int32{}
		first := make(chan struct{})
		for id, d := range f.disks {
			flushes[id] = new(atomic.Int32)
			d.Fault = func(op crash.Op, _ string) error {
				if op == crash.Sync {
					flushes[id].Add(1)
					<-first
				}
				return nil
			}
		}
		var answers []chan api.Response
		for range writes {
			answers = append(answers, f.begin("n1", put("x", "1")))
		}
		close(first)
		for _, answer := range answers {
			require.True(t, (<-answer).OK)
		}
		f.beat()
		for id, n := range flushes {
			require.EqualValues(t, 2, n.Load(), "%s: the first write, and all that came during its flush", id)
		}
	})
}

func TestLeader_sends_while_it_saves(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		release := f.hold("n1")
		defer release()
		answer := f.begin("n1", put("x", "1"))
		require.EqualValues(t, 2, f.nodes["n2"].Status().LastIndex)
		require.EqualValues(t, 2, f.nodes["n3"].Status().LastIndex)
		release()
		require.True(t, (<-answer).OK)
	})
}

func TestLeader_lets_nobody_hear_of_a_term_that_it_could_forget(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		release := f.hold("n2")
		defer release()
		led := make(chan struct{})
		go func() { f.nodes["n2"].Lead(); close(led) }()
		f.beat()
		require.EqualValues(t, 1, f.nodes["n1"].Status().Term)
		select {
		case <-led:
			require.FailNow(t, "the order was answered before it was saved")
		default:
		}
		release()
		<-led
		f.beat()
		require.EqualValues(t, 2, f.nodes["n1"].Status().Term)
	})
}

func TestFollower_promises_only_what_it_has_saved(t *testing.T) {
	sail(t, 3, []string{"n3"}, func(t *testing.T, f *fleet) {
		release := f.hold("n2")
		defer release()
		answer := f.begin("n1", put("x", "1"))
		time.Sleep(writeLimit / 2)
		require.Empty(t, answer)
		release()
		require.True(t, (<-answer).OK)
	})
}

func TestDisk_that_fails_ends_the_node_and_nothing_that_depends_on_it_is_said(t *testing.T) {
	sail(t, 3, []string{"n3"}, func(t *testing.T, f *fleet) {
		n := f.nodes["n2"]
		broken := errors.New("no space left")
		f.disks["n2"].Fault = func(op crash.Op, _ string) error {
			if op == crash.Write {
				return broken
			}
			return nil
		}
		resp, _ := f.do("n1", put("x", "1"))
		require.Equal(t, api.Timeout, resp.Error.Code)
		<-n.Life().Done()
		require.ErrorIs(t, n.Close(), broken)

		f.disks["n2"].Fault = nil // its disk was replaced, and what is on it is what was promised
		f.start("n2")
		time.Sleep(2 * maxPause)
		require.Equal(t, "1", f.read("n2", "x"))
	})
}

func TestDisk_of_a_leader_that_fails_leaves_its_clients_in_no_doubt_that_there_is_one(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		n := f.nodes["n1"]
		f.disks["n1"].Fault = func(crash.Op, string) error { return errors.New("it is on fire") }
		resp, took := f.do("n1", put("x", "1"))
		require.Equal(t, api.Timeout, resp.Error.Code)
		require.Zero(t, took)
		<-n.Life().Done()
		resp, took = f.do("n1", put("x", "2"))
		require.Equal(t, api.Unavailable, resp.Error.Code)
		require.Zero(t, took)
		require.ErrorContains(t, n.Close(), "it is on fire")
	})
}

func TestWhoever_waits_is_told_at_once_that_leadership_is_lost(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		answer := f.begin("n1", put("x", "1"))
		f.nodes["n1"].deliver("n2", []byte(`{"from":"n2","to":"n1","term":2,"append":{"prev_index":1,"prev_term":1,"commit":0}}`))
		synctest.Wait()
		require.Len(t, answer, 1)
		require.Equal(t, api.Errorf(api.Timeout, "leadership was lost: it may have happened, or may yet"), (<-answer).Error)
		resp, _ := f.do("n1", put("x", "2"))
		require.Equal(t, "client n2", resp.Error.Leader)
	})
}

// Another leader's entry comes to where this write's was, and is committed in the same step.
func TestWrite_is_not_answered_with_what_became_of_another(t *testing.T) {
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		answer := f.begin("n1", put("x", "mine"))
		f.nodes["n1"].deliver("n2", []byte(`{"from":"n2","to":"n1","term":2,"append":{"prev_index":1,"prev_term":1,"commit":2,
			"entries":[{"index":2,"term":2,"command":{"id":1,"op":"put","key":"x","value":"another's"}}]}}`))
		require.Equal(t, api.Timeout, (<-answer).Error.Code)
		require.Equal(t, "another's", f.read("n1", "x"))
	})
}

func TestGet_is_answered_by_whoever_knows_what_is_committed(t *testing.T) {
	get := bounded("x", 0, 0)
	sail(t, 3, []string{"n2", "n3"}, func(t *testing.T, f *fleet) {
		f.nodes["n1"].Close()
		f.start("n2").Status()
		synctest.Wait() // it has said what it is, and has settled
		require.Equal(t, api.Unavailable, f.nodes["n2"].Read(get).Error.Code, "a follower that has heard of no commit")
		f.start("n1").Status()
		require.Equal(t, api.Unavailable, f.nodes["n1"].Read(get).Error.Code, "what is committed is not what the log has")
		time.Sleep(2 * maxPause)
		f.nodes["n1"].Lead()
		time.Sleep(2 * maxPause)
		require.True(t, f.nodes["n1"].Read(get).OK)
		require.True(t, f.nodes["n2"].Read(get).OK)
	})
}

func TestNode_that_restarts_leads_nothing_and_never_its_old_term(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		require.True(t, first(f.do("n1", put("x", "1"))).OK)
		f.nodes["n1"].Close()
		n := f.start("n1")
		time.Sleep(2 * maxPause)
		status := n.Status()
		require.Equal(t, "follower", status.Role)
		require.EqualValues(t, 1, status.Term)
		require.Empty(t, status.Leader)
		resp, took := f.do("n1", put("x", "2"))
		require.Equal(t, api.Unavailable, resp.Error.Code)
		require.Zero(t, took)
		n.Lead()
		require.EqualValues(t, 2, n.Status().Term)
		f.beat()
		require.Equal(t, "1", f.read("n3", "x"))
	})
}

func first(resp api.Response, _ time.Duration) api.Response { return resp }

func TestRestart_of_all_nodes_applies_each_entry_once(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		for range 10 {
			require.True(t, first(f.do("n1", api.Request{ID: 1, Op: api.Append, Key: "x", Value: new("a")})).OK)
		}
		f.beat() // all have all of it, so whoever is ordered to lead has the best log
		for id, n := range f.nodes {
			n.Close()
			f.disks[id].Restart(crash.Nothing) // the power fails
		}
		for _, m := range f.members {
			f.start(m.ID)
		}
		time.Sleep(2 * maxPause)
		f.nodes["n2"].Lead()
		for id := range f.nodes {
			require.Equal(t, strings.Repeat("a", 10), f.read(id, "x"), id)
		}
	})
}

func TestEntries_do_not_wait_for_a_heartbeat(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		for range 3 * int(heartbeat/tick) {
			time.Sleep(tick / 2) // all phases of the ticker
			_, took := f.do("n1", put("x", "1"))
			require.Zero(t, took)
		}
	})
}

func TestIntake_gives_as_much_as_one_flush_takes_and_holds_a_bounded_number_of_bytes(t *testing.T) {
	in := newIntake()
	large := write{command: make([]byte, maxTaken/2)}
	for range maxArrived / len(large.command) {
		require.Nil(t, in.put(large))
	}
	require.Equal(t, errBusy, in.put(large))
	for left := maxArrived / maxTaken; left > 0; left-- {
		<-in.arrived
		require.Len(t, in.take(), 2)
	}
	require.Empty(t, in.arrived)
	require.Empty(t, in.take())

	huge := write{command: make([]byte, 2*maxTaken)}
	require.Nil(t, in.put(huge))
	require.Len(t, in.take(), 1, "what is too much for one flush goes alone")
	for range maxWaiting {
		require.Nil(t, in.put(write{}))
	}
	require.Equal(t, errBusy, in.put(write{}))
	require.Len(t, in.close(), maxWaiting)
	require.Equal(t, api.Unavailable, in.put(write{}).Code)
}

func TestLog_shows_the_last_entries_for_people(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		f.do("n1", put("x", "1"))
		f.do("n1", api.Request{ID: 1, Op: api.CAS, Key: "a key", Expect: new(""), Value: new(strings.Repeat("é", 100))})
		f.do("n1", api.Request{ID: 1, Op: api.Delete, Key: "x\n"})
		f.beat()
		entries, more := f.nodes["n2"].Entries(0)
		require.Equal(t, []string{"1@1 no-op", "2@1 put x 1", `3@1 cas "a key" "" "` + strings.Repeat("é", maxShown) + `"`, `4@1 delete "x\n"`}, entries)
		require.False(t, more)
		entries, more = f.nodes["n2"].Entries(1)
		require.Equal(t, []string{`4@1 delete "x\n"`}, entries)
		require.True(t, more)
	})
}

func TestTrace_tells_what_a_node_thinks_and_no_heartbeats(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		n := f.nodes["n2"]
		var told []string
		n.Explain = func(e trace.Event) {
			e.Time = ""
			told = append(told, e.String())
		}
		n.Trace(true)
		f.beat()
		require.Empty(t, told)
		f.do("n1", put("x", "1"))
		f.beat()
		n.Trace(false)
		f.do("n1", put("x", "2"))
		f.beat()
		require.Equal(t, []string{`n2   hears    n1 t1 append prev=1@1 [2@1] commit=1
     was      follower t1 leader=n1 last=1@1 commit=1 applied=1
     is       follower t1 leader=n1 last=2@1 commit=1 applied=1
     saves    2@1 put x 1
     sends    n1 t1 appended 2
     log      1..2@1
`, `n2   hears    n1 t1 append prev=2@1 [] commit=2
     was      follower t1 leader=n1 last=2@1 commit=1 applied=1
     is       follower t1 leader=n1 last=2@1 commit=2 applied=2
     because  committed up to 2, after 1
     sends    n1 t1 appended 2
     commits  2@1
     log      1..2@1
`}, told)
	})
}

func TestLog_that_is_empty_is_an_answer(t *testing.T) {
	embark(t, 3, 1, func(t *testing.T, s *sea) {
		s.serve("n1")
		u := s.dial("n1")
		u.send(`{"id":1,"op":"log"}` + "\n")
		u.hears(`{"id":1,"ok":true,"log":[]}`)
	})
}
