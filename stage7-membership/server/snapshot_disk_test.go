package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files"
	"raftworkbook/common/files/crash"
	"raftworkbook/stage7-membership/raft"
)

const snapshotPath = "n1/" + snapshotName

// leftovers are the files that no start leaves.
var leftovers = []string{logPath + ".new", "n1/" + takenName, "n1/" + comeName}

func hasNoLeftovers(t *testing.T, sys files.System) {
	t.Helper()
	for _, name := range leftovers {
		_, err := sys.Open(name)
		require.ErrorIs(t, err, fs.ErrNotExist, name)
	}
}

// coreOf is a core made of what a disk has. It panics if that is no log.
func coreOf(m memory) *raft.Raft {
	return raft.New(raft.Options{ElectionTicks: 1, Random: rand.IntN, ID: "n1"}, m.hard, m.snapshot, m.entries)
}

// list is a snapshot that stands for entries, and says which.
func list(entries []raft.Entry) raft.Snapshot {
	data, err := json.Marshal(entries)
	if err != nil {
		panic(err)
	}
	last := entries[len(entries)-1]
	return raft.Snapshot{LastIncludedIndex: last.Index, LastIncludedTerm: last.Term, Data: data}
}

// listed are the entries for which a snapshot stands.
func listed(s raft.Snapshot) (entries []raft.Entry) {
	if s.LastIncludedIndex == 0 {
		return nil
	}
	if err := json.Unmarshal(s.Data, &entries); err != nil {
		panic(err)
	}
	return entries
}

// take is a saving of a snapshot that was taken here.
func take(taken, base raft.Index) saving { return saving{taken: taken, base: base} }

// come is a saving of one from the leader.
func come(term raft.Term, sizes ...int) saving { return saving{come: commands(term, 1, sizes...)} }

// does carries out a saving. What was saved before is k.
func (d *disk) does(s saving, k kept) error {
	switch {
	case s.taken > 0:
		snapshot := list(k.entries[:s.taken])
		if err := d.writeSnapshot(takenName, snapshot); err != nil {
			return err
		}
		log := slices.Clone(k.entries[s.base-1:])
		log[0].Command = nil
		return d.adopt(takenName, snapshot, log)
	case s.come != nil:
		return d.install(list(s.come))
	}
	return d.save(s.hard, s.entries)
}

// compactions are snapshots and what is saved between them: of all of the log and of less, over a log that is shorter and
// over one that conflicts.
var compactions = []saving{
	newTerm(1, 1, 0, 30, 1100),
	take(2, 1),
	more(1, 4, 20, 600),
	take(5, 5),
	more(1, 6, 10),
	come(1, 0, 30, 1100, 20, 600, 10, 10, 10),
	more(1, 9, 300, 10),
	newTerm(2, 10, 40, 50, 60), // in place of 10@1
	vote(3, "n2"),
	come(3, 0, 30, 1100, 20, 600, 10, 10, 10, 300, 0, 5), // 10@3 was committed by others
	more(3, 12, 700),
	take(12, 11),
	more(3, 13, 5),
}

func TestDisk_has_all_that_it_promised_after_any_two_failures_of_compactions(t *testing.T) {
	explore(t, compactions, 10, 1)
}

func TestSoak_disk_has_all_that_it_promised_of_compactions(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes a minute: make soak sets SOAK=1")
	}
	explore(t, compactions, 60, 10)
}

// snapshotFile is a snapshot of n1's as a file.
func snapshotFile(s raft.Snapshot) []byte {
	h := snapshotHead{h1, s.LastIncludedIndex, s.LastIncludedTerm, s.Config, len(s.Data), sum(s.Data)}
	return append(line(h), s.Data...)
}

// resealSnapshot gives a snapshot the size and the checksums that it should have.
func resealSnapshot(file []byte) []byte {
	first, data, _ := bytes.Cut(file, []byte("\n"))
	h := snapshotHead{head: h1}
	_, text, _ := bytes.Cut(first, []byte(" "))
	json.Unmarshal(text, &h)
	h.Size, h.Sum = len(data), sum(data)
	return append(line(h), data...)
}

// compacted is a disk with a log and a snapshot that goes with it.
func compacted(t *testing.T) (sys *crash.Disk, want kept) {
	t.Helper()
	sys = diskWith(t, lines())
	return sys, saveAll(t, sys, newTerm(2, 1, 0, 3, 1), take(3, 2), more(2, 4, 2))
}

