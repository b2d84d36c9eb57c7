package wire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"raftworkbook/common/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// talk runs a test with a connection, and the server's end of it.
func talk(t *testing.T, test func(t *testing.T, c *Conn, server net.Conn, in *bufio.Reader)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		here, there := memnet.Pipe(0)
		c := New(here)
		t.Cleanup(c.Close)
		t.Cleanup(func() { there.Close() })
		test(t, c, there, bufio.NewReader(there))
	})
}

// hear returns the next request.
func hear(t *testing.T, in *bufio.Reader) (r Request) {
	t.Helper()
	line, err := in.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &r))
	return r
}

func TestConn_matches_answers_by_id(t *testing.T) {
	talk(t, func(t *testing.T, c *Conn, server net.Conn, in *bufio.Reader) {
		var all sync.WaitGroup
		for _, key := range []string{"a", "b", "c"} {
			all.Go(func() {
				resp, err := c.Do(t.Context(), Request{Op: "get", Key: key})
				require.NoError(t, err)
				require.Equal(t, key, *resp.Value)
				require.JSONEq(t, fmt.Sprintf(`{"id":%d,"ok":true,"value":%q}`, resp.ID, key), string(resp.Raw))
			})
		}
		requests := []Request{hear(t, in), hear(t, in), hear(t, in)}
		for _, i := range []int{2, 0, 1} {
			fmt.Fprintf(server, `{"id":%d,"ok":true,"value":%q}`+"\n", requests[i].ID, requests[i].Key)
		}
		all.Wait()
	})
}

func TestConn_returns_what_the_server_refuses(t *testing.T) {
	talk(t, func(t *testing.T, c *Conn, server net.Conn, in *bufio.Reader) {
		go func() {
			hear(t, in)
			fmt.Fprintln(server, `{"id":1,"ok":false,"error":{"code":"not_leader","message":"ask n1","leader":"here"}}`)
		}()
		_, err := c.Do(t.Context(), Request{Op: "put"})
		require.Equal(t, &Error{Code: "not_leader", Message: "ask n1", Leader: "here"}, err)
	})
}

func TestConn_says_that_an_outcome_is_unknown(t *testing.T) {
	for name, end := range map[string]func(server net.Conn){
		"no answer in time": func(net.Conn) {},
		"connection lost":   func(server net.Conn) { server.Close() },
		"nonsense":          func(server net.Conn) { fmt.Fprintln(server, "nonsense") },
		"told that it closes": func(server net.Conn) {
			fmt.Fprintln(server, `{"id":0,"ok":false,"error":{"code":"x"}}`)
			server.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			talk(t, func(t *testing.T, c *Conn, server net.Conn, in *bufio.Reader) {
				go func() { hear(t, in); end(server) }()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := c.Do(ctx, Request{Op: "put"})
				require.ErrorIs(t, err, ErrUnknown)
				require.False(t, errors.As(err, new(*Error)), "it looks like a refusal: %v", err)
			})
		})
	}
}

func TestConn_says_that_nothing_was_sent(t *testing.T) {
	talk(t, func(t *testing.T, c *Conn, server net.Conn, in *bufio.Reader) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Do(ctx, Request{Op: "put"})
		require.ErrorIs(t, err, ErrNotSent)
		server.Close()
		synctest.Wait()
		_, err = c.Do(t.Context(), Request{Op: "put"})
		require.ErrorIs(t, err, ErrNotSent)
	})
	_, err := Dial(t.Context(), "127.0.0.1:1")
	require.ErrorIs(t, err, ErrNotSent)
}

func TestConn_carries_the_fields_of_sessions_and_staleness(t *testing.T) {
	talk(t, func(t *testing.T, c *Conn, server net.Conn, in *bufio.Reader) {
		go func() {
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			require.JSONEq(t, `{"id":1,"op":"get","session":2,"seq":3,"done":4,"min_index":5,"max_staleness_ms":0}`, line)
			fmt.Fprintln(server, `{"id":1,"ok":true,"session":2,"index":5,"staleness_ms":0}`)
		}()
		resp, err := c.Do(t.Context(), Request{Op: "get", Session: 2, Seq: 3, Done: 4, MinIndex: 5, MaxStalenessMS: new(uint64(0))})
		require.NoError(t, err)
		resp.Raw = nil
		require.Equal(t, Response{ID: 1, OK: true, Session: 2, Index: 5, StalenessMS: new(uint64(0))}, resp)
	})
}
