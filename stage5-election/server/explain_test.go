package server

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/stage5-election/api"
)

func TestLog_shows_the_newest_entries_that_fit_a_line_and_says_that_there_are_more(t *testing.T) {
	sail(t, 3, nil, func(t *testing.T, f *fleet) {
		f.serve("n1")
		long := strings.Repeat("\U0010ffff", maxShown) // each takes 11 bytes: "\\U0010ffff"
		for range api.MaxLog - 100 {
			f.do("n1", api.Request{ID: 1, Op: api.CAS, Key: long, Expect: &long, Value: &long})
		}
		f.do("n1", put("newest", "1"))
		all, _ := f.nodes["n1"].Entries(api.MaxLog)
		u := f.dial("n1")
		u.send(`{"id":1,"op":"log","limit":1000}` + "\n")
		line := u.line()
		require.Less(t, len(line), api.MaxLine)
		require.Greater(t, len(line), api.MaxLine-1<<12, "as many as fit")
		var resp api.Response
		require.NoError(t, json.Unmarshal([]byte(line), &resp))
		require.Contains(t, resp.Log[len(resp.Log)-1], "put newest 1")
		require.Equal(t, all, resp.Log)
		require.True(t, resp.More)
	})
}
