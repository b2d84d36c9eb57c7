package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files"
	"raftworkbook/common/files/crash"
	"raftworkbook/stage4-smart-client/raft"
)

// kept is what a disk has, or should have.
type kept struct {
	hard    raft.HardState
	entries []raft.Entry
}

// a saving is what one save is given.
type saving struct {
	hard    *raft.HardState
	entries []raft.Entry
}

func (k kept) with(s saving) kept {
	if s.hard != nil {
		k.hard = *s.hard
	}
	if len(s.entries) > 0 {
		k.entries = slices.Concat(k.entries[:s.entries[0].Index-1], s.entries)
	}
	return k
}

func (k kept) equal(other kept) bool {
	return k.hard == other.hard && slices.EqualFunc(k.entries, other.entries, func(a, b raft.Entry) bool {
		return a.Index == b.Index && a.Term == b.Term && bytes.Equal(a.Command, b.Command)
	})
}

func (k kept) String() string { return fmt.Sprintf("term %d %v", k.hard.Term, k.entries) }

// newTerm is a saving of a term and perhaps entries of it, from an index on, with commands of so many bytes.
func newTerm(term raft.Term, first raft.Index, sizes ...int) saving {
	return saving{&raft.HardState{Term: term}, commands(term, first, sizes...)}
}

// more is a saving of entries alone.
func more(term raft.Term, first raft.Index, sizes ...int) saving {
	return saving{nil, commands(term, first, sizes...)}
}

func commands(term raft.Term, first raft.Index, sizes ...int) (entries []raft.Entry) {
	for i, size := range sizes {
		e := raft.Entry{Index: first + raft.Index(i), Term: term}
		if size > 0 {
			e.Command = json.RawMessage(`"` + strings.Repeat(string(rune('a'+i%26)), size) + `"`)
		}
		entries = append(entries, e)
	}
	return entries
}

// startDisk opens n1's directory, and fails the test if that fails.
func startDisk(t *testing.T, sys files.System) (*disk, kept) {
	t.Helper()
	d, hard, entries, err := openDisk(sys, "n1", "c1", "n1")
	require.NoError(t, err)
	return d, kept{hard, entries}
}

// saveAll opens n1's directory, saves, closes, and returns what is there then.
func saveAll(t *testing.T, sys files.System, savings ...saving) kept {
	t.Helper()
	d, k := startDisk(t, sys)
	for _, s := range savings {
		require.NoError(t, d.save(s.hard, s.entries))
		k = k.with(s)
	}
	require.NoError(t, d.close())
	return k
}

const logPath = "n1/" + logName

// content is what is in the file, which has been used a little, without the newlines at its end but one.
func content(t *testing.T, sys files.System) []byte {
	t.Helper()
	f, err := sys.Open(logPath)
	require.NoError(t, err)
	text := make([]byte, 4096)
	n, _ := f.ReadAt(text, 0)
	require.NoError(t, f.Close())
	return append(bytes.TrimRight(text[:n], "\n"), '\n')
}

// fileSize is how long the file is, if that is not too long.
func fileSize(t *testing.T, sys files.System) int {
	t.Helper()
	f, err := sys.Open(logPath)
	require.NoError(t, err)
	n, _ := f.ReadAt(make([]byte, 1<<20), 0)
	require.NoError(t, f.Close())
	return n
}

// diskWith is a disk with a file of n1's that holds text.
func diskWith(t *testing.T, text []byte) *crash.Disk {
	t.Helper()
	d := crash.New(1)
	require.NoError(t, d.Mkdir("n1"))
	f, err := d.Create(logPath)
	require.NoError(t, err)
	_, err = f.WriteAt(text, 0)
	require.NoError(t, err)
	d.Restart(crash.All)
	return d
}

// lines makes a file of n1's: the head, and what is given as JSON.
func lines(texts ...string) (file []byte) {
	for _, text := range append([]string{`{"version":2,"cluster":"c1","node":"n1"}`}, texts...) {
		file = append(file, seal([]byte(noSum+text+"\n"))...)
	}
	return file
}

