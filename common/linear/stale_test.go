package linear

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outdated is a get whose answer says that it may be outdated by so many milliseconds.
func outdated(by int, d deed, a Answer) deed {
	d.ends = func(c *Call) { c.ReturnStale(a, time.Duration(by)*time.Millisecond) }
	return d
}

func old(by, client, from, to int, found string) deed {
	return outdated(by, get(client, from, to, found), Answer{Found: true, Value: found})
}

func oldAbsent(by, client, from, to int) deed {
	return outdated(by, getAbsent(client, from, to), Answer{})
}

func TestRead_that_keeps_to_what_it_says_may_be_outdated(t *testing.T) {
	for _, c := range []struct {
		name  string
		deeds []deed
	}{
		{"a value that was replaced within its bound",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 300, "2"), old(110, 2, 405, 412, "1")}},
		{"a value that was replaced just at its bound",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 300, "2"), old(105, 2, 405, 412, "1")}},
		{"the newest value",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 300, "2"), old(110, 2, 405, 412, "2")}},
		{"a value that is being written",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 500, "2"), old(10, 2, 405, 412, "2")}},
		{"nothing, before anything was",
			[]deed{put(1, 100, 200, "1"), oldAbsent(1000, 2, 405, 412)}},
		{"two reads at the same moment, which disagree",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 300, "2"), old(110, 2, 405, 412, "1"), old(110, 3, 405, 412, "2")}},
		{"an older one after a newer one",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 300, "2"), get(2, 310, 320, "2"), old(110, 2, 405, 412, "1")}},
		{"a write that was acknowledged at the very moment, and before",
			[]deed{put(1, 10, 20, "1"), put(1, 20, 30, "2"), old(0, 2, 30, 40, "1")}},
	} {
		t.Run(c.name, func(t *testing.T) { requireLinearizable(t, tell(c.deeds...)) })
	}
}

func TestRead_that_is_more_outdated_than_it_says_is_a_violation(t *testing.T) {
	for _, c := range []struct {
		name  string
		deeds []deed
		want  string
	}{
		{"a write is missed",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 300, "2"), old(104, 2, 405, 412, "1")},
			`c2 read x = "1", outdated by at most 104 ms, at 412 ms, but c1's write x = "2" had been acknowledged at 300 ms, ` +
				`more than 104 ms before that read began at 405 ms, and nothing wrote "1" in between`},
		{"so is one that another read has seen, though it was not acknowledged",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 900, "2"), old(0, 3, 290, 300, "2"), old(104, 2, 405, 412, "1")},
			`c2 read x = "1", outdated by at most 104 ms, at 412 ms, but c3 had read x = "2" at 300 ms, ` +
				`more than 104 ms before that read began at 405 ms, and nothing wrote "1" in between`},
		{"an append is missed",
			[]deed{add(1, 100, 200, "a", 1), add(1, 250, 300, "b", 2), old(104, 2, 405, 412, "a")},
			`c2 read x = "a", outdated by at most 104 ms, at 412 ms, but c1's append of "b" to x had been acknowledged with length 2 at 300 ms, ` +
				`more than 104 ms before that read began at 405 ms, and nothing replaced or deleted x in between`},
		{"all is missed",
			[]deed{put(1, 100, 200, "1"), oldAbsent(204, 2, 405, 412)},
			`c2 read x as absent, outdated by at most 204 ms, at 412 ms, but c1's write x = "1" had been acknowledged at 200 ms, ` +
				`more than 204 ms before that read began at 405 ms, and nothing deleted x in between`},
		{"a value from the future",
			[]deed{old(100, 2, 405, 412, "1"), put(1, 413, 420, "1")},
			`c2 read x = "1", outdated by at most 100 ms, at 412 ms, but nothing wrote "1" before c1's write x = "1", which began only at 413 ms`},
		{"a read beside it that may not be outdated",
			[]deed{put(1, 100, 200, "1"), put(1, 250, 300, "2"), old(110, 2, 405, 412, "1"), get(3, 405, 412, "1")},
			`c3 read x = "1" at 412 ms, but c1's write x = "2" had been acknowledged at 300 ms, before that read began at 405 ms, and nothing wrote "1" in between`},
	} {
		t.Run(c.name, func(t *testing.T) { requireViolation(t, tell(c.deeds...), c.want) })
	}
}

func TestHistory_is_judged_again_as_before(t *testing.T) {
	h := tell(put(1, 100, 200, "1"), put(1, 250, 300, "2"), old(110, 2, 405, 412, "1"))
	requireLinearizable(t, h)
	requireLinearizable(t, h)
}

func TestOnly_a_read_may_be_outdated(t *testing.T) {
	c := NewHistory().Begin(Op{Kind: Append, Key: "x"})
	require.Panics(t, func() { c.ReturnStale(Answer{}, time.Second) })
}
