package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"raftworkbook/common/files/crash"
	"raftworkbook/common/memnet"
	"raftworkbook/stage6-compaction/api"
	"raftworkbook/stage6-compaction/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is a client in a bubble of virtual time, and the listener of a server that the test plays.
type rig struct {
	*Client
	network  memnet.Network
	listener *memnet.Listener
	t        *testing.T
}

func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{Client: New("n1"), t: t}
		r.dial = r.network.DialContext
		r.listen()
		t.Cleanup(func() { r.listener.Close() })
		t.Cleanup(r.Close)
		test(t, r)
	})
}

func (r *rig) listen() {
	r.t.Helper()
	var err error
	r.listener, err = r.network.Listen("n1")
	require.NoError(r.t, err)
}

// A script is the server's end of a connection, played by the test.
type script struct {
	net.Conn
	in *bufio.Reader
	t  *testing.T
}

func (r *rig) accept() *script {
	r.t.Helper()
	conn, err := r.listener.Accept()
	require.NoError(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	return &script{conn, bufio.NewReader(conn), r.t}
}

// hears returns the next request.
func (s *script) hears() (req api.Request) {
	s.t.Helper()
	line, err := s.in.ReadString('\n')
	require.NoError(s.t, err)
	require.NoError(s.t, json.Unmarshal([]byte(line), &req))
	return req
}

func (s *script) says(format string, args ...any) {
	s.t.Helper()
	_, err := fmt.Fprintf(s, format+"\n", args...)
	require.NoError(s.t, err)
}

// A result is how a call in the background ended.
type result struct {
	value string
	err   error
	after time.Duration
}

// once sends a request to the server, once, as one try of a call does.
func (r *rig) once(ctx context.Context, req api.Request) (api.Response, error) {
	resp, err := r.nodes[0].try(ctx, req)
	if err != nil {
		return resp, err
	}
	return resp, nil
}

// get reads key with one try, in the background.
func (r *rig) get(ctx context.Context, key string) <-chan result {
	return background(func() (string, error) {
		resp, err := r.once(ctx, api.Request{Op: api.Get, Key: key})
		if resp.Value == nil {
			return "", err
		}
		return *resp.Value, err
	})
}

// whole calls Get in the background.
func whole(ctx context.Context, c *Client, key string) <-chan result {
	return background(func() (string, error) {
		value, _, err := c.Get(ctx, key)
		return value, err
	})
}

func background(call func() (string, error)) <-chan result {
	ended := make(chan result, 1)
	begin := time.Now()
	go func() {
		value, err := call()
		ended <- result{value, err, time.Since(begin)}
	}()
	return ended
}

// put writes to key with one try.
func (r *rig) put(ctx context.Context, key, value string) error {
	_, err := r.once(ctx, api.Request{Op: api.Put, Key: key, Value: &value})
	return err
}

// requireError requires an error of the code and, by it, definite or not.
func requireError(t *testing.T, code string, err error) {
	t.Helper()
	var e *api.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, err)
	require.Equal(t, code != api.Timeout, e.Definite())
}

func TestClient_matches_answers_by_id_in_whatever_order(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var calls []<-chan result
		for i := range 10 {
			calls = append(calls, r.get(t.Context(), strconv.Itoa(i)))
		}
		s := r.accept()
		var requests []api.Request
		for range calls {
			requests = append(requests, s.hears()) // all of them before the first answer
		}
		for i := len(requests) - 1; i >= 0; i-- {
			s.says(`{"id":%d,"ok":true,"found":true,"value":"of %s"}`, requests[i].ID, requests[i].Key)
		}
		for i, call := range calls {
			got := <-call
			require.NoError(t, got.err)
			require.Equal(t, fmt.Sprintf("of %d", i), got.value)
		}
	})
}

