package lab

import (
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/term"
)

func TestPrompt_fails_when_its_answers_cannot_be_written(t *testing.T) {
	screen, err := os.Open(os.DevNull) // for reading only
	require.NoError(t, err)
	defer screen.Close()
	p := &prompt{terminal: term.NewTerminal(screen, "> ")}
	require.ErrorIs(t, p.show("ok", nil), syscall.EBADF)
	require.ErrorIs(t, p.show("", io.EOF), syscall.EBADF)
	require.NoError(t, p.show("", nil))
	require.ErrorIs(t, p.run(t.Context(), startLab(t, Options{})), syscall.EBADF)
}

func TestComplete(t *testing.T) {
	l := &Lab{opt: Options{Stage: 2}, members: []*member{{Node: Node{ID: "n1"}}, {Node: Node{ID: "n2"}}}}
	for _, c := range []struct{ typed, want string }{
		{"pau", "pause "},
		{"p", "p"}, // put, pause, partition
		{"par", "partition "},
		{"frob", "frob"},
		{"kill ", "kill "},
		{"kill n", "kill n"},
		{"cut c", "cut client"},
		{"cut n1>cl", "cut n1>client"},
		{"wait ge", "wait get "},
		{"after 1s ki", "after 1s kill "},
		{"after 1s wait ge", "after 1s wait get "},
		{"after 1s kill n", "after 1s kill n"},
		{"run app", "run append "},
		{"get x w", "get x w"},
		{"wi", "wi"},
	} {
		got, pos, ok := l.complete(c.typed, len(c.typed), '\t')
		require.True(t, ok)
		require.Equal(t, c.want, got)
		require.Equal(t, len(got), pos)
	}
	got, pos, _ := l.complete("kil 1", 3, '\t')
	require.Equal(t, "kill  1", got)
	require.Equal(t, 5, pos)
	_, _, ok := l.complete("kil", 3, 'l')
	require.False(t, ok)
	l.opt.Stage = 4
	got, _, _ = l.complete("get x w", 7, '\t')
	require.Equal(t, "get x within ", got)
	l.opt.Stage = 0
	got, _, _ = l.complete("par", 3, '\t')
	require.Equal(t, "par", got)
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"get", "get", 0}, {"gt", "get", 1}, {"gett", "get", 1}, {"got", "get", 1}, {"", "get", 3}, {"staus", "status", 1}} {
		require.Equal(t, c.want, editDistance(c.a, c.b), "%s %s", c.a, c.b)
	}
}