func TestDisk_returns_what_was_saved(t *testing.T) {
	sys := crash.New(1)
	d, k := startDisk(t, sys)
	require.True(t, k.equal(kept{}), "a new node has nothing: %v", k)
	for _, s := range []saving{
		newTerm(1, 1, 0, 1, 10, 509, 510, 511, 512, 513),
		more(1, 9, 4096, logChunk, 70_000),
		more(1, 12, 2_000_000),
		newTerm(7, 13),
		newTerm(8, 5, 0, 3), // in place of eight
		more(8, 7, slices.Repeat([]int{100}, 300)...),
		{nil, []raft.Entry{{Index: 307, Term: 8, Command: json.RawMessage("{ \"<&>\u2028\": \"\xff\\u0000\" }")}}},
	} {
		require.NoError(t, d.save(s.hard, s.entries))
		k = k.with(s)
		require.NoError(t, d.close())
		var found kept
		d, found = startDisk(t, sys)
		require.True(t, k.equal(found), "saved %v, found %v", k, found)
	}
}

func TestDisk_is_text_that_one_can_read(t *testing.T) {
	sys := crash.New(1)
	saveAll(t, sys, newTerm(1, 1, 0, 3), newTerm(2, 0), more(2, 2, 1))
	require.Equal(t, ``+
		`05523674 {"version":2,"cluster":"c1","node":"n1"}`+"\n"+
		`a8d0e885 {"term":1,"entries":[{"index":1,"term":1},{"index":2,"term":1,"command":"bbb"}]}`+"\n"+
		`eca39965 {"term":2,"entries":[]}`+"\n"+
		`6be0049c {"entries":[{"index":2,"term":2,"command":"a"}]}`+"\n", string(content(t, sys)))
}

func TestSave_is_one_write_and_one_flush_and_leaves_the_size(t *testing.T) {
	sys := crash.New(1)
	d, _ := startDisk(t, sys)
	for _, c := range []struct {
		saving
		ops  []string
		size int // of the file after it, in chunks
	}{
		{saving{}, nil, 1}, // nothing to save, nothing to do
		{newTerm(1, 0), []string{"write " + logPath, "sync " + logPath}, 1},
		{newTerm(2, 1, 0, 100, 1000), []string{"write " + logPath, "sync " + logPath}, 1},
		{more(2, 4, logChunk), []string{"write " + logPath, "sync " + logPath}, 2},
		{more(2, 5, 1000), []string{"write " + logPath, "sync " + logPath}, 2},
	} {
		var ops []string
		sys.Fault = func(op crash.Op, name string) error {
			ops = append(ops, fmt.Sprint(op, " ", name))
			return nil
		}
		require.NoError(t, d.save(c.hard, c.entries))
		sys.Fault = nil
		require.Equal(t, c.ops, ops)
		require.Equal(t, c.size*logChunk, fileSize(t, sys))
	}
}

// A survivor works through a script, from crash to crash.
type survivor struct {
	t      *testing.T
	sys    *crash.Disk
	script []saving
	want   []kept // after so many savings
	// promised is how many savings have returned, and handed how many have begun.
	promised, handed int
}

func newSurvivor(t *testing.T, script []saving, seed uint64) *survivor {
	s := &survivor{t: t, sys: crash.New(seed), script: script, want: []kept{{}}}
	for i, x := range script {
		s.want = append(s.want, s.want[i].with(x))
	}
	return s
}

