package crash

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files"
)

// put writes text into a file, which it makes, and flushes neither.
func put(t *testing.T, d *Disk, name, text string) files.File {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(text), 0)
	require.NoError(t, err)
	return f
}

// keep flushes a file and the directory above all.
func keep(t *testing.T, d *Disk, f files.File) {
	t.Helper()
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir("."))
}

// get returns what is in a file, or "absent".
func get(t *testing.T, d *Disk, name string) string {
	t.Helper()
	f, err := d.Open(name)
	if err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		return "absent"
	}
	buf := make([]byte, 1<<13)
	n, _ := f.ReadAt(buf, 0)
	return string(buf[:n])
}

func TestDisk_keeps_after_a_power_failure_what_was_flushed(t *testing.T) {
	for keep, want := range map[Keep]string{Nothing: "old", All: "new", Memory: "new"} {
		d := New(1)
		f := put(t, d, "f", "old")
		require.NoError(t, f.Sync())
		require.NoError(t, d.SyncDir("."))
		_, err := f.WriteAt([]byte("new"), 0)
		require.NoError(t, err)
		require.Equal(t, "new", get(t, d, "f"))
		d.Restart(keep)
		require.Equal(t, want, get(t, d, "f"), keep)
	}
}

func TestDisk_has_not_flushed_what_only_the_memory_kept(t *testing.T) {
	d := New(1)
	keep(t, d, put(t, d, "f", ""))
	put(t, d, "f", "new")
	d.Restart(Memory)
	require.Equal(t, "new", get(t, d, "f"))
	d.Restart(Nothing)
	require.Equal(t, "", get(t, d, "f"))
}

func TestDisk_tears_a_write_at_every_sector_and_cuts_it_anywhere(t *testing.T) {
	seen := map[string]bool{}
	sizes := map[int]bool{}
	for seed := range uint64(500) {
		d := New(seed)
		f := put(t, d, "f", strings.Repeat("a", 3*sector))
		keep(t, d, f)
		_, err := f.WriteAt([]byte(strings.Repeat("b", 4*sector)), 0)
		require.NoError(t, err)
		d.Restart(Some)
		got := get(t, d, "f")
		sizes[len(got)] = true
		pattern := ""
		for s := range slices.Chunk([]byte(got), sector) {
			require.Equal(t, strings.Repeat(string(s[:1]), len(s)), string(s), "a sector is old or new")
			pattern += string(s[:1])
		}
		seen[pattern] = true
	}
	for _, p := range []string{"aaa", "baa", "aba", "aab", "bba", "bab", "abb", "bbb", "bbbb", "aaa\x00", "aaab"} {
		require.True(t, seen[p], "%q in %q", p, slices.Sorted(maps.Keys(seen)))
	}
	require.Greater(t, len(sizes), 50)
}

func TestDisk_may_show_any_state_that_a_sector_had(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(100) {
		d := New(seed)
		f := put(t, d, "f", "old")
		keep(t, d, f)
		for _, text := range []string{"one", "two"} {
			_, err := f.WriteAt([]byte(text), 0)
			require.NoError(t, err)
		}
		require.NoError(t, f.Truncate(1))
		d.Restart(Some)
		seen[get(t, d, "f")] = true
	}
	require.Subset(t, slices.Collect(maps.Keys(seen)), []string{"old", "one", "two", "o", "t", "t\x00\x00"})
}

func TestDisk_loses_names_that_were_not_flushed(t *testing.T) {
	d := New(1)
	keep(t, d, put(t, d, "renamed", "1"))
	keep(t, d, put(t, d, "removed", "2"))
	require.NoError(t, put(t, d, "made", "3").Sync())
	require.NoError(t, d.Rename("renamed", "new"))
	require.NoError(t, d.Remove("removed"))
	require.NoError(t, d.Mkdir("dir"))
	require.NoError(t, put(t, d, "dir/f", "4").Sync())
	require.NoError(t, d.SyncDir("dir"))
	d.Restart(Nothing)
	for name, want := range map[string]string{
		"renamed": "1", "new": "absent", "removed": "2", "made": "absent", "dir/f": "absent",
	} {
		require.Equal(t, want, get(t, d, name), name)
	}
}

