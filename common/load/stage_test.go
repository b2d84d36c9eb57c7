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
		got, err := findLeader(context.Background(), addrs)
		require.NoError(t, err)
		require.Equal(t, leader, got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*leaderPause)
	defer cancel()
	_, err := findLeader(ctx, []string{nobody})
	require.ErrorContains(t, err, "no node takes a put")
}