func TestSnapshot_is_text_that_one_can_read(t *testing.T) {
	sys, _ := compacted(t)
	require.Equal(t, ``+
		`90e30585 {"version":5,"cluster":"c1","node":"n1","directory":"d1","last_index":3,"last_term":2,"config":{"voters":null},"size":94,"sum":"aa71f492"}`+"\n"+
		`[{"index":1,"term":2},{"index":2,"term":2,"command":"bbb"},{"index":3,"term":2,"command":"c"}]`+"\n", string(contentOf(t, sys, snapshotPath)))
	require.Equal(t, ``+
		`bf897c22 {"version":5,"cluster":"c1","node":"n1","directory":"d1"}`+"\n"+
		`34a0ac8d {"term":2,"entries":[{"index":2,"term":2},{"index":3,"term":2,"command":"c"}]}`+"\n"+
		`c1909352 {"entries":[{"index":4,"term":2,"command":"aa"}]}`+"\n", string(content(t, sys)))
}

func TestSnapshot_that_is_damaged_anywhere_keeps_the_node_from_starting(t *testing.T) {
	sys, want := compacted(t)
	file, log := contentOf(t, sys, snapshotPath), content(t, sys)
	file = file[:len(file)-1] // content ends each with a newline
	_, found := startDisk(t, sys)
	require.True(t, want.equal(found))
	refuses := func(snapshot []byte) {
		t.Helper()
		sys := diskWith(t, log)
		putFile(t, sys, snapshotPath, snapshot)
		for range 2 { // it stays as it is
			_, _, err := openDisk(sys, "n1", "n1", c1)
			require.ErrorContains(t, err, snapshotPath+": ")
		}
	}
	for at := range file {
		for _, flip := range []byte{1, 128, file[at] ^ '\n'} {
			if flip != 0 {
				damaged := bytes.Clone(file)
				damaged[at] ^= flip
				refuses(damaged)
			}
		}
		refuses(file[:at])
	}
	refuses(append(bytes.Clone(file), 'x'))
	refuses(append(bytes.Clone(file), file...))
}

func TestSnapshot_that_is_gone_or_another_s_keeps_the_node_from_starting(t *testing.T) {
	sys, _ := compacted(t)
	log := content(t, sys)
	s := list(commands(2, 1, 0, 3, 1))
	for _, c := range []struct {
		name string
		head head
		s    raft.Snapshot
		want string
	}{
		{"of another node", head{logVersion, "c1", "n2", "d1"}, s, "n1/snapshot: it belongs to node n2 of cluster c1, and this is n1"},
		{"of another cluster", head{logVersion, "c2", "n1", "d1"}, s, "n1/snapshot: it is not of the same directory as the log"},
		{"of another directory", head{logVersion, "c1", "n1", "d2"}, s, "n1/snapshot: it is not of the same directory as the log"},
		{"another format", head{logVersion + 1, "c1", "n1", "d1"}, s, "n1/snapshot: its format is 6, and this program knows 5"},
		{"an old one", h1, list(commands(2, 1, 0)),
			"n1/raft.log: the log begins with entry 2, and the snapshot ends with 1: what was between has been promised"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := diskWith(t, log)
			putFile(t, sys, snapshotPath, append(line(snapshotHead{c.head, c.s.LastIncludedIndex, c.s.LastIncludedTerm, c.s.Config, len(c.s.Data), sum(c.s.Data)}), c.s.Data...))
			_, _, err := openDisk(sys, "n1", "n1", c1)
			require.EqualError(t, err, c.want)
		})
	}
	_, _, err := openDisk(diskWith(t, log), "n1", "n1", c1)
	require.EqualError(t, err, "n1/raft.log: the log begins with entry 2, and the snapshot ends with 0: what was between has been promised")
}

