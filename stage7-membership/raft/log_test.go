package raft

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLog_on_disk_must_be_the_beginning_of_one(t *testing.T) {
	for _, bad := range [][]Entry{
		entries(2, 1),                              // the first is missing
		entries(0, 1, 1),                           // 0 is the place before the first
		append(entries(1, 1), entries(3, 1)...),    // a gap
		append(entries(1, 1, 1), entries(2, 1)...), // an index twice
		entries(1, 2, 1),                           // terms fall
	} {
		require.Panics(t, func() { newLog(Entry{}, bad) }, "%v", bad)
	}
	l := newLog(Entry{}, entries(1, 1, 1, 3))
	require.EqualValues(t, 3, l.lastIndex())
	require.Empty(t, l.takeUnsaved(), "all of it is saved")
	l = newLog(Entry{}, nil)
	require.Zero(t, l.lastIndex())
}

func TestLog_has_a_term_at_each_index_and_before_the_first(t *testing.T) {
	l := newLog(Entry{}, entries(1, 1, 1, 3))
	for index, want := range []Term{0, 1, 1, 3} {
		term, ok := l.term(Index(index))
		require.True(t, ok)
		require.Equal(t, want, term)
		require.True(t, l.has(Index(index), want))
		require.False(t, l.has(Index(index), want+1))
	}
	_, ok := l.term(4)
	require.False(t, ok)
	require.False(t, l.has(4, 0), "no entry has no term, not term 0")
}

func TestLog_gives_out_as_many_bytes_as_asked_for_and_one_entry_at_least(t *testing.T) {
	l := newLog(Entry{}, []Entry{{Index: 1, Term: 1, Command: command("a")}, {Index: 2, Term: 1, Command: command("a")}, noop(3, 2), {Index: 4, Term: 2, Command: command("a")}, {Index: 5, Term: 2, Command: command("aaaaaaaa")}})
	for _, c := range []struct {
		first, last Index
		limit       int
		want        []Index
	}{
		{1, 5, 1000, []Index{1, 2, 3, 4, 5}},
		{2, 4, 1000, []Index{2, 3, 4}},
		{1, 5, 6, []Index{1, 2, 3}}, // to the byte
		{1, 5, 5, []Index{1}},
		{1, 5, 0, []Index{1}},
		{5, 5, 3, []Index{5}}, // longer than the limit
		{4, 9, 3, []Index{4}},
		{4, 9, 1000, []Index{4, 5}},
		{6, 9, 1000, nil},
		{3, 2, 1000, nil},
	} {
		var got []Index
		for _, e := range l.slice(c.first, c.last, c.limit) {
			got = append(got, e.Index)
		}
		require.Equal(t, c.want, got, "%d to %d, %d bytes", c.first, c.last, c.limit)
	}
	require.Equal(t, 3+3+0+3+10, l.size(0))
	require.Equal(t, 3+10, l.size(3))
	require.Zero(t, l.size(5))
}

func TestLog_counts_configurations_too(t *testing.T) {
	config := func(index Index) Entry {
		return Entry{Index: index, Term: 1, Config: &Configuration{Voters: []Member{{ID: "n1", Peer: "a:1", Client: "b:1"}}, Next: []Member{{ID: "n2"}}}}
	}
	size := 64 + 2 + 3 + 3 + 64 + 2
	l := newLog(Entry{}, []Entry{config(1), config(2), config(3)})
	require.Len(t, l.slice(1, 3, 2*size), 2)
	require.Len(t, l.slice(1, 3, 2*size-1), 1)
	require.EqualValues(t, 1, l.tail(3, 2*size))
	require.EqualValues(t, 2, l.tail(3, 2*size-1))
}

func TestLog_wants_each_entry_saved_once_and_one_that_replaces_another_again(t *testing.T) {
	l := newLog(Entry{}, entries(1, 1, 1))
	l.append(entries(3, 2, 2)...)
	require.Equal(t, entries(3, 2, 2), l.takeUnsaved())
	require.Empty(t, l.takeUnsaved())

	l.append(entries(5, 2)...) // cut before it was saved
	l.cut(4)
	l.append(entries(4, 3)...)
	require.Equal(t, entries(4, 3), l.takeUnsaved())
	require.Equal(t, entries(1, 1, 1, 2, 3), l.entries[1:])

	l.cut(1)
	l.append(entries(1, 4)...)
	require.Equal(t, entries(1, 4), l.takeUnsaved())
}

