package kv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"raftworkbook/stage7-membership/api"
)

// A replica is a store and its place in the log.
type replica struct {
	*Store
	index uint64
}

func newReplica() *replica { return &replica{Store: New()} }

// apply carries out the next entry of the log.
func (p *replica) apply(r api.Request) api.Response {
	p.index++
	return p.Store.Apply(p.index, r)
}

// register opens a session.
func (p *replica) register() uint64 { return p.apply(api.Request{ID: 1, Op: api.Register}).Session }

// append is a write that shows how often it was carried out, of a session or of none.
func (p *replica) append(session, seq, done uint64) api.Response {
	return p.apply(api.Request{ID: 1, Op: api.Append, Key: "x", Value: new("a"), Session: session, Seq: seq, Done: done})
}

// length is how many such writes were carried out.
func (p *replica) length() int {
	value := p.Do(api.Request{Op: api.Get, Key: "x"}).Value
	if value == nil {
		return 0
	}
	return len(*value)
}

// code is that of a refusal, or empty.
func code(r api.Response) string {
	if r.Error == nil {
		return ""
	}
	return r.Error.Code
}

func TestWrite_without_a_session_is_carried_out_as_often_as_it_comes(t *testing.T) {
	p := newReplica()
	for n := 1; n <= 3; n++ {
		require.Equal(t, n, *p.append(0, 0, 0).Length)
	}
}

func TestRegister_gives_each_session_an_id_of_its_own(t *testing.T) {
	p := newReplica()
	require.Equal(t, api.Response{ID: 1, OK: true, Session: 1, Index: 1}, p.apply(api.Request{ID: 1, Op: api.Register}))
	p.append(0, 0, 0)
	require.EqualValues(t, 3, p.register(), "the index of its entry: all nodes agree, and no other has the same")
}

func TestRetry_gets_the_first_answer_and_changes_nothing(t *testing.T) {
	full := strings.Repeat("x", api.MaxValue)
	for _, c := range []struct {
		name  string
		write api.Request
		want  api.Response
	}{
		{"put", api.Request{Op: api.Put, Value: new("new")}, api.Response{}},
		{"cas that swaps", api.Request{Op: api.CAS, Expect: new("old"), Value: new("new")}, api.Response{Swapped: new(true)}},
		{"cas that does not", api.Request{Op: api.CAS, Expect: new("other"), Value: new("new")},
			api.Response{Swapped: new(false), Found: new(true), Value: new("old")}},
		{"cas that finds something", api.Request{Op: api.CAS, Value: new("new")},
			api.Response{Swapped: new(false), Found: new(true), Value: new("old")}},
		{"delete", api.Request{Op: api.Delete}, api.Response{Found: new(true)}},
		{"append", api.Request{Op: api.Append, Value: new("er")}, api.Response{Length: new(5)}},
		{"append that is too much", api.Request{Op: api.Append, Value: &full},
			api.Response{Error: api.Errorf(api.TooLarge, "the value would have 131075 bytes, at most 131072 are allowed")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newReplica()
			c.write.Key, c.write.Session, c.write.Seq, c.write.Done = "x", p.register(), 1, 1
			p.apply(api.Request{Op: api.Put, Key: "x", Value: new("old")})
			c.write.ID = 8
			first := p.apply(c.write)
			c.want.ID, c.want.OK, c.want.Index = 8, c.want.Error == nil, 3
			require.Empty(t, cmp.Diff(c.want, first))

			p.apply(api.Request{Op: api.Put, Key: "x", Value: new("of another client")})
			for again := range uint64(3) {
				c.write.ID = 9 + again // each try has an id of its own, and the index is that of the node's store
				c.want.ID, c.want.Index = c.write.ID, 5+again
				require.Empty(t, cmp.Diff(c.want, p.apply(c.write)))
			}
			require.Equal(t, "of another client", *p.Do(api.Request{Op: api.Get, Key: "x"}).Value)
		})
	}
}

func TestSession_keeps_the_answers_of_many_outstanding_writes(t *testing.T) {
	p := newReplica()
	s := p.register()
	order := rand.New(rand.NewPCG(1, 0)).Perm(maxAnswers)
	for n, i := range order { // they overtake each other on their way
		require.Equal(t, n+1, *p.append(s, uint64(i+1), 1).Length)
	}
	for n, i := range order {
		require.Equal(t, n+1, *p.append(s, uint64(i+1), 1).Length)
	}
	require.Equal(t, maxAnswers, p.length())
}

