package linear

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A request is as much of one as a server of these tests looks at.
type request struct {
	ID             uint64
	Op, Key, Value string
}

// serve answers each line with what answer says, unless that is nothing, until the test ends.
func serve(t *testing.T, answer func(r request) string) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	t.Cleanup(func() { l.Close() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					var r request
					json.Unmarshal(lines.Bytes(), &r)
					if s := answer(r); s != "" {
						fmt.Fprintln(conn, s)
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// serveGets answers gets with "absent", and all else as answer says.
func serveGets(t *testing.T, answer string) (addr string) {
	return serve(t, func(r request) string {
		switch {
		case r.Op == "get":
			return fmt.Sprintf(`{"id":%d,"ok":true,"found":false}`, r.ID)
		case answer == "":
			return ""
		default:
			return fmt.Sprintf(answer, r.ID)
		}
	})
}

// A server takes puts and gets.
type server struct {
	mu     sync.Mutex
	values map[string]string
	gets   int
}

func (s *server) do(r request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, found := s.values[r.Key]
	switch r.Op {
	case "put":
		s.values[r.Key] = r.Value
		return fmt.Sprintf(`{"id":%d,"ok":true}`, r.ID)
	case "cas":
		return fmt.Sprintf(`{"id":%d,"ok":true,"swapped":false,"found":%v,"value":%q}`, r.ID, found, value)
	}
	s.gets++
	return fmt.Sprintf(`{"id":%d,"ok":true,"found":%v,"value":%q}`, r.ID, found, value)
}

func refuse(r request, code, leader string) string {
	return fmt.Sprintf(`{"id":%d,"ok":false,"error":{"code":%q,"leader":%q}}`, r.ID, code, leader)
}

// outcomes counts what became of the operations of a history.
func outcomes(h *History) (counts [unknown + 1]int) {
	for _, c := range h.calls {
		counts[c.outcome]++
	}
	return counts
}

var (
	aPut = Op{Kind: Put, Key: "k"}
	aGet = Op{Kind: Get, Key: "k"}
)

func TestDrive_goes_to_the_leader_that_a_refusal_names_or_on_to_the_next(t *testing.T) {
	s := server{values: map[string]string{}}
	leader := serve(t, s.do)
	follower := serve(t, func(r request) string { return refuse(r, "not_leader", leader) })
	silent := serve(t, func(request) string { return "" })
	lost := serve(t, func(r request) string { return refuse(r, "unavailable", "127.0.0.1:1") })
	for _, addrs := range [][]string{
		{leader},
		{follower, silent, leader},
		{lost, "127.0.0.1:1", leader},
		{lost, follower, silent, leader},
	} {
		h := NewHistory()
		d := driver{Workload: Workload{Patience: 10 * time.Second}, history: h, client: 1, addrs: addrs}
		require.True(t, d.carryOut(t.Context(), aPut))
		require.Equal(t, leader, d.addrs[0])
		require.ElementsMatch(t, addrs, d.addrs)
		require.True(t, d.carryOut(t.Context(), aGet))
		d.hangUp()
		require.Equal(t, fmt.Sprintf("1.%d,", d.tries-1), d.seen)
		require.Equal(t, [unknown + 1]int{answered: 2, failed: d.tries - 2}, outcomes(h))
	}
}

func TestDrive_leaves_a_server_that_does_not_answer_and_does_not_try_again(t *testing.T) {
	s := server{values: map[string]string{}}
	silent, there := serve(t, func(request) string { return "" }), serve(t, s.do)
	d := driver{Workload: Workload{Patience: 50 * time.Millisecond}, history: NewHistory(), client: 1, addrs: []string{silent, there}}
	require.True(t, d.carryOut(t.Context(), aPut))
	require.True(t, d.carryOut(t.Context(), aGet))
	d.hangUp()
	require.Equal(t, [unknown + 1]int{unknown: 1, answered: 1}, outcomes(d.history))
	require.Empty(t, s.values)
}

func TestDrive_finds_out_what_was_refused_and_happened(t *testing.T) {
	s := server{values: map[string]string{}}
	there := serve(t, s.do)
	liar := serve(t, func(r request) string {
		s.do(r)
		return refuse(r, "not_leader", there)
	})
	d := driver{Workload: Workload{Patience: time.Second}, history: NewHistory(), client: 1, addrs: []string{liar, there}}
	require.False(t, d.try(t.Context(), aPut))
	require.True(t, d.try(t.Context(), aGet))
	d.hangUp()
	require.Equal(t, Violation, d.history.Check(checkTimeout).Verdict)
}

func TestDrive_gives_up_when_nobody_takes_anything(t *testing.T) {
	refusing := serve(t, func(r request) string { return refuse(r, "unavailable", "") })
	h := NewHistory()
	began := time.Now()
	Workload{Clients: 2, Ops: 1000, Keys: 1000, Patience: 50 * time.Millisecond}.Drive(t.Context(), h, refusing, "127.0.0.1:1")
	require.Less(t, time.Since(began), 10*time.Second)
	require.Equal(t, [unknown + 1]int{failed: len(h.calls)}, outcomes(h))
}

func TestDrive_may_read_by_a_cas(t *testing.T) {
	s := server{values: map[string]string{"k": "v"}}
	d := driver{Workload: Workload{Patience: time.Second, CASReads: true}, history: NewHistory(), client: 1, addrs: []string{serve(t, s.do)}}
	require.True(t, d.carryOut(t.Context(), aGet))
	d.hangUp()
	require.Equal(t, "v", d.seen)
	require.Zero(t, s.gets)
}

func TestDrive_takes_a_goodbye_in_place_of_an_answer_for_an_outcome_that_is_unknown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	var server sync.WaitGroup
	defer server.Wait()
	server.Go(func() {
		for _, answer := range []string{
			`{"id":0,"ok":false,"error":{"code":"unavailable"}}`, // to a write that has happened
			`{"id":1,"ok":true,"found":true,"value":"1.1,"}`,
		} {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(conn).ReadString('\n')
			fmt.Fprintln(conn, answer)
			conn.Close()
		}
	})
	h := NewHistory()
	d := driver{Workload: Workload{Patience: 10 * time.Second}, history: h, client: 1, addrs: []string{l.Addr().String()}}
	require.True(t, d.try(t.Context(), aPut))
	require.True(t, d.try(t.Context(), aGet))
	d.hangUp()
	r := h.Check(checkTimeout)
	require.Equal(t, Linearizable, r.Verdict, r.Reason)
	require.Equal(t, 2, r.Ops)
}

func TestDrive_tells_what_failed_from_what_is_unknown(t *testing.T) {
	w := Workload{Clients: 3, Ops: 20, Keys: 2, Seed: 1, Patience: 20 * time.Millisecond}
	for _, c := range []struct {
		name, answer string
		want         Verdict
	}{
		// Writes that failed, or may have, explain that nothing was ever found; those that were done do not.
		{"refused", `{"id":%d,"ok":false,"error":{"code":"unavailable"}}`, Linearizable},
		{"indefinite", `{"id":%d,"ok":false,"error":{"code":"timeout"}}`, Linearizable},
		{"no answer", "", Linearizable},
		{"acknowledged", `{"id":%d,"ok":true,"swapped":true,"found":true,"length":5}`, Violation},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w
			if c.want == Violation {
				w.Patience = checkTimeout // an acknowledgement that comes too late is none
			}
			h := NewHistory()
			w.Drive(t.Context(), h, serveGets(t, c.answer))
			r := h.Check(checkTimeout)
			require.Equal(t, c.want, r.Verdict, r.Reason)
			require.LessOrEqual(t, r.Ops, 3*20+2)
		})
	}
	h := NewHistory()
	w.Drive(t.Context(), h, "127.0.0.1:1") // nobody is there
	require.Equal(t, Linearizable, h.Check(checkTimeout).Verdict)
}
