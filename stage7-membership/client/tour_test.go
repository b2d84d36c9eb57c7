package client

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/stage7-membership/api"
)

func TestReads_that_may_be_outdated_go_to_all_servers_and_all_else_to_the_leader_alone(t *testing.T) {
	play(t, []part{follows("n4"), follows("n4"), follows("n4"), leads, follows("n4")}, func(t *testing.T, c *cast) {
		c.intN = seeded(1)
		require.NoError(t, c.Put(t.Context(), "k", "v")) // and now it knows
		for range 100 {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
		}
		require.Equal(t, slices.Repeat([]string{"n4"}, 101), c.told(api.Put))
		for range 100 {
			_, err := c.Do(t.Context(), api.Request{Op: api.List})
			require.NoError(t, err)
		}
		require.Equal(t, slices.Repeat([]string{"n4"}, 100), c.told(api.List))
		c.MaxStaleness = time.Second
		for range 1000 {
			_, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
		}
		at := map[string]int{}
		for _, name := range c.told(api.Get) {
			at[name]++
		}
		for _, name := range names {
			require.InDelta(t, 200, at[name], 50, name)
		}
	})
}

func TestClients_begin_with_different_servers(t *testing.T) {
	first := map[string]bool{}
	for range 100 { // by the randomness of a real client: that none is first in 100 has a chance of 1 in 10^9
		play(t, []part{leads}, func(t *testing.T, c *cast) {
			c.intN = New("n1").intN
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			first[c.told("")[0]] = true
		})
	}
	require.Len(t, first, len(names))
}

func TestWrite_follows_a_redirect(t *testing.T) {
	play(t, []part{follows("n4"), silent, silent, leads, silent}, func(t *testing.T, c *cast) {
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n1", "n4"}, c.told(api.Register))
		require.Equal(t, []string{"n4"}, c.told(api.Put))
		require.Zero(t, time.Since(c.began))
	})
}

func TestRead_of_all_that_is_committed_finds_the_leader_and_remembers_it(t *testing.T) {
	play(t, []part{follows("n4"), silent, silent, leads, silent}, func(t *testing.T, c *cast) {
		for range 2 {
			_, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
		}
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n1", "n4", "n4"}, c.told(api.Get))
		require.Equal(t, []string{"n4"}, c.told(api.Register))
		require.Zero(t, time.Since(c.began))
	})
}

func TestRead_that_may_be_outdated_says_nothing_of_who_leads(t *testing.T) {
	play(t, []part{leads, leads, leads, leads, leads}, func(t *testing.T, c *cast) {
		c.MaxStaleness = time.Second
		_, _, err := c.Get(t.Context(), "k")
		require.NoError(t, err)
		require.Nil(t, c.leader)
	})
}

func TestRead_goes_on_when_the_leader_leads_no_more(t *testing.T) {
	play(t, []part{leads, leads, refuses(api.Unavailable)}, func(t *testing.T, c *cast) {
		_, _, err := c.Get(t.Context(), "k")
		require.NoError(t, err)
		c.cast("n1", refuses(api.Unavailable))
		for range 2 {
			_, _, err = c.Get(t.Context(), "k")
			require.NoError(t, err)
		}
		require.Equal(t, []string{"n1", "n1", "n2", "n2"}, c.told(api.Get))
	})
}

func TestWrite_asks_the_next_where_nobody_knows_the_leader(t *testing.T) {
	for _, code := range []string{api.Unavailable, api.NotLeader} {
		play(t, []part{refuses(code), refuses(code), leads, silent}, func(t *testing.T, c *cast) {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			require.Equal(t, []string{"n1", "n2", "n3"}, c.told(api.Register))
			require.Equal(t, []string{"n3"}, c.told(api.Put), "who took one leads")
			require.Len(t, c.nodes, len(names))
		})
	}
}

