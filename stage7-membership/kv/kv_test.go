package kv

import (
	"encoding/json"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"raftworkbook/stage7-membership/api"
)

// play sends lines to a store, each beginning with ">", and compares the answers that follow them.
func play(t *testing.T, s *Store, script string) {
	t.Helper()
	var answer string
	for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
		line = strings.TrimSpace(line)
		request, ok := strings.CutPrefix(line, "> ")
		if !ok {
			require.Equal(t, line, answer)
			continue
		}
		r, refused := api.DecodeRequest([]byte(request))
		require.Nil(t, refused, request)
		b, err := json.Marshal(s.Do(r))
		require.NoError(t, err)
		answer = string(b)
	}
}

func TestGet_tells_nothing_from_an_empty_value(t *testing.T) {
	play(t, New(), `
		> {"id":1,"op":"get","key":"a"}
		{"id":1,"ok":true,"found":false}
		> {"id":2,"op":"put","key":"a","value":""}
		{"id":2,"ok":true}
		> {"id":3,"op":"get","key":"a"}
		{"id":3,"ok":true,"found":true,"value":""}`)
}

func TestPut_replaces_what_was_there(t *testing.T) {
	play(t, New(), `
		> {"id":1,"op":"put","key":"a","value":"one"}
		> {"id":2,"op":"put","key":"a","value":"two"}
		{"id":2,"ok":true}
		> {"id":3,"op":"get","key":"a"}
		{"id":3,"ok":true,"found":true,"value":"two"}`)
}

func TestCAS_swaps_only_what_it_expects(t *testing.T) {
	play(t, New(), `
		> {"id":1,"op":"cas","key":"a","expect":"","value":"x"}
		{"id":1,"ok":true,"found":false,"swapped":false}
		> {"id":2,"op":"get","key":"a"}
		{"id":2,"ok":true,"found":false}
		> {"id":3,"op":"cas","key":"a","value":"x"}
		{"id":3,"ok":true,"swapped":true}
		> {"id":4,"op":"cas","key":"a","value":"y"}
		{"id":4,"ok":true,"found":true,"value":"x","swapped":false}
		> {"id":5,"op":"cas","key":"a","expect":"y","value":"z"}
		{"id":5,"ok":true,"found":true,"value":"x","swapped":false}
		> {"id":6,"op":"cas","key":"a","expect":"x","value":"z"}
		{"id":6,"ok":true,"swapped":true}
		> {"id":7,"op":"get","key":"a"}
		{"id":7,"ok":true,"found":true,"value":"z"}`)
}

func TestDelete_says_whether_there_was_something(t *testing.T) {
	play(t, New(), `
		> {"id":1,"op":"delete","key":"a"}
		{"id":1,"ok":true,"found":false}
		> {"id":2,"op":"put","key":"a","value":"x"}
		> {"id":3,"op":"delete","key":"a"}
		{"id":3,"ok":true,"found":true}
		> {"id":4,"op":"get","key":"a"}
		{"id":4,"ok":true,"found":false}`)
}

func TestAppend_to_nothing_is_a_put(t *testing.T) {
	play(t, New(), `
		> {"id":1,"op":"append","key":"a","value":"x"}
		{"id":1,"ok":true,"length":1}
		> {"id":2,"op":"append","key":"a","value":"é"}
		{"id":2,"ok":true,"length":3}
		> {"id":3,"op":"append","key":"b","value":""}
		{"id":3,"ok":true,"length":0}
		> {"id":4,"op":"get","key":"a"}
		{"id":4,"ok":true,"found":true,"value":"xé"}
		> {"id":5,"op":"get","key":"b"}
		{"id":5,"ok":true,"found":true,"value":""}`)
}

func TestAppend_beyond_the_limit_changes_nothing(t *testing.T) {
	s := New()
	full := strings.Repeat("x", api.MaxValue)
	s.Do(api.Request{Op: api.Put, Key: "a", Value: &full})
	play(t, s, `
		> {"id":1,"op":"append","key":"a","value":"y"}
		{"id":1,"ok":false,"error":{"code":"too_large","message":"the value would have 131073 bytes, at most 131072 are allowed"}}
		> {"id":2,"op":"append","key":"a","value":""}
		{"id":2,"ok":true,"length":131072}`)
	require.Equal(t, full, *s.Do(api.Request{Op: api.Get, Key: "a"}).Value)
}

func TestKeys_are_any_bytes_of_UTF8(t *testing.T) {
	play(t, New(), `
		> {"id":1,"op":"put","key":"a\nb","value":"1"}
		> {"id":2,"op":"put","key":"a\u0000","value":"2"}
		> {"id":3,"op":"put","key":"ключ 🔑","value":"3"}
		> {"id":4,"op":"get","key":"a\nb"}
		{"id":4,"ok":true,"found":true,"value":"1"}
		> {"id":5,"op":"list"}
		{"id":5,"ok":true,"keys":["a\u0000","a\nb","ключ 🔑"]}`)
}