func TestClient_does_not_give_a_late_answer_to_the_next_call(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := r.get(ctx, "a")
		s := r.accept()
		slow := s.hears()
		requireError(t, api.Timeout, (<-first).err)

		second := r.get(t.Context(), "b")
		next := s.hears()
		require.NotEqual(t, slow.ID, next.ID)
		s.says(`{"id":%d,"ok":true,"found":true,"value":"of a"}`, slow.ID)
		s.says(`{"id":%d,"ok":true,"found":true,"value":"of b"}`, next.ID)
		s.says(`{"id":%d,"ok":true,"found":true,"value":"again"}`, next.ID)
		require.Equal(t, "of b", (<-second).value)
	})
}

func TestClient_never_uses_an_id_twice_even_on_a_new_connection(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		first := r.get(t.Context(), "a")
		s := r.accept()
		old := s.hears()
		s.Close()
		requireError(t, api.Timeout, (<-first).err)
		second := r.get(t.Context(), "b")
		s = r.accept()
		next := s.hears()
		require.Greater(t, next.ID, old.ID)
		s.says(`{"id":%d,"ok":true,"found":true,"value":"of b"}`, next.ID)
		require.Equal(t, "of b", (<-second).value)
	})
}

func TestCall_ends_with_its_context_wherever_it_is(t *testing.T) {
	for _, c := range []struct {
		name string
		code string
		// hinder makes calls get stuck somewhere.
		hinder func(r *rig)
	}{
		{"dialling", api.Unavailable, func(r *rig) {
			r.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}},
		{"waiting for another to dial", api.Unavailable, func(r *rig) {
			r.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			r.get(r.t.Context(), "other")
			synctest.Wait()
		}},
		{"waiting to be sent", api.Unavailable, func(r *rig) { r.fill() }},
		{"waiting for the answer", api.Timeout, func(r *rig) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				c.hinder(r)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				got := <-r.get(ctx, "k")
				requireError(t, c.code, got.err)
				require.ErrorIs(t, got.err, context.DeadlineExceeded)
				require.ErrorContains(t, got.err, ": the time was up")
				require.Equal(t, time.Second, got.after)

				ctx, interrupt := context.WithCancel(t.Context())
				call := r.get(ctx, "k")
				synctest.Wait()
				interrupt()
				got = <-call
				requireError(t, c.code, got.err)
				require.ErrorIs(t, got.err, context.Canceled)
				require.ErrorContains(t, got.err, ": interrupted")
				require.Zero(t, got.after)
			})
		})
	}
}

// fill makes requests to a server that reads nothing until no more can be sent or queued.
func (r *rig) fill() {
	go r.put(r.t.Context(), "k", strings.Repeat("x", api.MaxValue)) // blocks the writer
	synctest.Wait()
	for range queueLength + 1 {
		r.get(r.t.Context(), "k")
	}
	synctest.Wait()
}

func TestCall_without_a_deadline_ends_all_the_same(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		got := <-whole(t.Context(), r.Client, "k")
		requireError(t, api.Timeout, got.err)
		require.Equal(t, callTimeout, got.after)
	})
}

func TestCall_that_is_over_before_it_begins_sends_nothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := r.Get(ctx, "k")
		requireError(t, api.Unavailable, err)

		first := r.get(t.Context(), "first") // now there is a connection
		s := r.accept()
		s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, s.hears().ID)
		require.NoError(t, (<-first).err)
		for range 100 { // whichever way the scheduler turns
			_, _, err := r.Get(ctx, "k")
			requireError(t, api.Unavailable, err)
			require.ErrorIs(t, err, context.Canceled)
		}
		r.get(t.Context(), "next")
		require.Equal(t, "next", s.hears().Key)
	})
}

func TestCall_that_was_given_up_before_it_left_never_leaves(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		go r.put(t.Context(), "large", strings.Repeat("x", api.MaxValue)) // blocks the writer
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		requireError(t, api.Unavailable, (<-r.get(ctx, "given up")).err)

		r.get(t.Context(), "next")
		s := r.accept()
		require.Equal(t, "large", s.hears().Key)
		require.Equal(t, "next", s.hears().Key)
	})
}

