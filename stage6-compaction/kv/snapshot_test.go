package kv

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/stage6-compaction/api"
)

// restored is a replica made of a snapshot of p.
func restored(t *testing.T, p *replica) *replica {
	t.Helper()
	q := &replica{Store: New(), index: p.index}
	require.NoError(t, q.Restore(p.index, p.Freeze().Encode()))
	return q
}

func (p *replica) put(key, value string) api.Response {
	return p.apply(api.Request{ID: 1, Op: api.Put, Key: key, Value: &value})
}

func (p *replica) delete(key string) api.Response {
	return p.apply(api.Request{ID: 1, Op: api.Delete, Key: key})
}

// all is what a store has, as it is seen.
func all(s *Store) map[string]string {
	found := map[string]string{}
	for _, key := range s.Do(api.Request{Op: api.List, Limit: 5000}).Keys {
		found[key] = *s.Do(api.Request{Op: api.Get, Key: key}).Value
	}
	return found
}

func TestSnapshot_is_text_that_one_can_read(t *testing.T) {
	p := newReplica()
	s := p.register()
	p.put("k", "<v>")
	p.put("empty", "")
	p.apply(api.Request{ID: 1, Op: api.CAS, Key: "k", Value: new("w"), Session: s, Seq: 1, Done: 1})
	p.append(s, 2, 1)
	p.append(p.register(), 7, 7)
	require.Equal(t, ``+
		`{"key":"empty"}`+"\n"+
		`{"key":"k","value":"<v>"}`+"\n"+
		`{"key":"x","value":"aa"}`+"\n"+
		`{"session":1,"done":1,"answers":{"1":{"id":0,"ok":false,"found":true,"value":"<v>","swapped":false},"2":{"id":0,"ok":false,"length":1}}}`+"\n"+
		`{"session":6,"done":7,"answers":{"7":{"id":0,"ok":false,"length":2}}}`+"\n", string(p.Freeze().Encode()))
}

// Each kind of write is done to a key that was there before, and to one that was not, while a snapshot is made.
func TestSnapshot_is_of_one_moment_though_writes_go_on(t *testing.T) {
	p := newReplica()
	s := p.register()
	for _, key := range []string{"put", "cas", "delete", "append", "stays"} {
		p.put(key, "old")
	}
	p.append(s, 1, 1)
	want, sessions := all(p.Store), remembered(restored(t, p))
	frozen := p.Freeze()

	for _, prefix := range []string{"", "new "} {
		var expect *string
		if prefix == "" {
			expect = new("old")
		}
		p.put(prefix+"put", "1")
		require.True(t, *p.apply(api.Request{ID: 1, Op: api.CAS, Key: prefix + "cas", Expect: expect, Value: new("2")}).Swapped)
		p.apply(api.Request{ID: 1, Op: api.Append, Key: prefix + "append", Value: new("3")})
		require.Equal(t, prefix == "", *p.delete(prefix + "delete").Found)
	}
	p.put("comes and goes", "")
	require.True(t, *p.delete("comes and goes").Found)
	require.False(t, *p.delete("comes and goes").Found)
	require.True(t, *p.delete("stays").Found)
	p.put("stays", "again")
	require.Equal(t, 2, *p.append(s, 2, 2).Length)
	p.register()

	now := map[string]string{"put": "1", "cas": "2", "append": "old3", "new put": "1", "new cas": "2", "new append": "3", "stays": "again", "x": "aa"}
	see := func(s *Store) {
		t.Helper()
		require.Equal(t, now, all(s))
		require.Equal(t, len(now), s.Len())
		require.Equal(t, api.Response{OK: true, Found: new(false), Index: p.index}, s.Do(api.Request{Op: api.Get, Key: "delete"}))
		require.Equal(t, []string{"append", "cas"}, s.Do(api.Request{Op: api.List, Limit: 2}).Keys)
	}
	see(p.Store)
	q := newReplica()
	require.NoError(t, q.Restore(1, frozen.Encode()))
	require.Equal(t, want, all(q.Store))
	require.True(t, reflect.DeepEqual(sessions, remembered(q)))
	see(p.Store)
	p.put("put", "after")
	now["put"] = "after"
	see(p.Store)
	see(restored(t, p).Store)
}

// The same under the race detector: writes, and reads by many, while another goroutine encodes.
func TestSnapshot_is_encoded_while_the_store_is_read_and_written(t *testing.T) {
	p := newReplica()
	for i := range 2000 {
		p.put(fmt.Sprintf("%d", i), "old")
	}
	for round := range 10 {
		frozen := p.Freeze()
		want := all(p.Store)
		var encoding, reading sync.WaitGroup
		var data []byte
		encoding.Go(func() { data = frozen.Encode() })
		for range 2 {
			reading.Go(func() {
				for i := range 500 {
					p.Do(api.Request{Op: api.Get, Key: fmt.Sprint(i)})
					p.Len()
				}
				p.Do(api.Request{Op: api.List, Limit: 10})
			})
		}
		for i := range 500 {
			p.put(fmt.Sprint(round*100+i), fmt.Sprint("new ", round))
			p.delete(fmt.Sprint(round*100 + i + 250))
			p.register()
		}
		now := all(p.Store)
		encoding.Wait()
		reading.Wait()
		q := New()
		require.NoError(t, q.Restore(1, data))
		require.Equal(t, want, all(q))
		require.Equal(t, now, all(p.Store))
		require.Equal(t, len(now), p.Len())
	}
}

