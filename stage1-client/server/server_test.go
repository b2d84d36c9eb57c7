package server

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"raftworkbook/common/memnet"
	"raftworkbook/stage1-client/api"
	"raftworkbook/stage1-client/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const buffer = 1 << 10 // bytes that a connection of these tests holds each way

// A host is a server in a bubble: its connections are in memory, and its time passes when all wait.
type host struct {
	*Server
	network  memnet.Network
	listener *memnet.Listener
	t        *testing.T
}

// bubble runs a test against a server, and shuts that down when the test has ended and its users are gone. Whoever
// still runs after that fails it.
func bubble(t *testing.T, test func(t *testing.T, h *host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &host{Server: New("n1", kv.New()), network: memnet.Network{Buffer: buffer}, t: t}
		var err error
		h.listener, err = h.network.Listen("n1")
		require.NoError(t, err)
		served := make(chan error)
		go func() { served <- h.Serve(h.listener) }()
		t.Cleanup(func() { require.NoError(t, <-served) })
		t.Cleanup(h.Shutdown)
		test(t, h)
	})
}

// A user is the client's end of a connection, as nc would be.
type user struct {
	net.Conn
	in *bufio.Reader
	t  *testing.T
}

func (h *host) dial() *user {
	h.t.Helper()
	conn, err := h.network.DialContext(h.t.Context(), "mem", "n1")
	require.NoError(h.t, err)
	u := &user{conn, bufio.NewReader(conn), h.t}
	h.t.Cleanup(func() { u.Close() })
	return u
}

func (u *user) send(text string) {
	u.t.Helper()
	_, err := io.WriteString(u, text)
	require.NoError(u.t, err)
}

// hears requires that the next line is this.
func (u *user) hears(want string) {
	u.t.Helper()
	require.Equal(u.t, want, u.line())
}

func (u *user) line() string {
	u.t.Helper()
	line, err := u.in.ReadString('\n')
	require.NoError(u.t, err)
	return strings.TrimSuffix(line, "\n")
}

// hearsAll requires that these lines come next, in whatever order: the protocol promises none.
func (u *user) hearsAll(want ...string) {
	u.t.Helper()
	var got []string
	for range want {
		got = append(got, u.line())
	}
	slices.Sort(got)
	slices.Sort(want)
	require.Equal(u.t, want, got)
}

// hearsEnd requires that the server has said all and closed its side.
func (u *user) hearsEnd() {
	u.t.Helper()
	rest, err := io.ReadAll(u.in)
	require.NoError(u.t, err)
	require.Empty(u.t, string(rest))
}

func TestServer_answers_every_operation(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		for _, c := range []struct{ request, answer string }{
			{`{"id":1,"op":"put","key":"/app/color","value":"red"}`, `{"id":1,"ok":true}`},
			{`{"id":2,"op":"get","key":"/app/color"}`, `{"id":2,"ok":true,"found":true,"value":"red"}`},
			{`{"id":3,"op":"cas","key":"/app/color","expect":"blue","value":"x"}`, `{"id":3,"ok":true,"found":true,"value":"red","swapped":false}`},
			{`{"id":4,"op":"delete","key":"k"}`, `{"id":4,"ok":true,"found":false}`},
			{`{"id":5,"op":"put","key":"/app/db/host","value":"<&>"}`, `{"id":5,"ok":true}`},
			{`{"id":6,"op":"get","key":"/app/db/host"}`, `{"id":6,"ok":true,"found":true,"value":"<&>"}`},
			{`{"id":7,"op":"list","prefix":"/app/","delimiter":"/"}`, `{"id":7,"ok":true,"keys":["/app/color"],"prefixes":["/app/db/"]}`},
			{`{"id":8,"op":"append","key":"/app/color","value":"dish"}`, `{"id":8,"ok":true,"length":7}`},
			{`{"id":9,"op":"status"}`, `{"id":9,"ok":true,"status":{"node":"n1","keys":2,"clients":1}}`},
			{`{"id":10,"op":"frob"}`, `{"id":10,"ok":false,"error":{"code":"unknown_op","message":"there is no op \"frob\": one of get put cas delete append list status"}}`},
		} {
			u.send(c.request + "\n")
			u.hears(c.answer)
		}
	})
}