func TestCall_that_is_half_written_is_unknown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		requireError(t, api.Timeout, r.put(ctx, "large", strings.Repeat("x", api.MaxValue)))
		require.Equal(t, "large", r.accept().hears().Key, "it arrives all the same")
	})
}

func TestCall_refuses_by_itself_what_no_server_would_take(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		_, _, err := r.Get(t.Context(), "")
		requireError(t, api.BadRequest, err)
		requireError(t, api.TooLarge, r.Put(t.Context(), "k", strings.Repeat("x", api.MaxValue+1)))
		requireError(t, api.BadRequest, r.Put(t.Context(), "k", "\xff"))
		_, _, err = r.CAS(t.Context(), "k", new("\xff"), "")
		require.EqualError(t, err, `bad_request: "\xff" is not UTF-8`)
	})
}

func TestCall_that_fits_no_line_is_refused_and_disturbs_no_other(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		other := r.get(t.Context(), "k")
		s := r.accept()
		request := s.hears()
		most := strings.Repeat("\x01", api.MaxValue) // each byte takes six
		_, err := r.once(t.Context(), api.Request{Op: api.CAS, Key: "k", Expect: &most, Value: &most})
		requireError(t, api.TooLarge, err)
		r.get(t.Context(), "next")
		require.Equal(t, "next", s.hears().Key, "nothing was sent of it")
		s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, request.ID)
		require.NoError(t, (<-other).err)
	})
}

func TestCall_fits_a_line_if_JSON_has_nothing_to_escape(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		most := strings.Repeat("<", api.MaxValue) // JSON within HTML would have to escape it
		ended := make(chan error, 1)
		go func() {
			_, err := r.once(t.Context(), api.Request{Op: api.CAS, Key: "k", Expect: &most, Value: &most})
			ended <- err
		}()
		s := r.accept()
		synctest.Wait()
		require.Empty(t, ended, "it is on its way")
		request := s.hears()
		require.Equal(t, most, *request.Expect)
		require.Equal(t, most, *request.Value)
	})
}

func TestCall_to_nobody_is_definite(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.listener.Close()
		err := r.put(t.Context(), "k", "v")
		requireError(t, api.Unavailable, err)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.EqualError(t, err, "unavailable: no connection to n1: dial mem n1: connection refused")
	})
}

func TestClient_may_be_there_before_its_server(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.listener.Close()
		for range 3 {
			requireError(t, api.Unavailable, r.put(t.Context(), "k", "v"))
		}
		r.listen()
		call := r.get(t.Context(), "k")
		s := r.accept()
		s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, s.hears().ID)
		require.Equal(t, "v", (<-call).value)
	})
}

func TestLost_connection_fails_at_once_what_was_sent_as_unknown(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		first, second := r.get(t.Context(), "a"), r.get(t.Context(), "b")
		s := r.accept()
		s.hears()
		s.hears()
		s.Close()
		for _, call := range []<-chan result{first, second} {
			got := <-call
			require.EqualError(t, got.err, "timeout: no answer: the server closed it: it may have happened, or may yet")
			requireError(t, api.Timeout, got.err)
			require.Zero(t, got.after)
		}
	})
}

func TestLost_connection_fails_at_once_what_was_not_sent_as_definite(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		call := r.get(t.Context(), "k")
		synctest.Wait()
		r.accept().Close()
		got := <-call
		requireError(t, api.Unavailable, got.err)
		require.Zero(t, got.after)
	})
}

func TestAnswer_that_comes_just_before_the_end_counts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for range 100 { // whichever way the scheduler turns
			call := r.get(t.Context(), "k")
			s := r.accept()
			s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, s.hears().ID)
			s.Close()
			got := <-call
			require.NoError(t, got.err)
			require.Equal(t, "v", got.value)
			synctest.Wait() // until the end has been seen
		}
	})
}

