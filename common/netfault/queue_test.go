package netfault

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// start is when these tests begin; a queue has no clock of its own.
var start = time.Unix(1_000_000, 0)

func newQueue(seed uint64) *queue {
	return &queue{random: rand.New(rand.NewPCG(seed, 0))}
}

func (q *queue) mustArrive(t *testing.T, s string, now time.Time) {
	t.Helper()
	require.NoError(t, q.arrive([]byte(s), now))
}

// drain takes all that may leave now.
func (q *queue) drain(now time.Time) string {
	var out strings.Builder
	for {
		s, _, ok := q.take(now)
		if !ok {
			return out.String()
		}
		switch s.end {
		case finished:
			out.WriteString("FINISHED")
		case broken:
			out.WriteString("BROKEN")
		}
		out.Write(s.data)
	}
}

func TestQueue_line_is_lost_or_passes_whole(t *testing.T) {
	cut, healed := faults{cut: true}, faults{}
	for _, c := range []struct {
		name  string
		steps []any // a string arrives, faults are set, nil takes all that may leave
		want  string
	}{
		{"nothing is wrong", []any{"a\nb\n"}, "a\nb\n"},
		{"arrives in a cut", []any{cut, "a\n", healed, "b\n"}, "b\n"},
		{"was queued as the cut began", []any{"a\n", cut, healed, "b\n"}, "b\n"},
		{"had left in part as the cut began", []any{"a\nbe", nil, cut, "gun\nc\n", nil, healed, "d\n"}, "a\nbegun\nd\n"},
		{"had left in part, and its end was queued", []any{"be", nil, "gun\nc\nd", cut, "e\nf", healed, "g\nh\n"}, "begun\nh\n"},
		{"was queued in part as the cut began", []any{"be", cut, "gun\na", healed, "b\nc\n"}, "c\n"},
		{"began in the cut and ends after it", []any{cut, "be", healed, "gun\na\n"}, "a\n"},
		{"began in the cut, in three pieces", []any{cut, "be", healed, "gu", nil, "n\na\n"}, "a\n"},
		{"spans a cut and its end", []any{"be", nil, cut, "gu", nil, healed, "n\na\n"}, "begun\na\n"},
		{"spans two cuts", []any{"be", nil, cut, healed, cut, "gun\na\n", healed, "b\n"}, "begun\nb\n"},
		{"held by a stall is lost in a cut", []any{faults{stall: true}, "a\nb", faults{cut: true, stall: true}, "c\n", healed, "d\n"}, "d\n"},
		{"begun before a stall passes a cut", []any{"be", nil, faults{stall: true}, "gun\na\n", cut, healed, "b\n"}, "begun\nb\n"},
		{"begun, then reordered", []any{"be", nil, faults{reorder: true}, "g", "un\n", healed, "b\n"}, "begun\nb\n"},
		{"waits for its end to be reordered", []any{faults{reorder: true}, "be", cut, "gun\na\n", healed, "b\n"}, "b\n"},
		{"empty lines are lines", []any{"\n\n", cut, "\n", healed, "\n"}, "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue(1)
			var got strings.Builder
			for _, step := range c.steps {
				switch step := step.(type) {
				case string:
					q.mustArrive(t, step, start)
				case faults:
					q.set(step, start)
				case nil:
					got.WriteString(q.drain(start))
				}
			}
			got.WriteString(q.drain(start))
			require.Equal(t, c.want, got.String())
			require.Zero(t, q.cost)
		})
	}
}