func TestServer_goes_on_after_a_bad_line(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		for _, bad := range []string{"", "null", "[]", "{}", `"`, `{"id":1,"op":null}`, `{"id":2,"op":"put","key":[],"value":5}`, `{"id":2,"op":"put","key":"k"}`, "\xff\x00", "get x"} {
			u.send(bad + "\n")
			require.Contains(t, u.line(), `"ok":false,"error":{"code":"bad_request"`, bad)
		}
		u.send(`{"id":3,"op":"get","key":"x"}` + "\n")
		u.hears(`{"id":3,"ok":true,"found":false}`)
	})
}

func TestServer_reassembles_a_line_from_single_bytes(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		for _, b := range []byte(`{"id":1,"op":"put","key":"k","value":"v"}` + "\n") {
			u.send(string(b))
			synctest.Wait()
		}
		u.hears(`{"id":1,"ok":true}`)
	})
}

func TestServer_answers_all_lines_of_one_piece(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		u.send(`{"id":7,"op":"put","key":"k","value":"v"}` + "\n" + `{"id":5,"op":"get","key":"other"}` + "\n" + `{"id":6,"op":`)
		u.hearsAll(`{"id":7,"ok":true}`, `{"id":5,"ok":true,"found":false}`)
		u.send(`"delete","key":"k"}` + "\n")
		u.hears(`{"id":6,"ok":true,"found":true}`)
	})
}

func TestServer_takes_values_and_lines_up_to_their_limits(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		value := strings.Repeat("x", api.MaxValue)
		u.send(`{"id":1,"op":"put","key":"k","value":"` + value + `"}` + "\n")
		u.hears(`{"id":1,"ok":true}`)
		u.send(`{"id":2,"op":"get","key":"k"}` + "\n")
		u.hears(`{"id":2,"ok":true,"found":true,"value":"` + value + `"}`)
		u.send(`{"id":3,"op":"put","key":"k","value":"x` + value + `"}` + "\n")
		require.Contains(t, u.line(), `{"id":3,"ok":false,"error":{"code":"too_large"`)

		line := `{"id":4,"op":"get","key":"k2"}`
		u.send(line + strings.Repeat(" ", api.MaxLine-len(line)-1) + "\n")
		u.hears(`{"id":4,"ok":true,"found":false}`)
	})
}

func TestServer_ends_a_connection_after_a_line_beyond_the_limit(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		go u.Write([]byte(`{"id":1,"op":"get","key":"k"}` + "\n" + strings.Repeat("x", 10<<20) + "\n"))
		u.hears(`{"id":1,"ok":true,"found":false}`)
		u.hears(`{"id":0,"ok":false,"error":{"code":"too_large","message":"the line has more than 1048576 bytes"}}`)
		u.hearsEnd()
	})
}

// If the server closed the connection while bytes of the client are unread, TCP would reset it, and the reset could
// overtake the answer.
func TestServer_takes_the_rest_of_what_it_refuses(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		u.send(strings.Repeat("x", 10<<20))
		require.Contains(t, u.line(), "too_large")
		u.hearsEnd()

		begin, err := time.Now(), error(nil)
		for err == nil { // not for ever, though
			require.LessOrEqual(t, time.Since(begin), lingerTimeout)
			time.Sleep(lingerTimeout / 10)
			_, err = u.Write([]byte("x"))
		}
	})
}

func TestServer_does_not_carry_out_half_a_line(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		u.send(`{"id":1,"op":"put","key":"k","value":"v"}`) // all but the newline
		u.Conn.(*memnet.Conn).CloseWrite()
		u.hears(`{"id":0,"ok":false,"error":{"code":"bad_request","message":"the last line does not end: nothing was done"}}`)
		u.hearsEnd()
		require.Zero(t, h.store.Len())
	})
}