// What a log was made of, and what it handed out, is in messages, on its way to the disk or to the state machine.
func TestLog_never_changes_what_it_handed_out(t *testing.T) {
	disk := append([]Entry{{}}, append(entries(1, 1, 1), entries(3, 9)...)...) // more than the log is given
	l := newLog(Entry{}, disk[:3])
	l.append(entries(3, 2)...)
	require.Equal(t, append([]Entry{{}}, append(entries(1, 1, 1), entries(3, 9)...)...), disk)

	l.append(entries(4, 2, 2, 2)...)
	out := [][]Entry{l.slice(1, 4, 1000), l.slice(2, 6, 16), l.takeUnsaved()} // 16 bytes are three entries
	before := [][]Entry{slices.Clone(out[0]), slices.Clone(out[1]), slices.Clone(out[2])}
	for _, o := range out { // nor does whoever has it change the log
		_ = append(o, entries(99, 99)...)
	}
	require.Equal(t, entries(1, 1, 1, 2, 2, 2, 2), l.entries[1:])
	l.cut(4)
	l.append(entries(4, 3)...)
	l.append(entries(5, 3, 3, 3)...)
	require.Equal(t, before, out)
}

func TestAgreement_is_the_last_place_where_another_log_can_agree(t *testing.T) {
	for _, c := range []struct {
		log       []Term
		index     Index // what the other log has
		term      Term
		want      Index
		wantsTerm Term
	}{
		{nil, 7, 3, 0, 0},
		{[]Term{1, 1, 1}, 7, 3, 3, 1},       // ours is shorter
		{[]Term{1, 1, 4, 4}, 4, 3, 2, 1},    // no entry of theirs can have term 4
		{[]Term{1, 1, 4, 4}, 4, 4, 4, 4},    // the same
		{[]Term{1, 1, 4, 4}, 4, 9, 4, 4},    // ours is older
		{[]Term{1, 1, 4, 4}, 3, 5, 3, 4},    // not beyond index
		{[]Term{3, 3, 3}, 3, 2, 0, 0},       // none
		{[]Term{1, 2, 2, 3, 5}, 5, 4, 4, 3}, // a term that we have nothing of
		{[]Term{1, 2, 2, 3, 5}, 1 << 63, 1, 1, 1},
		{[]Term{1, 2, 2, 3, 5}, 0, 9, 0, 0},
	} {
		l := newLog(Entry{}, entries(1, c.log...))
		index, term := l.agreement(c.index, c.term)
		require.Equal(t, c.want, index, "%+v", c)
		require.Equal(t, c.wantsTerm, term, "%+v", c)
	}
}

// However a log came to begin after an index, all that is left is as if nothing was gone.
func TestLog_without_its_beginning_is_the_same_from_there_on(t *testing.T) {
	all := entries(1, 1, 1, 2, 2, 4, 4)
	whole := newLog(Entry{}, all)
	for base := Index(0); base <= 6; base++ {
		place := Entry{Index: base}
		place.Term, _ = whole.term(base)
		compacted := newLog(Entry{}, all)
		compacted.compact(base)
		twice := newLog(Entry{}, all)
		twice.compact(base / 2)
		twice.compact(base)
		restarted := newLog(Entry{}, entries(1, 1, 1))
		restarted.restart(place)
		restarted.append(all[base:]...)
		for name, l := range map[string]log{
			"found beside a snapshot": newLog(place, all[base:]),
			"found with its place":    newLog(place, append([]Entry{place}, all[base:]...)),
			"compacted":               compacted,
			"compacted twice":         twice,
			"restarted":               restarted,
		} {
			at := name + ", after " + place.String()
			require.Equal(t, base, l.base(), at)
			require.EqualValues(t, 6, l.lastIndex(), at)
			require.Equal(t, place, l.entries[0], at)
			for index := base; index <= 7; index++ {
				want, wantOK := whole.term(index)
				term, ok := l.term(index)
				require.Equal(t, want, term, at)
				require.Equal(t, wantOK, ok, at)
				for term := range Term(6) {
					require.Equal(t, whole.has(index, term), l.has(index, term), "%s: %d@%d", at, index, term)
				}
				if index > 6 {
					continue
				}
				require.Equal(t, whole.size(index), l.size(index), at)
				for last := index; last <= 7; last++ {
					for _, limit := range []int{0, 5, 12, 100} {
						requireSame(t, whole.slice(index+1, last, limit), l.slice(index+1, last, limit), "%s: after %d to %d, %d bytes", at, index, last, limit)
					}
				}
			}
			require.True(t, l.upToDate(6, 4), at)
			require.False(t, l.upToDate(5, 4) && base < 6, at)

			first := max(base, 4) + 1
			l.takeUnsaved()
			l.cut(first)
			require.Equal(t, first-1, l.lastIndex(), at)
			l.append(entries(first, 5, 5)...)
			requireSame(t, entries(first, 5, 5), l.takeUnsaved(), at)
			require.Empty(t, l.takeUnsaved(), at)
			requireSame(t, append(all[base:first-1:first-1], entries(first, 5, 5)...), l.after(base, l.lastIndex()), at)
		}
	}
}

