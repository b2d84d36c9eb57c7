package client

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/stage6-compaction/api"
)

// tag is what the servers know a write by.
type tag struct{ session, seq, done uint64 }

func tags(all []heard) (tags []tag) {
	for _, h := range all {
		tags = append(tags, tag{h.Session, h.Seq, h.Done})
	}
	return tags
}

func TestWrites_have_a_session_and_numbers_from_1(t *testing.T) {
	play(t, []part{leads}, func(t *testing.T, c *cast) {
		for range 3 {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
		}
		_, _, err := c.Get(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, []tag{{}, {7, 1, 1}, {7, 2, 2}, {7, 3, 3}, {}}, tags(c.all("")))
		require.Len(t, c.all(api.Register), 1)
	})
}

func TestReads_open_no_session(t *testing.T) {
	play(t, []part{leads}, func(t *testing.T, c *cast) {
		_, _, err := c.Get(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, []string{"n1"}, c.told(""))
	})
}

func TestWrites_at_once_open_one_session(t *testing.T) {
	play(t, []part{late(time.Second/2, leads)}, func(t *testing.T, c *cast) {
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() { require.NoError(t, c.Put(t.Context(), "k", "v")) })
		}
		all.Wait()
		require.Len(t, c.all(api.Register), 1)
		seqs := map[uint64]bool{}
		for _, h := range c.all(api.Put) {
			seqs[h.Seq] = true
		}
		require.Len(t, seqs, 64)
	})
}

func TestWrite_whose_answer_is_lost_is_sent_elsewhere_as_the_same(t *testing.T) {
	for _, lost := range []part{
		silent, hungUp, late(2*time.Second, leads), refuses(api.Timeout), refuses("new_in_a_later_version"),
		func(api.Request) *api.Response { return &api.Response{} }, // no answer to an append
	} {
		play(t, []part{inTurn(leads, lost), leads}, func(t *testing.T, c *cast) {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			length, err := c.Append(t.Context(), "k", "v")
			require.NoError(t, err)
			require.Equal(t, 1, length)
			require.Equal(t, []string{"n1", "n2"}, c.told(api.Append))
			both := c.all(api.Append)
			require.Equal(t, []tag{{7, 2, 2}, {7, 2, 2}}, tags(both))
			require.NotEqual(t, both[0].ID, both[1].ID)
			require.Equal(t, "v", *both[1].Value)
		})
	}
}

func TestRetry_gets_the_answer_that_the_first_try_would_have_got(t *testing.T) {
	m := newMachine()
	play(t, []part{nil, follows("n2")}, func(t *testing.T, c *cast) {
		c.cast("n1", func(r api.Request) *api.Response {
			resp := m.leads(r)
			if r.Op != api.Register {
				c.cast("n2", m.leads)
				c.cast("n1", nil) // it is carried out, and the leader dies
			}
			return resp
		})
		swapped, _, err := c.CAS(t.Context(), "k", nil, "v")
		require.NoError(t, err)
		require.True(t, swapped, "the second time it would not be")
		require.Equal(t, []string{"n1", "n2"}, c.told(api.CAS))
		require.Equal(t, "v", m.value("k"))
	})
}

func TestLate_answer_to_an_earlier_try_is_ignored(t *testing.T) {
	says := func(d time.Duration, length int) part {
		return late(d, func(api.Request) *api.Response { return &api.Response{Length: &length} })
	}
	play(t, []part{inTurn(says(1200*time.Millisecond, 1), says(500*time.Millisecond, 2)), nil}, func(t *testing.T, c *cast) {
		length, err := c.Append(t.Context(), "k", "v") // the first answer comes while it waits for the second
		require.NoError(t, err)
		require.Equal(t, 2, length)
	})
}