func TestServer_lets_a_client_go_in_the_midst_of_a_line(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		u.send(`{"id":1,"op":"put","key":"k",`)
		u.Close()
		synctest.Wait()
		require.Zero(t, h.count())
		require.Zero(t, h.store.Len())
	})
}

func (h *host) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.clients)
}

func TestServer_ends_a_connection_that_says_nothing(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		begin := time.Now()
		u := h.dial()
		time.Sleep(idleTimeout - 1)
		u.send(`{"id":1,"op":"get","key":"k"}` + "\n") // starts the wait anew
		u.hears(`{"id":1,"ok":true,"found":false}`)
		u.hears(`{"id":0,"ok":false,"error":{"code":"unavailable","message":"nothing came for 5m0s, or not the rest of a line for 10s"}}`)
		u.hearsEnd()
		require.Equal(t, 2*idleTimeout-1, time.Since(begin))
		u.Close()
		synctest.Wait()
		require.Zero(t, h.count())
	})
}

func TestServer_ends_a_line_that_drips(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		time.Sleep(time.Minute)
		for range 9 {
			u.send(" ")
			time.Sleep(time.Second)
		}
		u.send(`{"id":1,"op":"get","key":"k"}` + "\n") // in the tenth second: in time
		u.hears(`{"id":1,"ok":true,"found":false}`)

		begin := time.Now()
		for range 10 {
			u.send(" ")
			time.Sleep(time.Second)
		}
		require.Contains(t, u.line(), "not the rest of a line")
		u.hearsEnd()
		require.Equal(t, lineTimeout, time.Since(begin))
	})
}

// The half-open client: its machine is gone, and no packet says so.
func TestServer_frees_what_silent_clients_held(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		for range maxClients {
			h.dial()
		}
		synctest.Wait()
		require.Equal(t, maxClients, h.count())
		time.Sleep(idleTimeout + lingerTimeout)
		synctest.Wait()
		require.Zero(t, h.count())
	})
}

func TestServer_tells_a_client_too_many(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		var users []*user
		for range maxClients {
			users = append(users, h.dial())
			synctest.Wait() // the listener's queue is short
		}
		late := h.dial()
		late.hears(`{"id":0,"ok":false,"error":{"code":"unavailable","message":"there are 1024 clients already"}}`)
		late.hearsEnd()
		users[0].send(`{"id":1,"op":"get","key":"k"}` + "\n")
		users[0].hears(`{"id":1,"ok":true,"found":false}`)

		users[1].Close()
		late.Close()
		synctest.Wait()
		again := h.dial()
		again.send(`{"id":1,"op":"get","key":"k"}` + "\n")
		again.hears(`{"id":1,"ok":true,"found":false}`)
	})
}

func TestServer_bounds_the_refusals_too(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		for range maxClients + maxRefusals {
			h.dial()
			synctest.Wait()
		}
		late := h.dial()
		late.hearsEnd()
	})
}

func TestServer_does_not_let_a_client_that_reads_nothing_delay_others(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		value := strings.Repeat("x", api.MaxValue)
		h.store.Do(api.Request{Op: api.Put, Key: "k", Value: &value})
		begin := time.Now()
		deaf := h.dial()
		read := 0 // requests that the server has taken
		go func() {
			for range 1000 {
				if _, err := io.WriteString(deaf, `{"id":1,"op":"get","key":"k"}`+"\n"); err != nil {
					return
				}
				read++
			}
		}()
		synctest.Wait()

		u := h.dial()
		u.send(`{"id":1,"op":"get","key":"other"}` + "\n")
		u.hears(`{"id":1,"ok":true,"found":false}`)
		require.Zero(t, time.Since(begin))
		// What the two buffers on the way hold, and no more: the answers do not pile up.
		require.Less(t, read, (4096+2*buffer)/len(`{"id":1,"op":"get","key":"k"}`))

		time.Sleep(writeTimeout)
		synctest.Wait()
		require.Equal(t, 1, h.count(), "the deaf one is gone")
	})
}

