package raft

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMessage_has_this_form_between_nodes(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want string
	}{
		{appendTo("n2", 4, following(3, 1, []Entry{{4, 2, command("x")}, noop(5, 4)}, 3)),
			`{"from":"n1","to":"n2","term":4,"append":{"prev_index":3,"prev_term":1,"entries":[{"index":4,"term":2,"command":"x"},{"index":5,"term":4}],"commit":3}}`},
		{appendTo("n2", 4, AppendEntries{}),
			`{"from":"n1","to":"n2","term":4,"append":{"prev_index":0,"prev_term":0,"commit":0}}`},
		{appended("n2", 4, 5),
			`{"from":"n2","to":"n1","term":4,"appended":{"success":true,"index":5}}`},
		{replied("n2", 4, AppendEntriesReply{Index: 5, HintIndex: 3, HintTerm: 1}),
			`{"from":"n2","to":"n1","term":4,"appended":{"success":false,"index":5,"hint_index":3,"hint_term":1}}`},
		{Message{From: "n1", To: "n2", Term: 4, RequestVote: &RequestVote{5, 3}},
			`{"from":"n1","to":"n2","term":4,"request_vote":{"last_index":5,"last_term":3}}`},
		{voted("n2", "n1", 4, true),
			`{"from":"n2","to":"n1","term":4,"voted":{"granted":true}}`},
		{voted("n2", "n1", 4, false),
			`{"from":"n2","to":"n1","term":4,"voted":{"granted":false}}`},
		{installTo("n2", 4, chunk(snapshotAt(5, 2), 8, 10)),
			`{"from":"n1","to":"n2","term":4,"snapshot":{"last_index":5,"last_term":2,"offset":8,"data":"aWo=","done":true}}`},
		{installTo("n2", 4, chunk(snapshotAt(5, 2), 4, 4)),
			`{"from":"n1","to":"n2","term":4,"snapshot":{"last_index":5,"last_term":2,"offset":4}}`},
		{installed("n2", 4, InstallSnapshotReply{LastIncludedIndex: 5, Offset: 8}),
			`{"from":"n2","to":"n1","term":4,"installed":{"last_index":5,"offset":8}}`},
		{installed("n2", 4, InstallSnapshotReply{LastIncludedIndex: 5, Done: true}),
			`{"from":"n2","to":"n1","term":4,"installed":{"last_index":5,"done":true}}`},
	} {
		line, err := json.Marshal(c.m)
		require.NoError(t, err)
		require.Equal(t, c.want, string(line))
		var back Message
		require.NoError(t, json.Unmarshal(line, &back))
		requireSame(t, c.m, back)
	}
}

func TestMessage_is_told_in_one_line(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want string
	}{
		{appendTo("n2", 2, following(3, 1, entries(4, 2, 2), 3)), "t2 append prev=3@1 [4@2 5@2] commit=3"},
		{appendTo("n2", 2, following(3, 1, nil, 3)), "t2 append prev=3@1 [] commit=3"},
		{appendTo("n2", 2, following(0, 0, entries(1, 1, 1, 1, 1, 1, 1, 1, 1), 0)), "t2 append prev=0@0 [1@1 2@1 3@1 4@1 5@1 6@1 7@1 8@1] commit=0"},
		{appendTo("n2", 2, following(0, 0, entries(1, 1, 1, 1, 1, 1, 1, 1, 1, 2), 0)), "t2 append prev=0@0 [1@1 ... 9@2] commit=0"},
		{appended("n2", 2, 5), "t2 appended 5"},
		{replied("n2", 2, AppendEntriesReply{Index: 5, HintIndex: 3, HintTerm: 1}), "t2 refused prev=5, try 3@1"},
		{Message{Term: 2}, "t2 nothing"},
		{Message{Term: 2, RequestVote: &RequestVote{3, 1}}, "t2 asks for a vote, log=3@1"},
		{voted("n2", "n1", 2, true), "t2 votes for it"},
		{voted("n2", "n1", 2, false), "t2 does not vote for it"},
		{installTo("n2", 2, chunk(snapshotAt(5, 2), 4, 8)), "t2 snapshot 5@2, 4 bytes from 4"},
		{installTo("n2", 2, chunk(snapshotAt(5, 2), 8, 10)), "t2 snapshot 5@2, 2 bytes from 8, the last"},
		{installed("n2", 2, InstallSnapshotReply{LastIncludedIndex: 5, Offset: 8}), "t2 has 8 bytes of snapshot 5"},
		{installed("n2", 2, InstallSnapshotReply{LastIncludedIndex: 5, Offset: 10, Done: true}), "t2 has all that snapshot 5 stands for"},
	} {
		require.Equal(t, c.want, c.m.String())
	}
	require.Equal(t, "follower", Follower.String())
	require.Equal(t, "candidate", Candidate.String())
	require.Equal(t, "leader", Leader.String())
}

