package server

import (
	"math/rand/v2"
	"time"

	"raftworkbook/stage4-smart-client/raft"
)

const (
	// maxRounds is how many rounds may be without an answer before the oldest is forgotten, and vouches for nothing.
	maxRounds = 1024
	// maxAge is the highest age that is believed: to know that it is more is of no use.
	maxAge = 24 * time.Hour
)

// A letter is what goes from node to node: a message, and what the receiver needs to know how fresh it is. No node
// looks at the clock of another. Each sends along what its own says, and what the other's said last.
type letter struct {
	raft.Message
	// Stamp is the sender's clock, Echo what the receiver's was in the last letter that the sender has from it.
	Stamp uint64 `json:"stamp"`
	Echo  uint64 `json:"echo,omitempty"`
	// Age is how many microseconds ago it was that all that was committed anywhere was in the sender's store; 0 if that
	// is not known.
	Age uint64 `json:"age,omitempty"`
}

// freshness is how outdated a store may be. asOf is a moment of this node's own clock, which cannot be set and does
// not stop while the process does, only while the machine sleeps: all that was committed anywhere before it is in the
// store. That stays true whatever comes, so asOf only grows. It is an upper bound that needs no clocks that agree, as
// long as they run equally fast.
type freshness struct {
	asOf  time.Time // zero if not known
	born  time.Time
	first uint64 // stamp at birth: random, so that one of another life is known

	sent  []round           // as a leader: when each round left, those that are not answered and one more
	heard map[string]uint64 // the last stamp of each node
	claim claim             // as a follower: what the leader says, and is not true here yet
}

type round struct {
	number uint64
	at     time.Time
}

// A claim says that asOf is reached once all entries up to commit are applied.
type claim struct {
	commit raft.Index
	asOf   time.Time
}

func newFreshness() freshness {
	return freshness{born: time.Now(), first: rand.Uint64N(1 << 62), heard: map[string]uint64{}}
}

// seal makes a letter of a message that leaves now.
func (f *freshness) seal(m raft.Message, now time.Time) letter {
	l := letter{Message: m, Stamp: f.first + micros(now.Sub(f.born)), Echo: f.heard[m.To]}
	a := m.AppendEntries
	if a == nil {
		return l
	}
	if n := len(f.sent); n > 0 && f.sent[n-1].number > a.Round {
		f.sent = nil // those were of another reign
	}
	if n := len(f.sent); n == 0 || f.sent[n-1].number < a.Round {
		f.sent = append(f.sent[max(0, n+1-maxRounds):], round{a.Round, now})
	}
	if !f.asOf.IsZero() {
		l.Age = micros(now.Sub(f.asOf)) + 1 // rounded up
	}
	return l
}

func micros(d time.Duration) uint64 { return uint64(d.Microseconds()) }

// open takes in what a letter says beside its message. The echo left here before the letter left there. So whatever was
// committed an age before the echo left was committed an age before the letter did, and is in the sender's store.
func (f *freshness) open(l letter, now time.Time) {
	f.heard[l.From] = l.Stamp
	left := l.Echo - f.first // in this life; one of another is beyond now, or wraps around
	if l.AppendEntries == nil || l.Age == 0 || l.Age > micros(maxAge) || left > micros(now.Sub(f.born)) || !f.claim.asOf.IsZero() {
		return
	}
	asOf := f.born.Add(time.Duration(left-l.Age) * time.Microsecond)
	if asOf.After(f.asOf) { // or else it says nothing new, and must not stand before one that does
		f.claim = claim{l.AppendEntries.LeaderCommit, asOf}
	}
}

// settle finds out what has become true. s is how things are, and answered the leader's last round with an answer
// from a majority: when it left nobody led a newer term, and what was committed by then is committed here, once an
// entry of this term is.
func (f *freshness) settle(s raft.Status, answered uint64, now time.Time) {
	if s.Role != raft.Leader {
		f.sent = nil // the next reign begins with round 1
	}
	for len(f.sent) > 0 && f.sent[0].number < answered {
		f.sent = f.sent[1:]
	}
	switch knows := s.Role == raft.Leader && s.CommitTerm == s.Term && s.AppliedIndex == s.CommitIndex; {
	case knows && len(f.sent) == 0 && answered > 0: // it is alone
		f.reach(now)
	case knows && len(f.sent) > 0 && f.sent[0].number == answered:
		f.reach(f.sent[0].at)
	}
	if !f.claim.asOf.IsZero() && s.AppliedIndex >= f.claim.commit {
		f.reach(f.claim.asOf)
		f.claim = claim{}
	}
}

func (f *freshness) reach(asOf time.Time) {
	if asOf.After(f.asOf) {
		f.asOf = asOf
	}
}