// A store does what a map does, whenever a snapshot of it begins and ends; and the snapshot is that map.
func TestStore_is_a_map_whenever_it_is_frozen(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 0))
		p, plain := newReplica(), map[string]string{}
		var frozen *Snapshot
		var then map[string]string
		for range 1000 {
			key, value := fmt.Sprint(r.IntN(12)), fmt.Sprint(r.IntN(1000))
			old, there := plain[key]
			switch r.IntN(9) {
			case 0, 1:
				p.put(key, value)
				plain[key] = value
			case 2, 3:
				require.Equal(t, there, *p.delete(key).Found)
				delete(plain, key)
			case 4:
				require.Equal(t, len(old)+len(value), *p.apply(api.Request{ID: 1, Op: api.Append, Key: key, Value: &value}).Length)
				plain[key] = old + value
			case 5:
				var expect *string
				if r.IntN(4) > 0 {
					expect = &old
				}
				swapped := *p.apply(api.Request{ID: 1, Op: api.CAS, Key: key, Expect: expect, Value: &value}).Swapped
				require.Equal(t, there == (expect != nil), swapped)
				if swapped {
					plain[key] = value
				}
			case 6:
				got := p.Do(api.Request{Op: api.Get, Key: key})
				require.Equal(t, there, *got.Found)
				if there {
					require.Equal(t, old, *got.Value)
				}
			case 7:
				require.Equal(t, plain, all(p.Store))
				require.Equal(t, len(plain), p.Len())
			case 8:
				if frozen == nil {
					frozen, then = p.Freeze(), maps.Clone(plain)
					continue
				}
				q := New()
				require.NoError(t, q.Restore(p.index, frozen.Encode()))
				require.Equal(t, then, all(q))
				frozen = nil
			}
		}
		require.Equal(t, plain, all(p.Store))
	}
}

func TestSnapshots_of_stores_that_applied_the_same_are_the_same(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	one, other := newReplica(), newReplica()
	for n := range 2000 {
		w := api.Request{ID: 1, Op: api.Register}
		if n > 10 {
			w = api.Request{ID: 1, Op: []string{api.Put, api.Append, api.CAS, api.Delete}[r.IntN(4)], Key: fmt.Sprint(r.IntN(50)), Value: new("v"),
				Session: 1 + r.Uint64N(10), Seq: 1 + r.Uint64N(100)}
			w.Done = r.Uint64N(w.Seq + 1)
		}
		one.apply(w)
		other.apply(w)
		if n%300 == 0 { // it came back from one meanwhile, or goes on beside one
			other = restored(t, other)
			frozen := one.Freeze()
			defer frozen.Encode()
			one.put("aside", "")
			other.put("aside", "")
			frozen.Encode()
		}
	}
	require.Equal(t, string(one.Freeze().Encode()), string(other.Freeze().Encode()))
	require.Len(t, one.sessions.byID, 11)
}

// A client that has no answer sends its write once more. It must not matter that the node began anew in between (§8).
func TestRetry_is_answered_as_the_first_time_across_a_snapshot(t *testing.T) {
	p := newReplica()
	s := p.register()
	large := strings.Repeat("x", api.MaxValue)
	p.put("full", large)
	p.put("there", "value")
	p.put("empty", "")
	writes := []api.Request{
		{Op: api.Append, Key: "x", Value: new("a")},
		{Op: api.Put, Key: "y", Value: new("")},
		{Op: api.Delete, Key: "there"},
		{Op: api.Delete, Key: "there"},
		{Op: api.Append, Key: "full", Value: new("y")},                    // too large
		{Op: api.CAS, Key: "full", Value: new("z")},                       // the value is in its way
		{Op: api.CAS, Key: "empty", Value: new("z")},                      // an empty one is
		{Op: api.CAS, Key: "none", Expect: new(""), Value: new("z")},      // none is there
		{Op: api.CAS, Key: "empty", Expect: new(""), Value: new("<&> z")}, // swapped
	}
	var first []api.Response
	for i := range writes {
		w := &writes[i]
		w.ID, w.Session, w.Seq, w.Done = 1, s, 3+uint64(i), 3
		first = append(first, p.apply(*w))
	}
	q := restored(t, p)
	before := all(q.Store)
	require.Equal(t, api.SessionExpired, code(q.append(s, 2, 0)), "that is over, and was never seen")
	for i, w := range writes {
		resp := q.apply(w)
		resp.Index = first[i].Index
		require.Equal(t, first[i], resp)
	}
	require.Equal(t, before, all(q.Store))
	require.Equal(t, api.Unavailable, code(q.append(s, 3+maxAnswers, 3)))
	require.Equal(t, "", code(q.append(s, 3+maxAnswers, 4)))
}

