package raft

import "fmt"

// A log is a sequence of entries. Only this file counts where in memory an entry is.
//
// What it hands out stays as it is: entries are never changed in place, and after a cut the rest is copied, since
// messages may still hold what was cut off.
type log struct {
	entries []Entry // entries[0] has index 1
	saved   Index   // up to here all is on disk, or will be before the next call
}

// newLog returns the log that was found on disk.
func newLog(entries []Entry) log {
	for i, e := range entries {
		if e.Index != Index(i)+1 || i > 0 && e.Term < entries[i-1].Term {
			panic(fmt.Sprintf("raft: entry %d of the log is %v", i+1, e))
		}
	}
	return log{entries: entries[:len(entries):len(entries)], saved: Index(len(entries))}
}

func (l *log) lastIndex() Index { return Index(len(l.entries)) }

// term returns the term of the entry at index, and whether there is one. The place before the first entry, where all
// logs agree, has term 0.
func (l *log) term(index Index) (term Term, ok bool) {
	switch {
	case index == 0:
		return 0, true
	case index > l.lastIndex():
		return 0, false
	}
	return l.entries[index-1].Term, true
}

// has reports whether there is an entry with this index and this term; then both logs are the same up to there
// (§5.3, Log Matching).
func (l *log) has(index Index, term Term) bool {
	t, ok := l.term(index)
	return ok && t == term
}

// slice returns entries from first to last, as many as make up limit bytes of commands, and one at least if there is
// one.
func (l *log) slice(first, last Index, limit int) []Entry {
	last = min(last, l.lastIndex())
	if first > last {
		return nil
	}
	entries := l.entries[first-1 : last : last]
	size := 0
	for i, e := range entries {
		if size += len(e.Command); size > limit && i > 0 {
			return entries[:i:i]
		}
	}
	return entries
}

// size is how many bytes the commands of all entries after index have.
func (l *log) size(index Index) (n int) {
	for _, e := range l.entries[index:] {
		n += len(e.Command)
	}
	return n
}

// append adds entries, which follow the last one.
func (l *log) append(entries ...Entry) { l.entries = append(l.entries, entries...) }

// cut drops the entry at index, and all that follow it.
func (l *log) cut(index Index) {
	l.entries = l.entries[: index-1 : index-1]
	l.saved = min(l.saved, index-1)
}

// takeUnsaved returns the entries that are to be saved now.
func (l *log) takeUnsaved() []Entry {
	last := l.lastIndex()
	unsaved := l.entries[l.saved:last:last]
	l.saved = last
	return unsaved
}

// agreement returns the last place at or before index whose term is at most term. Let another log have term at index.
// Terms never fall along a log, so wherever the two agree, it is here or before.
func (l *log) agreement(index Index, term Term) (Index, Term) {
	index = min(index, l.lastIndex())
	for {
		if t, _ := l.term(index); t <= term {
			return index, t
		}
		index--
	}
}

// upToDate reports whether a log that ends at index and term has all that this one has of what is committed: the later
// last term wins, then the longer log (§5.4.1).
func (l *log) upToDate(index Index, term Term) bool {
	last := l.lastIndex()
	lastTerm, _ := l.term(last)
	return term > lastTerm || term == lastTerm && index >= last
}