// FuzzStep lets anything come that is JSON, to a leader and to a follower. Neither may panic, hang or make messages
// without end, and whatever lies another node tells, a log stays a log and what was applied is not taken back.
func FuzzStep(f *testing.F) {
	for _, seed := range []string{
		`{"term":4,"append":{"prev_index":3,"prev_term":4,"entries":[{"index":4,"term":4,"command":"x"}],"commit":4}}`,
		`{"term":4,"append":{"prev_index":3,"prev_term":4,"commit":3}} {"term":5,"append":{"prev_index":0,"entries":[{"index":1,"term":5}],"commit":9}}`,
		`{"term":4,"append":{"prev_index":18446744073709551615,"prev_term":4,"entries":[{"index":0,"term":4}],"commit":18446744073709551615}}`,
		`{"term":4,"append":{"prev_index":3,"prev_term":4,"entries":[{"index":9,"term":4}]}} {"term":4,"append":{"prev_index":3,"prev_term":4,"entries":[{"index":4,"term":2}]}}`,
		`{"term":18446744073709551615,"append":{"prev_index":2,"prev_term":1,"entries":[{"index":3,"term":18446744073709551615}]}}`,
		`{"term":4,"appended":{"success":true,"index":3}} {"term":4,"appended":{"success":true,"index":5}} {"term":4,"appended":{"index":6,"hint_index":2,"hint_term":1}}`,
		`{"term":4,"appended":{"success":true,"index":18446744073709551615}}`,
		`{"term":4,"appended":{"index":3,"hint_index":18446744073709551615,"hint_term":18446744073709551615}}`,
		`{"term":4,"appended":{"index":4}} {"term":4,"appended":{"index":3}} {"term":4,"appended":{"success":true}}`,
		`{"term":5,"request_vote":{"last_index":18446744073709551615,"last_term":18446744073709551615}} {"term":5,"voted":{"granted":true}}`,
		`{"term":9,"request_vote":{"last_index":3,"last_term":4}} {"term":9,"append":{"prev_index":3,"prev_term":4}}`,
		`{"from":"n2","to":"n1","term":9,"append":{},"appended":{}} {"from":"n1","to":"n2"} {} null`,
		`{"term":4,"snapshot":{"last_index":9,"last_term":4,"offset":0,"data":"YWJj"}} {"term":4,"snapshot":{"last_index":9,"last_term":4,"offset":3,"done":true}}`,
		`{"term":4,"snapshot":{"last_index":18446744073709551615,"last_term":4,"offset":0,"done":true}} {"term":5,"snapshot":{"last_index":2,"last_term":1,"offset":-1}}`,
		`{"term":4,"snapshot":{"last_index":3,"last_term":3,"offset":9223372036854775807,"data":"YWJj"}} {"term":4,"snapshot":{"last_index":3,"last_term":5}}`,
		`{"term":4,"installed":{"last_index":3,"offset":-1}} {"term":4,"installed":{"last_index":3,"done":true}} {"term":4,"installed":{"last_index":18446744073709551615,"done":true,"round":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o := options("n1", 3)
		o.MaxBatch, o.MaxInflight, o.HeartbeatTicks, o.Explain = 10, 2, 1, true
		lead := established(o, entries(1, 1, 1)...) // and 3@4, without command
		lead.Compact(snapshotAt(2, 1), 0)
		for range 5 {
			propose(t, lead, "abc")
		}
		o.ID = "n2"
		log := append(entries(1, 1, 1), noop(3, 4))
		for _, r := range []*Raft{lead, New(o, HardState{Term: 4}, Snapshot{}, log)} {
			applied := r.log.after(r.log.base(), r.Status().AppliedIndex)
			for stream := json.NewDecoder(bytes.NewReader(text)); ; {
				var m Message
				if stream.Decode(&m) != nil {
					break
				}
				before := r.Status()
				r.Step(m)
				m.From, m.To = "n3", r.options.ID
				r.Step(m)
				r.Tick()
				rounds := 0
				for rd, ok := r.Ready(); ok; rd, ok = r.Ready() {
					require.LessOrEqual(t, len(rd.Appends)+len(rd.Messages), 2+2*o.MaxInflight)
					if rd.Snapshot != nil {
						applied = nil
					}
					applied = append(applied, rd.Committed...)
					rounds++
					require.LessOrEqual(t, rounds, 2+len(r.Entries(0)), "it comes to an end")
				}
				after := r.Status()
				require.GreaterOrEqual(t, after.Term, before.Term)
				require.GreaterOrEqual(t, after.CommitIndex, before.CommitIndex)
				require.GreaterOrEqual(t, after.LastIndex, after.CommitIndex)
				require.Equal(t, after.CommitIndex, after.AppliedIndex)
				require.NotPanics(t, func() { newLog(r.snapshot.place(), r.log.entries) })
				requireSame(t, r.log.after(r.log.base(), after.AppliedIndex), applied)
			}
		}
	})
}