// Whatever chunks lines come in and whatever faults come and go, what leaves is whole lines,
// each once; without a reordering in order, and without a cut all of them.
func TestQueue_never_lets_a_torn_line_through(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 1))
		q := newQueue(seed)
		mayCut, mayReorder := random.IntN(4) > 0, random.IntN(2) == 0
		var in []byte
		for i := range 200 {
			in = append(in, fmt.Sprintf("%d.%s\n", i, strings.Repeat("x", random.IntN(30)))...)
		}
		lines := strings.SplitAfter(string(in), "\n")
		want := lines[:len(lines)-1]

		now, sent := start, 0
		doomed := map[string]bool{} // the lines that began to arrive in a cut
		var got strings.Builder
		for sent < len(in) || random.IntN(4) > 0 {
			now = now.Add(time.Duration(random.IntN(10)) * time.Millisecond)
			switch random.IntN(5) {
			case 0:
				q.set(faults{
					cut:     mayCut && random.IntN(3) == 0,
					stall:   random.IntN(4) == 0,
					reorder: mayReorder && random.IntN(2) == 0,
					delay:   time.Duration(random.IntN(2)*random.IntN(50)) * time.Millisecond,
				}, now)
			case 1, 2:
				n := min(random.IntN(60), len(in)-sent)
				require.NoError(t, q.arrive(in[sent:sent+n], now))
				for i := sent; i < sent+n && q.faults.cut; i++ {
					if i == 0 || in[i-1] == '\n' {
						doomed[want[bytes.Count(in[:i], newline)]] = true
					}
				}
				sent += n
			default:
				if s, _, ok := q.take(now); ok {
					got.Write(s.data)
				}
			}
		}
		q.set(faults{}, now)
		q.mustArrive(t, "last\n", now)
		got.WriteString(q.drain(now))

		out := strings.SplitAfter(strings.TrimSuffix(got.String(), "last\n"), "\n")
		out = out[:len(out)-1]
		position := map[string]int{}
		for i, l := range want {
			position[l] = i
		}
		before := -1
		for _, l := range out {
			i, ok := position[l]
			require.True(t, ok, "seed %d: torn, or twice: %q", seed, l)
			delete(position, l)
			require.False(t, doomed[l], "seed %d: passes the cut: %q", seed, l)
			if !mayReorder {
				require.Greater(t, i, before, "seed %d: out of order: %q", seed, l)
			}
			before = i
		}
		if !mayCut {
			require.Empty(t, position, "seed %d: lost without a cut", seed)
		}
		require.True(t, strings.HasSuffix(got.String(), "last\n"), "seed %d", seed)
		require.Zero(t, q.cost, "seed %d", seed)
	}
}

func TestQueue_delay_is_from_arrival_and_keeps_order(t *testing.T) {
	q := newQueue(1)
	q.set(faults{delay: 200 * time.Millisecond}, start)
	q.mustArrive(t, "a\n", start)
	q.mustArrive(t, "b\n", start.Add(50*time.Millisecond))

	_, wait, ok := q.take(start.Add(80 * time.Millisecond))
	require.False(t, ok)
	require.Equal(t, 120*time.Millisecond, wait)
	require.Equal(t, "a\n", q.drain(start.Add(200*time.Millisecond)))
	require.Equal(t, "b\n", q.drain(start.Add(250*time.Millisecond)))
}

func TestQueue_shorter_delay_applies_to_what_is_queued(t *testing.T) {
	q := newQueue(1)
	q.set(faults{delay: time.Hour}, start)
	q.mustArrive(t, "a\n", start)
	q.set(faults{delay: time.Second}, start)
	q.mustArrive(t, "b\n", start)
	require.Empty(t, q.drain(start.Add(time.Second-1)))
	require.Equal(t, "a\nb\n", q.drain(start.Add(time.Second)))
}

func TestQueue_reorders_by_its_seed_and_within_its_window(t *testing.T) {
	order := func(seed uint64) []string {
		q := newQueue(seed)
		q.set(faults{reorder: true}, start)
		for i := range 100 {
			q.mustArrive(t, fmt.Sprintf("%03d\n", i), start)
		}
		return strings.Fields(q.drain(start.Add(reorderWait)))
	}
	got := order(1)
	require.Equal(t, got, order(1), "the same seed, the same order")
	require.NotEqual(t, got, order(2))
	require.False(t, slices.IsSorted(got))
	for i, l := range got {
		var n int
		fmt.Sscan(l, &n)
		require.Less(t, n-i, reorderLines, "line %d overtakes too many", n)
	}
	slices.Sort(got)
	require.Len(t, slices.Compact(got), 100)
}

func TestQueue_reorder_does_not_keep_a_lone_line(t *testing.T) {
	q := newQueue(1)
	q.set(faults{reorder: true}, start)
	q.mustArrive(t, "a\n", start)
	_, wait, ok := q.take(start)
	require.False(t, ok)
	require.Equal(t, reorderWait, wait)
	require.Equal(t, "a\n", q.drain(start.Add(reorderWait)))
}

func TestQueue_reorder_keeps_lines_no_longer_than_until_there_are_enough(t *testing.T) {
	q := newQueue(1)
	q.set(faults{reorder: true}, start)
	q.mustArrive(t, strings.Repeat("x\n", reorderLines+2), start)
	require.Equal(t, strings.Repeat("x\n", 3), q.drain(start))
}