func TestSession_forgets_what_its_client_has_heard(t *testing.T) {
	p := newReplica()
	s := p.register()
	for seq := uint64(1); seq <= 3; seq++ {
		p.append(s, seq, 1)
	}
	require.Equal(t, "", code(p.append(s, 4, 3)))
	for _, seq := range []uint64{1, 2} {
		resp := p.append(s, seq, 1) // late: of a time when its answer was still awaited
		require.Equal(t, api.SessionExpired, code(resp), "write %d was carried out, and that is not known any more", seq)
	}
	require.Equal(t, 3, *p.append(s, 3, 1).Length)
	require.Equal(t, 4, *p.append(s, 4, 1).Length)
	require.Equal(t, 4, p.length())
	require.Equal(t, 2*256, p.sessions.answer)
}

func TestWrite_that_is_over_is_refused_even_if_it_never_came(t *testing.T) {
	p := newReplica()
	s := p.register()
	p.append(s, 5, 5)
	resp := p.append(s, 4, 4) // the client gave up waiting for it, and it was on its way all the time
	require.Equal(t, api.Errorf(api.SessionExpired, "write 4 of session 1 is over: this try was not carried out"), resp.Error)
	require.Equal(t, 1, p.length())
}

func TestWrite_of_a_session_that_is_not_known_is_refused(t *testing.T) {
	p := newReplica()
	p.register()
	for _, id := range []uint64{2, 77, math.MaxUint64} {
		resp := p.append(id, 1, 1)
		require.Equal(t, api.Errorf(api.SessionExpired, "session %d is not known any more: this try was not carried out", id), resp.Error)
	}
	require.Zero(t, p.length())
}

func TestSession_keeps_a_bounded_number_of_answers_and_room_for_the_oldest(t *testing.T) {
	p := newReplica()
	s := p.register()
	for seq := uint64(2); seq <= maxAnswers; seq++ { // the first is lost on its way
		require.Equal(t, "", code(p.append(s, seq, 1)))
	}
	for _, seq := range []uint64{maxAnswers + 1, 2 * maxAnswers, math.MaxUint64} {
		require.Equal(t, api.Unavailable, code(p.append(s, seq, 1)), "write %d is too far from the first", seq)
	}
	require.Equal(t, maxAnswers, *p.append(s, 1, 1).Length, "it finds its place")
	require.Equal(t, maxAnswers+1, *p.append(s, maxAnswers+1, 2).Length, "and makes room when its answer is there")
	require.LessOrEqual(t, p.sessions.answer, maxAnswers*256)
}

func TestSession_bears_the_largest_numbers(t *testing.T) {
	const most = math.MaxUint64
	p := newReplica()
	s := p.register()
	for _, c := range []struct {
		seq, done uint64
		want      string
	}{
		{most, 0, api.Unavailable}, // too far from the first
		{most, 1, api.Unavailable},
		{most - 1, most - 1, ""},
		{most, most - 1, ""},
		{most - 1, 0, ""}, // a retry
		{most, most, ""},
		{most, 0, ""},
		{most - 1, 0, api.SessionExpired},
		{1, 1, api.SessionExpired}, // the client has shut itself out, and nobody else
	} {
		require.Equal(t, c.want, code(p.append(s, c.seq, c.done)), "%+v", c)
	}
	require.Equal(t, 2, p.length())
	require.Equal(t, "", code(p.append(p.register(), 1, 1)))
}

func TestRequest_with_half_of_a_session_is_refused_before_it_gets_into_the_log(t *testing.T) {
	for _, line := range []string{`"session":1`, `"seq":1`, `"done":1`, `"session":1,"seq":0`, `"session":0,"seq":1`,
		`"session":0,"seq":0,"done":1`, `"session":1,"seq":1,"done":2`, `"session":1,"seq":1,"done":18446744073709551615`} {
		_, err := api.DecodeRequest([]byte(`{"id":1,"op":"delete","key":"x",` + line + `}`))
		require.NotNil(t, err, line)
		require.Equal(t, api.BadRequest, err.Code, line)
	}
	_, err := api.DecodeRequest([]byte(`{"id":1,"op":"delete","key":"x","session":0,"seq":0,"done":0}`))
	require.Nil(t, err)
}

