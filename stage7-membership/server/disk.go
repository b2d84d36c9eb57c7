package server

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strconv"

	"raftworkbook/common/files"
	"raftworkbook/stage7-membership/raft"
)

const (
	// logName is the file with all that is saved, in the node's directory.
	logName = "raft.log"
	// logVersion is that of its format. Each stage has its own: what is in a record of another it would not know.
	logVersion = 5
	// maxSave is the most that one save writes, in bytes.
	maxSave = 16 << 20
	// rewritten is about how many bytes of commands go into one line when the log is written anew.
	rewritten = 1 << 20
	// logChunk is by how much the file grows, in bytes. What is not used yet is newlines. So most saves leave its size as
	// it is, and the flush has that much less to write.
	logChunk = 64 << 10
)

// A disk keeps what a node must not forget: its term, its vote and its log (Figure 2, persistent state).
// The others build on what a node tells them. So all of that is "updated on stable storage" first: written, and flushed.
//
// The log is one file, to which lines are added. A line is a checksum, a blank, and JSON: first a head, then what each save
// saved. When a snapshot has taken the place of entries, the log is written anew without them. Then its first entry is only
// the place that the others follow.
//
//	bf897c22 {"version":5,"cluster":"c1","node":"n1","directory":"d1"}
//	a8d0e885 {"term":1,"entries":[{"index":1,"term":1},{"index":2,"term":1,"command":"bbb"}]}
//	df91d87c {"term":2,"voted_for":"n3","entries":[]}
//	6be0049c {"entries":[{"index":2,"term":2,"command":"a"}]}
//
// Entries take the place of all that were there from the index of the first on: above, 2@2 that of 2@1. So nothing is
// ever cut off, and a crash leaves all of a save or none. In its midst it leaves a last line with a wrong checksum; that
// was never promised, and goes. A wrong line before a good one was promised. It is damaged, and the node must not start.
//
// A last line that was promised and then damaged looks as if it never had been.
type disk struct {
	sys  files.System
	dir  string
	head head
	lock io.Closer
	file files.File
	end  int64  // of the last line
	size int64  // of the file; from end on it is newlines
	line []byte // the last line
	err  error  // the first of save or adopt

	hard         raft.HardState // as saved
	begun        int64          // end when the log was written anew
	snapshotSize int64
}

// A head says whose the file is.
type head struct {
	Version int    `json:"version"`
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	// Directory is a random name of this directory: with another one, this node is not the one that promised.
	Directory string `json:"directory"`
}

// A beginning is what comes into an empty directory: in a new cluster the entry that all its first nodes have, for a node
// that is to join one nothing.
type beginning struct {
	cluster string
	hard    raft.HardState
	entries []raft.Entry
}

// A record is what one save has saved, or all together.
type record struct {
	*raft.HardState
	Entries []raft.Entry `json:"entries"`
}

// A memory is all that is saved.
type memory struct {
	hard     raft.HardState
	snapshot raft.Snapshot
	entries  []raft.Entry
}

// openDisk opens a node's directory, for this process alone, and returns what is saved in it. If the directory is not
// there it makes it, in one that is. If nothing is in it, b will be.
func openDisk(sys files.System, dir, node string, b beginning) (*disk, memory, error) {
	d := &disk{sys: sys, dir: dir, head: head{logVersion, b.cluster, node, fmt.Sprintf("%016x", rand.Uint64())}}
	m, err := d.open(b)
	if err != nil {
		d.close()
		return nil, memory{}, err
	}
	return d, m, nil
}

func (d *disk) open(b beginning) (m memory, err error) {
	if err := d.sys.Mkdir(d.dir); err != nil {
		return m, err
	}
	if d.lock, err = d.sys.Lock(filepath.Join(d.dir, "lock")); err != nil {
		return m, err
	}
	if err := removeLeftovers(d.sys, d.dir); err != nil {
		return m, err
	}
	all, err := d.openLog(b)
	if err != nil {
		return m, err
	}
	if m.snapshot, err = d.loadSnapshot(); err != nil {
		return m, err
	}
	m.hard = *all.HardState
	if m.entries, err = follow(m.snapshot, all.Entries); err != nil {
		return m, fmt.Errorf("%s: %w", filepath.Join(d.dir, logName), err)
	}
	if len(m.entries) == 0 && m.snapshot.LastIncludedIndex > 0 {
		err = d.rewrite([]raft.Entry{{Index: m.snapshot.LastIncludedIndex, Term: m.snapshot.LastIncludedTerm}})
	}
	return m, err
}