// Requests, answers and whole connections get lost, the leader changes, and everything is done once.
func TestEverything_is_done_once_whatever_is_lost(t *testing.T) {
	const clients, appends = 64, 20
	m := newMachine()
	var mu sync.Mutex
	chance := rand.New(rand.NewPCG(1, 0))
	leader := "n1"
	drawn := func(name string) part {
		return func(r api.Request) *api.Response {
			mu.Lock()
			n, led := chance.IntN(100), leader
			if n == 0 {
				leader = names[chance.IntN(len(names))]
			}
			mu.Unlock()
			time.Sleep(time.Duration(n) * time.Millisecond / 10)
			switch {
			case r.Writes() && led != name:
				return follows(led)(r)
			case n < 5:
				return nil // the request is lost
			case n < 8:
				return hangsUp
			case n < 13:
				return m.loses(r)
			case n < 16:
				m.leads(r)
				return hangsUp
			case n < 20:
				m.leads(r)
				return late(time.Second, m.leads)(r) // it comes twice, and the answer late
			}
			return m.leads(r)
		}
	}
	var parts []part
	for _, name := range names {
		parts = append(parts, drawn(name))
	}
	play(t, parts, func(t *testing.T, c *cast) {
		c.intN = seeded(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				key := string('a' + rune(i%4))
				for range appends {
					before, _, err := c.Get(ctx, key)
					require.NoError(t, err)
					length, err := c.Append(ctx, key, "x")
					require.NoError(t, err)
					require.Greater(t, length, len(before))
					after, _, err := c.Get(ctx, key)
					require.NoError(t, err)
					require.GreaterOrEqual(t, len(after), length)
				}
			})
		}
		all.Wait()
		for _, key := range []string{"a", "b", "c", "d"} {
			require.Equal(t, strings.Repeat("x", clients/4*appends), m.value(key))
		}
		require.Greater(t, len(c.all(api.Append)), clients*appends*11/10, "something was lost")
	})
}

func TestWrite_that_may_have_happened_is_never_said_not_to_have(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts []part
		code  string
	}{
		{"lost once and then refused by all", []part{inTurn(silent, refuses(api.Unavailable))}, api.Timeout},
		{"refused by all and lost once", []part{inTurn(refuses(api.Unavailable), hungUp, refuses(api.Unavailable))}, api.Timeout},
		{"of a later version and then refused", []part{inTurn(refuses("new"), refuses(api.Unavailable))}, api.Timeout},
		{"always refused", []part{inTurn(refuses(api.Unavailable))}, api.Unavailable},
		{"always elsewhere", []part{inTurn(refuses(api.NotLeader))}, api.NotLeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, c.parts, func(t *testing.T, p *cast) {
				err := p.Put(t.Context(), "k", "v")
				requireError(t, c.code, err)
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

// One server refuses for good what another has taken: it may be of another version, or the line is longer this time.
func TestWrite_that_is_refused_for_good_may_have_happened_before(t *testing.T) {
	for _, code := range []string{api.BadRequest, api.UnknownOp, api.TooLarge} {
		play(t, []part{inTurn(refuses(code)), nil}, func(t *testing.T, c *cast) {
			requireError(t, code, c.Put(t.Context(), "k", "v"))
		})
		play(t, []part{inTurn(hungUp, refuses(code)), nil}, func(t *testing.T, c *cast) {
			err := c.Put(t.Context(), "k", "v")
			require.EqualError(t, err, "timeout: as the play has it; what became of an earlier try, nobody knows")
		})
	}
}

func TestWrite_without_a_session_was_not_sent(t *testing.T) {
	for _, p := range []part{silent, hungUp, nil, refuses(api.Timeout), refuses(api.Unavailable), refuses(api.UnknownOp)} {
		play(t, []part{p}, func(t *testing.T, c *cast) {
			requireError(t, api.Unavailable, c.Put(t.Context(), "k", "v"))
			require.Empty(t, c.all(api.Put))
		})
	}
}

func TestWrite_does_not_wait_longer_than_its_time_for_another_to_open_a_session(t *testing.T) {
	play(t, []part{silent}, func(t *testing.T, c *cast) {
		c.putting(t, "k")
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Put(ctx, "k", "v")
		requireError(t, api.Unavailable, err)
		require.EqualError(t, err, "unavailable: not sent: there was no session yet: the time was up")
		require.Equal(t, 2*time.Second, time.Since(c.began))
	})
}

// expires opens sessions 1, 2, 3 and so on, of which none but the last is known.
func expires() part {
	var mu sync.Mutex
	last := uint64(0)
	return func(r api.Request) *api.Response {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Op == api.Register:
			last++
			return &api.Response{Session: last}
		case r.Session != 0 && r.Session != last || last == 1:
			return refuses(api.SessionExpired)(r)
		}
		return leads(r)
	}
}

func TestSession_that_expired_is_replaced_where_nothing_can_have_happened(t *testing.T) {
	play(t, []part{refuses(api.Unavailable), expires(), nil}, func(t *testing.T, c *cast) {
		require.NoError(t, c.Put(t.Context(), "k", "v")) // n1 refuses, which does no harm
		require.Equal(t, []tag{{1, 1, 1}, {2, 1, 1}}, tags(c.all(api.Put)))
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, tag{2, 2, 2}, tags(c.all(api.Put))[2])
		require.LessOrEqual(t, time.Since(c.began), 2*firstPause)
	})
}

func TestSession_that_expired_leaves_a_retry_unknown(t *testing.T) {
	for _, lost := range []part{silent, hungUp, refuses(api.Timeout)} {
		play(t, []part{inTurn(lost, refuses(api.SessionExpired), leads), nil}, func(t *testing.T, c *cast) {
			err := c.Put(t.Context(), "k", "v")
			var e *api.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, api.SessionExpired, e.Code)
			require.False(t, e.Definite())
			require.ErrorContains(t, err, "whether an earlier one was, nobody knows")
			require.Len(t, c.all(api.Put), 2)

			require.NoError(t, c.Put(t.Context(), "k", "v"))
			require.Len(t, c.all(api.Register), 2, "the next write has a new one")
			require.Equal(t, uint64(1), c.all(api.Put)[2].Seq)
		})
	}
}