func TestSession_that_was_used_least_recently_is_the_first_to_go(t *testing.T) {
	p := newReplica()
	var all []uint64
	for range maxSessions {
		all = append(all, p.register())
	}
	p.append(all[0], 1, 1) // a write is a use,
	p.append(all[0], 1, 1) // and a retry is one, and one that is refused
	p.append(all[1], 9, 9)
	p.append(all[1], 1, 1)
	used := p.length()
	for range maxSessions - 2 {
		all = append(all, p.register())
	}
	var gone []uint64
	for _, id := range all {
		if code(p.append(id, 1, 1)) == api.SessionExpired && p.sessions.byID[id] == nil {
			gone = append(gone, id)
		}
	}
	require.Equal(t, all[2:maxSessions], gone)
	require.Equal(t, used+maxSessions-2, p.length(), "of those nothing was carried out, nor of the two that came back")
}

// An answer of a cas has the value that was in its way: a few sessions can want more than there is room for.
func TestSessions_keep_a_bounded_number_of_bytes(t *testing.T) {
	p := newReplica()
	large := strings.Repeat("x", api.MaxValue)
	p.apply(api.Request{Op: api.Put, Key: "x", Value: &large})
	fail := func(session, seq uint64) string {
		code := code(p.apply(api.Request{Op: api.CAS, Key: "x", Value: new(""), Session: session, Seq: seq, Done: 1}))
		require.LessOrEqual(t, p.sessions.answer, maxKept)
		return code
	}
	const room = maxKept / (256 + api.MaxValue)
	var all []uint64
	left := room
	for range 4 {
		id := p.register()
		for seq := uint64(1); seq < maxAnswers; seq++ {
			require.Equal(t, "", fail(id, seq))
			left--
		}
		all = append(all, id)
	}
	require.Equal(t, "", fail(all[0], 1), "it comes back")
	last := p.register()
	for seq := range uint64(left) {
		require.Equal(t, "", fail(last, 1+seq))
	}
	require.Len(t, p.sessions.byID, 5, "just as much as there is room for")
	require.Equal(t, "", fail(last, maxAnswers))
	require.Len(t, p.sessions.byID, 4)
	require.Equal(t, api.SessionExpired, fail(all[1], 1), "the one that was used least recently, and all of it")
	require.Equal(t, (room-maxAnswers+2)*(256+api.MaxValue), p.sessions.answer)
}

// Two stores that are given the same log remember the same, whatever was read from them meanwhile, and however often
// nodes were asked for it.
func TestSessions_expire_at_the_same_place_of_the_log_everywhere(t *testing.T) {
	one, other := newReplica(), newReplica()
	r := rand.New(rand.NewPCG(1, 0))
	large := strings.Repeat("x", api.MaxValue)
	var sessions []uint64
	expired := 0
	for range 30_000 {
		w := api.Request{ID: 1, Op: api.Register}
		if n := len(sessions); n > 0 && r.IntN(3) > 0 {
			w = api.Request{ID: 1, Op: api.Append, Key: fmt.Sprint(r.IntN(10)), Value: new("a"), Session: sessions[r.IntN(n)], Seq: uint64(1 + r.IntN(4))}
			w.Done = uint64(r.IntN(int(w.Seq) + 1))
			if r.IntN(100) == 0 {
				w.Op, w.Key, w.Value = api.Put, "large", &large
			} else if r.IntN(10) == 0 {
				w.Op, w.Key = api.CAS, "large"
			}
		}
		a, b := one.apply(w), other.apply(w)
		require.True(t, reflect.DeepEqual(a, b), "%v", w)
		if a.Session > 0 {
			sessions = append(sessions, a.Session)
		}
		if code(a) == api.SessionExpired {
			expired++
		}
		for range r.IntN(3) {
			other.Do(api.Request{Op: api.Get, Key: "large"})
			other.Len()
		}
	}
	require.Greater(t, expired, 1000)
	require.True(t, reflect.DeepEqual(remembered(one), remembered(other)))
}

// remembered is what a store knows of sessions, in the order in which they will go.
func remembered(p *replica) (all []session) {
	for e := p.sessions.byUse.Back(); e != nil; e = e.Prev() {
		all = append(all, *e.Value.(*session))
	}
	return all
}