func (d *disk) openLog(b beginning) (all record, err error) {
	path := filepath.Join(d.dir, logName)
	d.file, err = d.sys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.create(path, b); err == nil {
			d.file, err = d.sys.Open(path)
		}
	}
	if err != nil {
		return all, err
	}
	// Without this flush the file could lose its name, and all that is promised with it. It may be new although another
	// process has made it: one that was killed before it came to this. So may a snapshot.
	if err := d.sys.SyncDir(d.dir); err != nil {
		return all, err
	}
	if all, err = d.load(); err != nil {
		return all, fmt.Errorf("%s: %w", path, err)
	}
	d.hard = *all.HardState
	// What was read need not be on the disk. A process that was killed before its flush leaves its last line in the
	// memory of the system; so does one whose flush failed, and then no other flush takes it for something to write.
	// Promise it now, and a power failure takes it. So the last line is written once more. What is before it was flushed
	// before it was written, and what is behind it goes.
	if err := d.file.Truncate(d.end + int64(len(d.line))); err != nil {
		return all, err
	}
	return all, d.write()
}

// create makes a log that has a head, and what a node begins with.
func (d *disk) create(path string, b beginning) error {
	if b.cluster == "" {
		return errors.New("there is nothing in its directory: -bootstrap begins a new cluster, -join takes part in one that is there")
	}
	// The directory may be as new as the file, and what is in it is lost with it.
	if err := d.sys.SyncDir(filepath.Dir(d.dir)); err != nil {
		return err
	}
	return replace(d.sys, path, append(line(d.head), seal(appendRecord([]byte(noSum), &b.hard, b.entries))...))
}

// replace makes a file with text in it, in place of one that may be there. It gets its name only once it is flushed;
// otherwise a power failure could leave the name with nothing in it.
func replace(sys files.System, path string, text []byte) error {
	if err := writeFile(sys, path+".new", text); err != nil {
		return err
	}
	return sys.Rename(path+".new", path)
}

