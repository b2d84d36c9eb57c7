package kv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"raftworkbook/stage6-compaction/api"
)

// A Snapshot is a store as it was at one moment (§7): what was applied up to then, and nothing that came later, though the
// store goes on.
type Snapshot struct {
	store    *Store
	values   map[string]string
	sessions []row
}

// A row is one line of a snapshot: a key, or a session. Sessions belong to it, or a write that comes once more after it
// was installed would be done once more.
type row struct {
	Key   *string `json:"key,omitempty"`
	Value string  `json:"value,omitempty"`

	Session uint64                  `json:"session,omitempty"`
	Done    uint64                  `json:"done,omitempty"`
	Answers map[uint64]api.Response `json:"answers,omitempty"`
}

// Freeze begins a snapshot. It takes as long for many keys as for few: what it copies is the sessions. Nobody else may
// have begun one that has not ended. Like Apply, it is for one goroutine.
func (s *Store) Freeze() *Snapshot {
	snapshot := &Snapshot{store: s}
	for e := s.sessions.byUse.Back(); e != nil; e = e.Prev() { // the one that goes first comes first
		in := e.Value.(*session)
		snapshot.sessions = append(snapshot.sessions, row{Session: in.id, Done: in.done, Answers: maps.Clone(in.answers)})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot.values = s.values.freeze()
	return snapshot
}

// Encode returns the snapshot as lines of JSON, keys in order: of two stores that have applied the same it is the same. It
// takes long, and any goroutine may do it. It ends the snapshot.
func (s *Snapshot) Encode() []byte {
	var text bytes.Buffer
	lines := json.NewEncoder(&text)
	lines.SetEscapeHTML(false)
	encode := func(r row) {
		if err := lines.Encode(r); err != nil {
			panic(err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		encode(row{Key: &key, Value: s.values[key]})
	}
	for _, r := range s.sessions {
		encode(r)
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.values.thaw()
	return text.Bytes()
}

// Restore makes the store what it was, up to the entry at index, when data was encoded. If that fails, the store is as
// before.
func (s *Store) Restore(index uint64, data []byte) error {
	values, sessions := newTable(), newSessions()
	lines := json.NewDecoder(bytes.NewReader(data))
	for lines.More() {
		var r row
		if err := lines.Decode(&r); err != nil {
			return fmt.Errorf("byte %d of a snapshot: %w", lines.InputOffset(), err)
		}
		if r.Key != nil {
			values.set(*r.Key, r.Value)
			continue
		}
		sessions.open(r.Session)
		in := sessions.use(r.Session, r.Done)
		for seq, answer := range r.Answers {
			sessions.keep(in, seq, answer)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.Store(index)
	s.values, s.sessions = values, sessions
	return nil
}
