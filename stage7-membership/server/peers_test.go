package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/memnet"
	"raftworkbook/stage7-membership/raft"
)

// An office is a place in a bubble where nodes have peers.
type office struct {
	memnet.Network
	t *testing.T
	// dials are the moments at which somebody dialled.
	mu    sync.Mutex
	dials []time.Time
}

func inOffice(t *testing.T, test func(t *testing.T, o *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, &office{t: t}) })
}

func (o *office) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	o.mu.Lock()
	o.dials = append(o.dials, time.Now())
	o.mu.Unlock()
	return o.DialContext(ctx, "mem", addr)
}

// A desk is one node's end of its links, and what came in over them.
type desk struct {
	*Peers
	mu     sync.Mutex
	got    []string
	logged []string
}

// members are nodes whose addresses are their ids.
func members(ids ...string) (all []raft.Member) {
	for _, id := range ids {
		all = append(all, raft.Member{ID: id, Peer: id})
	}
	return all
}

// open starts the links of node self to others, whose addresses are their ids.
func (o *office) open(cluster, self string, others ...string) *desk {
	d := o.desk(hello{Protocol: protocol, Cluster: cluster, From: self, Directory: "disk of " + self, Peer: self}, o.dial)
	d.Follow(members(others...))
	l, err := o.Listen(self)
	require.NoError(o.t, err)
	d.serveAt(o, l)
	return d
}

func (o *office) desk(self hello, dial func(ctx context.Context, to, addr string) (net.Conn, error)) *desk {
	d := &desk{}
	d.Peers = NewPeers(self, dial,
		func(from string, line []byte) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.got = append(d.got, from+": "+string(line))
			return nil
		},
		func(format string, args ...any) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.logged = append(d.logged, fmt.Sprintf(format, args...))
		})
	o.t.Cleanup(d.Close)
	return d
}

func (d *desk) serveAt(o *office, l net.Listener) {
	served := make(chan struct{})
	go func() { d.Serve(l); close(served) }()
	o.t.Cleanup(func() { <-served })
	o.t.Cleanup(d.Close)
}

// take returns what came in since the last time.
func (d *desk) take() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.got
	d.got = nil
	return got
}

func (d *desk) log() string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.logged, "\n")
}

func TestPeers_carry_lines_in_order_both_ways(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a, b := o.open("c", "n1", "n2"), o.open("c", "n2", "n1")
		time.Sleep(2 * maxPause)
		var want []string
		for i := range 100 {
			a.Send("n2", fmt.Appendf(nil, "%d\n", i))
			want = append(want, fmt.Sprintf("n1: %d", i))
		}
		require.Equal(t, want, b.take())
		b.Send("n1", []byte("back\n"))
		require.Equal(t, []string{"n2: back"}, a.take())
		a.Send("n3", []byte("to nobody\n"))
		time.Sleep(time.Hour)
		a.Send("n2", []byte("still there\n"))
		require.Equal(t, []string{"n1: still there"}, b.take())
		require.Empty(t, a.log()+b.log())
	})
}

func TestPeers_carry_the_longest_line_and_end_at_a_longer_one(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a, b := o.open("c", "n1", "n2"), o.open("c", "n2", "n1")
		time.Sleep(2 * maxPause)
		longest := strings.Repeat("x", maxPeerLine-1)
		a.Send("n2", []byte(longest+"\n"))
		require.Equal(t, []string{"n1: " + longest}, b.take())
		a.Send("n2", []byte(longest+"x\n"))
		require.Empty(t, b.take())
		time.Sleep(2 * maxPause) // until they are connected again
		a.Send("n2", []byte("next\n"))
		require.Equal(t, []string{"n1: next"}, b.take())
	})
}

func TestLink_carries_more_in_all_than_its_queue_holds(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a, b := o.open("c", "n1", "n2"), o.open("c", "n2", "n1")
		time.Sleep(2 * maxPause)
		line := []byte(strings.Repeat("x", 1<<20) + "\n")
		for range 2 * maxQueued / len(line) {
			a.Send("n2", line)
			require.Len(t, b.take(), 1)
		}
	})
}

