package client

import (
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/stage7-membership/api"
)

// belongs is the part of a server that leads, and says who the members are when it is asked.
func belongs(members ...string) part {
	return func(r api.Request) *api.Response {
		if r.Op != api.Members {
			return leads(r)
		}
		return tells(leads, members...)(r)
	}
}

// tells is that of one that says it beside every answer.
func tells(p part, members ...string) part {
	return func(r api.Request) *api.Response {
		resp := &api.Response{}
		if r.Op != api.Members {
			resp = p(r)
		}
		resp.Members = []api.Member{}
		for _, m := range members {
			resp.Members = append(resp.Members, api.Member{ID: m, Client: m, State: api.Voter})
		}
		return resp
	}
}

// knows are the servers that a client knows, in order.
func (c *cast) knows() (addrs []string) {
	synctest.Wait()
	for _, n := range c.known() {
		addrs = append(addrs, n.addr)
	}
	slices.Sort(addrs)
	return addrs
}

func TestClient_learns_who_the_members_are_and_outlives_all_with_whom_it_began(t *testing.T) {
	play(t, []part{belongs("n1", "n2"), nil, nil, nil, nil}, func(t *testing.T, c *cast) {
		c.greet = c.inquire
		c.nodes = c.nodes[:1]
		for i := range len(names) - 1 { // n1 is replaced by n2, that by n3, and so on, with no time in between
			here, next := names[i], names[i+1]
			c.cast(here, belongs(here, next))
			c.cast(next, belongs(next))
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			c.cast(here, tells(belongs(here, next), here, next))
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			require.Subset(t, c.knows(), []string{next})
			c.cast(here, nil)
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			require.Equal(t, []string{next}, c.knows(), "and no other")
		}
	})
}

func TestClient_asks_for_the_members_once_a_connection_and_is_told_when_they_are_others(t *testing.T) {
	play(t, []part{belongs("n1", "n2", "n3")}, func(t *testing.T, c *cast) {
		c.greet = c.inquire
		for range 10 {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
		}
		require.Equal(t, []string{"n1", "n2", "n3"}, c.knows())
		require.Equal(t, []string{"n1"}, c.told(api.Members))
		c.cast("n1", tells(leads, "n1"))
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n1"}, c.knows())
		require.Equal(t, []string{"n1"}, c.told(api.Members))
		c.cast("n1", nil)
		c.cast("n1", belongs("n1", "n2"))
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n1", "n2"}, c.knows())
		require.Equal(t, []string{"n1", "n1"}, c.told(api.Members), "and once on the next connection")
	})
}

func TestClient_does_not_believe_who_was_removed(t *testing.T) {
	at := func(index uint64, p part) part {
		return func(r api.Request) *api.Response {
			resp := p(r)
			resp.Index = index
			return resp
		}
	}
	play(t, []part{at(7, belongs("n1", "n2", "n3"))}, func(t *testing.T, c *cast) {
		c.greet = c.inquire
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n1", "n2", "n3"}, c.knows())
		c.cast("n1", at(6, tells(leads, "n4")))
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n1", "n2", "n3"}, c.knows())
		c.cast("n1", at(7, tells(leads, "n4")))
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n4"}, c.knows(), "this is as new")
	})
}

func TestClient_that_is_told_of_no_members_keeps_those_it_knows(t *testing.T) {
	play(t, []part{belongs()}, func(t *testing.T, c *cast) {
		c.greet = c.inquire
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, names, c.knows())
	})
}

func TestClient_hangs_up_on_who_is_no_member(t *testing.T) {
	play(t, []part{leads}, func(t *testing.T, c *cast) {
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, "n1", c.leader.addr)
		c.cast("n1", tells(leads, "n2"))
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n2"}, c.knows())
		require.Nil(t, c.leader, "who led is none")
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n1", "n1", "n2"}, c.told(api.Put))
	})
}

func TestCall_that_finds_its_server_gone_goes_elsewhere_and_leaves_no_connection(t *testing.T) {
	play(t, []part{leads}, func(t *testing.T, c *cast) {
		gone := c.nodes[1]
		c.meet(api.Response{Members: []api.Member{{ID: "n1", Client: "n1", State: api.Voter}}})
		synctest.Wait()
		_, err := gone.try(t.Context(), api.Request{Op: api.Status})
		require.ErrorIs(t, err, errNoMember)
		require.EqualError(t, err, "unavailable: no connection to n2: the server is no member any more")
		require.Empty(t, c.heard)
	})
}

