package kv

import (
	"container/list"

	"raftworkbook/stage7-membership/api"
)

// Limits of what is remembered. They are part of the state machine: every node forgets the same at the same place of
// the log, or the same retry would be carried out on one and refused on another.
const (
	maxSessions = 4096
	// maxAnswers is how many answers one session may keep, and maxKept how many bytes all of them may. The answers are
	// those from done on, so that a write that is awaited never finds its place taken by later ones.
	maxAnswers = 128
	maxKept    = 64 << 20
)

// sessions remember what clients were answered, so that a write that comes a second time is not done a second time
// (§8). The one that was used least recently is the first to go.
type sessions struct {
	byID   map[uint64]*list.Element // of *session
	byUse  *list.List               // the last used at the front
	answer int                      // bytes of all answers
}

// A session is what one client is remembered by.
type session struct {
	id uint64
	// done is the lowest seq whose answer the client still wants.
	done    uint64
	answers map[uint64]api.Response // by seq
}

func newSessions() *sessions {
	return &sessions{byID: map[uint64]*list.Element{}, byUse: list.New()}
}

// open begins a session. Its id is the index of the entry that does: no other has the same, and all nodes agree.
func (s *sessions) open(id uint64) {
	s.byID[id] = s.byUse.PushFront(&session{id: id, answers: map[uint64]api.Response{}})
	s.expire()
}

// use returns a session, nil if it is not known any more, and forgets the answers below done.
func (s *sessions) use(id, done uint64) *session {
	e := s.byID[id]
	if e == nil {
		return nil
	}
	s.byUse.MoveToFront(e)
	found := e.Value.(*session)
	for ; found.done < done && len(found.answers) > 0; found.done++ {
		if answer, ok := found.answers[found.done]; ok {
			s.answer -= size(answer)
			delete(found.answers, found.done)
		}
	}
	found.done = max(found.done, done)
	return found
}

// keep remembers the answer to a write.
func (s *sessions) keep(in *session, seq uint64, answer api.Response) {
	in.answers[seq] = answer
	s.answer += size(answer)
	s.expire()
}

// expire forgets the sessions that were not used for longest, while there is too much.
func (s *sessions) expire() {
	for s.byUse.Len() > maxSessions || s.answer > maxKept {
		oldest := s.byUse.Remove(s.byUse.Back()).(*session)
		delete(s.byID, oldest.id)
		for _, answer := range oldest.answers {
			s.answer -= size(answer)
		}
	}
}

// size is about how many bytes an answer takes.
func size(r api.Response) int {
	n := 256
	if r.Value != nil {
		n += len(*r.Value)
	}
	return n
}

// Apply carries out the write that stands in the log at index: once, if it is of a session, however often it is there.
// If it was carried out before, the answer is the one that it got then.
func (s *Store) Apply(index uint64, r api.Request) api.Response {
	s.index.Store(index)
	resp := s.apply(index, r)
	resp.ID, resp.OK, resp.Index = r.ID, resp.Error == nil, index
	return resp
}

func (s *Store) apply(index uint64, r api.Request) api.Response {
	switch {
	case r.Op == api.Register:
		s.sessions.open(index)
		return api.Response{Session: index}
	case r.Session == 0:
		return s.do(r)
	}
	in := s.sessions.use(r.Session, r.Done)
	if in == nil {
		return api.Response{Error: api.Errorf(api.SessionExpired, "session %d is not known any more: this try was not carried out", r.Session)}
	}
	if answer, ok := in.answers[r.Seq]; ok {
		return answer
	}
	switch {
	case r.Seq < in.done:
		return api.Response{Error: api.Errorf(api.SessionExpired, "write %d of session %d is over: this try was not carried out", r.Seq, r.Session)}
	case r.Seq-in.done >= maxAnswers:
		return api.Response{Error: api.Errorf(api.Unavailable, "session %d keeps %d answers, from write %d on", r.Session, maxAnswers, in.done)}
	}
	answer := s.do(r)
	s.sessions.keep(in, r.Seq, answer)
	return answer
}