func TestLink_waits_for_a_peer_that_is_not_there_yet(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a := o.open("c", "n1", "n2")
		time.Sleep(time.Hour)
		a.Send("n2", []byte("lost\n"))
		b := o.open("c", "n2", "n1")
		time.Sleep(maxPause)
		a.Send("n2", []byte("heard\n"))
		require.Equal(t, []string{"n1: heard"}, b.take(), "and nothing of before")
	})
}

func TestLink_tries_again_after_pauses_that_grow_and_differ(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.open("c", "n1", "n2")
		time.Sleep(time.Minute)
		o.mu.Lock()
		defer o.mu.Unlock()
		different := map[time.Duration]bool{}
		longest := minPause
		for i := range o.dials[1:] {
			pause := o.dials[i+1].Sub(o.dials[i])
			require.GreaterOrEqual(t, pause, longest/2)
			require.Less(t, pause, longest)
			longest = min(2*longest, maxPause)
			different[pause] = true
		}
		require.Greater(t, len(different), len(o.dials)/2, "jitter")
		require.Greater(t, len(o.dials), 60)
		require.Less(t, len(o.dials), 130)
	})
}

// A fake is the other end of a link, played by the test.
type fake struct {
	net.Conn
	in *bufio.Reader
	t  *testing.T
}

// expect listens as node id and returns the next link that is made to it, its hello heard.
func (o *office) expect(l net.Listener) (*fake, hello) {
	o.t.Helper()
	conn, err := l.Accept()
	require.NoError(o.t, err)
	o.t.Cleanup(func() { conn.Close() })
	f := &fake{conn, bufio.NewReader(conn), o.t}
	var h hello
	line, err := f.in.ReadBytes('\n')
	require.NoError(o.t, err)
	require.NoError(o.t, json.Unmarshal(line, &h))
	return f, h
}

func (f *fake) says(text string) {
	f.t.Helper()
	_, err := io.WriteString(f, text)
	require.NoError(f.t, err)
}

func TestLink_that_is_dead_without_a_word_is_found_out(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.open("c", "n1", "n2")
		l, err := o.Listen("n2")
		require.NoError(t, err)
		defer l.Close()
		f, h := o.expect(l)
		require.Equal(t, hello{Protocol: protocol, Cluster: "c", From: "n1", To: "n2", Directory: "disk of n1", Peer: "n1"}, h)
		f.says("{}\n")
		begin := time.Now()
		f.SetReadDeadline(begin.Add(2 * peerSilence))
		rest, err := io.ReadAll(f.in) // reads, and never answers a ping
		require.NoError(t, err)
		require.NotEmpty(t, rest)
		require.Empty(t, strings.TrimSpace(string(rest)), "nothing but pings")
		require.Equal(t, peerSilence, time.Since(begin))
		f, _ = o.expect(l) // it tries again
		f.says("{}\n")
	})
}

func TestLink_that_breaks_is_made_again_at_once(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.open("c", "n1", "n2")
		time.Sleep(time.Minute) // the pauses have grown
		l, err := o.Listen("n2")
		require.NoError(t, err)
		defer l.Close()
		f, _ := o.expect(l)
		f.says("{}\n")
		time.Sleep(2 * maxPause) // it was a good one
		f.Close()
		begin := time.Now()
		o.expect(l)
		require.Less(t, time.Since(begin), minPause)
	})
}

func TestLink_to_a_peer_that_hangs_up_at_once_is_not_made_again_at_once(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.open("c", "n1", "n2")
		l, err := o.Listen("n2")
		require.NoError(t, err)
		defer l.Close()
		begin := time.Now()
		for range 20 {
			f, _ := o.expect(l)
			f.says("{}\n")
			f.Close()
		}
		require.Greater(t, time.Since(begin), 5*maxPause)
	})
}