func TestWrite_follows_a_redirect_to_a_server_that_nobody_had_named(t *testing.T) {
	play(t, []part{follows("n4"), nil, nil, leads, nil}, func(t *testing.T, c *cast) {
		alone := New("n1")
		alone.dial = c.network.DialContext
		defer alone.Close()
		require.NoError(t, alone.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n4"}, c.told(api.Put))
	})
}

func TestRedirects_make_a_client_know_a_bounded_number_of_servers(t *testing.T) {
	var mu sync.Mutex
	n := 0
	elsewhere := func(r api.Request) *api.Response {
		mu.Lock()
		defer mu.Unlock()
		n++
		return follows(fmt.Sprintf("x%d", n))(r)
	}
	play(t, []part{elsewhere}, func(t *testing.T, c *cast) {
		requireError(t, api.Unavailable, c.Put(t.Context(), "k", "v"))
		require.Len(t, c.nodes, maxNodes)
	})
}

func TestRedirects_in_a_circle_end_in_time(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts []part
	}{
		{"two name each other", []part{follows("n2"), follows("n1")}},
		{"five in a ring", []part{follows("n2"), follows("n3"), follows("n4"), follows("n5"), follows("n1")}},
		{"each names itself", []part{follows("n1"), follows("n2"), follows("n3"), follows("n4"), follows("n5")}},
		{"all name nobody", []part{follows("")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var parts []part
			for _, p := range c.parts {
				parts = append(parts, late(time.Millisecond, p))
			}
			play(t, parts, func(t *testing.T, c *cast) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				err := c.Put(ctx, "k", "v")
				requireError(t, api.Unavailable, err)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, 5*time.Second, time.Since(c.began))
				require.Less(t, len(c.all("")), 20*len(names), "it backs off")
			})
		})
	}
}

func TestWrite_leaves_a_circle_for_the_leader(t *testing.T) {
	play(t, []part{follows("n2"), follows("n1"), follows("n1"), follows("n2"), leads}, func(t *testing.T, c *cast) {
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n1", "n2", "n3", "n4", "n5"}, c.told(api.Register))
		require.Zero(t, time.Since(c.began))
	})
}

// A server that takes no part in anything costs a call its share: half of the time by five, and never more than a
// second.
func TestServer_that_does_not_answer_costs_its_share_at_most(t *testing.T) {
	for _, c := range []struct {
		name  string
		part  part
		costs bool
	}{
		{"it says nothing", silent, true},
		{"it cannot be reached", nil, true},
		{"it refuses connections", nil, false},
		{"it hangs up", hungUp, false},
	} {
		for _, limit := range []struct{ call, share time.Duration }{
			{time.Second, 100 * time.Millisecond},
			{5 * time.Second, 500 * time.Millisecond},
			{time.Hour, longestTry},
		} {
			t.Run(fmt.Sprintf("%s/%s", c.name, limit.call), func(t *testing.T) {
				play(t, []part{c.part, follows("n5"), follows("n5"), follows("n5"), leads}, func(t *testing.T, p *cast) {
					if c.name == "it cannot be reached" {
						p.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
							if addr == "n1" {
								<-ctx.Done()
								return nil, ctx.Err()
							}
							return p.network.DialContext(ctx, network, addr)
						}
					}
					want := time.Duration(0)
					if c.costs {
						want = limit.share
					}
					ctx, cancel := context.WithTimeout(t.Context(), limit.call)
					defer cancel()
					require.NoError(t, p.Put(ctx, "k", "v"))
					require.Equal(t, want, time.Since(p.began))

					p.leader = nil // or a read would not care
					began := time.Now()
					ctx, cancel = context.WithTimeout(t.Context(), limit.call)
					defer cancel()
					_, _, err := p.Get(ctx, "k")
					require.NoError(t, err)
					require.Equal(t, want, time.Since(began))
				})
			})
		}
	}
}

func TestLast_server_is_asked_before_half_of_the_time_is_over(t *testing.T) {
	play(t, []part{silent, silent, silent, silent, leads}, func(t *testing.T, c *cast) {
		_, _, err := c.Get(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, 4*time.Second, time.Since(c.began))
	})
}

func TestServer_is_told_a_time_that_ends_before_the_client_leaves(t *testing.T) {
	play(t, []part{leads}, func(t *testing.T, c *cast) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.NoError(t, c.Put(ctx, "k", "v"))
		for _, h := range c.all("") {
			require.Equal(t, uint64(450), h.TimeoutMS, h.Op)
		}
	})
}