func TestServer_accepts_again_after_an_error(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		begin := time.Now()
		const failures = 20
		for range failures {
			h.listener.FailAccept(syscall.EMFILE)
		}
		synctest.Wait()
		u := h.dial()
		u.send(`{"id":1,"op":"get","key":"k"}` + "\n")
		u.hears(`{"id":1,"ok":true,"found":false}`)
		waited := time.Since(begin)
		require.Greater(t, waited, time.Second, "it must not spin")
		require.Less(t, waited, failures*acceptPause)
	})
}

func TestShutdown_answers_what_has_arrived(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		idle, busy, half := h.dial(), h.dial(), h.dial()
		busy.send(`{"id":1,"op":"put","key":"k","value":"v"}` + "\n" + `{"id":2,"op":"get","key":"other"}` + "\n")
		half.send(`{"id":3,"op":"put",`)
		synctest.Wait()
		ended := make(chan struct{})
		go func() { h.Shutdown(); close(ended) }()

		const goodbye = `{"id":0,"ok":false,"error":{"code":"unavailable","message":"n1 is shutting down"}}`
		idle.hears(goodbye)
		idle.hearsEnd()
		busy.hearsAll(`{"id":1,"ok":true}`, `{"id":2,"ok":true,"found":false}`)
		busy.hears(goodbye)
		half.hears(goodbye)
		for _, u := range []*user{idle, busy, half} {
			u.Close()
		}
		<-ended
		_, err := h.network.DialContext(t.Context(), "mem", "n1")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

func TestShutdown_does_not_wait_for_those_who_stay(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		h.dial() // idle, and never closes
		deaf := h.dial()
		value := strings.Repeat("x", api.MaxValue)
		h.store.Do(api.Request{Op: api.Put, Key: "k", Value: &value})
		deaf.send(`{"id":1,"op":"get","key":"k"}` + "\n")
		synctest.Wait()
		begin := time.Now()
		h.Shutdown()
		require.LessOrEqual(t, time.Since(begin), writeTimeout+lingerTimeout)
		require.Zero(t, h.count(), "it does wait for their connections to end")
	})
}

// It makes a little room for each answer, in time.
func TestShutdown_does_not_wait_for_a_client_that_reads_slowly(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		slow := h.dial()
		value := strings.Repeat("x", api.MaxValue)
		h.store.Do(api.Request{Op: api.Put, Key: "k", Value: &value})
		slow.send(strings.Repeat(`{"id":1,"op":"get","key":"k"}`+"\n", 20))
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			for err := error(nil); err == nil; time.Sleep(time.Second) {
				_, err = io.CopyN(io.Discard, slow, 20<<10)
			}
		}()
		defer func() { <-gone }()
		synctest.Wait()
		begin := time.Now()
		h.Shutdown()
		require.Equal(t, writeTimeout+lingerTimeout, time.Since(begin), "it has all of that time, and no more")
		require.Zero(t, h.count())
	})
}

// An untimely connection lets something happen just before a deadline is set.
type untimely struct {
	net.Conn
	before func()
}

func (u *untimely) SetReadDeadline(at time.Time) error {
	if before := u.before; before != nil {
		u.before = nil
		before()
	}
	return u.Conn.SetReadDeadline(at)
}

func TestShutdown_is_not_put_off_by_a_wait_that_begins_with_it(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		here, there := memnet.Pipe(buffer)
		defer here.Close()
		ended := make(chan struct{})
		begin := time.Now()
		h.start(&untimely{there, func() {
			go func() { h.Shutdown(); close(ended) }()
			synctest.Wait() // until all clients have been told
		}})
		<-ended
		require.LessOrEqual(t, time.Since(begin), lingerTimeout)
	})
}