// from is what a node says to n1 first.
func from(id string) hello {
	return hello{Protocol: protocol, Cluster: "c", From: id, To: "n1", Directory: "disk of " + id, Peer: id}
}

// join connects to a desk and says hello.
func (o *office) join(to string, h hello) *fake {
	o.t.Helper()
	conn, err := o.DialContext(o.t.Context(), "mem", to)
	require.NoError(o.t, err)
	o.t.Cleanup(func() { conn.Close() })
	f := &fake{conn, bufio.NewReader(conn), o.t}
	require.NoError(o.t, json.NewEncoder(f).Encode(h))
	return f
}

// welcomed is what n1 answers.
const welcomed = `{"directory":"disk of n1"}` + "\n"

func TestPeer_that_falls_silent_is_let_go(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.open("c", "n1", "n2")
		f := o.join("n1", from("n2"))
		begin := time.Now()
		f.SetReadDeadline(begin.Add(2 * peerSilence))
		rest, err := io.ReadAll(f.in)
		require.NoError(t, err)
		require.Equal(t, welcomed, string(rest))
		require.Equal(t, peerSilence, time.Since(begin))
	})
}

func TestPeer_that_pings_is_kept_and_answered(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		d := o.open("c", "n1", "n2")
		f := o.join("n1", from("n2"))
		for range 100 {
			time.Sleep(peerSilence - 1)
			f.says("\n")
		}
		f.says("a line\n")
		require.Equal(t, []string{"n2: a line"}, d.take())
		got := make([]byte, len(welcomed)+100)
		_, err := io.ReadFull(f.in, got)
		require.NoError(t, err)
		require.Equal(t, welcomed+strings.Repeat("\n", 100), string(got))
	})
}

func TestHello_that_does_not_fit_is_refused_with_a_reason(t *testing.T) {
	for _, c := range []struct {
		name   string
		hello  hello
		reason string
	}{
		{"another version", hello{Protocol: 2, Cluster: "c", From: "n2", To: "n1"}, "it speaks version 2, this node version 1"},
		{"another cluster", hello{Protocol: protocol, Cluster: "other", From: "n2", To: "n1"}, "it belongs to another cluster"},
		{"for another node", hello{Protocol: protocol, Cluster: "c", From: "n2", To: "n3"}, `it looks for "n3", this is n1`},
		{"from this node", hello{Protocol: protocol, Cluster: "c", From: "n1", To: "n1"}, "this is n1 itself"},
		{"empty", hello{}, "it speaks version 0, this node version 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				d := o.open("c", "n1", "n2", "n3")
				f := o.join("n1", c.hello)
				f.SetReadDeadline(time.Now().Add(helloTimeout))
				go io.WriteString(f, "a line\n")
				answer, err := f.in.ReadBytes('\n')
				require.NoError(t, err)
				var w welcome
				require.NoError(t, json.Unmarshal(answer, &w))
				require.Equal(t, c.reason, w.Refused)
				rest, err := io.ReadAll(f.in)
				require.NoError(t, err)
				require.Empty(t, rest)
				require.Empty(t, d.take())
				require.Contains(t, d.log(), c.reason)
			})
		})
	}
}

func TestLink_that_is_refused_says_so_once(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a, b := o.open("c", "n1", "n2"), o.open("other", "n2", "n1")
		time.Sleep(time.Minute)
		require.Equal(t, "no link to n2 at n2: it refuses this node: it belongs to another cluster",
			strings.Join(a.only("refuses"), "\n"))
		a.Send("n2", []byte("a line\n"))
		require.Empty(t, b.take())
	})
}