// live starts, looks at what is there, and goes on with the script until its end or the first error.
func (s *survivor) live(fault func(crash.Op, string) error) error {
	s.t.Helper()
	s.sys.Fault = fault
	d, hard, entries, err := openDisk(s.sys, "n1", "c1", "n1")
	if err != nil {
		return err
	}
	switch found := (kept{hard, entries}); {
	case found.equal(s.want[s.handed]):
		s.promised = s.handed // others may hear of it now
	case !found.equal(s.want[s.promised]):
		require.FailNow(s.t, "lost", "promised %v, handed over %v, found %v", s.want[s.promised], s.want[s.handed], found)
	}
	for i := s.promised; i < len(s.script); i++ {
		s.handed = i + 1
		if err := d.save(s.script[i].hard, s.script[i].entries); err != nil {
			return err
		}
		s.promised = s.handed
	}
	return d.close()
}

// survive lets the first and then the second operation fail after which something could be lost, and reports whether
// there are so many.
func (s *survivor) survive(first, second int, random *rand.Rand) bool {
	s.t.Helper()
	for i, nth := range []int{first, second} {
		failure := []error{crash.ErrPowerFailure, syscall.EIO}[random.IntN(2)]
		err := s.live(crash.Nth(nth, failure))
		if err == nil && i == 0 {
			return false
		}
		if err != nil {
			require.ErrorIs(s.t, err, failure, "every start succeeds")
		}
		keeps := []crash.Keep{crash.Nothing, crash.Some, crash.Some, crash.All, crash.Memory}
		s.sys.Restart(keeps[random.IntN(len(keeps))])
	}
	require.NoError(s.t, s.live(nil))
	s.sys.Restart(crash.Nothing)
	require.NoError(s.t, s.live(nil))
	return true
}

// lives is what a node saves: records of less than a sector and of several, a batch, and twice entries that replace a
// tail.
var lives = []saving{
	newTerm(1, 0),
	more(1, 1, 0),
	more(1, 2, 1100, 30),
	newTerm(2, 3, 700), // in place of 3@1
	more(2, 4, slices.Repeat([]int{100}, 20)...),
	newTerm(4, 0),
	more(4, 2, 10), // in place of all but the first
	more(4, 3, 500),
}

func TestDisk_has_all_that_it_promised_after_any_two_failures(t *testing.T) { explore(t, lives, 8, 1) }

func TestSoak_disk_has_all_that_it_promised(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("takes a minute: make soak sets SOAK=1")
	}
	explore(t, lives, 30, 10)
}

func TestDisk_that_grows_has_all_that_it_promised_after_any_failure(t *testing.T) {
	explore(t, []saving{newTerm(1, 1, 10), more(1, 2, logChunk-1500), more(1, 3, 2000), more(1, 4, 20)}, 1, 2)
}

// explore lets each operation of a script fail, and each of the first so many after the restart.
func explore(t *testing.T, script []saving, seconds, seeds int) {
	t.Helper()
	for first := 1; ; first++ {
		for second := 1; second <= seconds; second++ {
			for seed := range seeds {
				random := rand.New(rand.NewPCG(uint64(seed), uint64(1000*first+second)))
				if !newSurvivor(t, script, random.Uint64()).survive(first, second, random) {
					require.Greater(t, first, 2*len(script))
					return
				}
			}
		}
	}
}

func TestDisk_that_lies_about_a_flush_loses_a_promise_and_nobody_notices(t *testing.T) {
	sys := crash.New(1)
	before := saveAll(t, sys, newTerm(1, 1, 0, 10))
	d, _ := startDisk(t, sys)
	sys.Fault = crash.Nth(1, crash.ErrLie, crash.Sync)
	require.NoError(t, d.save(nil, commands(1, 3, 10)))
	sys.Restart(crash.Nothing)
	_, found := startDisk(t, sys)
	require.True(t, before.equal(found), "%v", found)
}

func TestRaft_made_of_what_is_saved_has_nothing_to_do(t *testing.T) {
	sys := crash.New(1)
	saveAll(t, sys, newTerm(4, 1, 0, 10))
	_, k := startDisk(t, sys)
	r := raft.New(raft.Options{ID: "n1", Nodes: []string{"n1"}}, k.hard, k.entries)
	rd, ok := r.Ready()
	require.False(t, ok, "%v", rd)
	require.Equal(t, raft.Term(4), r.Status().Term)
	require.Equal(t, raft.Index(2), r.Status().LastIndex)
}