func TestAnswer_that_is_there_counts_whatever_else_has_happened(t *testing.T) {
	here, there := memnet.Pipe(0)
	c := newConn(here)
	there.Close()
	c.running.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // whichever way a select turns
		k := &call{answer: make(chan api.Response, 1)}
		k.answer <- api.Response{OK: true}
		_, err := c.wait(ctx, k)
		require.Nil(t, err)
	}
}

func TestCall_does_not_leave_on_a_connection_that_has_ended(t *testing.T) {
	here, there := memnet.Pipe(0)
	c := newConn(here)
	there.Close()
	c.running.Wait()
	k := &call{id: 1}
	c.expect(k)
	require.False(t, c.leaves(k))
	requireError(t, api.Unavailable, c.abandon(k, errHungUp))
}

func TestClient_says_why_the_server_hung_up(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		call := r.get(t.Context(), "k")
		s := r.accept()
		s.hears()
		s.says(`{"id":0,"ok":false,"error":{"code":"unavailable","message":"n1 is shutting down"}}`)
		require.EqualError(t, (<-call).err,
			"timeout: no answer: unavailable: n1 is shutting down: it may have happened, or may yet")
	})
}

func TestClient_connects_again_after_a_restart(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for range 5 {
			stop := serve(t, r.listener)
			err := r.Put(t.Context(), "k", "v")
			stop()
			require.NoError(t, err)
			r.listen()
		}
	})
}

func TestClient_outlives_its_deadlines(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		defer serve(t, r.listener)()
		for range 10 { // two minutes apart: more than any deadline, less than the server's patience
			require.NoError(t, r.Put(t.Context(), "k", "v"))
			time.Sleep(2 * time.Minute)
		}
		time.Sleep(20 * time.Minute) // the server has hung up meanwhile
		require.NoError(t, r.Put(t.Context(), "k", "v"))
	})
}

func TestClient_gives_up_a_connection_that_is_dead_without_a_word(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.get(t.Context(), "k")
		dead := r.accept() // reads, but never answers
		go io.Copy(io.Discard, dead)
		time.Sleep(callTimeout)
		r.get(t.Context(), "k") // on the same connection: it may just be slow
		time.Sleep(silence - callTimeout)
		synctest.Wait()

		call := r.get(t.Context(), "k")
		s := r.accept()
		s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, s.hears().ID)
		require.Equal(t, "v", (<-call).value)
	})
}

func TestClient_gives_up_a_connection_that_takes_nothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		requireError(t, api.Timeout, r.put(ctx, "k", strings.Repeat("x", api.MaxValue)))
		require.Equal(t, writeTimeout, time.Since(begin))
	})
}

func TestClient_keeps_a_connection_that_owes_nothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		call := r.get(t.Context(), "k")
		s := r.accept()
		s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, s.hears().ID)
		<-call
		time.Sleep(10 * silence)
		call = r.get(t.Context(), "k")
		s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, s.hears().ID)
		require.NoError(t, (<-call).err)
	})
}

func TestClient_keeps_a_connection_that_always_owes_something(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		older := r.get(t.Context(), "k")
		s := r.accept()
		for range 10 { // each asks before the one before it is answered
			id := s.hears().ID
			newer := r.get(t.Context(), "k")
			time.Sleep(silence / 4)
			s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, id)
			require.NoError(t, (<-older).err)
			older = newer
		}
	})
}

func TestClient_is_owed_nothing_for_what_never_left(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		call1 := r.get(t.Context(), "k")
		s := r.accept()
		request := s.hears()
		conn := <-r.nodes[0].current
		r.nodes[0].current <- conn
		unsent := &call{id: 1000, answer: make(chan api.Response, 1)}
		conn.expect(unsent) // it waits to be queued
		s.says(`{"id":1000,"ok":true,"found":false}`)
		s.says(`{"id":%d,"ok":true,"found":true,"value":"v"}`, request.ID)
		require.NoError(t, (<-call1).err)
		require.Empty(t, unsent.answer, "an answer to what was not sent is none")
		conn.abandon(unsent, context.Canceled)
		time.Sleep(2 * silence)
		require.True(t, conn.alive())
	})
}

