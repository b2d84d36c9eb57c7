package trace

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func heard() Event {
	return Event{
		Node:    "n2",
		Arrived: []Arrival{{"hears", "n1", "t1 append prev=1@1 [2@1] commit=1"}, {What: "ticks"}, {What: "ticks"}},
		Was:     State{"n2", "follower", 1, "", 1, 1, 0, 0},
		Is:      State{"n2", "follower", 1, "n1", 2, 1, 1, 1},
		Because: []string{"committed up to 1, after 0"},
		Saves:   `2@1 "x=1"`,
		Sends:   []Message{{"n2", "n1", "t1 appended 2", "LOST"}, {"n2", "n3", "t1 nothing", ""}},
		Commits: Places([]Place{{1, 1}}),
		Log:     Places([]Place{{1, 1}, {2, 1}}),
	}
}

func TestEvent_is_text_whose_lines_line_up(t *testing.T) {
	require.Equal(t, `n2   hears    n1 t1 append prev=1@1 [2@1] commit=1
     ticks    (2 times)
     was      follower t1           last=1@1 commit=0 applied=0
     is       follower t1 leader=n1 last=2@1 commit=1 applied=1
     because  committed up to 1, after 0
     saves    2@1 "x=1"
     sends    n1 t1 appended 2 LOST
     sends    n3 t1 nothing
     commits  1@1
     log      1..2@1
`, heard().String())
}

func TestEvent_is_one_line_of_JSON(t *testing.T) {
	line := heard().Line()
	require.Equal(t, `{"node":"n2","arrived":[{"what":"hears","from":"n1","text":"t1 append prev=1@1 [2@1] commit=1"},`+
		`{"what":"ticks"},{"what":"ticks"}],`+
		`"was":{"node":"n2","role":"follower","term":1,"last_index":1,"last_term":1,"commit_index":0,"applied_index":0},`+
		`"is":{"node":"n2","role":"follower","term":1,"leader":"n1","last_index":2,"last_term":1,"commit_index":1,"applied_index":1},`+
		`"because":["committed up to 1, after 0"],"saves":"2@1 \"x=1\"",`+
		`"sends":[{"from":"n2","to":"n1","text":"t1 appended 2","fate":"LOST"},{"from":"n2","to":"n3","text":"t1 nothing"}],`+
		`"commits":"1@1","log":"1..2@1"}`+"\n", string(line))
	var back Event
	require.NoError(t, json.Unmarshal(line, &back))
	require.Empty(t, cmp.Diff(heard(), back))
}

func TestEvent_leaves_out_what_is_empty(t *testing.T) {
	require.Equal(t, "n1   crashes\n", Event{Node: "n1", Arrived: []Arrival{{What: "crashes"}}}.String())
	require.Equal(t, `{"node":"n1","arrived":[{"what":"crashes"}]}`+"\n", string(Event{Node: "n1", Arrived: []Arrival{{What: "crashes"}}}.Line()))
	require.Empty(t, Event{Node: "n1"}.String())
}

func TestEvent_says_an_unchanged_state_once(t *testing.T) {
	s := State{"leader", "leader", 3, "leader", 7, 2, 5, 4}
	require.Equal(t, `leader at       5ms
       ticks
       stays    leader t3 leader=leader last=7@2 commit=5 applied=4
`, Event{Time: "5ms", Node: "leader", Arrived: []Arrival{{What: "ticks"}}, Was: s, Is: s}.String())
}

func TestEvent_has_only_one_state_at_the_beginning_and_the_end(t *testing.T) {
	s := State{Node: "n1", Role: "follower"}
	require.Equal(t, "n1   is       follower t0 last=0@0 commit=0 applied=0\n", Event{Node: "n1", Is: s}.String())
	require.Equal(t, "n1   was      follower t0 last=0@0 commit=0 applied=0\n", Event{Node: "n1", Was: s}.String())
}

func TestEvent_says_identical_reasons_once(t *testing.T) {
	e := Event{Node: "n1", Because: []string{"a", "b", "a", "a"}}
	require.Equal(t, "n1   because  a\n     because  b\n", e.String())
	require.Len(t, e.Because, 4, "the event itself is left alone")
}