// prefixes returns a file and what is kept if it ends, or is torn, in its first, second, ... line: the head has the
// first number, 0.
func prefixes(t *testing.T) (file []byte, ends []int, want []kept) {
	sys := crash.New(1)
	k := kept{}
	for _, s := range []saving{{}, newTerm(1, 1, 0, 40), newTerm(2, 2, 90), more(2, 3, 1, 2)} {
		saveAll(t, sys, s)
		k = k.with(s)
		file = content(t, sys)
		ends, want = append(ends, len(file)), append(want, k)
	}
	return file, ends, want
}

func TestDisk_cut_at_any_byte_has_what_comes_before(t *testing.T) {
	file, ends, want := prefixes(t)
	for size := range len(file) + 1 {
		sys := diskWith(t, file[:size])
		_, hard, entries, err := openDisk(sys, "n1", "c1", "n1")
		if size < ends[0] { // that is no crash: the head was flushed before the file had its name
			require.EqualError(t, err, "n1/raft.log: its first line is no head: it is damaged, or not the log of a node")
			continue
		}
		require.NoError(t, err)
		lines, _ := slices.BinarySearch(ends, size+1)
		require.True(t, want[lines-1].equal(kept{hard, entries}), "%d bytes: %v %v", size, hard, entries)
		require.Equal(t, string(file[:ends[lines-1]]), string(content(t, sys)), "the rest is gone")
	}
}

func TestDisk_cut_on_a_real_disk_goes_on(t *testing.T) {
	t.Chdir(t.TempDir())
	sys := files.OS{}
	k := saveAll(t, sys, newTerm(1, 1, 0, 10), more(1, 3, 1000))
	for _, cut := range []int{1, 30, 100} {
		require.NoError(t, os.Truncate(logPath, int64(len(content(t, sys))-cut)))
		d, found := startDisk(t, sys)
		next := raft.Index(len(found.entries)) + 1
		k = found.with(newTerm(1, next, 20))
		require.NoError(t, d.save(&k.hard, commands(1, next, 20)))
		require.NoError(t, d.close())
		k = saveAll(t, sys)
	}
}

func TestDisk_damaged_before_its_last_line_refuses_and_says_where(t *testing.T) {
	file, ends, want := prefixes(t)
	for at := range len(file) {
		for _, flip := range []byte{1, 128, file[at] ^ '\n'} {
			if flip == 0 {
				continue
			}
			damaged := bytes.Clone(file)
			damaged[at] ^= flip
			_, hard, entries, err := openDisk(diskWith(t, damaged), "n1", "c1", "n1")
			lines, newline := slices.BinarySearch(ends, at+1) // before the damage
			switch {
			case lines == 0:
				require.ErrorContains(t, err, "n1/raft.log: its first line is no head")
			case lines < len(ends)-1 && !(newline && lines == len(ends)-2):
				require.ErrorContains(t, err, fmt.Sprintf("n1/raft.log: damaged at byte %d, though a good line follows", ends[lines-1]))
			default: // the last line is damaged too: this looks as if it had never been flushed
				require.NoError(t, err)
				require.True(t, want[lines-1].equal(kept{hard, entries}))
			}
		}
	}
}

func TestDisk_cuts_the_longest_line_that_can_be_torn(t *testing.T) {
	file := lines(`{"term":1,"entries":[]}`)
	sys := diskWith(t, append(bytes.Clone(file), make([]byte, maxSave+logChunk-1)...)) // only the size has reached the disk
	_, k := startDisk(t, sys)
	require.Equal(t, raft.Term(1), k.hard.Term)
	require.Equal(t, string(file), string(content(t, sys)))
	require.Equal(t, logChunk, fileSize(t, sys))
}