// only returns the lines of the log that contain text.
func (d *desk) only(text string) (lines []string) {
	for line := range strings.Lines(d.log()) {
		if strings.Contains(line, text) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestStranger_on_the_port_for_nodes_does_no_harm(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a, b := o.open("c", "n1", "n2"), o.open("c", "n2", "n1")
		time.Sleep(2 * maxPause)
		for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n", `{"id":1,"op":"get","key":"x"}` + "\n", "\xff\x00\n", strings.Repeat("x", maxPeerLine+1)} {
			conn, err := o.DialContext(t.Context(), "mem", "n1")
			require.NoError(t, err)
			go io.WriteString(conn, text)
			begin := time.Now()
			conn.SetReadDeadline(begin.Add(2 * helloTimeout))
			_, err = io.Copy(io.Discard, conn)
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(begin), helloTimeout, "%.20q", text)
			conn.Close()
		}
		b.Send("n1", []byte("a line\n"))
		require.Equal(t, []string{"n2: a line"}, a.take())
	})
}

func TestStrangers_are_bounded_in_number_and_keep_nobody_out(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		d := o.open("c", "n1", "n2")
		unknown := func() int {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.strangers)
		}
		var strangers []net.Conn
		for range maxInbound + 1 {
			conn, err := o.DialContext(t.Context(), "mem", "n1")
			require.NoError(t, err)
			defer conn.Close()
			strangers = append(strangers, conn)
			synctest.Wait()
		}
		begin := time.Now()
		for i, conn := range strangers[:2] {
			conn.SetReadDeadline(begin.Add(time.Second))
			_, err := io.Copy(io.Discard, conn)
			require.Equal(t, i == 0, err == nil, "the first made room, and no other")
		}
		require.Equal(t, time.Second, time.Since(begin))
		o.open("c", "n2", "n1")
		synctest.Wait()
		require.EqualValues(t, 1, d.inbound.Load(), "a node is let in")
		require.Equal(t, maxInbound-1, unknown())
		time.Sleep(helloTimeout)
		synctest.Wait()
		require.EqualValues(t, 1, d.inbound.Load())
		require.Zero(t, unknown())
	})
}

func TestSend_never_waits_and_keeps_a_bounded_number_of_bytes(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		d := o.open("c", "n1", "n2")
		l, err := o.Listen("n2")
		require.NoError(t, err)
		defer l.Close()
		f, _ := o.expect(l)
		f.says("{}\n") // and reads nothing more
		synctest.Wait()
		line := []byte(strings.Repeat("x", 1<<20) + "\n")
		sends := func(n int, line []byte) { // in a goroutine, to find it out if it waits
			t.Helper()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for range n {
					d.Send("n2", line)
				}
			}()
			synctest.Wait()
			select {
			case <-sent:
			default:
				require.FailNow(t, "Send waits")
			}
		}
		sends(100, line)
		link := d.links["n2"]
		require.LessOrEqual(t, link.queued.Load(), int64(maxQueued))
		require.Len(t, link.queue, int(link.queued.Load())/len(line))
		sends(2*maxLines, []byte("x\n"))
		require.Len(t, link.queue, maxLines)
		require.LessOrEqual(t, link.queued.Load(), int64(maxQueued))

		// When the connection is made anew, what was meant for the old one is gone.
		time.Sleep(peerSilence + maxPause)
		f, _ = o.expect(l)
		f.says("{}\n")
		synctest.Wait()
		require.Empty(t, link.queue)
		require.Zero(t, link.queued.Load())
	})
}

func TestPeers_close_while_they_connect(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		d := o.open("c", "n1", "n2", "n3")
		l, err := o.Listen("n2") // accepts and never answers the hello
		require.NoError(t, err)
		defer l.Close()
		o.expect(l)
		begin := time.Now()
		d.Close()
		require.Zero(t, time.Since(begin))
	})
}