func TestDisk_loses_each_name_alone(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(100) {
		d := New(seed)
		keep(t, d, put(t, d, "a", "1"))
		require.NoError(t, d.Rename("a", "b"))
		put(t, d, "c", "")
		d.Restart(Some)
		seen[get(t, d, "a")+" "+get(t, d, "b")+" "+get(t, d, "c")] = true
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(seen)),
		[]string{"1 absent absent", "1 absent ", "absent 1 absent", "absent 1 "})
}

func TestDisk_does_not_mend_a_flush_that_failed_with_another(t *testing.T) {
	for _, again := range []bool{false, true} {
		d := New(1)
		f := put(t, d, "f", "old")
		keep(t, d, f)
		_, err := f.WriteAt([]byte("new"), 0)
		require.NoError(t, err)
		d.Fault = Nth(1, syscall.EIO, Sync)
		require.ErrorIs(t, f.Sync(), syscall.EIO)
		require.Equal(t, "new", get(t, d, "f"))
		if again {
			_, err := f.WriteAt([]byte("new"), 0)
			require.NoError(t, err)
		}
		require.NoError(t, f.Sync())
		d.Restart(Nothing)
		require.Equal(t, map[bool]string{false: "old", true: "new"}[again], get(t, d, "f"))
	}
}

func TestDisk_lies_if_it_is_told_to(t *testing.T) {
	d := New(1)
	f := put(t, d, "f", "old")
	keep(t, d, f)
	_, err := f.WriteAt([]byte("new"), 0)
	require.NoError(t, err)
	d.Fault = Nth(1, ErrLie, Sync)
	require.NoError(t, f.Sync())
	d.Restart(All)
	require.Equal(t, "old", get(t, d, "f"))
}

func TestDisk_writes_some_of_what_it_has_no_room_for(t *testing.T) {
	lengths := map[int]bool{}
	for seed := range uint64(50) {
		d := New(seed)
		f := put(t, d, "f", "")
		d.Fault = Nth(1, syscall.ENOSPC, Write)
		n, err := f.WriteAt([]byte("1234"), 0)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Equal(t, "1234"[:n], get(t, d, "f"))
		lengths[n] = true
	}
	require.Len(t, lengths, 5)
}

func TestDisk_does_nothing_between_a_power_failure_and_a_restart(t *testing.T) {
	d := New(1)
	f := put(t, d, "f", "old")
	keep(t, d, f)
	d.Fault = Nth(2, ErrPowerFailure)
	_, err := f.WriteAt([]byte("new"), 0)
	require.NoError(t, err)
	require.ErrorIs(t, f.Sync(), ErrPowerFailure)
	require.ErrorIs(t, f.Sync(), ErrPowerFailure)
	_, err = d.Open("f")
	require.ErrorIs(t, err, ErrPowerFailure)
	d.Restart(Nothing)
	require.Equal(t, "old", get(t, d, "f"))
}

func TestDisk_restarted_has_nothing_open_or_locked(t *testing.T) {
	d := New(1)
	f := put(t, d, "f", "old")
	l, err := d.Lock("lock")
	require.NoError(t, err)
	_, err = d.Lock("lock")
	require.EqualError(t, err, "lock lock: it is held")
	d.Restart(Memory)
	require.ErrorIs(t, f.Sync(), fs.ErrClosed)
	next, err := d.Lock("lock")
	require.NoError(t, err)
	require.NoError(t, l.Close()) // of the life before
	_, err = d.Lock("lock")
	require.Error(t, err)
	require.NoError(t, next.Close())
	_, err = d.Lock("lock")
	require.NoError(t, err)
}
