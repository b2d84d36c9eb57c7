package raft

import (
	"fmt"
	"slices"
)

// A log is a sequence of entries, whose beginning may be gone: a snapshot stands for that. Only this file counts where
// in memory an entry is.
//
// What it hands out stays as it is: entries are never changed in place, and after a cut the rest is copied, since
// messages may still hold what was cut off.
type log struct {
	// entries[0] is only the place that the others follow: of the last entry that is gone, or 0@0. All up to there is
	// committed.
	entries []Entry
	saved   Index // up to here all is on disk, or will be before the next call
}

// newLog returns the log that was found on disk beside a snapshot that ends at place. It may begin before that.
func newLog(place Entry, entries []Entry) log {
	l := log{entries: []Entry{place}}
	if len(entries) > 0 && entries[0].Index <= place.Index {
		l.entries = nil
	}
	l.entries = append(l.entries, entries...)
	for i, e := range l.entries[1:] {
		if before := l.entries[i]; e.Index != before.Index+1 || e.Term < before.Term {
			panic(fmt.Sprintf("raft: entry %v in the log after %v", e, before))
		}
	}
	if !l.has(place.Index, place.Term) {
		panic(fmt.Sprintf("raft: no entry %v of the snapshot in the log up to %d", place, l.lastIndex()))
	}
	l.entries[0].Command, l.entries[0].Config = nil, nil
	l.saved = l.lastIndex()
	return l
}

// base is up to where the log is gone.
func (l *log) base() Index { return l.entries[0].Index }

func (l *log) lastIndex() Index { return l.entries[len(l.entries)-1].Index }

// term returns the term of the entry at index, and whether it is there or is the last that is gone.
func (l *log) term(index Index) (term Term, ok bool) {
	if index < l.base() || index > l.lastIndex() {
		return 0, false
	}
	return l.entries[index-l.base()].Term, true
}

// has reports whether there is an entry with this index and this term; then both logs are the same up to there
// (§5.3, Log Matching). What is gone was committed, and all logs of leaders have that.
func (l *log) has(index Index, term Term) bool {
	t, ok := l.term(index)
	return ok && t == term || index < l.base()
}

// slice returns entries from first to last, as many as make up limit bytes of commands, and one at least if there is
// one.
func (l *log) slice(first, last Index, limit int) []Entry {
	last = min(last, l.lastIndex())
	if first > last {
		return nil
	}
	entries := l.after(first-1, last)
	size := 0
	for i, e := range entries {
		if size += e.Size(); size > limit && i > 0 {
			return entries[:i:i]
		}
	}
	return entries
}

// size is how many bytes the commands of all entries after index have.
func (l *log) size(index Index) (n int) {
	for _, e := range l.after(index, l.lastIndex()) {
		n += len(e.Command)
	}
	return n
}

// after returns the entries after index, up to last.
func (l *log) after(index, last Index) []Entry {
	end := last + 1 - l.base()
	return l.entries[index+1-l.base() : end : end]
}

// configuration is that which the entry at index has, nil if it has none.
func (l *log) configuration(index Index) *Configuration { return l.entries[index-l.base()].Config }

// append adds entries, which follow the last one.
func (l *log) append(entries ...Entry) { l.entries = append(l.entries, entries...) }

// cut drops the entry at index, and all that follow it.
func (l *log) cut(index Index) {
	end := index - l.base()
	l.entries = l.entries[:end:end]
	l.saved = min(l.saved, index-1)
}

// takeUnsaved returns the entries that are to be saved now.
func (l *log) takeUnsaved() []Entry {
	unsaved := l.after(l.saved, l.lastIndex())
	l.saved = l.lastIndex()
	return unsaved
}

// agreement returns the last place at or before index whose term is at most term. Let another log have term at index.
// Terms never fall along a log, so wherever the two agree, it is here or before. Where that is gone, all that can be said
// is that it is not later.
func (l *log) agreement(index Index, term Term) (Index, Term) {
	index = min(index, l.lastIndex())
	for index >= l.base() {
		t, _ := l.term(index)
		if t <= term {
			return index, t
		}
		index--
	}
	return index, term
}

// upToDate reports whether a log that ends at index and term has all that this one has of what is committed: the later
// last term wins, then the longer log (§5.4.1).
func (l *log) upToDate(index Index, term Term) bool {
	last := l.lastIndex()
	lastTerm, _ := l.term(last)
	return term > lastTerm || term == lastTerm && index >= last
}

// compact drops the entries up to index. What is left is copied, or the rest would be kept in memory with it.
func (l *log) compact(index Index) {
	l.entries = slices.Clone(l.entries[index-l.base():])
	l.entries[0].Command, l.entries[0].Config = nil, nil
}

// tail returns the place before index from which on there are at most limit bytes of commands up to index.
func (l *log) tail(index Index, limit int) Index {
	for size := 0; index > l.base(); index-- {
		if size += l.entries[index-l.base()].Size(); size > limit {
			break
		}
	}
	return index
}

// restart drops all there is. The log goes on after place.
func (l *log) restart(place Entry) {
	l.entries = []Entry{place}
	l.saved = place.Index
}
