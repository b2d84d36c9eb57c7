package kv

import (
	"encoding/json"
	"slices"
	"strings"

	"raftworkbook/stage7-membership/api"
)

// listSize is how many bytes the names in one response may take, as JSON. The rest of the line is for
// what stands around them.
const listSize = api.MaxLine - 1<<10

// list returns keys in byte order, from After on, as many as Limit and the line allow. It looks at every
// key of the store, so it costs the more the more keys there are, however few it returns.
func (s *Store) list(r api.Request) api.Response {
	names := s.names(r)
	fit := fitting(names, r.Limit)
	resp := api.Response{Keys: []string{}, More: fit < len(names)}
	for _, name := range names[:fit] {
		if r.Delimiter != "" && strings.Contains(name[len(r.Prefix):], r.Delimiter) {
			resp.Prefixes = append(resp.Prefixes, name)
		} else {
			resp.Keys = append(resp.Keys, name)
		}
	}
	return resp
}

// names returns what is to be listed, sorted: keys and, if there is a delimiter, what keys below it have
// in common.
func (s *Store) names(r api.Request) []string {
	var names []string
	s.mu.RLock()
	for key := range s.values.keys() {
		if !strings.HasPrefix(key, r.Prefix) {
			continue
		}
		if name := upTo(r.Delimiter, key, len(r.Prefix)); name > r.After {
			names = append(names, name)
		}
	}
	s.mu.RUnlock()
	slices.Sort(names)
	return slices.Compact(names)
}

// upTo cuts key after the first delimiter that follows its first n bytes.
func upTo(delimiter, key string, n int) string {
	if delimiter == "" {
		return key
	}
	at := strings.Index(key[n:], delimiter)
	if at < 0 {
		return key
	}
	return key[:n+at+len(delimiter)]
}

// fitting is how many of names one response can hold.
func fitting(names []string, limit uint64) int {
	if limit == 0 {
		limit = api.DefaultLimit
	}
	size := 0
	for i, name := range names {
		quoted, _ := json.Marshal(name) // at least as long as on the line, where < > & stay as they are
		size += len(quoted) + len(",")
		if uint64(i) == limit || size > listSize {
			return i
		}
	}
	return len(names)
}
