package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFindLeader_asks_whom_a_node_names(t *testing.T) {
	refuse := func(code, leader string) string {
		return listen(t, answering(func(string) string {
			return fmt.Sprintf(`{"id":1,"ok":false,"error":{"code":%q,"message":"","leader":%q}}`, code, leader)
		}))
	}
	leader := listen(t, answering(func(string) string { return `{"id":1,"ok":true}` }))
	nobody, follower := refuse("unavailable", ""), refuse("not_leader", leader)
	for _, addrs := range [][]string{{leader}, {nobody, leader}, {follower}, {nobody, follower}} {
		got, err := findLeader(context.Background(), overTCP, addrs)
		require.NoError(t, err)
		require.Equal(t, leader, got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*leaderPause)
	defer cancel()
	_, err := findLeader(ctx, overTCP, []string{nobody})
	require.ErrorContains(t, err, "no node takes a put")
}

func TestNodes_are_those_of_the_chapter_and_three_where_they_flush(t *testing.T) {
	for stage, want := range []int{1, 1, 5, 3, 3, 3, 3, 3} {
		require.Equal(t, want, nodes(stage), stage)
	}
}

func TestFiles_of_a_run_are_not_where_memory_may_be(t *testing.T) {
	t.Setenv("TMPDIR", "")
	require.Equal(t, "/var/tmp", filesDir())
	t.Setenv("TMPDIR", "/disk")
	require.Equal(t, "/disk", filesDir())
}
