package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"raftworkbook/common/files"
	"raftworkbook/stage6-compaction/raft"
)

// The snapshot's file, in the node's directory, and what becomes it: one that was taken here, or one that has come from
// the leader.
const (
	snapshotName = "snapshot"
	takenName    = "snapshot.taken"
	comeName     = "snapshot.come"
)

// A snapshotHead is the first line of a snapshot's file. The rest is the state machine's.
type snapshotHead struct {
	head
	LastIncludedIndex raft.Index `json:"last_index"`
	LastIncludedTerm  raft.Term  `json:"last_term"`
	Size              int        `json:"size"`
	Sum               string     `json:"sum"` // of the rest, as a line has it
}

// writeSnapshot writes a snapshot into a file of its own, and flushes it. Any goroutine may call it.
func (d *disk) writeSnapshot(name string, s raft.Snapshot) error {
	text := line(snapshotHead{d.head, s.LastIncludedIndex, s.LastIncludedTerm, len(s.Data), sum(s.Data)})
	return writeFile(d.sys, filepath.Join(d.dir, name), append(text, s.Data...))
}

// adopt makes a file that has been written the node's snapshot, and only then cuts the log to what is left beside it.
// Until both are done, a start finds the old log, which reaches as far as the snapshot before and is good for both.
func (d *disk) adopt(name string, s raft.Snapshot, log []raft.Entry) error {
	if d.err == nil {
		d.err = d.sys.Rename(filepath.Join(d.dir, name), filepath.Join(d.dir, snapshotName))
	}
	if d.err == nil {
		d.err = d.sys.SyncDir(d.dir)
	}
	if d.err == nil {
		d.err = d.rewrite(log)
	}
	d.snapshotSize = int64(len(s.Data))
	return d.err
}

// install makes a snapshot that has come from the leader the node's, in place of its whole log.
func (d *disk) install(s raft.Snapshot) error {
	if err := d.writeSnapshot(comeName, s); err != nil {
		return err
	}
	return d.adopt(comeName, s, []raft.Entry{{Index: s.LastIncludedIndex, Term: s.LastIncludedTerm}})
}

// loadSnapshot returns the snapshot; an empty one if there is none. It is written all at once: if it is not whole it is
// damaged, and there is no other, since the log goes on where it ends.
func (d *disk) loadSnapshot() (s raft.Snapshot, err error) {
	path := filepath.Join(d.dir, snapshotName)
	f, err := d.sys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, math.MaxInt64))
	if err := errors.Join(err, f.Close()); err != nil {
		return s, err
	}
	first, data, _ := bytes.Cut(text, []byte("\n"))
	var h snapshotHead
	if err := d.head.check(append(first[:len(first):len(first)], '\n')); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(first[len(noSum):], &h); err != nil || h.Size != len(data) || h.Sum != sum(data) {
		return s, fmt.Errorf("%s: damaged: what it stood for is gone from the log, so the node must not start without it, "+
			"nor with an empty directory; leave this node out", path)
	}
	d.snapshotSize = int64(len(data))
	return raft.Snapshot{LastIncludedIndex: h.LastIncludedIndex, LastIncludedTerm: h.LastIncludedTerm, Data: data}, nil
}

// follow returns what the log holds beside a snapshot. A crash may have come when the snapshot had its name and the log
// was not cut yet. Then entries before its end are of no more use; or all are, if they do not lead to it: it had come from
// the leader in place of them. It fails if something is missing between the two.
func follow(s raft.Snapshot, entries []raft.Entry) ([]raft.Entry, error) {
	end := s.LastIncludedIndex
	if len(entries) == 0 || end == 0 && entries[0].Index == 1 {
		return entries, nil
	}
	if first := entries[0].Index; first > end {
		return nil, fmt.Errorf("the log begins with entry %d, and the snapshot ends with %d: what was between has been promised", first, end)
	}
	i := int(end - entries[0].Index)
	if i < len(entries) && entries[i].Term == s.LastIncludedTerm {
		return entries, nil
	}
	return nil, nil
}

// removeLeftovers removes what a crash has left half done.
func removeLeftovers(sys files.System, dir string) error {
	for _, name := range []string{logName + ".new", takenName, comeName} {
		if err := sys.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// A taken snapshot is written, or has failed to be. Behind it keep bytes of the log stay.
type taken struct {
	raft.Snapshot
	keep int
	err  error
}

// A wish is that of somebody who waits until there is a snapshot up to index.
type wish struct {
	index raft.Index
	done  chan struct{}
}

// Snapshot has the node take a snapshot of all that it has applied, and returns when one is saved. What it stands for is
// gone from the log then, but for what a follower is being sent.
func (n *Node) Snapshot() {
	w := wish{done: make(chan struct{})}
	n.do(func() {
		w.index, _ = n.core.Applied()
		n.wishes = append(n.wishes, w)
	})
	select {
	case <-w.done:
	case <-n.life.Done():
	}
}

// beginSnapshot begins to take a snapshot if the log has become long, or somebody wants one. Another goroutine makes it
// into a file, and the node goes on meanwhile (D§5.1.1).
func (n *Node) beginSnapshot() {
	end := n.core.Status().SnapshotIndex
	n.wishes = slices.DeleteFunc(n.wishes, func(w wish) bool {
		if w.index <= end {
			close(w.done)
		}
		return w.index <= end
	})
	index, term := n.core.Applied()
	if n.taking || index == end || len(n.wishes) == 0 && !n.disk.long(n.SnapshotBytes) {
		return
	}
	keep := int(n.SnapshotBytes / keepPart)
	if len(n.wishes) > 0 {
		keep = 0
	}
	n.taking = true
	frozen := n.store.Freeze()
	n.writing.Go(func() {
		s := raft.Snapshot{LastIncludedIndex: index, LastIncludedTerm: term, Data: frozen.Encode()}
		n.taken <- taken{s, keep, n.disk.writeSnapshot(takenName, s)}
	})
}

// compact puts a snapshot that was taken in the place of the entries for which it stands, unless the leader has sent a
// newer one meanwhile.
func (n *Node) compact(t taken) error {
	n.taking = false
	if t.err != nil || !n.core.Compact(t.Snapshot, t.keep) {
		return t.err
	}
	return n.disk.adopt(takenName, t.Snapshot, n.core.Log())
}

// save makes durable what the core wants, in its order. A snapshot becomes the store too.
func (n *Node) save(rd raft.Ready) error {
	s := rd.Snapshot
	if s == nil {
		return n.disk.save(rd.HardState, rd.Entries)
	}
	if err := n.disk.save(rd.HardState, nil); err != nil {
		return err
	}
	if err := n.disk.install(*s); err != nil {
		return err
	}
	if err := n.store.Restore(uint64(s.LastIncludedIndex), s.Data); err != nil {
		return err
	}
	return n.disk.save(nil, rd.Entries)
}