func TestWrite_waits_until_somebody_leads(t *testing.T) {
	for seed := range uint64(20) {
		play(t, []part{late(time.Millisecond, refuses(api.Unavailable))}, func(t *testing.T, c *cast) {
			c.intN = seeded(seed)
			time.AfterFunc(2*time.Second, func() { c.cast("n3", late(time.Millisecond, leads)) })
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			require.Greater(t, time.Since(c.began), 2*time.Second)
			require.Less(t, time.Since(c.began), 2*time.Second+maxPause+20*time.Millisecond)
			require.Less(t, len(c.all("")), 40*len(names))
		})
	}
}

func TestClient_may_be_there_before_all_servers(t *testing.T) {
	play(t, []part{nil}, func(t *testing.T, c *cast) {
		call := whole(t.Context(), c.Client, "k")
		time.Sleep(3 * time.Second)
		c.cast("n2", leads)
		got := <-call
		require.NoError(t, got.err)
		require.LessOrEqual(t, got.after, 3*time.Second+maxPause)
	})
}

func TestClient_finds_a_new_leader(t *testing.T) {
	for _, c := range []struct {
		name string
		old  part
		cost time.Duration
	}{
		{"the old one knows", follows("n2"), 0},
		{"the old one knows of none", refuses(api.Unavailable), 0},
		{"the old one is dead", nil, 0},
		{"the old one hangs up", hungUp, 0},
		{"the old one is silent", silent, longestTry},
		{"the old one has no majority", late(900*time.Millisecond, refuses(api.Timeout)), 900 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, []part{leads, follows("n1")}, func(t *testing.T, p *cast) {
				require.NoError(t, p.Put(t.Context(), "k", "1"))
				require.Equal(t, []string{"n1"}, p.told(api.Put))
				p.cast("n1", c.old)
				p.cast("n2", leads) // of which the others have not heard
				require.NoError(t, p.Put(t.Context(), "k", "2"))
				require.Equal(t, c.cost, time.Since(p.began))
				require.NoError(t, p.Put(t.Context(), "k", "3"))
				require.Equal(t, c.cost, time.Since(p.began), "it is remembered")
				require.Equal(t, "n2", p.told(api.Put)[len(p.told(api.Put))-1])
			})
		})
	}
}

func TestLeader_that_failed_is_not_asked_first_for_ever(t *testing.T) {
	for _, p := range []part{silent, nil, refuses(api.Unavailable)} {
		play(t, []part{leads, refuses(api.Unavailable)}, func(t *testing.T, c *cast) {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			c.cast("n1", p)
			c.intN = func(n int) int { return n - 1 }
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.Error(t, c.Put(ctx, "k", "v"))
			c.cast("n5", leads)
			before := len(c.told(api.Put))
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			require.Equal(t, []string{"n5"}, c.told(api.Put)[before:])
		})
	}
}

func TestClient_outlives_a_time_without_a_majority(t *testing.T) {
	m := newMachine()
	play(t, []part{m.leads, follows("n1")}, func(t *testing.T, c *cast) {
		require.NoError(t, c.Put(t.Context(), "k", ""))
		c.cast("n1", late(900*time.Millisecond, refuses(api.Timeout)))
		var calls []<-chan result
		for range 100 {
			calls = append(calls, background(func() (string, error) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				_, err := c.Append(ctx, "k", "x")
				return "", err
			}))
		}
		for _, call := range calls {
			requireError(t, api.Timeout, (<-call).err)
		}
		c.cast("n1", m.leads)
		for range 100 {
			_, err := c.Append(t.Context(), "k", "y")
			require.NoError(t, err)
		}
		require.Equal(t, strings.Repeat("y", 100), m.value("k"))
	})
}

// What a server says about a request itself would be said by all.
func TestRequest_that_is_refused_for_what_it_is_is_sent_once(t *testing.T) {
	for _, code := range []string{api.BadRequest, api.UnknownOp, api.TooLarge} {
		for _, r := range []api.Request{{Op: api.Get, Key: "k"}, {Op: api.Append, Key: "k", Value: new("v")}} {
			play(t, []part{inTurn(refuses(code), leads)}, func(t *testing.T, c *cast) {
				_, err := c.Do(t.Context(), r)
				requireError(t, code, err)
				require.EqualError(t, err, code+": as the play has it")
				require.Len(t, c.all(r.Op), 1)
				require.Zero(t, time.Since(c.began))
			})
		}
	}
}

