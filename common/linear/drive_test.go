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

// serveGets answers gets with "absent", and all else as answer says, until the test ends.
func serveGets(t *testing.T, answer string) (addr string) {
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
					var r struct {
						ID uint64
						Op string
					}
					json.Unmarshal(lines.Bytes(), &r)
					if r.Op == "get" {
						fmt.Fprintf(conn, `{"id":%d,"ok":true,"found":false}`+"\n", r.ID)
					} else if answer != "" {
						fmt.Fprintf(conn, answer+"\n", r.ID)
					}
				}
			})
		}
	})
	return l.Addr().String()
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
			`{"id":1,"ok":true,"found":true,"value":"v"}`,
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
	d := driver{history: h, client: 1, addr: l.Addr().String()}
	d.record(t.Context(), Op{Client: 1, Kind: Put, Key: "k", Value: "v"})
	d.record(t.Context(), Op{Client: 1, Kind: Get, Key: "k"})
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
