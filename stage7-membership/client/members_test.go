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

// belongs is the part of a server that leads, and says who the members are.
func belongs(members ...string) part {
	return func(r api.Request) *api.Response {
		if r.Op != api.Members {
			return leads(r)
		}
		resp := &api.Response{ID: r.ID, OK: true, Members: []api.Member{}}
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
		c.learnt = time.Time{}
		c.nodes = c.nodes[:1]
		for i := range len(names) - 1 { // n1 is replaced by n2, that by n3, and so on
			here, next := names[i], names[i+1]
			c.cast(here, belongs(here, next))
			c.cast(next, belongs(next))
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			require.Equal(t, []string{here, next}, c.knows())
			c.cast(here, nil)
			time.Sleep(2 * membersAge)
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			require.Equal(t, []string{next}, c.knows(), "and no other")
			time.Sleep(2 * membersAge)
		}
	})
}

func TestClient_asks_for_the_members_now_and_then(t *testing.T) {
	play(t, []part{belongs(names...)}, func(t *testing.T, c *cast) {
		c.learnt = time.Time{}
		time.Sleep(10 * membersAge)
		require.Empty(t, c.told(api.Members), "nobody asks anything")
		for range 10 {
			require.NoError(t, c.Put(t.Context(), "k", "v"))
			synctest.Wait()
			require.Len(t, c.told(api.Members), 1)
		}
		time.Sleep(membersAge + time.Millisecond)
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		synctest.Wait()
		require.Len(t, c.told(api.Members), 2)
		require.Equal(t, names, c.knows())
	})
}

func TestClient_that_is_told_of_no_members_keeps_those_it_knows(t *testing.T) {
	play(t, []part{belongs()}, func(t *testing.T, c *cast) {
		c.learnt = time.Time{}
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, names, c.knows())
	})
}

func TestClient_hangs_up_on_who_is_no_member(t *testing.T) {
	play(t, []part{belongs("n2"), belongs("n2")}, func(t *testing.T, c *cast) {
		c.learnt = time.Time{}
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, []string{"n2"}, c.knows())
		if c.leader != nil { // the put was after the answer about the members
			require.Equal(t, "n2", c.leader.addr, "who led is none")
		}
		require.NoError(t, c.Put(t.Context(), "k", "v"))
		require.Equal(t, "n2", c.told(api.Put)[1])
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

func TestChange_is_asked_for_until_somebody_leads(t *testing.T) {
	play(t, []part{refuses(api.Unavailable), belongs("n1", "n2")}, func(t *testing.T, c *cast) {
		_, err := c.Do(t.Context(), api.Request{Op: api.Transfer, Key: "n2"})
		require.NoError(t, err)
	})
}

func TestMembers_are_in_an_answer_though_there_are_none(t *testing.T) {
	line, err := json.Marshal(api.Response{ID: 1, OK: true, Members: []api.Member{}})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":1,"ok":true,"members":[]}`, string(line))
}