func TestSessions_of_clients_that_never_come_back_take_a_bounded_amount_of_memory(t *testing.T) {
	p := newReplica()
	before := heap()
	come := func() (first uint64) {
		for i := range 10_000 {
			id := p.register()
			p.append(id, 1, 1)
			if i == 0 {
				first = id
			}
			p.apply(api.Request{ID: 1, Op: api.Delete, Key: "x"})
		}
		return first
	}
	first := come()
	once := heap() - before
	t.Logf("%d bytes for %d sessions", once, maxSessions)
	require.Less(t, once, uint64(4<<20))
	come()
	require.Less(t, heap()-before, once+once/10)
	require.Len(t, p.sessions.byID, maxSessions)
	require.Equal(t, maxSessions, p.sessions.byUse.Len())
	require.Equal(t, maxSessions*256, p.sessions.answer)

	require.Equal(t, api.SessionExpired, code(p.append(first, 1, 1)))
	require.Zero(t, p.length())
	runtime.KeepAlive(p)
}

func TestSession_that_goes_gives_back_all_that_it_kept(t *testing.T) {
	p := newReplica()
	large := strings.Repeat("x", api.MaxValue)
	p.apply(api.Request{Op: api.Put, Key: "x", Value: &large})
	s := p.register()
	for seq := uint64(1); seq <= 10; seq++ {
		p.apply(api.Request{Op: api.CAS, Key: "x", Value: new(""), Session: s, Seq: seq})
	}
	require.Equal(t, 10*(256+api.MaxValue), p.sessions.answer)
	for range maxSessions {
		p.register()
	}
	require.Zero(t, p.sessions.answer)
	require.Equal(t, maxSessions, p.sessions.byUse.Len())
}

// Of a client that sends one write after the other, an answer is kept for each of the last ones only.
func TestSession_of_a_client_that_goes_on_does_not_grow(t *testing.T) {
	p := newReplica()
	s := p.register()
	for seq := uint64(1); seq <= 1000; seq++ {
		require.Equal(t, "", code(p.append(s, seq, seq)))
		require.LessOrEqual(t, p.sessions.answer, 256)
	}
	require.Equal(t, 1000, p.length())
}

// A client that asks elsewhere next says the index of its last answer. If that were older than the value, it could be
// shown an older one.
func TestIndex_of_an_answer_is_never_behind_what_it_shows(t *testing.T) {
	p := newReplica()
	require.EqualValues(t, 1, p.append(0, 0, 0).Index)
	require.EqualValues(t, 1, p.Do(api.Request{Op: api.Get, Key: "x"}).Index)

	p.mu.RLock() // a write has begun, and the value cannot be seen yet
	written := make(chan struct{})
	go func() { p.append(0, 0, 0); close(written) }()
	for p.mu.TryRLock() {
		p.mu.RUnlock()
		runtime.Gosched()
	}
	require.EqualValues(t, 2, p.Store.index.Load(), "its index is there before")
	p.mu.RUnlock()
	<-written

	for range 100 { // a read has begun, and does not see the value yet
		p.mu.Lock()
		read := make(chan api.Response)
		go func() { read <- p.Do(api.Request{Op: api.Get, Key: "x"}) }()
		for range 100 {
			runtime.Gosched()
		}
		p.index++
		p.Store.index.Store(p.index)
		p.values.set("x", fmt.Sprint(p.index))
		p.mu.Unlock()
		resp := <-read
		require.EqualValues(t, fmt.Sprint(resp.Index), *resp.Value)
	}
}

// What the sessions cost: the same writes without and with one, beside each other.
func BenchmarkApply(b *testing.B) {
	value := strings.Repeat("x", 100)
	for _, c := range []struct {
		name        string
		outstanding uint64 // 0: no session
	}{{"no session", 0}, {"1 outstanding", 1}, {"16 outstanding", 16}, {"128 outstanding", 128}} {
		b.Run(c.name, func(b *testing.B) {
			p := newReplica()
			s := p.register()
			b.ReportAllocs()
			for seq := uint64(1); b.Loop(); seq++ {
				r := api.Request{ID: 1, Op: api.Put, Key: "x", Value: &value}
				if c.outstanding > 0 {
					r.Session, r.Seq = s, seq
					r.Done = max(seq, c.outstanding) - c.outstanding + 1
				}
				if !p.apply(r).OK {
					b.Fatal("refused")
				}
			}
		})
	}
}