func TestDisk_refuses_what_no_node_has_saved(t *testing.T) {
	const first = `{"term":2,"entries":[{"index":1,"term":1},{"index":2,"term":2}]}`
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "its first line is no head: it is damaged, or not the log of a node"},
		{"no log", []byte("hello\n"), "its first line is no head: it is damaged, or not the log of a node"},
		{"a head without its end", seal([]byte(noSum + `{"version":2,"cluster":"c1","node":"n1"}`)), "its first line is no head: it is damaged, or not the log of a node"},
		{"a gap", lines(first, `{"entries":[{"index":4,"term":2}]}`), "line at byte 124: entry 4@2 after 2@2 in term 2"},
		{"a gap inside", lines(`{"term":1,"entries":[{"index":1,"term":1},{"index":3,"term":1}]}`), "line at byte 50: entry 3@1 after 1@1 in term 1"},
		{"no first entry", lines(`{"term":1,"entries":[{"index":2,"term":1}]}`), "line at byte 50: entry 2@1 after 0@1 in term 1"},
		{"an entry before the first", lines(first, `{"entries":[{"index":0,"term":2}]}`), "line at byte 124: entry 0@2 after 2@2 in term 2"},
		{"an entry of no term", lines(`{"term":1,"entries":[{"index":1,"term":0}]}`), "line at byte 50: entry 1@0 after 0@1 in term 1"},
		{"an entry of an older term", lines(first, `{"entries":[{"index":3,"term":1}]}`), "line at byte 124: entry 3@1 after 2@2 in term 2"},
		{"an entry of a term to come", lines(first, `{"entries":[{"index":3,"term":3}]}`), "line at byte 124: entry 3@3 after 2@2 in term 2"},
		{"an older term", lines(first, `{"term":1,"entries":[]}`), "line at byte 124: term 1 after term 2"},
		{"no JSON", lines(first, `{"term":`), "line at byte 124: unexpected end of JSON input"},
		{"a line without end", append(lines(first), bytes.Repeat([]byte("x"), maxSave+logChunk)...), "line at byte 124: bufio.Scanner: token too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := diskWith(t, c.file)
			for range 2 { // it stays as it is, and free
				_, _, _, err := openDisk(sys, "n1", "c1", "n1")
				require.EqualError(t, err, "n1/raft.log: "+c.want)
			}
		})
	}
}

func TestDisk_refuses_the_directory_of_another(t *testing.T) {
	sys := diskWith(t, lines())
	for _, c := range []struct{ cluster, node, want string }{
		{"c1", "n2", "n1/raft.log: it belongs to node n1 of cluster c1, and this is n2 of c1"},
		{"c2", "n1", "n1/raft.log: it belongs to node n1 of cluster c1, and this is n1 of c2"},
	} {
		_, _, _, err := openDisk(sys, "n1", c.cluster, c.node)
		require.EqualError(t, err, c.want)
	}
	_, _, _, err := openDisk(diskWith(t, seal([]byte(noSum+`{"version":3,"node":"n1","more":[]}`+"\n"))), "n1", "c1", "n1")
	require.EqualError(t, err, "n1/raft.log: its format is 3, and this program knows 2")
	_, k := startDisk(t, sys)
	require.True(t, k.equal(kept{}))
}

func TestDisk_is_one_process_s_alone(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, sys := range []files.System{files.OS{}, crash.New(1)} {
		d, _ := startDisk(t, sys)
		_, _, _, err := openDisk(sys, "n1", "c1", "n1")
		require.ErrorContains(t, err, "lock n1/lock: it is held")
		require.NoError(t, d.save(&raft.HardState{Term: 1}, nil))
		require.NoError(t, d.close())
		d, k := startDisk(t, sys)
		require.Equal(t, raft.Term(1), k.hard.Term)
		require.NoError(t, d.close())
	}
}