func TestError_of_an_unknown_code_is_not_definite(t *testing.T) {
	require.False(t, (&api.Error{Code: "new_in_a_later_version"}).Definite())
	require.False(t, (&api.Error{}).Definite())
	require.True(t, (&api.Error{Code: api.BadRequest}).Definite())
}

func TestClient_forgets_calls_that_are_over(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		go func() { io.Copy(io.Discard, r.accept()) }()
		for range 2_000 {
			all.Go(func() { r.put(ctx, "k", "v") })
		}
		all.Wait()
		conn := <-r.nodes[0].current
		r.nodes[0].current <- conn
		require.Empty(t, conn.waiting)
	})
}

func TestClient_tells_an_error_from_an_answer(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		call := r.get(t.Context(), "k")
		s := r.accept()
		s.says(`{"id":%d,"ok":false,"error":{"code":"unavailable","message":"busy"}}`, s.hears().ID)
		require.EqualError(t, (<-call).err, "unavailable: busy")

		put := make(chan error)
		go func() { put <- r.put(t.Context(), "k", "v") }()
		s.says(`{"id":%d,"ok":false,"error":{"code":"too_large","message":"full"}}`, s.hears().ID)
		require.EqualError(t, <-put, "too_large: full")
	})
}

// Whatever comes from the server: no panic, nothing taken for an answer that is none, and an end.
func TestClient_believes_no_nonsense(t *testing.T) {
	for _, nonsense := range []string{
		"", "null", "{}", "[]", "HTTP/1.1 400 Bad Request", "\xff",
		`{"id":1,"ok":true}`, `{"id":1,"ok":true,"found":true}`, `{"id":1,"ok":true,"value":"v"}`,
		`{"id":1}`, `{"id":1,"ok":false}`, `{"id":1,"ok":true,"error":{"code":"bad_request"}}`, `{"id":"1","ok":true}`,
		strings.Repeat("x", api.MaxLine),
	} {
		bubble(t, func(t *testing.T, r *rig) {
			call := r.get(t.Context(), "k")
			s := r.accept()
			s.hears()
			go io.WriteString(s, nonsense+"\n")
			got := <-call
			requireError(t, api.Timeout, got.err)
			require.Zero(t, got.after, nonsense)
		})
	}
}

func TestClient_wants_all_that_an_answer_promises(t *testing.T) {
	for _, op := range []string{api.Get, api.CAS, api.Append, api.Delete, api.Status} {
		bubble(t, func(t *testing.T, r *rig) {
			ended := make(chan error)
			go func() {
				_, err := r.once(t.Context(), api.Request{Op: op, Key: "k", Value: new("v")})
				ended <- err
			}()
			s := r.accept()
			s.says(`{"id":%d,"ok":true}`, s.hears().ID)
			requireError(t, api.Timeout, <-ended)
		})
	}
}

func TestClient_does_not_read_a_line_without_end(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		call := r.get(t.Context(), "k")
		s := r.accept()
		s.hears()
		sent := 0
		for chunk := []byte(strings.Repeat("x", 4096)); sent < 8*api.MaxLine; sent += len(chunk) {
			if _, err := s.Write(chunk); err != nil {
				break
			}
		}
		requireError(t, api.Timeout, (<-call).err)
		require.Less(t, sent, api.MaxLine+2*memnet.DefaultBuffer)
	})
}

func TestClose_ends_every_call(t *testing.T) {
	for _, c := range []struct {
		name   string
		hinder func(r *rig)
	}{
		{"dialling", func(r *rig) {
			r.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}},
		{"waiting to be sent", func(r *rig) { r.fill() }},
		{"waiting for the answer", func(r *rig) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				c.hinder(r)
				call := whole(t.Context(), r.Client, "k")
				synctest.Wait()
				r.Close()
				got := <-call
				require.Error(t, got.err)
				require.Zero(t, got.after)
				_, _, err := r.Get(t.Context(), "k")
				requireError(t, api.Unavailable, err)
				require.ErrorIs(t, err, errClosed)
				r.Close() // twice is as good as once
			})
		})
	}
}