func TestList_walks_keys_like_paths(t *testing.T) {
	s := New()
	for _, key := range []string{"/b", "/a/b", "/a/b/c", "/a/d/e", "/a/d/f", "/a", "x", "/a/", "/a/g"} {
		s.Do(api.Request{Op: api.Put, Key: key, Value: new("")})
	}
	play(t, s, `
		> {"id":1,"op":"list"}
		{"id":1,"ok":true,"keys":["/a","/a/","/a/b","/a/b/c","/a/d/e","/a/d/f","/a/g","/b","x"]}
		> {"id":2,"op":"list","prefix":"/a/"}
		{"id":2,"ok":true,"keys":["/a/","/a/b","/a/b/c","/a/d/e","/a/d/f","/a/g"]}
		> {"id":3,"op":"list","prefix":"/a/","delimiter":"/"}
		{"id":3,"ok":true,"keys":["/a/","/a/b","/a/g"],"prefixes":["/a/b/","/a/d/"]}
		> {"id":4,"op":"list","delimiter":"/"}
		{"id":4,"ok":true,"keys":["x"],"prefixes":["/"]}
		> {"id":5,"op":"list","prefix":"/z"}
		{"id":5,"ok":true,"keys":[]}
		> {"id":6,"op":"delete","key":"/a/d/e"}
		> {"id":7,"op":"list","prefix":"/a/d"}
		{"id":7,"ok":true,"keys":["/a/d/f"]}`)
}

func TestList_goes_on_after_what_it_returned_last(t *testing.T) {
	s := New()
	for _, key := range []string{"a", "b/1", "b/2", "c", "d"} {
		s.Do(api.Request{Op: api.Put, Key: key, Value: new("")})
	}
	play(t, s, `
		> {"id":1,"op":"list","limit":2}
		{"id":1,"ok":true,"keys":["a","b/1"],"more":true}
		> {"id":2,"op":"list","limit":2,"after":"b/1"}
		{"id":2,"ok":true,"keys":["b/2","c"],"more":true}
		> {"id":3,"op":"list","limit":2,"after":"c"}
		{"id":3,"ok":true,"keys":["d"]}
		> {"id":4,"op":"list","limit":2,"delimiter":"/"}
		{"id":4,"ok":true,"keys":["a"],"prefixes":["b/"],"more":true}
		> {"id":5,"op":"list","limit":2,"delimiter":"/","after":"b/"}
		{"id":5,"ok":true,"keys":["c","d"]}`)
}

func TestList_returns_a_thousand_unless_told_otherwise(t *testing.T) {
	s := New()
	for i := range 1500 {
		s.Do(api.Request{Op: api.Put, Key: strconv.Itoa(10000 + i), Value: new("")})
	}
	resp := s.Do(api.Request{Op: api.List})
	require.Len(t, resp.Keys, 1000)
	require.True(t, resp.More)
	resp = s.Do(api.Request{Op: api.List, Limit: 1500})
	require.Len(t, resp.Keys, 1500)
	require.False(t, resp.More)
}

func TestList_returns_as_much_as_fits_a_line(t *testing.T) {
	for _, letter := range []string{"k", `"`, "\x01", "<"} {
		s := New()
		long := strings.Repeat(letter, api.MaxKey-4)
		for i := range 1200 {
			s.Do(api.Request{Op: api.Put, Key: long + strconv.Itoa(1000+i), Value: new("")})
		}
		listed, after := 0, ""
		for more := true; more; {
			resp := s.Do(api.Request{ID: 1<<64 - 1, Op: api.List, Limit: 5000, After: after})
			line, err := json.Marshal(resp)
			require.NoError(t, err)
			require.Less(t, len(line), api.MaxLine)
			require.NotEmpty(t, resp.Keys)
			listed += len(resp.Keys)
			after, more = resp.Keys[len(resp.Keys)-1], resp.More
		}
		require.Equal(t, 1200, listed)
	}
}

func TestStore_is_safe_for_many_goroutines(t *testing.T) {
	const goroutines, times = 64, 1000
	s := New()
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range times {
				for !increment(s, "counter") {
				}
			}
			s.Do(api.Request{Op: api.Append, Key: "marks", Value: new("x")})
			s.Do(api.Request{Op: api.Put, Key: "other", Value: new("x")})
			s.Do(api.Request{Op: api.Delete, Key: "other"})
			s.Do(api.Request{Op: api.List, Prefix: "m"})
			s.Len()
		})
	}
	all.Wait()
	require.Equal(t, strconv.Itoa(goroutines*times), *s.Do(api.Request{Op: api.Get, Key: "counter"}).Value)
	require.Len(t, *s.Do(api.Request{Op: api.Get, Key: "marks"}).Value, goroutines)
}

// increment reads a counter and writes it back with cas. It reports whether nobody came between.
func increment(s *Store, key string) bool {
	old := s.Do(api.Request{Op: api.Get, Key: key}).Value
	n := 0
	if old != nil {
		n, _ = strconv.Atoi(*old)
	}
	return *s.Do(api.Request{Op: api.CAS, Key: key, Expect: old, Value: new(strconv.Itoa(n + 1))}).Swapped
}

func TestStore_forgets_what_was_overwritten(t *testing.T) {
	s := New()
	before := heap()
	for i := range 100 {
		large := strings.Repeat("x", api.MaxValue)
		s.Do(api.Request{Op: api.Put, Key: strconv.Itoa(i), Value: &large})
	}
	require.Greater(t, heap(), before+100*api.MaxValue*9/10)
	for i := range 100 {
		s.Do(api.Request{Op: api.Put, Key: strconv.Itoa(i), Value: new("")})
	}
	require.Less(t, heap(), before+1<<20)
	runtime.KeepAlive(s)
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what is in a sync.Pool, as of encoding/json, outlives the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestDo_answers_with_values_of_its_own(t *testing.T) {
	s := New()
	value := "a"
	s.Do(api.Request{Op: api.Put, Key: "k", Value: &value})
	value = "changed by the caller"
	resp := s.Do(api.Request{Op: api.Get, Key: "k"})
	require.Empty(t, cmp.Diff("a", *resp.Value))
	*resp.Value = "changed by the caller"
	require.Equal(t, "a", *s.Do(api.Request{Op: api.Get, Key: "k"}).Value)
}