func TestQueue_line_in_pieces_is_reordered_and_delayed_as_one(t *testing.T) {
	q := newQueue(1)
	q.set(faults{reorder: true, delay: time.Second}, start)
	q.mustArrive(t, "a\nbe", start)
	q.mustArrive(t, "gun\n", start.Add(500*time.Millisecond))
	require.Equal(t, "a\n", q.drain(start.Add(1500*time.Millisecond-1)))
	require.Equal(t, "begun\n", q.drain(start.Add(1500*time.Millisecond+reorderWait)))
}

func TestQueue_end_comes_last_whatever_the_faults(t *testing.T) {
	for _, f := range []faults{{}, {stall: true}, {delay: time.Minute}, {reorder: true}} {
		q := newQueue(1)
		q.set(f, start)
		q.mustArrive(t, "a\nb\nc\nhalf a li", start)
		q.finish(finished, start)
		q.finish(broken, start)
		got := q.drain(start.Add(time.Hour))
		if f.stall {
			require.Empty(t, got)
			q.set(faults{}, start)
			got = q.drain(start)
		}
		require.True(t, strings.HasSuffix(got, "half a liFINISHEDBROKEN"), "%+v: %q", f, got)
		require.Len(t, got, len("a\nb\nc\nhalf a liFINISHEDBROKEN"), "%+v", f)
	}
}

func TestQueue_end_waits_while_the_link_is_cut(t *testing.T) {
	q := newQueue(1)
	q.set(faults{cut: true}, start)
	q.mustArrive(t, "a\n", start)
	q.finish(finished, start)
	require.Empty(t, q.drain(start))
	q.set(faults{}, start)
	require.Equal(t, "FINISHED", q.drain(start))
}

func TestQueue_end_that_was_held_back_is_not_lost_in_a_cut(t *testing.T) {
	q := newQueue(1)
	q.set(faults{stall: true}, start)
	q.mustArrive(t, "a\n", start)
	q.finish(finished, start)
	q.set(faults{cut: true}, start)
	require.Empty(t, q.drain(start))
	q.set(faults{}, start)
	require.Equal(t, "FINISHED", q.drain(start))
}

func TestQueue_line_has_at_most_2_MiB(t *testing.T) {
	send := func(q *queue, line []byte) (err error) {
		for c := range slices.Chunk(line, chunkSize) {
			if err = q.arrive(c, start); err != nil {
				return err
			}
		}
		return nil
	}
	longest := append(bytes.Repeat([]byte("x"), maxLine), '\n')
	for _, f := range []faults{{}, {cut: true}, {reorder: true}} {
		q := newQueue(1)
		q.set(f, start)
		q.mustArrive(t, "a\n", start)
		require.NoError(t, send(q, longest), "%+v", f)
		require.NoError(t, send(q, longest), "%+v", f)
		require.ErrorIs(t, send(q, bytes.Repeat([]byte("x"), maxLine+1)), errLineTooLong, "%+v", f)
	}
}

func TestQueue_counts_what_it_holds(t *testing.T) {
	q := newQueue(1)
	q.set(faults{stall: true, reorder: true}, start)
	for range 1000 {
		q.mustArrive(t, "\n", start)
	}
	require.Greater(t, q.cost, 1000*64, "an empty line costs memory too")
	q.set(faults{}, start)
	require.Len(t, q.drain(start), 1000)
	require.Zero(t, q.cost)
}

func TestQueue_raw_bytes_are_lost_as_they_come_and_the_stream_breaks_when_healed(t *testing.T) {
	for _, c := range []struct{ name, queued, inCut string }{
		{"queued as the cut begins", "more\nand more", ""},
		{"arrives in the cut", "", "more\nand more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue(1)
			q.raw = true
			q.mustArrive(t, "half", start)
			require.Equal(t, "half", q.drain(start))
			q.mustArrive(t, c.queued, start)
			q.set(faults{cut: true}, start)
			q.mustArrive(t, c.inCut, start)
			require.Empty(t, q.drain(start))
			q.set(faults{}, start)
			require.Equal(t, "BROKEN", q.drain(start))
		})
	}
}

func TestQueue_raw_stream_that_lost_nothing_survives_a_cut(t *testing.T) {
	q := newQueue(1)
	q.raw = true
	q.set(faults{cut: true}, start)
	q.set(faults{}, start)
	q.mustArrive(t, strings.Repeat("x", 100), start)
	require.Len(t, q.drain(start), 100)
}