func TestSave_that_failed_fails_for_ever(t *testing.T) {
	for op, failure := range map[crash.Op]error{crash.Write: syscall.ENOSPC, crash.Sync: syscall.EIO} {
		sys := crash.New(1)
		d, _ := startDisk(t, sys)
		require.NoError(t, d.save(&raft.HardState{Term: 1}, commands(1, 1, 10)))
		sys.Fault = crash.Nth(1, failure, op)
		first := d.save(nil, commands(1, 2, 10))
		require.ErrorIs(t, first, failure)
		require.ErrorContains(t, first, logPath)
		sys.Fault = func(op crash.Op, _ string) error { t.Error(op); return nil }
		for range 2 {
			require.Equal(t, first, d.save(nil, commands(1, 2, 10)))
			require.Equal(t, first, d.save(nil, nil))
		}
		sys.Restart(crash.Nothing)
		_, k := startDisk(t, sys)
		require.Len(t, k.entries, 1)
	}
}

func TestSave_takes_what_a_start_can_read_and_no_more(t *testing.T) {
	sys := crash.New(1)
	d, _ := startDisk(t, sys)
	around := len(appendRecord([]byte(noSum), &raft.HardState{Term: 1}, commands(1, 1, 1))) - 1
	most := newTerm(1, 1, maxSave-around)
	require.NoError(t, d.save(most.hard, most.entries))
	require.NoError(t, d.close())
	d, k := startDisk(t, sys)
	require.True(t, k.equal(kept{}.with(most)))
	require.EqualError(t, d.save(&raft.HardState{Term: 1}, commands(1, 2, maxSave-around+1)),
		"16777217 bytes to save at once, and 16777216 is the most")
	require.NoError(t, d.close())
}

func TestStart_that_fails_says_where_and_another_succeeds(t *testing.T) {
	for _, c := range []struct {
		op   crash.Op
		err  error
		want string
	}{
		{crash.Mkdir, syscall.EACCES, "mkdir n1: permission denied"},
		{crash.Lock, syscall.EROFS, "lock n1/lock: read-only file system"},
		{crash.Open, syscall.EACCES, "open n1/raft.log: permission denied"},
		{crash.SyncDir, syscall.EIO, "syncdir .: input/output error"},
		{crash.Create, syscall.ENOSPC, "create n1/raft.log.new: no space left on device"},
		{crash.Write, syscall.ENOSPC, "write n1/raft.log.new: no space left on device"},
		{crash.Sync, syscall.EIO, "sync n1/raft.log.new: input/output error"},
		{crash.Rename, syscall.EIO, "rename n1/raft.log.new: input/output error"},
		{crash.Truncate, syscall.EIO, "truncate n1/raft.log: input/output error"},
	} {
		sys := crash.New(1)
		sys.Fault = crash.Nth(1, c.err, c.op)
		_, _, _, err := openDisk(sys, "n1", "c1", "n1")
		require.EqualError(t, err, c.want)
		_, k := startDisk(t, sys)
		require.True(t, k.equal(kept{}), c.op)
	}
}

func TestStart_makes_the_file_in_a_directory_with_other_things(t *testing.T) {
	sys := crash.New(1)
	require.NoError(t, sys.Mkdir("n1"))
	for _, name := range []string{"n1/raft.log.new", "n1/notes"} {
		f, err := sys.Create(name)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("left behind, and longer than a head is, by some bytes"+strings.Repeat(".", 100)), 0)
		require.NoError(t, err)
	}
	saveAll(t, sys, newTerm(1, 1, 10))
	_, k := startDisk(t, sys)
	require.Len(t, k.entries, 1)
}

func TestStart_that_cannot_read_all_fails_and_cuts_nothing(t *testing.T) {
	sys := crash.New(1)
	want := saveAll(t, sys, newTerm(1, 1, slices.Repeat([]int{3000}, 50)...), more(1, 51, 10))
	for n := 1; ; n++ {
		sys.Fault = crash.Nth(n, syscall.EIO, crash.Read)
		d, _, _, err := openDisk(sys, "n1", "c1", "n1")
		if err == nil {
			require.Greater(t, n, 3)
			require.NoError(t, d.close())
			break
		}
		require.ErrorIs(t, err, syscall.EIO)
		require.ErrorContains(t, err, logPath)
	}
	sys.Fault = nil
	_, found := startDisk(t, sys)
	require.True(t, want.equal(found))
}

