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
	"path/filepath"
	"strconv"

	"raftworkbook/common/files"
	"raftworkbook/stage5-election/raft"
)

const (
	// logName is the file with all that is saved, in the node's directory.
	logName = "raft.log"
	// logVersion is that of its format. Each stage has its own: what is in a record of another it would not know.
	logVersion = 3
	// maxSave is the most that one save writes, in bytes.
	maxSave = 16 << 20
	// logChunk is by how much the file grows, in bytes. What is not used yet is newlines. So most saves leave its size as
	// it is, and the flush has that much less to write.
	logChunk = 64 << 10
)

// A disk keeps what a node must not forget: its term, its vote and its log (Figure 2, persistent state).
// The others build on what a node tells them. So all of that is "updated on stable storage" first: written, and flushed.
//
// It is one file, to which lines are added. A line is a checksum, a blank, and JSON: first a head, then what each save
// saved.
//
//	10e9777d {"version":3,"cluster":"c1","node":"n1"}
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
	lock io.Closer
	file files.File
	end  int64  // of the last line
	size int64  // of the file; from end on it is newlines
	line []byte // the last line
	err  error  // the first of save
}

// A head says whose the file is.
type head struct {
	Version int    `json:"version"`
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
}

// A record is what one save has saved, or all together.
type record struct {
	*raft.HardState
	Entries []raft.Entry `json:"entries"`
}

// openDisk opens a node's directory, for this process alone, and returns what is saved in it. If the directory is not
// there it makes it, in one that is.
func openDisk(sys files.System, dir, cluster, node string) (*disk, raft.HardState, []raft.Entry, error) {
	d := &disk{}
	all, err := d.open(sys, dir, head{logVersion, cluster, node})
	if err != nil {
		d.close()
		return nil, raft.HardState{}, nil, err
	}
	return d, *all.HardState, all.Entries, nil
}

func (d *disk) open(sys files.System, dir string, h head) (all record, err error) {
	if err := sys.Mkdir(dir); err != nil {
		return all, err
	}
	if d.lock, err = sys.Lock(filepath.Join(dir, "lock")); err != nil {
		return all, err
	}
	path := filepath.Join(dir, logName)
	d.file, err = sys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(sys, path, h); err == nil {
			d.file, err = sys.Open(path)
		}
	}
	if err != nil {
		return all, err
	}
	// Without this flush the file could lose its name, and all that is promised with it. It may be new although another
	// process has made it: one that was killed before it came to this.
	if err := sys.SyncDir(dir); err != nil {
		return all, err
	}
	if all, err = d.load(h); err != nil {
		return all, fmt.Errorf("%s: %w", path, err)
	}
	// What was read need not be on the disk. A process that was killed before its flush leaves its last line in the
	// memory of the system; so does one whose flush failed, and then no other flush takes it for something to write.
	// Promise it now, and a power failure takes it. So the last line is written once more. What is before it was flushed
	// before it was written, and what is behind it goes.
	if err := d.file.Truncate(d.end + int64(len(d.line))); err != nil {
		return all, err
	}
	return all, d.write()
}

// create makes a file that has a head. It gets its name only once it is flushed; otherwise a power failure could leave
// the name with nothing in it.
func create(sys files.System, path string, h head) error {
	// The directory may be as new as the file, and what is in it is lost with it.
	if err := sys.SyncDir(filepath.Dir(filepath.Dir(path))); err != nil {
		return err
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	f, err := sys.Create(path + ".new")
	if err != nil {
		return err
	}
	new := disk{file: f, line: seal(fmt.Appendf(nil, "%s%s\n", noSum, text))}
	if err := errors.Join(new.write(), f.Close()); err != nil {
		return err
	}
	return sys.Rename(path+".new", path)
}

// load returns all that was saved. It sets d.line to the last good line, and d.end to where that begins.
func (d *disk) load(h head) (all record, err error) {
	lines := bufio.NewScanner(io.NewSectionReader(d.file, 0, math.MaxInt64))
	lines.Buffer(nil, maxSave+logChunk) // a save that is not all there may end in zeros instead of newlines
	lines.Split(splitLines)
	lines.Scan()
	if err := h.check(lines.Bytes()); err != nil {
		return all, cmp.Or(lines.Err(), err)
	}
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

// check fails unless line is this head.
func (h head) check(line []byte) error {
	var found head
	text, ok := unseal(line)
	switch {
	case !ok || json.Unmarshal(text, &found) != nil:
		return errors.New("its first line is no head: it is damaged, or not the log of a node")
	case found.Version != h.Version:
		return fmt.Errorf("its format is %d, and this program knows %d", found.Version, h.Version)
	case found != h:
		return fmt.Errorf("it belongs to node %s of cluster %s, and this is %s of %s", found.Node, found.Cluster, h.Node, h.Cluster)
	}
	return nil
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
	kept := min(r.Entries[0].Index-1, raft.Index(len(all.Entries)))
	last := raft.Entry{Term: 1}
	if kept > 0 {
		last = all.Entries[kept-1]
	}
	for _, e := range r.Entries {
		if e.Index != last.Index+1 || e.Term < last.Term || e.Term > all.Term {
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
func sum(text []byte) string { return fmt.Sprintf("%08x ", crc32.Checksum(text, castagnoli)) }

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
	return text, string(line[:len(noSum)]) == sum(text) && bytes.HasSuffix(text, []byte("\n"))
}
