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
	l := newLog(Entry{}, []Entry{{1, 1, command("a")}, {2, 1, command("a")}, noop(3, 2), {4, 2, command("a")}, {5, 2, command("aaaaaaaa")}})
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
	disk := append(entries(1, 1, 1), entries(3, 9)...) // more than the log is given
	l := newLog(Entry{}, disk[:2])
	l.append(entries(3, 2)...)
	require.Equal(t, append(entries(1, 1, 1), entries(3, 9)...), disk)

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
