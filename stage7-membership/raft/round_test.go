package raft

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// rounds are those of the messages to each node.
func rounds(messages []Message) map[string]uint64 {
	all := map[string]uint64{}
	for _, m := range messages {
		all[m.To] = m.AppendEntries.Round
	}
	return all
}

// answered is the answer of a follower to a round.
func answered(by string, term Term, round uint64) Message {
	return replied(by, term, AppendEntriesReply{Success: true, Round: round})
}

// sixRounds returns a leader who has just sent round 6 or a later one, and that round.
func sixRounds(t *testing.T, size int) (*Raft, uint64) {
	r := established(options("n1", size))
	for r.round < 6 {
		require.Len(t, beat(r), size-1)
	}
	return r, r.round
}

// beat lets a leader send a heartbeat.
func beat(r *Raft) []Message {
	for range r.options.HeartbeatTicks {
		r.Tick()
	}
	return ready(r).Appends
}

func TestRound_is_a_new_one_with_each_sending_and_the_same_to_all(t *testing.T) {
	r := leader(options("n1", 3))
	last := r.round
	require.Positive(t, last, "0 is none")
	for range 3 {
		to := rounds(beat(r))
		require.Equal(t, to["n2"], to["n3"])
		require.Greater(t, to["n2"], last)
		last = to["n2"]
	}
}

func TestMessage_carries_its_round(t *testing.T) {
	for _, m := range []Message{appendTo("n2", 1, AppendEntries{Round: math.MaxUint64}), answered("n2", 1, math.MaxUint64),
		installTo("n2", 1, InstallSnapshot{Round: math.MaxUint64}), installed("n2", 1, InstallSnapshotReply{Round: math.MaxUint64})} {
		line, err := json.Marshal(m)
		require.NoError(t, err)
		require.Contains(t, string(line), `"round":18446744073709551615`)
		var back Message
		require.NoError(t, json.Unmarshal(line, &back))
		require.Equal(t, m, back)
		require.Equal(t, m.AppendEntries != nil || m.InstallSnapshot != nil, m.Round() == math.MaxUint64, "only a leader's is a new one")
	}
}

func TestFollower_repeats_the_round_of_what_it_answers(t *testing.T) {
	for _, c := range []struct {
		name string
		term Term
		a    AppendEntries
		want uint64
	}{
		{"a success", 4, following(2, 1, entries(3, 4), 0), 7},
		{"a heartbeat", 4, following(2, 1, nil, 0), 7},
		{"a refusal", 4, following(3, 4, nil, 0), 7},
		{"the first of a newer term", 7, following(2, 1, nil, 0), 7},
		{"not of a term that is over, as its number may be there in the newer one too", 3, following(2, 1, nil, 0), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := follower(4, entries(1, 1, 1)...)
			c.a.Round = 7
			r.Step(appendTo("n2", c.term, c.a))
			require.Equal(t, c.want, ready(r).Messages[0].AppendEntriesReply.Round)
		})
	}
}

func TestAnsweredRound_is_the_last_that_a_majority_has_answered(t *testing.T) {
	for _, c := range []struct {
		followers []uint64 // the last round that each has answered; the leader has answered its own
		want      uint64
	}{
		{[]uint64{5}, 5},
		{[]uint64{0}, 0},
		{[]uint64{5, 0}, 5},
		{[]uint64{5, 6}, 6},
		{[]uint64{5, 0, 0}, 0}, // two of four
		{[]uint64{5, 4, 0}, 4},
		{[]uint64{5, 4, 0, 0}, 4},
		{[]uint64{6, 0, 0, 0}, 0},
		{[]uint64{6, 5, 4, 3}, 5},
	} {
		r, _ := sixRounds(t, len(c.followers)+1)
		for _, p := range r.progress {
			p.round = 0
		}
		for i, round := range c.followers {
			r.Step(answered(fmt.Sprintf("n%d", i+2), 1, round))
		}
		require.Equal(t, c.want, r.AnsweredRound(), "%v", c.followers)
	}
}

func TestAnsweredRound_of_one_who_is_alone_is_the_present_one(t *testing.T) {
	r := leader(options("n1", 1))
	require.Equal(t, r.round, r.AnsweredRound())
	require.Positive(t, r.AnsweredRound())
}