func writeFile(sys files.System, path string, text []byte) error {
	f, err := sys.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// rewrite writes the log anew, with entries instead of those that are there. The more entries, the longer it takes.
func (d *disk) rewrite(entries []raft.Entry) error {
	text := line(d.head)
	if entries[0].Index == 0 { // the place before the first entry
		entries = entries[1:]
	}
	for hard := &d.hard; hard != nil || len(entries) > 0; hard = nil {
		n := 0
		for size := 0; n < len(entries) && size < rewritten; n++ {
			size += entries[n].Size()
		}
		text = append(text, seal(appendRecord([]byte(noSum), hard, entries[:n]))...)
		entries = entries[n:]
	}
	path := filepath.Join(d.dir, logName)
	if err := replace(d.sys, path, text); err != nil {
		return err
	}
	// The old file is still the one that a start may find, until this flush.
	if err := d.sys.SyncDir(d.dir); err != nil {
		return err
	}
	file, err := d.sys.Open(path)
	if err != nil {
		return err
	}
	err = d.file.Close()
	d.file, d.end, d.size, d.begun = file, int64(len(text)), int64(len(text)), int64(len(text))
	return err
}

// long reports whether the log has grown by more than limit bytes since it was written anew, and by more than the snapshot
// has: so at most twice as much is written as without snapshots (D§5.1.2).
func (d *disk) long(limit int64) bool { return d.end-d.begun > max(limit, d.snapshotSize) }

// load returns all that was saved. It sets d.line to the last good line, and d.end to where that begins.
func (d *disk) load() (all record, err error) {
	lines := bufio.NewScanner(io.NewSectionReader(d.file, 0, math.MaxInt64))
	lines.Buffer(nil, maxSave+logChunk) // a save that is not all there may end in zeros instead of newlines
	lines.Split(splitLines)
	lines.Scan()
	found, err := d.head.check(lines.Bytes())
	if err != nil {
		return all, cmp.Or(lines.Err(), err)
	}
	d.head = found
	d.line = bytes.Clone(lines.Bytes())
	all.HardState = new(raft.HardState)
	at, bad := int64(len(d.line)), int64(0) // where the line begins, and where the first did that is not good
	for ; lines.Scan(); at += int64(len(lines.Bytes())) {
		text, ok := unseal(lines.Bytes())
		switch {
		case ok && bad > 0:
			return all, fmt.Errorf("damaged at byte %d, though a good line follows: what was there has been promised, "+
				"so the node must not start without it, nor with an empty directory; leave this node out", bad)
		case ok:
			if err := all.add(text); err != nil {
				return all, fmt.Errorf("line at byte %d: %w", at, err)
			}
			d.end, d.line = at, append(d.line[:0], lines.Bytes()...)
		case bad == 0:
			bad = at
		}
	}
	if err := lines.Err(); err != nil {
		return all, fmt.Errorf("line at byte %d: %w", at, err)
	}
	return all, nil
}

// splitLines is a bufio.SplitFunc: lines with their newlines, the last perhaps without, and empty ones all together.
func splitLines(data []byte, atEOF bool) (n int, line []byte, err error) {
	n = len(data) - len(bytes.TrimLeft(data, "\n"))
	if n == 0 {
		n = bytes.IndexByte(data, '\n') + 1
	}
	if n == 0 && atEOF {
		n = len(data)
	}
	if n > 0 {
		line = data[:n]
	}
	return n, line, nil
}

// check returns the head that line is. It fails unless it is one of the same node.
func (h head) check(line []byte) (found head, err error) {
	text, ok := unseal(line)
	switch {
	case !ok || json.Unmarshal(text, &found) != nil:
		err = errors.New("its first line is no head: it is damaged, or not the log of a node")
	case found.Version != h.Version:
		err = fmt.Errorf("its format is %d, and this program knows %d", found.Version, h.Version)
	case found.Node != h.Node:
		err = fmt.Errorf("it belongs to node %s of cluster %s, and this is %s", found.Node, found.Cluster, h.Node)
	}
	return found, err
}

// add adds what one more save has saved. It fails if no node would have saved that.
func (all *record) add(text []byte) error {
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	if r.HardState != nil {
		if r.Term < all.Term {
			return fmt.Errorf("term %d after term %d", r.Term, all.Term)
		}
		all.HardState = r.HardState
	}
	if len(r.Entries) == 0 {
		return nil
	}
	kept, last := raft.Index(0), raft.Entry{Index: r.Entries[0].Index - 1, Term: 1}
	if len(all.Entries) > 0 {
		kept = min(r.Entries[0].Index-all.Entries[0].Index, raft.Index(len(all.Entries)))
	}
	if kept > 0 {
		last = all.Entries[kept-1]
	}
	for _, e := range r.Entries {
		if e.Index == 0 || e.Index != last.Index+1 || e.Term < last.Term || e.Term > all.Term {
			return fmt.Errorf("entry %v after %v in term %d", e, last, all.Term)
		}
		last = e
	}
	all.Entries = append(all.Entries[:kept], r.Entries...)
	return nil
}

// save makes hard, unless it is nil, and entries durable, in one flush: they are when it returns. An error is for ever:
// nobody knows what a flush that failed has left out, and one that succeeds after it does not say that it is there.
func (d *disk) save(hard *raft.HardState, entries []raft.Entry) error {
	if d.err == nil && (hard != nil || len(entries) > 0) {
		d.line = seal(appendRecord(append(d.line[:0], noSum...), hard, entries))
		d.err = d.write()
		if hard != nil {
			d.hard = *hard
		}
	}
	return d.err
}

// write writes d.line at d.end, and flushes.
func (d *disk) write() error {
	if len(d.line) > maxSave {
		return fmt.Errorf("%d bytes to save at once, and %d is the most", len(d.line), maxSave)
	}
	end, text := d.end+int64(len(d.line)), d.line
	if end > d.size {
		d.size = (end + logChunk - 1) / logChunk * logChunk
		text = append(text, unused[:d.size-end]...)
	}
	if _, err := d.file.WriteAt(text, d.end); err != nil {
		return err
	}
	d.end = end
	return d.file.Sync()
}

// close lets go of the directory. All that was saved is flushed already.
func (d *disk) close() error {
	var errs []error
	for _, c := range []io.Closer{d.file, d.lock} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// appendRecord appends a record as json.Marshal would, in a tenth of the time. Commands are JSON without newlines.
func appendRecord(line []byte, hard *raft.HardState, entries []raft.Entry) []byte {
	line = append(line, '{')
	if hard != nil {
		text, err := json.Marshal(hard)
		if err != nil {
			panic(err)
		}
		line = append(append(line, text[1:len(text)-1]...), ',') // without its braces
	}
	line = append(line, `"entries":[`...)
	for i, e := range entries {
		if i > 0 {
			line = append(line, ',')
		}
		line = strconv.AppendUint(append(line, `{"index":`...), uint64(e.Index), 10)
		line = strconv.AppendUint(append(line, `,"term":`...), uint64(e.Term), 10)
		if len(e.Command) > 0 {
			line = append(append(line, `,"command":`...), e.Command...)
		}
		if e.Config != nil {
			text, err := json.Marshal(e.Config)
			if err != nil {
				panic(err)
			}
			line = append(append(line, `,"config":`...), text...)
		}
		line = append(line, '}')
	}
	return append(line, "]}\n"...)
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	unused     = bytes.Repeat([]byte("\n"), logChunk)
)

// noSum is the room for a line's checksum.
const noSum = "00000000 "

// sum is what a line begins with: the checksum, CRC-32C, of what follows, the newline included.
func sum(text []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) }

// line is v as a line.
func line(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return seal(fmt.Appendf(nil, "%s%s\n", noSum, text))
}

// seal puts a line's checksum into its room.
func seal(line []byte) []byte {
	copy(line, sum(line[len(noSum):]))
	return line
}

// unseal returns what follows the checksum, and whether the line is whole.
func unseal(line []byte) (text []byte, ok bool) {
	if len(line) < len(noSum) {
		return nil, false
	}
	text = line[len(noSum):]
	return text, string(line[:len(noSum)]) == sum(text)+" " && bytes.HasSuffix(text, []byte("\n"))
}