func TestRestore_gives_back_which_session_goes_first_and_all_that_is_kept(t *testing.T) {
	p := newReplica()
	var sessions []uint64
	for range maxSessions {
		sessions = append(sessions, p.register())
	}
	r := rand.New(rand.NewPCG(1, 0))
	for range maxSessions {
		seq := 1 + r.Uint64N(20)
		p.append(sessions[r.IntN(maxSessions)], seq, r.Uint64N(seq+1))
	}
	q := restored(t, p)
	require.True(t, reflect.DeepEqual(remembered(p), remembered(q)))
	require.Equal(t, p.sessions.answer, q.sessions.answer)
	require.Equal(t, string(p.Freeze().Encode()), string(q.Freeze().Encode()))
	for range maxSessions / 2 {
		require.Equal(t, p.register(), q.register())
	}
	require.True(t, reflect.DeepEqual(remembered(p), remembered(q)))
}

func TestRestore_takes_the_place_of_all_there_was(t *testing.T) {
	p := newReplica()
	s := p.register()
	p.put("x", "1")
	q := newReplica()
	for range 3 {
		q.register()
	}
	q.put("y", "1")
	require.NoError(t, q.Restore(2, p.Freeze().Encode()))
	require.Equal(t, map[string]string{"x": "1"}, all(q.Store))
	require.Equal(t, 1, q.Len())
	require.Equal(t, remembered(p), remembered(q))
	require.Equal(t, s, remembered(q)[0].id)
	require.EqualValues(t, 2, q.Do(api.Request{Op: api.Get, Key: "x"}).Index)

	require.NoError(t, q.Restore(0, nil)) // what a node begins with
	require.Empty(t, all(q.Store))
	require.Empty(t, remembered(q))
}

// The leader's snapshot comes while one is taken here.
func TestRestore_may_come_while_a_snapshot_is_made(t *testing.T) {
	p := newReplica()
	p.put("x", "1")
	frozen := p.Freeze()
	p.put("x", "2")
	theirs := newReplica()
	theirs.put("y", "3")
	require.NoError(t, p.Restore(9, theirs.Freeze().Encode()))
	p.index = 9
	p.put("z", "4")
	q := New()
	require.NoError(t, q.Restore(1, frozen.Encode()))
	require.Equal(t, map[string]string{"x": "1"}, all(q))
	require.Equal(t, map[string]string{"y": "3", "z": "4"}, all(p.Store))
	p.put("y", "5")
	require.Equal(t, map[string]string{"y": "5", "z": "4"}, all(restored(t, p).Store))
}

func TestRestore_of_what_is_no_snapshot_fails_and_changes_nothing(t *testing.T) {
	p := newReplica()
	s := p.register()
	p.append(s, 1, 1)
	before, sessions := all(p.Store), remembered(p)
	good := string(p.Freeze().Encode())
	for _, data := range []string{"x", "{", "[]\n", `"x"`, `{"key":1}`, `{"session":-1}`, `{"session":1,"answers":{"a":{}}}`, good + "x", good[:len(good)-3]} {
		require.ErrorContains(t, p.Restore(7, []byte(data)), "of a snapshot: ", data)
	}
	require.Equal(t, before, all(p.Store))
	require.Equal(t, sessions, remembered(p))
	require.EqualValues(t, 2, p.Do(api.Request{Op: api.Get, Key: "x"}).Index)
}

func TestSnapshot_has_no_history(t *testing.T) {
	p := newReplica()
	s := p.register()
	for i := range uint64(10_000) {
		p.put(fmt.Sprint(i%100), "v")
		p.delete(fmt.Sprint((i + 1) % 100))
		p.append(s, i+1, i+1)
		p.apply(api.Request{ID: 1, Op: api.Put, Key: "x", Value: new("")})
	}
	for key := range all(p.Store) {
		p.delete(key)
	}
	require.Less(t, len(p.Freeze().Encode()), 200)
}

func TestFreeze_takes_no_longer_the_more_keys_there_are(t *testing.T) {
	p := newReplica()
	for i := range 100_000 {
		p.put(fmt.Sprint(i), "v")
	}
	require.Less(t, testing.AllocsPerRun(10, func() {
		p.Freeze()
		p.values.thaw()
	}), 10.0)
}

func BenchmarkFreeze(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("%d_keys", keys), func(b *testing.B) {
			p := newReplica()
			for i := range keys {
				p.values.set(fmt.Sprint(i), "v")
			}
			for b.Loop() {
				p.Freeze()
				p.values.thaw()
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	p := newReplica()
	for i := range 1_000_000 {
		p.values.set(fmt.Sprint(i), strings.Repeat("x", 100))
	}
	for b.Loop() {
		b.SetBytes(int64(len(p.Freeze().Encode())))
	}
}