func FuzzOpenDisk(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(lines())
	f.Add(lines(`{"term":1,"entries":[{"index":1,"term":1},{"index":2,"term":1,"command":{"a":[]}}]}`, `{"term":2,"entries":[]}`, `{"entries":[{"index":2,"term":2}]}`))
	f.Add(append(lines(`{"entries":null}`), "\n\n\x00\x00\n00000000 {}"...))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, text := range [][]byte{file, reseal(file)} {
			sys := diskWith(t, text)
			d, hard, entries, err := openDisk(sys, "n1", "c1", "n1")
			if err != nil {
				require.NotContains(t, err.Error(), "\n")
				continue
			}
			raft.New(raft.Options{ID: "n1", Nodes: []string{"n1"}}, hard, entries) // panics if they are no log
			require.NoError(t, d.save(&raft.HardState{Term: hard.Term + 1}, commands(hard.Term+1, raft.Index(len(entries))+1, 5)))
			want := kept{hard, entries}.with(newTerm(hard.Term+1, raft.Index(len(entries))+1, 5))
			sys.Restart(crash.Nothing)
			_, found := startDisk(t, sys)
			require.True(t, want.equal(found))
		}
	})
}

// reseal gives each line the checksum that it should have, so that the fuzzer gets past that.
func reseal(file []byte) (sealed []byte) {
	for line := range bytes.Lines(file) {
		_, text, _ := bytes.Cut(line, []byte(" "))
		sealed = append(sealed, seal(append([]byte(noSum), text...))...)
	}
	return sealed
}

func BenchmarkFlush(b *testing.B) { // as bare as it gets: 100 bytes into a file that is long enough
	f, err := files.OS{}.Create(filepath.Join(b.TempDir(), "f"))
	require.NoError(b, err)
	_, err = f.WriteAt(make([]byte, 16<<20), 0)
	require.NoError(b, err)
	require.NoError(b, f.Sync())
	at := int64(0)
	for b.Loop() {
		_, err := f.WriteAt(make([]byte, 100), at%(16<<20))
		require.NoError(b, err)
		require.NoError(b, f.Sync())
		at += 100
	}
}

func BenchmarkSave(b *testing.B) {
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("%d_entries", n), func(b *testing.B) {
			d, _, _, err := openDisk(files.OS{}, filepath.Join(b.TempDir(), "n1"), "c1", "n1")
			require.NoError(b, err)
			require.NoError(b, d.save(&raft.HardState{Term: 1}, nil))
			entries := commands(1, 1, slices.Repeat([]int{100}, n)...)
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, d.save(nil, entries))
				for i := range entries {
					entries[i].Index += raft.Index(n)
				}
			}
		})
	}
}

func BenchmarkOpenDisk(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("a_million_entries_%d_a_save", n), func(b *testing.B) {
			file := lines(`{"term":1,"entries":[]}`)
			for i := 0; i < 1_000_000; i += n {
				entries := commands(1, raft.Index(i+1), slices.Repeat([]int{100}, n)...)
				file = append(file, seal(appendRecord([]byte(noSum), nil, entries))...)
			}
			dir := filepath.Join(b.TempDir(), "n1")
			require.NoError(b, os.Mkdir(dir, 0o700))
			require.NoError(b, os.WriteFile(filepath.Join(dir, logName), file, 0o600))
			for b.Loop() {
				d, _, entries, err := openDisk(files.OS{}, dir, "c1", "n1")
				require.NoError(b, err)
				require.Len(b, entries, 1_000_000)
				require.NoError(b, d.close())
			}
		})
	}
}