func TestRead_is_tried_again_whatever_became_of_it(t *testing.T) {
	for _, p := range []part{
		silent, hungUp, nil, refuses(api.Unavailable), refuses(api.NotLeader), refuses(api.Stale), refuses(api.Timeout),
		refuses("new_in_a_later_version"), func(api.Request) *api.Response { return &api.Response{} }, // no answer to a get
	} {
		play(t, []part{p, leads}, func(t *testing.T, c *cast) {
			got := <-whole(t.Context(), c.Client, "k")
			require.NoError(t, got.err)
			require.Equal(t, "v", got.value)
			require.LessOrEqual(t, got.after, longestTry)
		})
	}
}

func TestCall_connects_again_when_a_server_is_back(t *testing.T) {
	play(t, []part{leads, nil}, func(t *testing.T, c *cast) {
		for range 20 {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			_, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
			c.cast("n1", nil)
			time.AfterFunc(time.Second, func() { c.cast("n1", leads) })
		}
	})
}

func TestClient_has_one_connection_to_each_server(t *testing.T) {
	play(t, []part{leads}, func(t *testing.T, c *cast) {
		c.intN = seeded(1)
		c.MaxStaleness = time.Second // or it would ask the leader alone
		var mu sync.Mutex
		dialled := map[string]int{}
		c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			dialled[addr]++
			mu.Unlock()
			time.Sleep(time.Millisecond)
			return c.network.DialContext(ctx, network, addr)
		}
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for range 20 {
					_, _, err := c.Get(t.Context(), "k")
					require.NoError(t, err)
				}
			})
		}
		all.Wait()
		require.Equal(t, map[string]int{"n1": 1, "n2": 1, "n3": 1, "n4": 1, "n5": 1}, dialled)
	})
}

func TestOrder_to_one_server_goes_to_the_first_once(t *testing.T) {
	orders := []api.Request{{Op: api.Status}, {Op: api.Lead}, {Op: api.Log}, {Op: api.Trace, Value: new("on")}}
	for _, r := range orders {
		play(t, []part{leads}, func(t *testing.T, c *cast) {
			c.intN = func(n int) int { return n - 1 }
			_, err := c.Do(t.Context(), r)
			require.NoError(t, err)
			require.Equal(t, []string{"n1"}, c.told(""))
		})
		play(t, []part{hungUp, leads}, func(t *testing.T, c *cast) {
			_, err := c.Do(t.Context(), r)
			requireError(t, api.Timeout, err)
			require.Equal(t, []string{"n1"}, c.told(""))
		})
		play(t, []part{nil, leads}, func(t *testing.T, c *cast) {
			_, err := c.Do(t.Context(), r)
			requireError(t, api.Unavailable, err)
			require.Zero(t, time.Since(c.began))
		})
	}
}

func TestRead_asks_for_no_less_than_the_client_has_seen(t *testing.T) {
	indexes := []uint64{5, 9, 3, 12}
	var answers []part
	for _, index := range indexes {
		answers = append(answers, func(r api.Request) *api.Response {
			resp := leads(r)
			resp.Index = index
			return resp
		})
	}
	play(t, []part{inTurn(answers...), nil}, func(t *testing.T, c *cast) {
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		for range 3 {
			_, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
		}
		_, err := c.Do(t.Context(), api.Request{Op: api.List})
		require.NoError(t, err)
		var least []uint64
		for _, h := range slices.Concat(c.all(api.Get), c.all(api.List)) {
			least = append(least, h.MinIndex)
		}
		require.Equal(t, []uint64{5, 9, 9, 12}, least)
	})
}