func TestSessions_that_all_expire_end_in_time(t *testing.T) {
	play(t, []part{inTurn(refuses(api.SessionExpired))}, func(t *testing.T, c *cast) {
		requireError(t, api.Unavailable, c.Put(t.Context(), "k", "v"))
		require.Equal(t, callTimeout, time.Since(c.began))
		require.Less(t, len(c.all("")), 100)
	})
}

func TestDone_is_the_oldest_write_that_still_waits(t *testing.T) {
	play(t, []part{inTurn(late(900*time.Millisecond, leads), leads), nil}, func(t *testing.T, c *cast) {
		first := c.putting(t, "slow")
		time.Sleep(time.Millisecond)
		for range 2 {
			require.NoError(t, c.Put(t.Context(), "quick", "v"))
		}
		require.NoError(t, (<-first).err)
		require.NoError(t, c.Put(t.Context(), "quick", "v"))
		require.Equal(t, []tag{{7, 1, 1}, {7, 2, 1}, {7, 3, 1}, {7, 4, 4}}, tags(c.all(api.Put)))
	})
}

func TestDone_moves_on_with_a_write_that_was_given_up(t *testing.T) {
	play(t, []part{func(r api.Request) *api.Response {
		if r.Seq == 1 {
			return nil
		}
		return leads(r)
	}, nil}, func(t *testing.T, c *cast) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		requireError(t, api.Timeout, c.Put(ctx, "k", "v"))
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		puts := tags(c.all(api.Put))
		require.Equal(t, tag{7, 2, 2}, puts[len(puts)-1])
	})
}

// So the servers never have to keep more than so many answers of one session.
func TestWrites_of_a_session_stay_near_to_the_oldest(t *testing.T) {
	var mu sync.Mutex
	stuck := true
	play(t, []part{func(r api.Request) *api.Response {
		mu.Lock()
		defer mu.Unlock()
		if r.Seq == 1 && stuck {
			return nil
		}
		return leads(r)
	}, nil}, func(t *testing.T, c *cast) {
		var calls []<-chan result
		for range 2 * window {
			calls = append(calls, c.putting(t, "k"))
			time.Sleep(time.Microsecond)
		}
		time.Sleep(time.Second / 2)
		highest := uint64(0)
		for _, h := range c.all(api.Put) {
			highest = max(highest, h.Seq)
		}
		require.Equal(t, uint64(window), highest)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Put(ctx, "k", "v") // it waits no longer than its time
		requireError(t, api.Unavailable, err)
		require.EqualError(t, err, "unavailable: not sent: too many writes wait for their answers: the time was up")

		mu.Lock()
		stuck = false
		mu.Unlock()
		for _, call := range calls {
			require.NoError(t, (<-call).err)
		}
		for _, h := range c.all(api.Put) {
			require.Less(t, h.Seq-h.Done, uint64(window))
		}
	})
}
