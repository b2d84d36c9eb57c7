package lab

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShow_quotes_what_could_be_mistaken(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"1", "1"},
		{"/app/db:x=>y", "/app/db:x=>y"},
		{"", `""`},
		{"a b", `"a b"`},
		{"absent", `"absent"`},
		{"ok", `"ok"`},
		{"error timeout", `"error timeout"`},
		{"=>", `"=>"`},
		{"|", `"|"`},
		{"stage2:", `"stage2:"`},
		{`say "hi"`, `"say \"hi\""`},
		{"@n1", `"@n1"`},
		{"#1", `"#1"`},
		{"a\nb\x00", `"a\nb\x00"`},
		{"\u200b", `"\u200b"`}, // cannot be seen
		{"Ünï→", "Ünï→"},
	} {
		require.Equal(t, c.want, show(c.value))
	}
}

func FuzzShow_is_read_back_as_one_word(f *testing.F) {
	for _, s := range []string{"", "a b", `"`, `\`, "=>", "absent", "\xff", "a\u2028b", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		ws, err := words(show(s) + " " + show(s))
		require.NoError(t, err)
		require.Len(t, ws, 2)
		require.Equal(t, s, ws[0].text)
		require.Equal(t, s, ws[1].text)
		require.Equal(t, ws, wordsOf(join(ws)))
	})
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, command, outcome string }{
		{"", "", ""},
		{"   ", "", ""},
		{"  # put x 1", "", ""},
		{"put x 1", "put x 1", ""},
		{" put\tx  1 ", "put x 1", ""},
		{"put x => 1", "put x", "1"},
		{`put x "=>" => ok`, `put x "=>"`, "ok"},
		{`get x => "a  b"`, "get x", `"a  b"`},
		{`get x => "1"`, "get x", "1"},
		{`get x => ""`, "get x", `""`},
		{"wait get x @n2 => 1", "wait get x @n2", "1"},
		{"expect error timeout", "expect error timeout", "error timeout"},
		{"get x => 1 | stage2: absent | stage0-1: ok", "get x", "1"},
		{"after 1s get x", "after 1s get x", ""},
		{"after 1500ms wait get x => 1 | stage2: absent", "after 1.5s wait get x", "1"},
		{"put after 1s", "put after 1s", ""},
	} {
		ln, err := parse(c.text)
		require.NoError(t, err, c.text)
		require.Equal(t, c.command, ln.said(0), c.text)
		if c.outcome == "" {
			require.Nil(t, ln.outcome, c.text)
		} else {
			require.Equal(t, c.outcome, join(ln.outcome.in(7)), c.text)
		}
	}
}

func TestParse_refuses(t *testing.T) {
	for _, c := range []struct{ text, message string }{
		{`put x "1`, "a word in quotes that does not end"},
		{`put x "1"2`, "no blank after"},
		{`put x "\q"`, "wrong escape"},
		{"put x \xff", "not UTF-8"},
		{`put x "\xff"`, "not UTF-8"},
		{"=> ok", "no command before =>"},
		{"get x =>", "an outcome is missing"},
		{"expect", "an outcome is missing"},
		{"get x => 1 |", "an outcome is missing"},
		{"get x => 1 | 2", "names its stage"},
		{"get x => 1 | stage2:", "no outcome after stage2:"},
		{"get x => stage2: 1", "the first outcome"},
		{"wait get x", "what for?"},
		{"wait => 1", "no command before =>"},
		{"after", "usage: after TIME COMMAND"},
		{"after 1s", "usage: after TIME COMMAND"},
		{"after 1s => ok", "usage: after TIME COMMAND"},
		{"after soon get x", "soon is not a time"},
		{"after 1s wait get x", "what for?"},
	} {
		_, err := parse(c.text)
		require.ErrorContains(t, err, c.message, c.text)
	}
}

func TestOutcome_is_that_of_the_stage_or_else_the_first(t *testing.T) {
	ln, err := parse(`get x => 1 | stage2: absent | stage4-5: error stale | stage6: "stage6:"`)
	require.NoError(t, err)
	for stage, want := range []string{"1", "1", "absent", "1", "error stale", "error stale", `"stage6:"`, "1"} {
		require.Equal(t, want, join(ln.outcome.in(stage)), "stage "+strconv.Itoa(stage))
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		outcome, answer string
		want            bool
	}{
		{"1", "1", true},
		{"1", "2", false},
		{"1", "11", false},
		{`"1"`, "1", true},
		{"a b", "a\nb", true},
		{`"a b"`, "a\nb", false},
		{`"a b"`, `"a b"`, true},
		{`"a  b"`, `"a b"`, false},
		{"absent", "absent", true},
		{"absent", `"absent"`, false},
		{`"absent"`, `"absent"`, true},
		{"not swapped: 2", "not swapped: 2", true},
		{"error timeout", "error timeout: outcome unknown", true},
		{"error timeout", "error timeout", true},
		{"error", "error timeout: outcome unknown", true},
		{"error time", "error timeout: outcome unknown", false},
		{"error not", "error not_leader: n2", false},
		{"error unavailable", "error timeout: outcome unknown", false},
		{"o", "ok", false},
		{`"error"`, "error timeout", false},
		{`error bad: "x`, `error bad: "x y`, true},
	} {
		require.Equal(t, c.want, matches(wordsOf(c.outcome), c.answer), "%s, %s", c.outcome, c.answer)
	}
}