func TestClient_reads_its_own_writes_wherever_it_asks(t *testing.T) {
	leader, parts := newMachine(), []part{nil}
	var followers []*machine
	for range names[1:] {
		m := newMachine()
		followers = append(followers, m)
		parts = append(parts, m.follows)
	}
	parts[0] = func(r api.Request) *api.Response {
		if r.Writes() {
			time.Sleep(time.Millisecond) // or two writes had one moment, and no order
			for i, m := range followers {
				time.AfterFunc(time.Duration(i)*time.Second, func() { m.leads(r) })
			}
		}
		return leader.leads(r)
	}
	play(t, parts, func(t *testing.T, c *cast) {
		c.intN = seeded(1)
		c.MaxStaleness = time.Hour
		for i := range 50 {
			want := fmt.Sprint(i)
			require.NoError(t, c.Put(t.Context(), "k", want))
			got, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		time.Sleep(time.Minute)
		for _, m := range followers {
			require.Equal(t, "49", m.value("k"))
		}
	})
}

func TestNonsense_does_not_count_as_seen(t *testing.T) {
	nonsense := func(api.Request) *api.Response { return &api.Response{Index: 1 << 60} }
	play(t, []part{inTurn(nonsense, leads), nil}, func(t *testing.T, c *cast) {
		for range 2 {
			_, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
		}
		for _, h := range c.all(api.Get) {
			require.Zero(t, h.MinIndex)
		}
	})
}

func TestStale_server_is_passed_by(t *testing.T) {
	for seed := range uint64(20) {
		play(t, []part{refuses(api.Stale), refuses(api.Stale), refuses(api.Stale), leads, refuses(api.Stale)}, func(t *testing.T, c *cast) {
			c.intN = seeded(seed)
			c.MaxStaleness = 1500 * time.Millisecond
			_, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
			require.Zero(t, time.Since(c.began))
			for _, h := range c.all("") {
				require.Equal(t, new(uint64(1500)), h.MaxStalenessMS)
			}
		})
	}
}

func TestRead_that_no_server_can_answer_freshly_enough_says_so(t *testing.T) {
	play(t, []part{refuses(api.Stale)}, func(t *testing.T, c *cast) {
		c.MaxStaleness = time.Millisecond
		_, _, err := c.Get(t.Context(), "k")
		requireError(t, api.Stale, err)
		require.Equal(t, callTimeout, time.Since(c.began))
	})
}

func TestRead_without_a_bound_asks_for_none(t *testing.T) {
	play(t, []part{leads}, func(t *testing.T, c *cast) {
		for _, c.MaxStaleness = range []time.Duration{0, time.Millisecond - 1} { // that no follower could keep
			_, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
		}
		c.MaxStaleness = time.Second
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		_, err := c.Do(t.Context(), api.Request{Op: api.Get, Key: "k", MaxStalenessMS: new(uint64(0))})
		require.NoError(t, err)
		for _, h := range c.all("")[:4] {
			require.Nil(t, h.MaxStalenessMS, h.Op)
		}
		require.Equal(t, new(uint64(0)), c.all("")[4].MaxStalenessMS, "a bound of the request's own wins")
	})
}

func TestRead_asks_the_leader_last_unless_chance_does_first(t *testing.T) {
	first := 0
	for seed := range uint64(50) {
		play(t, []part{refuses(api.Stale), leads, refuses(api.Stale)}, func(t *testing.T, c *cast) {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			c.MaxStaleness = time.Second
			c.intN = seeded(seed)
			_, _, err := c.Get(t.Context(), "k")
			require.NoError(t, err)
			switch n := len(c.told(api.Get)); n {
			case 1:
				first++
			default:
				require.Equal(t, len(names), n)
			}
		})
	}
	require.InDelta(t, 10, first, 8)
}

func TestPauses_are_random_up_to_a_limit_that_doubles(t *testing.T) {
	play(t, []part{nil}, func(t *testing.T, c *cast) {
		var limits []time.Duration
		c.intN = func(n int) int { limits = append(limits, time.Duration(n)); return n / 2 }
		for round := range 100 {
			began := time.Now()
			require.True(t, c.pause(t.Context(), round))
			require.Equal(t, limits[round]/2, time.Since(began))
		}
		for round, want := range []time.Duration{20, 40, 80, 160, 320, 500, 500} {
			require.Equal(t, want*time.Millisecond, limits[round])
		}
		require.Equal(t, maxPause, limits[99])
	})
}

func TestClients_that_fail_together_do_not_come_back_together(t *testing.T) {
	play(t, []part{refuses(api.Unavailable)}, func(t *testing.T, c *cast) {
		const clients = 20
		var all sync.WaitGroup
		for i := range clients {
			other := New("n1")
			other.dial, other.intN, other.greet = c.network.DialContext, seeded(uint64(i)), c.greet
			t.Cleanup(other.Close)
			all.Go(func() { other.Get(t.Context(), "k") })
		}
		all.Wait()
		at := map[time.Duration]int{}
		for _, h := range c.all("") {
			at[h.when.Truncate(time.Microsecond)]++
		}
		require.Equal(t, clients, at[0])
		delete(at, 0)
		for when, n := range at {
			require.LessOrEqual(t, n, 2, when)
		}
		require.Greater(t, len(at), 20*clients)
	})
}

func TestEnd_of_a_try_and_of_the_call_are_told_apart(t *testing.T) {
	play(t, []part{silent}, func(t *testing.T, c *cast) {
		ctx, interrupt := context.WithCancel(t.Context())
		call := whole(ctx, c.Client, "k")
		time.Sleep(3500 * time.Millisecond) // three tries have ended meanwhile
		interrupt()
		got := <-call
		require.Equal(t, 3500*time.Millisecond, got.after)
		require.ErrorIs(t, got.err, context.Canceled)
		require.NotErrorIs(t, got.err, context.DeadlineExceeded)
		require.Len(t, c.all(api.Get), 4)

		got = <-whole(t.Context(), c.Client, "k")
		require.Equal(t, callTimeout, got.after)
		require.ErrorIs(t, got.err, context.DeadlineExceeded)
	})
}

func TestCall_ends_with_its_context_also_between_two_rounds(t *testing.T) {
	play(t, []part{nil}, func(t *testing.T, c *cast) {
		ctx, interrupt := context.WithCancel(t.Context())
		call := whole(ctx, c.Client, "k")
		time.Sleep(time.Second + time.Millisecond) // in the midst of a pause
		interrupt()
		got := <-call
		require.Equal(t, time.Second+time.Millisecond, got.after)
		require.ErrorIs(t, got.err, context.Canceled)
	})
}

func TestError_says_who_was_asked_and_for_how_long(t *testing.T) {
	for _, c := range []struct {
		parts []part
		says  string
	}{
		{[]part{nil}, "unavailable: not sent, for want of a session: no connection to n1: dial mem n1: connection refused" +
			" (asked n1, n2, n3, n4, n5; after 5s: the time was up)"},
		{[]part{silent}, "unavailable: not sent, for want of a session: no answer" +
			" (asked n1, n2, n3, n4, n5; after 5s: the time was up)"},
		{[]part{inTurn(silent)}, "timeout: no answer: the time was up: it may have happened, or may yet" +
			" (asked n1, n2, n3, n4, n5; after 5s: the time was up)"},
		{[]part{inTurn(late(time.Second/4, refuses(api.Timeout))), follows("n1")}, "timeout: as the play has it" +
			" (asked n1, n2, n3, n4, n5; after 5s: the time was up)"},
		{[]part{inTurn(refuses(api.Unavailable))}, "unavailable: as the play has it" +
			" (asked n1, n2, n3, n4, n5; after 5s: the time was up)"},
		{[]part{inTurn(refuses(api.Unavailable)), follows("n1")}, "unavailable: as the play has it" +
			" (asked n1, n2, n3, n4, n5; after 5s: the time was up)"},
	} {
		play(t, c.parts, func(t *testing.T, p *cast) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			require.EqualError(t, p.Put(ctx, "k", "v"), c.says)
			require.Equal(t, 5*time.Second, time.Since(p.began))
		})
	}
}

func TestClose_ends_every_call_of_a_cluster(t *testing.T) {
	for _, c := range []struct {
		name   string
		parts  []part
		hinder func(c *cast)
	}{
		{"between two rounds", []part{nil}, nil},
		{"while a session is opened", []part{silent}, nil},
		{"while it waits for another to open a session", []part{silent}, func(c *cast) { c.putting(c.t, "k") }},
		{"while it waits for older writes", []part{inTurn(silent), follows("n1")}, func(c *cast) {
			for range window {
				c.putting(c.t, "k")
			}
		}},
		{"while it waits for the answer", []part{inTurn(silent)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, c.parts, func(t *testing.T, p *cast) {
				if c.hinder != nil {
					c.hinder(p)
				}
				synctest.Wait()
				call := p.putting(t, "k")
				time.Sleep(time.Millisecond)
				p.Close()
				got := <-call
				require.ErrorIs(t, got.err, errClosed)
				require.Equal(t, time.Millisecond, got.after)
				err := p.Put(t.Context(), "k", "v")
				requireError(t, api.Unavailable, err)
				require.ErrorIs(t, err, errClosed)
			})
		})
	}
}