func TestRequest_about_one_server_goes_to_the_first_be_it_a_member_or_not(t *testing.T) {
	play(t, []part{leads}, func(t *testing.T, c *cast) {
		status := func() {
			_, err := c.Do(t.Context(), api.Request{Op: api.Status})
			require.NoError(t, err)
		}
		status()
		c.meet(*tells(leads, "n3", "n2")(api.Request{}))
		require.Equal(t, []string{"n2", "n3"}, c.knows())
		status()
		c.cast("n1", nil)
		synctest.Wait()
		c.cast("n1", leads)
		status() // on a new connection
		c.meet(*tells(leads, "n2", "n1")(api.Request{}))
		status()
		c.meet(*tells(leads, "n2")(api.Request{}))
		require.Equal(t, []string{"n2"}, c.knows())
		status()
		require.Equal(t, slices.Repeat([]string{"n1"}, 5), c.told(api.Status))
	})
}

func TestChange_that_was_given_up_is_not_asked_for_again(t *testing.T) {
	play(t, []part{follows("n3"), silent, refuses(api.NotLevel)}, func(t *testing.T, c *cast) {
		_, err := c.Do(t.Context(), api.Request{Op: api.Change, Value: new("+n9=a:1/b:1")})
		var refused *api.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, api.NotLevel, refused.Code)
		require.True(t, refused.Definite())
		require.Equal(t, []string{"n1", "n3"}, c.told(api.Change))
	})
}

func TestChange_that_may_go_on_is_never_said_not_to(t *testing.T) {
	for _, r := range []api.Request{{Op: api.Change, Value: new("+n9=a:1/b:1")}, {Op: api.Transfer, Key: "n2"}} {
		for _, first := range []part{refuses(api.Timeout), silent, hungUp} {
			play(t, []part{inTurn(first, refuses(api.Unavailable)), follows("n1")}, func(t *testing.T, c *cast) {
				_, err := c.Do(t.Context(), r)
				requireError(t, api.Timeout, err)
			})
		}
	}
}

func TestChange_that_is_refused_may_go_on_if_an_earlier_try_does(t *testing.T) {
	for _, r := range []api.Request{{Op: api.Change, Value: new("+n9=a:1/b:1")}, {Op: api.Transfer, Key: "n2"}} {
		for _, code := range []string{api.BadRequest, api.TooLarge, api.NotLevel} {
			play(t, []part{inTurn(hungUp, refuses(code)), follows("n1")}, func(t *testing.T, c *cast) {
				_, err := c.Do(t.Context(), r)
				requireError(t, api.Timeout, err)
				require.EqualError(t, err, "timeout: as the play has it; what became of an earlier try, nobody knows")
			})
		}
	}
}

// Whoever leads waits until a new member is level. It must not begin anew just when that is given up.
func TestChange_has_half_of_the_time_at_the_leader(t *testing.T) {
	play(t, []part{follows("n3"), silent, late(2*time.Second, refuses(api.NotLevel))}, func(t *testing.T, c *cast) {
		_, err := c.Do(t.Context(), api.Request{Op: api.Change, Value: new("+n9=a:1/b:1")})
		requireError(t, api.NotLevel, err)
		require.Equal(t, []string{"n1", "n3"}, c.told(api.Change))
		require.EqualValues(t, 4500, c.heard[len(c.heard)-1].TimeoutMS)
	})
}

func TestChange_is_asked_for_until_somebody_leads(t *testing.T) {
	play(t, []part{refuses(api.Unavailable), belongs("n1", "n2")}, func(t *testing.T, c *cast) {
		_, err := c.Do(t.Context(), api.Request{Op: api.Transfer, Key: "n2"})
		require.NoError(t, err)
	})
}

func TestMembers_are_asked_of_anybody_who_need_not_lead_for_that(t *testing.T) {
	play(t, []part{tells(follows("n2"), "n1", "n2"), tells(leads, "n1", "n2")}, func(t *testing.T, c *cast) {
		ask := func() {
			_, err := c.Do(t.Context(), api.Request{Op: api.Members})
			require.NoError(t, err)
		}
		ask()
		require.Nil(t, c.leader)
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		ask()
		require.Equal(t, []string{"n1", "n1"}, c.told(api.Members))
		require.Equal(t, "n2", c.leader.addr)
	})
}

func TestMembers_are_in_an_answer_though_there_are_none(t *testing.T) {
	line, err := json.Marshal(api.Response{ID: 1, OK: true, Members: []api.Member{}})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":1,"ok":true,"members":[]}`, string(line))
}
