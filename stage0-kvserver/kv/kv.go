// Package kv is the store: a map that many goroutines may use at once.
package kv

import (
	"sync"

	"raftworkbook/stage0-kvserver/api"
)

// A Store maps keys to values. Every request is carried out as one step: nobody sees half of it, and
// nothing comes between what it reads and what it writes.
type Store struct {
	mu     sync.RWMutex
	values map[string]string
}

// New returns an empty store.
func New() *Store { return &Store{values: map[string]string{}} }

// Len is the number of keys.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.values)
}

// Do carries out a get, put, cas, delete, append or list that Check has passed.
func (s *Store) Do(r api.Request) api.Response {
	resp := s.do(r)
	resp.ID, resp.OK = r.ID, resp.Error == nil
	return resp
}

func (s *Store) do(r api.Request) api.Response {
	switch r.Op {
	case api.Get:
		return s.get(r.Key)
	case api.Put:
		return s.put(r.Key, *r.Value)
	case api.CAS:
		return s.cas(r.Key, r.Expect, *r.Value)
	case api.Delete:
		return s.delete(r.Key)
	case api.Append:
		return s.append(r.Key, *r.Value)
	case api.List:
		return s.list(r)
	}
	panic("kv: no operation of the store: " + r.Op)
}

func (s *Store) get(key string) api.Response {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.look(key)
}

// look is what is at key: found, and the value if so. The caller holds the lock.
func (s *Store) look(key string) api.Response {
	value, ok := s.values[key]
	if !ok {
		return api.Response{Found: new(false)}
	}
	return api.Response{Found: new(true), Value: &value}
}

func (s *Store) put(key, value string) api.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
	return api.Response{}
}

// cas writes value if expect is what is there: nil for nothing. Otherwise it says what is.
func (s *Store) cas(key string, expect *string, value string) api.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.values[key]
	if ok != (expect != nil) || ok && old != *expect {
		resp := s.look(key)
		resp.Swapped = new(false)
		return resp
	}
	s.values[key] = value
	return api.Response{Swapped: new(true)}
}

func (s *Store) delete(key string) api.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.values[key]
	delete(s.values, key)
	return api.Response{Found: &ok}
}

// append adds to the end of a value, and to nothing as put does. A value that would grow past its limit
// stays as it is.
func (s *Store) append(key, more string) api.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	length := len(s.values[key]) + len(more)
	if length > api.MaxValue {
		return api.Response{Error: api.Errorf(api.TooLarge,
			"the value would have %d bytes, at most %d are allowed", length, api.MaxValue)}
	}
	s.values[key] += more
	return api.Response{Length: &length}
}