func TestLinks_follow_the_configuration(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a, b := o.open("c", "n1", "n2", "n3"), o.open("c", "n2", "n1")
		time.Sleep(2 * maxPause)
		require.Equal(t, 1, a.Up())
		old := a.linkTo("n2")
		a.Follow([]raft.Member{{ID: "n1", Peer: "n1"}, {ID: "n2", Peer: "n2"}}) // n3 goes, n2 stays
		require.Same(t, old, a.linkTo("n2"))

		l, err := o.Listen("elsewhere")
		require.NoError(t, err)
		served := make(chan struct{})
		go func() { b.Serve(l); close(served) }()
		defer func() { b.Close(); <-served }()
		a.Follow([]raft.Member{{ID: "n2", Peer: "elsewhere"}})
		time.Sleep(2 * maxPause)
		require.Error(t, old.life.Err())
		require.Equal(t, "elsewhere", a.linkTo("n2").addr)
		a.Send("n2", []byte("there\n"))
		require.Equal(t, []string{"n1: there"}, b.take())

		a.Follow(nil)
		time.Sleep(2 * maxPause)
		require.Equal(t, 1, a.Up(), "it calls this one still")
		b.Close()
		time.Sleep(2 * maxPause)
		require.Zero(t, a.remembers())
	})
}

// A stranger may know of a change that this node has not heard of: it may be this one that lags.
// remembers is how much the links keep of others.
func (p *Peers) remembers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links) + len(p.callers) + len(p.seen)
}

func (p *Peers) linkTo(id string) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links[id]
}

func TestStranger_that_calls_gets_answers(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a, b := o.open("c", "n1"), o.open("c", "n4", "n1")
		time.Sleep(2 * maxPause)
		b.Send("n1", []byte("am I a member?\n"))
		require.Equal(t, []string{"n4: am I a member?"}, a.take())
		a.Send("n4", []byte("who knows\n"))
		require.Equal(t, []string{"n1: who knows"}, b.take())
		require.Equal(t, "disk of n4", a.Directory("n4"))
		b.Close()
		time.Sleep(2 * maxPause)
		require.Zero(t, a.remembers())
		require.Empty(t, a.Directory("n4"))
	})
}

// It listens on all addresses of its machine, and on another machine those are another's.
func TestMember_that_listens_on_any_address_gets_answers_where_all_look_for_it(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a := o.desk(hello{Protocol: protocol, Cluster: "c", From: "n1", Directory: "disk of n1", Peer: "any"}, o.dial)
		a.Follow(members("n1", "n4"))
		l, err := o.Listen("n1")
		require.NoError(t, err)
		a.serveAt(o, l)
		b := o.open("c", "n4") // knows of no members yet
		time.Sleep(2 * maxPause)
		b.Send("n1", []byte("level\n"))
		require.Equal(t, []string{"n4: level"}, a.take())
	})
}

func TestMember_that_comes_with_another_disk_is_refused_from_both_sides(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a, b := o.open("c", "n1"), o.open("c", "n2")
		a.Follow([]raft.Member{{ID: "n2", Peer: "n2", Directory: "that of before"}})
		time.Sleep(2 * maxPause)
		const why = `n2 is known with the directory that of before, and this is "disk of n2": a node that has lost its disk must be replaced by one of another name`
		require.Len(t, a.only("no link to n2 at n2: it refuses this node: "+why), 1)
		require.Zero(t, a.Up())
		b.Follow(members("n1"))
		time.Sleep(2 * maxPause)
		require.Equal(t, "no link to n1 at n1: it refuses this node: "+why, b.only("no link")[0])
		require.NotEmpty(t, a.only(`who says it is "n2": `+why))
		require.Zero(t, b.Up())
		a.Follow([]raft.Member{{ID: "n2", Peer: "n2", Directory: "disk of n2"}})
		b.Follow(nil)
		b.Follow(members("n1"))
		time.Sleep(2 * maxPause)
		require.Equal(t, 1, a.Up())
		require.Equal(t, 1, b.Up())
	})
}

func TestMember_that_has_called_is_dialled_at_once(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		a := o.open("c", "n1", "n2")
		time.Sleep(time.Minute) // the pauses have grown
		o.open("c", "n2", "n1")
		synctest.Wait()
		require.Equal(t, 1, a.Up())
	})
}