// A slow connection takes a second to notice that it is closed.
type slow struct{ net.Conn }

func (s slow) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err != nil {
		time.Sleep(time.Second)
	}
	return n, err
}

func TestClose_returns_when_nothing_runs(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := r.network.DialContext(ctx, network, addr)
			return slow{conn}, err
		}
		r.get(t.Context(), "k")
		synctest.Wait()
		begin := time.Now()
		r.Close()
		require.Equal(t, time.Second, time.Since(begin))
	})
}

// The same over TCP, with goroutines that really run at once.

func tcp(t *testing.T) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(serve(t, l))
	c := New(l.Addr().String())
	t.Cleanup(c.Close)
	return c
}

func TestClient_serves_many_goroutines(t *testing.T) {
	c := tcp(t)
	var all sync.WaitGroup
	for g := range 64 {
		all.Go(func() {
			key := strconv.Itoa(g)
			for i := range 50 {
				value := fmt.Sprintf("%d of %d", i, g)
				require.NoError(t, c.Put(t.Context(), key, value))
				got, found, err := c.Get(t.Context(), key)
				require.NoError(t, err)
				require.True(t, found)
				require.Equal(t, value, got)
			}
		})
	}
	all.Wait()
}

func TestClient_appends_in_order_and_once(t *testing.T) {
	c := tcp(t)
	want := ""
	for i := range 200 {
		n, err := c.Append(t.Context(), "k", fmt.Sprintf("%d ", i))
		require.NoError(t, err)
		want += fmt.Sprintf("%d ", i)
		require.Equal(t, len(want), n)
	}
	got, _, err := c.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestClient_returns_all_that_an_answer_says(t *testing.T) {
	c := tcp(t)
	ctx := t.Context()
	swapped, current, err := c.CAS(ctx, "k", new("x"), "v")
	require.NoError(t, err)
	require.False(t, swapped)
	require.Nil(t, current)
	swapped, _, err = c.CAS(ctx, "k", nil, "v")
	require.NoError(t, err)
	require.True(t, swapped)
	swapped, current, err = c.CAS(ctx, "k", nil, "w")
	require.NoError(t, err)
	require.False(t, swapped)
	require.Equal(t, "v", *current)
	found, err := c.Delete(ctx, "k")
	require.NoError(t, err)
	require.True(t, found)
	_, found, err = c.Get(ctx, "k")
	require.NoError(t, err)
	require.False(t, found)
	resp, err := c.Do(ctx, api.Request{Op: api.List})
	require.NoError(t, err)
	require.Empty(t, resp.Keys)
}

func TestClose_at_any_moment(t *testing.T) {
	c := tcp(t)
	for range 200 {
		c := New(c.nodes[0].addr)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for {
					_, err := c.Append(t.Context(), "k", "")
					if errors.Is(err, errClosed) || errors.Is(err, context.Canceled) {
						return
					}
					require.NoError(t, err)
				}
			})
		}
		all.Go(c.Close)
		all.Wait()
	}
}

// serve starts a server of l, and returns what ends it.
func serve(t *testing.T, l net.Listener) (stop func()) {
	n, err := server.NewNode(server.Config{ID: "n1", Members: []server.Member{{ID: "n1"}}, Data: "data", Files: crash.New(1), Log: t.Logf,
		Heartbeat: 50 * time.Millisecond, Election: time.Hour, SnapshotBytes: 4 << 20})
	require.NoError(t, err)
	n.Lead()
	s := server.New(n)
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	return func() {
		s.Shutdown()
		n.Close()
		require.NoError(t, <-served)
	}
}