func TestPlaces_of_one_term_stand_together(t *testing.T) {
	for _, c := range []struct {
		places []Place
		want   string
	}{
		{nil, ""},
		{[]Place{{1, 1}}, "1@1"},
		{[]Place{{1, 1}, {2, 1}, {3, 1}, {4, 4}, {5, 5}, {6, 5}}, "1..3@1 4@4 5..6@5"},
		{[]Place{{3, 1}, {5, 1}, {6, 1}}, "3@1 5..6@1"}, // what is missing shows
		{[]Place{{3, 1}, {3, 1}}, "3@1 3@1"},
	} {
		require.Equal(t, c.want, Places(c.places))
	}
}

// hostile is an event that is full of s.
func hostile(s string) Event {
	e := Event{Time: s, Node: s, Was: State{s, s, 1, s, 1, 1, 1, 1}, Is: State{s, s, 2, s, 1, 1, 1, 1}, Saves: s, Commits: s, Log: s}
	for i := range 100 {
		e.Arrived = append(e.Arrived, Arrival{s, s, fmt.Sprint(i) + s})
		e.Because = append(e.Because, fmt.Sprint(i)+s)
		e.Sends = append(e.Sends, Message{s, s, fmt.Sprint(i) + s, s})
	}
	return e
}

// Whoever can connect to a node can put anything into its trace. It stays where it belongs.
func TestEvent_escapes_what_moves_the_cursor(t *testing.T) {
	for _, s := range []string{
		"\n", "\r", "\t", "\x00", "\x1b[2J", "\u009b2J", // the last is CSI in one character
		"\u2028", "\u202e", "\u200b", "\ufeff", "\xff\xfe", "\x7f",
	} {
		e := hostile("a" + s + "b")
		for _, printed := range []string{e.String(), string(e.Line())} {
			for line := range strings.Lines(printed) {
				line, ended := strings.CutSuffix(line, "\n")
				require.True(t, ended)
				require.True(t, utf8.ValidString(line))
				for _, r := range line {
					require.True(t, strconv.IsPrint(r), "%q has %q", line, r)
				}
			}
		}
		require.Equal(t, 1, strings.Count(string(e.Line()), "\n"))
		require.Equal(t, strings.Count(hostile("ab").String(), "\n"), strings.Count(e.String(), "\n"))
	}
}

func TestEvent_escapes_as_a_string_of_Go_does(t *testing.T) {
	require.Equal(t, `n1   saves    "\x1b[2J\xff\u202e" é`+"\n", Event{Node: "n1", Saves: "\"\x1b[2J\xff\u202e\" é"}.String())
}

func TestEvent_is_bounded(t *testing.T) {
	for _, s := range []string{strings.Repeat("a", 1<<14), strings.Repeat("\x00", 1<<14), strings.Repeat("語", 1<<14)} {
		e := hostile(s)
		lines := 0
		for line := range strings.Lines(e.String()) {
			lines++
			require.LessOrEqual(t, utf8.RuneCountInString(line), 300)
		}
		require.LessOrEqual(t, lines, 110)
		require.Less(t, len(e.Line()), 80<<10)
	}
}

func TestEvent_has_the_end_of_a_long_log(t *testing.T) {
	var all []Place
	for i := range uint64(100) {
		all = append(all, Place{i + 1, i + 1})
	}
	said := Event{Node: "n1", Log: Places(all)}.String()
	require.Regexp(t, `^n1   log      \.\.\. \d+@\d+ .* 99@99 100@100\n$`, said)
	require.LessOrEqual(t, len(said), 180)
	require.Equal(t, "n1   log      1..100@1\n", Event{Node: "n1", Log: "1..100@1"}.String())
}

func TestEvent_says_how_much_more_there_was(t *testing.T) {
	require.Contains(t, hostile("x").String(), "     because  and 68 more\n")
	require.Contains(t, hostile("x").String(), "     sends    ... and 68 more\n")
	require.Contains(t, hostile("x").String(), "     ...      and 68 more\n")
	require.Equal(t, "n1   saves    "+strings.Repeat("é", 160)+"...\n", Event{Node: "n1", Saves: strings.Repeat("é", 161)}.String())
}