// A crash between the two steps of a compaction leaves a snapshot and the log that was there before it.
func TestStart_finds_out_what_of_the_log_follows_the_snapshot(t *testing.T) {
	const refused = "refused"
	for _, c := range []struct {
		name     string
		snapshot raft.Entry // its place
		log      string     // the first index, then terms
		want     string     // what of the log is left, beside its place
	}{
		{"no snapshot", raft.Entry{}, "1: 1 1 2", "1@1 2@1 3@2"},
		{"no snapshot and a log that was cut", raft.Entry{}, "2: 1 1", refused},
		{"nothing cut yet", raft.Entry{Index: 2, Term: 1}, "1: 1 1 2", "3@2"},
		{"nothing cut yet, and nothing follows", raft.Entry{Index: 3, Term: 2}, "1: 1 1 2", ""},
		{"cut", raft.Entry{Index: 2, Term: 1}, "2: 1 2", "3@2"},
		{"cut, but for some", raft.Entry{Index: 5, Term: 3}, "3: 1 2 3 3 4", "6@3 7@4"},
		{"cut, and nothing follows", raft.Entry{Index: 2, Term: 1}, "2: 1", ""},
		{"no log yet", raft.Entry{Index: 2, Term: 1}, "1:", ""},
		{"shorter", raft.Entry{Index: 5, Term: 2}, "1: 1 1 2", ""},
		{"shorter, and cut", raft.Entry{Index: 9, Term: 2}, "3: 1 1 2", ""},
		{"longer and of another history", raft.Entry{Index: 2, Term: 2}, "1: 1 1 3 3", ""},
		{"a gap of one", raft.Entry{Index: 2, Term: 1}, "3: 1 2", refused},
		{"a gap", raft.Entry{Index: 2, Term: 1}, "7: 1 2", refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			var first raft.Index
			number, terms, _ := strings.Cut(c.log, ":")
			fmt.Sscan(number, &first)
			all := record{HardState: &raft.HardState{Term: 9}}
			for i, term := range strings.Fields(terms) {
				e := raft.Entry{Index: first + raft.Index(i)}
				fmt.Sscan(term, &e.Term)
				all.Entries = append(all.Entries, e)
			}
			sys := diskWith(t, append(line(h1), seal(appendRecord([]byte(noSum), all.HardState, all.Entries))...))
			if c.snapshot.Index > 0 {
				putFile(t, sys, snapshotPath, snapshotFile(raft.Snapshot{LastIncludedIndex: c.snapshot.Index, LastIncludedTerm: c.snapshot.Term}))
			}
			for range 2 { // the second start finds what the first has made of it
				d, m, err := openDisk(sys, "n1", "n1", c1)
				if c.want == refused {
					require.ErrorContains(t, err, logPath+": the log begins with entry "+number)
					continue
				}
				require.NoError(t, err)
				var left []string
				for _, e := range coreOf(m).Entries(c.snapshot.Index) {
					left = append(left, e.String())
				}
				require.Equal(t, c.want, strings.Join(left, " "))
				require.Equal(t, all.HardState, &m.hard)
				require.NoError(t, d.close())
				sys.Restart(crash.Nothing)
			}
		})
	}
}

func TestStart_removes_what_a_crash_has_left_half_done(t *testing.T) {
	sys, want := compacted(t)
	for _, name := range leftovers {
		putFile(t, sys, name, snapshotFile(list(commands(2, 1, 0, 0, 0, 0, 0)))) // whole, and nobody has promised it
	}
	_, found := startDisk(t, sys)
	require.True(t, want.equal(found))
	hasNoLeftovers(t, sys)
}

func TestStart_that_cannot_read_the_snapshot_fails_and_cuts_nothing(t *testing.T) {
	sys, want := compacted(t)
	sys.Fault = func(op crash.Op, name string) error {
		if name == snapshotPath && (op == crash.Open || op == crash.Read) {
			return syscall.EIO
		}
		return nil
	}
	for range 2 {
		_, _, err := openDisk(sys, "n1", "n1", c1)
		require.ErrorIs(t, err, syscall.EIO)
		require.ErrorContains(t, err, snapshotPath)
	}
	sys.Fault = nil
	_, found := startDisk(t, sys)
	require.True(t, want.equal(found))
}

// A log of megabytes is written anew in lines that a start can read.
func TestCompaction_may_leave_more_than_one_save_writes(t *testing.T) {
	sys := crash.New(1)
	savings := []saving{newTerm(1, 1, 0, 0)}
	for i := range raft.Index(24) {
		savings = append(savings, more(1, 3+i, maxSave/20))
	}
	want := saveAll(t, sys, append(savings, take(2, 1))...)
	_, found := startDisk(t, sys)
	require.True(t, want.equal(found))
}

func TestLog_is_long_when_it_has_grown_by_the_limit_and_by_a_snapshot(t *testing.T) {
	sys := crash.New(1)
	d, k := startDisk(t, sys)
	grow := func(index raft.Index, size int) {
		s := newTerm(1, index, size)
		require.NoError(t, d.save(s.hard, s.entries))
		k = k.with(s)
	}
	grow(1, 1000)
	require.True(t, d.long(1000))
	require.False(t, d.long(2000))
	grow(2, 3000)
	require.NoError(t, d.does(take(2, 1), k))
	require.False(t, d.long(1000), "the 3000 that are left do not count")
	grow(3, 2000)
	require.False(t, d.long(1000), "the snapshot has 4000")
	grow(4, 2500)
	require.True(t, d.long(1000))
	require.NoError(t, d.close())
	d, k = startDisk(t, sys)
	require.True(t, d.long(1000))
	require.NoError(t, d.does(take(4, 4), k))
	require.NoError(t, d.close())
	d, _ = startDisk(t, sys)
	grow(5, 2000)
	require.False(t, d.long(1000), "it is remembered how much the snapshot has")
}
