package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/linear"
)

// This test passes if what the clients saw is wrong: no order of their operations explains it.
func TestClients_see_what_no_single_store_would_show(t *testing.T) {
	var h *linear.History
	sail(t, 5, nil, func(t *testing.T, f *fleet) {
		begin := time.Now()
		h = linear.NewHistoryWithClock(func() time.Duration { return time.Since(begin) })
		write := func(client int, value string) {
			call := h.Begin(linear.Op{Client: client, Kind: linear.Put, Key: "x", Value: value})
			time.Sleep(time.Millisecond)
			resp, _ := f.do("n1", put("x", value))
			require.True(t, resp.OK)
			call.Return(linear.Answer{})
		}
		read := func(client int, node string) {
			call := h.Begin(linear.Op{Client: client, Kind: linear.Get, Key: "x"})
			time.Sleep(time.Millisecond)
			value := f.read(node, "x")
			call.Return(linear.Answer{Found: value != "absent", Value: value})
		}

		write(1, "old")
		f.nodes["n5"].Close() // it dies, misses a write, and comes back
		write(1, "new")
		f.start("n5")
		time.Sleep(2 * maxPause)
		read(2, "n1")
		read(2, "n5")
	})
	r := h.Check(10 * time.Second)
	require.Equal(t, linear.Violation, r.Verdict)
	require.Equal(t, `c2 read x as absent at 2004 ms, but c1's write x = "new" had been acknowledged at 2 ms, `+
		"before that read began at 2003 ms, and nothing deleted x in between", r.Reason)
}