func TestAnsweredRound_never_goes_back_however_answers_come(t *testing.T) {
	r, _ := sixRounds(t, 3)
	beat(r)
	last := r.round
	for _, c := range []struct {
		answer Message
		want   uint64
	}{
		{answered("n2", 1, 4), 4},
		{answered("n2", 1, 4), 4}, // twice
		{answered("n2", 1, 2), 4}, // late
		{answered("n3", 1, 6), 6}, // of 5 the answers are lost
		{answered("n2", 1, 5), 6},
		{replied("n2", 1, AppendEntriesReply{Index: 1, Round: last}), last}, // a refusal is an answer too
	} {
		r.Step(c.answer)
		require.Equal(t, c.want, r.AnsweredRound())
	}
}

func TestAnsweredRound_takes_no_answer_that_is_none(t *testing.T) {
	r, last := sixRounds(t, 3)
	for name, m := range map[string]Message{
		"from itself":                   answered("n1", 1, last),
		"from a stranger":               answered("n4", 1, last),
		"of an earlier term":            answered("n2", 0, last),
		"about more than the log holds": replied("n2", 1, AppendEntriesReply{Success: true, Index: 9, Round: last}),
		"to a term that is over":        answered("n2", 1, 0),
	} {
		r.Step(m)
		require.Zero(t, r.AnsweredRound(), name)
	}
	r.Step(answered("n2", 1, math.MaxUint64))
	require.Equal(t, last, r.AnsweredRound(), "no more than was sent")
	beat(r)
	require.Equal(t, last, r.AnsweredRound(), "what is sent later is not answered yet")
}

func TestAnsweredRound_is_of_this_reign_alone(t *testing.T) {
	r, last := sixRounds(t, 3)
	r.Step(answered("n2", 1, last))
	require.Equal(t, last, r.AnsweredRound())

	r.Step(Message{From: "n2", To: "n1", Term: 2, AppendEntries: &AppendEntries{}})
	require.Zero(t, r.AnsweredRound(), "it leads no more")
	elect(r)
	require.Zero(t, r.AnsweredRound())
	r.Ready()
	r.Step(answered("n2", 1, last)) // late
	require.Zero(t, r.AnsweredRound())
	require.Less(t, r.round, last)
	r.Step(answered("n2", 3, 1))
	require.EqualValues(t, 1, r.AnsweredRound())
}

// What a round is for: when a round was sent that a majority has answered, no majority had heard of a newer term; so
// nothing was committed in one. Messages get lost, come late and come twice, and any node may campaign.
func TestAnsweredRound_was_sent_before_a_majority_heard_of_a_newer_term(t *testing.T) {
	proved := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		size := 3 + r.IntN(3)
		nodes := map[string]*Raft{}
		for _, id := range names(size) {
			nodes[id] = start(options(id, size), HardState{}, Snapshot{}, nil)
		}
		begun := map[Term]int{}     // when a majority had heard of a term, this one or a newer
		sent := map[[2]uint64]int{} // when a round of a term was sent
		var onTheWay []Message      // and may be there for ever
		loss := r.Float64()
		for now := range 400 {
			node := nodes[fmt.Sprintf("n%d", 1+r.IntN(size))]
			switch n := len(onTheWay); {
			case r.IntN(40) == 0:
				node.Campaign()
			case n == 0 || r.IntN(3) == 0:
				node.Tick()
			default:
				i := r.IntN(n)
				m := onTheWay[i]
				if r.IntN(10) > 0 { // or once more
					onTheWay = slices.Delete(onTheWay, i, i+1)
				}
				if r.Float64() > loss {
					node = nodes[m.To]
					node.Step(m)
				}
			}
			for rd, ok := node.Ready(); ok; rd, ok = node.Ready() {
				for _, m := range slices.Concat(rd.Appends, rd.Messages) {
					onTheWay = append(onTheWay, m)
					if a := m.AppendEntries; a != nil {
						sent[[2]uint64{uint64(m.Term), a.Round}] = now
					}
				}
			}
			newest := majorityOf(names(size), func(id string) Index { return Index(nodes[id].currentTerm) })
			if _, ok := begun[Term(newest)]; !ok {
				begun[Term(newest)] = now
			}
			if round := node.AnsweredRound(); round > 0 {
				at := sent[[2]uint64{uint64(node.currentTerm), round}]
				for _, term := range slices.Sorted(maps.Keys(begun)) {
					if term > node.currentTerm {
						require.Less(t, at, begun[term], "seed %d: round %d of term %d", seed, round, node.currentTerm)
						proved++
					}
				}
			}
		}
	}
	require.Greater(t, proved, 100, "the cases that are of interest do come up")
}