func TestLog_has_all_that_is_gone(t *testing.T) {
	l := newLog(Entry{Index: 3, Term: 2}, entries(4, 2))
	require.True(t, l.has(0, 0))
	require.True(t, l.has(2, 1))
	require.True(t, l.has(2, 9), "it was committed, and so is what this index has elsewhere")
	require.False(t, l.has(3, 1), "the place is known")
	_, ok := l.term(2)
	require.False(t, ok)
}

func TestLog_on_disk_must_follow_the_snapshot_or_have_its_last_entry(t *testing.T) {
	place := Entry{Index: 3, Term: 2}
	for name, bad := range map[string][]Entry{
		"a gap":                     entries(5, 2),
		"it ends too early":         entries(1, 1, 1),
		"another entry there":       entries(1, 1, 1, 3, 3),
		"older than the snapshot":   entries(4, 1),
		"a gap behind the snapshot": append(entries(2, 2, 2), entries(5, 2)...),
	} {
		require.Panics(t, func() { newLog(place, bad) }, name)
	}
	for _, c := range []struct {
		log  []Entry
		base Index
	}{
		{nil, 3},
		{entries(4, 2, 5), 3},
		{entries(3, 2, 2, 5), 3},
		{entries(1, 1, 1, 2), 1}, // not cut yet: the first is a place now
		{append([]Entry{{}}, entries(1, 1, 1, 2, 2, 5)...), 0},
	} {
		l := newLog(place, c.log)
		require.Equal(t, c.base, l.base(), "%v", c.log)
		require.Equal(t, max(3, lastOf(c.log).Index), l.lastIndex())
		require.Empty(t, l.entries[0].Command)
		require.Empty(t, l.takeUnsaved())
	}
}

func TestAgreement_before_the_log_begins_is_for_the_follower_to_find(t *testing.T) {
	for _, c := range []struct {
		index     Index
		term      Term
		want      Index
		wantsTerm Term
	}{
		{6, 3, 6, 3},
		{6, 2, 5, 2},
		{5, 9, 5, 2},
		{4, 2, 4, 2}, // the place itself
		{6, 1, 3, 1}, // nothing here is as old: at 3 or before
		{4, 1, 3, 1},
		{3, 1, 3, 1},
		{2, 9, 2, 9},
		{0, 0, 0, 0},
	} {
		l := newLog(Entry{Index: 4, Term: 2}, entries(5, 2, 3))
		index, term := l.agreement(c.index, c.term)
		require.Equal(t, c.want, index, "%+v", c)
		require.Equal(t, c.wantsTerm, term, "%+v", c)
	}
}

func TestTail_is_as_long_as_its_commands_fit(t *testing.T) {
	for _, c := range []struct {
		index Index
		limit int
		want  Index
	}{
		{7, 0, 6}, // 7 has no command
		{6, 0, 6},
		{6, 4, 6},
		{6, 5, 5},
		{6, 9, 5},
		{6, 10, 4},
		{7, 10, 4},
		{6, 14, 4},
		{6, 15, 3}, // all
		{6, 1000, 3},
		{3, 1000, 3},
		{4, 0, 4},
		{4, 5, 3},
	} {
		l := newLog(Entry{Index: 3, Term: 1}, append(entries(4, 1, 1, 1), noop(7, 1)))
		require.Equal(t, c.want, l.tail(c.index, c.limit), "%+v", c)
	}
}

func TestCompaction_leaves_nothing_of_what_is_gone_in_memory(t *testing.T) {
	l := newLog(Entry{}, entries(1, 1, 1, 1, 1, 1))
	out, before := l.slice(1, 5, 1000), entries(1, 1, 1, 1, 1, 1)
	l.compact(3)
	require.Len(t, l.entries, 1+2)
	require.LessOrEqual(t, cap(l.entries), 8)
	require.NotSame(t, &out[3], &l.entries[1])
	require.Empty(t, l.entries[0].Command)
	require.Equal(t, before, out, "what was handed out stays as it is")
	l.append(entries(6, 1)...)
	require.Equal(t, entries(6, 1), l.takeUnsaved())
	l.append(entries(7, 1, 1)...)
	l.compact(5)
	require.Equal(t, entries(7, 1, 1), l.takeUnsaved(), "what is not saved yet is not forgotten")
}