func TestShutdown_closes_a_connection_that_comes_too_late(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		here, there := memnet.Pipe(buffer)
		defer here.Close()
		h.Shutdown()
		h.start(there) // accepted a moment before
		_, err := here.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.Zero(t, h.count())
	})
}

func TestShutdown_may_come_first_or_twice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New("n1", kv.New())
		s.Shutdown()
		var network memnet.Network
		l, err := network.Listen("n1")
		require.NoError(t, err)
		require.NoError(t, s.Serve(l))
		require.ErrorIs(t, l.Close(), net.ErrClosed)
		s.Shutdown()
	})
}

// The same over TCP, where alone a reset can overtake an answer, and with goroutines that really run at once.

// tcp starts a server on a port of the system's choice.
func tcp(t *testing.T) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := New("n1", kv.New())
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Shutdown()
		require.NoError(t, <-served)
	})
	return s, l.Addr().String()
}

func dialTCP(t *testing.T, addr string) *user {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return &user{conn, bufio.NewReader(conn), t}
}

func TestServer_is_heard_by_a_client_that_sends_10_MB_in_a_line(t *testing.T) {
	_, addr := tcp(t)
	for range 5 {
		u := dialTCP(t, addr)
		if _, err := u.Write([]byte(strings.Repeat("x", 10<<20))); err != nil {
			// We may close while it still sends, but not before it could hear why.
			require.True(t, errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET), err)
		}
		u.hears(`{"id":0,"ok":false,"error":{"code":"too_large","message":"the line has more than 1048576 bytes"}}`)
	}
}

func TestServer_never_mixes_the_answers_of_clients(t *testing.T) {
	_, addr := tcp(t)
	var all sync.WaitGroup
	for n := range 16 {
		u := dialTCP(t, addr)
		u.send(fmt.Sprintf(`{"id":1,"op":"put","key":"%d","value":"of %d"}`+"\n", n, n))
		u.hears(`{"id":1,"ok":true}`)
		var answers []string
		for i := range 500 {
			answers = append(answers, fmt.Sprintf(`{"id":%d,"ok":true,"length":1}`, 2*i+2),
				fmt.Sprintf(`{"id":%d,"ok":true,"found":true,"value":"of %d"}`, 2*i+3, n))
		}
		all.Go(func() { // sends on while it reads
			for i := range 500 {
				fmt.Fprintf(u, `{"id":%d,"op":"append","key":"%d-%d","value":"x"}`+"\n", 2*i+2, n, i)
				fmt.Fprintf(u, `{"id":%d,"op":"get","key":"%d"}`+"\n", 2*i+3, n)
			}
		})
		all.Go(func() { u.hearsAll(answers...) })
	}
	all.Wait()
}

func TestStatus_counts_clients_that_come_and_go(t *testing.T) {
	_, addr := tcp(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				u := dialTCP(t, addr)
				u.send(`{"id":1,"op":"status"}` + "\n")
				require.Regexp(t, `"clients":[1-9]`, u.line())
				u.Close()
			}
		})
	}
	all.Wait()
}

func TestServer_survives_clients_that_leave_without_reading(t *testing.T) {
	s, addr := tcp(t)
	for range 100 {
		u := dialTCP(t, addr)
		u.send(strings.Repeat(`{"id":1,"op":"append","key":"k","value":"x"}`+"\n", 10))
		u.Conn.(*net.TCPConn).SetLinger(0) // closes with a reset
		u.Close()
	}
	u := dialTCP(t, addr)
	u.send(`{"id":1,"op":"append","key":"k","value":""}` + "\n")
	var resp api.Response
	require.NoError(t, json.Unmarshal([]byte(u.line()), &resp))
	require.LessOrEqual(t, *resp.Length, 1000)
	u.Close()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.clients) == 0
	}, 10*time.Second, time.Millisecond)
}
