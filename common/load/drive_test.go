package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/wire"
)

// short is a load for tests.
var short = load{op: "put", conns: 4, size: 100, keys: 50, length: 20 * time.Millisecond, connect: overTCP}

func TestDrive_counts_what_an_echo_server_has_answered(t *testing.T) {
	var lines atomic.Int64
	addr := listen(t, answering(func(line string) string {
		lines.Add(1)
		return line
	}))
	l := short
	l.echoed = true
	r, err := drive(context.Background(), addr, l)
	require.NoError(t, err)
	require.Empty(t, r.errors)
	require.Positive(t, r.good)
	require.EqualValues(t, lines.Load(), r.good)
	require.Equal(t, r.good, r.latency.total())
	require.GreaterOrEqual(t, r.elapsed, l.length)
	require.LessOrEqual(t, r.latency.percentile(50)*time.Duration(r.good), 2*4*r.elapsed)
}

// A mapServer answers puts and gets as a stage does.
type mapServer struct {
	mu     sync.Mutex
	values map[string]*string
	ops    map[string]int
}

func (m *mapServer) answer(line string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var q wire.Request
	if err := json.Unmarshal([]byte(line), &q); err != nil {
		return err.Error()
	}
	m.ops[q.Op]++
	r := wire.Response{ID: q.ID, OK: true}
	if q.Op == "put" {
		m.values[q.Key] = q.Value
	} else {
		r.Value = m.values[q.Key]
		r.Found = new(r.Value != nil)
	}
	b, _ := json.Marshal(r)
	return string(b)
}

func TestDrive_reads_what_it_has_filled(t *testing.T) {
	for op, wants := range map[string]func(puts, gets, good int) bool{
		"put": func(puts, gets, good int) bool { return gets == 0 && puts == good },
		"get": func(puts, gets, good int) bool { return gets == good && puts == 50 },
		"mix": func(puts, gets, good int) bool { return puts+gets == 50+good && gets <= good/2+4 && gets >= good/2-4 },
	} {
		m := &mapServer{values: map[string]*string{}, ops: map[string]int{}}
		l := short
		l.op = op
		r, err := drive(context.Background(), listen(t, answering(m.answer)), l)
		require.NoError(t, err)
		require.Empty(t, r.errors, op)
		require.Positive(t, r.good)
		m.mu.Lock()
		require.True(t, wants(m.ops["put"], m.ops["get"], r.good), "%s: %v, %d right answers", op, m.ops, r.good)
		require.LessOrEqual(t, len(m.values), 50)
		require.Len(t, *m.values["key-000007"], 100)
		m.mu.Unlock()
	}
}

func TestDrive_reports_answers_that_are_not_right(t *testing.T) {
	for want, answer := range map[string]string{
		"not_leader":  `{"id":%d,"ok":false,"error":{"code":"not_leader","message":"n2 leads","leader":"127.0.0.1:1"}}`,
		"bad_request": `{"id":0,"ok":false,"error":{"code":"bad_request","message":"id %d"}}`,
		"wrong id":    `{"id":1%d,"ok":true}`,
		"not ok":      `{"id":%d,"ok":false}`,
		"no JSON":     `frob %d`,
	} {
		var asked atomic.Int64
		addr := listen(t, answering(func(line string) string {
			var q wire.Request
			json.Unmarshal([]byte(line), &q)
			if asked.Add(1)%2 == 0 {
				return fmt.Sprintf(answer, q.ID)
			}
			return fmt.Sprintf(`{"ok":true, "id": %d}`, q.ID) // right, but not as the fast path expects it
		}))
		r, err := drive(context.Background(), addr, short)
		require.NoError(t, err)
		require.Len(t, r.errors, 1, want)
		require.EqualValues(t, asked.Load()/2, r.errors[want], "%s: %v", want, r.errors)
		require.EqualValues(t, asked.Load(), r.errors[want]+r.good)
	}
}

func TestComplaint_of_a_get_that_finds_another_value(t *testing.T) {
	q := newRequest("get", "abc", false)
	q.next(0)
	for answer, want := range map[string]string{
		`{"id":10000000,"ok":true,"found":true,"value":"abc"}`: "",
		`{"id":10000000,"ok":true,"value":"abc","found":true}`: "",
		`{"id": 10000000, "ok": true, "value": "\u0061bc"}`:    "",
		`{"id":10000000,"ok":true,"found":true,"value":"abd"}`: "wrong value",
		`{"id":10000000,"ok":true,"found":false}`:              "wrong value",
		`{"id":10000001,"ok":true,"found":true,"value":"abc"}`: "wrong id",
	} {
		require.Equal(t, want, q.complaint([]byte(answer+"\n")), answer)
	}
}

func TestRequest_is_a_line_of_the_protocol(t *testing.T) {
	for _, op := range []string{"put", "get"} {
		q := newRequest(op, value(30), false)
		size := len(q.line)
		for sent, key := range []int{0, 7, 999_999} {
			q.next(key)
			require.Len(t, q.line, size)
			var r wire.Request
			require.NoError(t, json.Unmarshal(q.line, &r))
			want := wire.Request{ID: firstID + uint64(sent), Op: op, Key: fmt.Sprintf("key-%06d", key)}
			if op == "put" {
				want.Value = new("abcdefghijklmnopqrstuvwxyzabcd")
			}
			require.Equal(t, want, r)
		}
	}
}

func TestRequest_is_patched_and_checked_without_allocation(t *testing.T) {
	q := newRequest("get", value(100), false)
	answer := []byte(`{"id":10000000,"ok":true,"found":true,"value":"` + value(100) + `"}` + "\n")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		q.sent = 0
		q.next(7)
		if q.complaint(answer) != "" {
			t.Fail()
		}
	}))
}

func TestDrive_reports_connections_that_are_lost(t *testing.T) {
	addr := listen(t, func(conn net.Conn) { bufio.NewReader(conn).ReadString('\n') })
	r, err := drive(context.Background(), addr, short)
	require.NoError(t, err)
	require.Zero(t, r.good)
	require.Equal(t, map[string]int{"connection lost: EOF": 4}, r.errors)
}

func TestDrive_fails_where_the_keys_cannot_be_filled(t *testing.T) {
	l := short
	l.op = "get"
	addr := listen(t, answering(func(string) string { return `{"id":0,"ok":false,"error":{"code":"unavailable"}}` }))
	_, err := drive(context.Background(), addr, l)
	require.EqualError(t, err, "cannot fill the keys: unavailable")
}

func TestDrive_ends_at_once_when_interrupted(t *testing.T) {
	asked := make(chan struct{}, short.conns)
	addr := listen(t, func(conn net.Conn) { // never answers
		bufio.NewReader(conn).ReadString('\n')
		asked <- struct{}{}
		conn.Read(make([]byte, 1))
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-asked
		cancel()
	}()
	start := time.Now()
	_, err := drive(ctx, addr, short)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(start), stall)
}
