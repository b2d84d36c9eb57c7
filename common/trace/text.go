package trace

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Widths of the first two columns.
const (
	nodeWidth  = 5
	labelWidth = 9
)

// String is the event as text: lines that begin with the node, or with blanks.
func (e Event) String() string {
	e = e.clean()
	t := text{node: e.Node, width: max(nodeWidth, utf8.RuneCountInString(e.Node)+1)}
	t.field("at", e.Time)
	for i, times := 0, 0; i < len(e.Arrived); i += times {
		for times = 1; i+times < len(e.Arrived) && e.Arrived[i+times] == e.Arrived[i]; {
			times++
		}
		a, again := e.Arrived[i], ""
		if times > 1 {
			again = fmt.Sprintf("(%d times)", times)
		}
		t.line(a.What, a.From, a.Text, again)
	}
	if e.Was == e.Is {
		t.field("stays", e.Is.words()...)
	} else {
		was, is := align(e.Was.words(), e.Is.words())
		t.field("was", was...)
		t.field("is", is...)
	}
	for _, why := range e.Because {
		t.field("because", why)
	}
	t.field("saves", e.Saves)
	for _, m := range e.Sends {
		t.field("sends", m.To, m.Text, m.Fate)
	}
	t.field("commits", e.Commits)
	t.field("log", e.Log)
	return t.String()
}

// words are the fields of a state. No state has none.
func (s State) words() []string {
	if s == (State{}) {
		return make([]string, 6)
	}
	leader := ""
	if s.Leader != "" {
		leader = "leader=" + s.Leader
	}
	return []string{s.Role, fmt.Sprintf("t%d", s.Term), leader, "last=" + Place{s.LastIndex, s.LastTerm}.String(),
		fmt.Sprintf("commit=%d", s.CommitIndex), fmt.Sprintf("applied=%d", s.AppliedIndex)}
}

// align makes each word of was as wide as the one of is that will stand below it.
func align(was, is []string) (aligned, below []string) {
	for i := range was {
		width := max(utf8.RuneCountInString(was[i]), utf8.RuneCountInString(is[i]))
		aligned, below = append(aligned, pad(was[i], width)), append(below, pad(is[i], width))
	}
	return aligned, below
}

// A text is made of lines, the first with the node before it.
type text struct {
	strings.Builder
	node  string
	width int
}

// line adds a line.
func (t *text) line(label string, words ...string) {
	line := pad(t.node, t.width) + pad(label, labelWidth) + join(words)
	t.WriteString(strings.TrimRight(line, " ") + "\n")
	t.node = ""
}

// field adds a line if there is anything in it.
func (t *text) field(label string, words ...string) {
	if strings.TrimSpace(join(words)) != "" {
		t.line(label, words...)
	}
}

// join puts a blank between words, those that are empty left out.
func join(words []string) string {
	var said []string
	for _, w := range words {
		if w != "" {
			said = append(said, w)
		}
	}
	return strings.Join(said, " ")
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
