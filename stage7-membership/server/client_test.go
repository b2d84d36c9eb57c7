package server

import (
	"testing"

	"raftworkbook/stage7-membership/raft"
)

func TestMembers_are_not_added_to_a_list_that_may_fill_its_line(t *testing.T) {
	bubble(t, func(t *testing.T, h *host) {
		u := h.dial()
		u.send(`{"id":1,"op":"members"}` + "\n")
		u.hears(`{"id":1,"ok":true,"members":[{"id":"n1","peer":"","client":"","state":"voter"}]}`)
		h.node.config.Store(&raft.Configuration{Voters: []raft.Member{{ID: "n2"}}})
		u.send(`{"id":2,"op":"list"}` + "\n")
		u.hears(`{"id":2,"ok":true,"keys":[]}`)
		u.send(`{"id":3,"op":"log","limit":1}` + "\n")
		u.hears(`{"id":3,"ok":true,"more":true,"log":["2@2 no-op"]}`)
		u.send(`{"id":4,"op":"get","key":"x"}` + "\n")
		u.hears(`{"id":4,"ok":true,"found":false,"members":[{"id":"n2","peer":"","client":"","state":"voter"}]}`)
	})
}
