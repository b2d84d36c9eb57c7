package api

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func encode(t *testing.T, v any) []byte {
	t.Helper()
	line, err := json.Marshal(v)
	require.NoError(t, err)
	return line
}

// readAll reads lines until an error.
func readAll(r io.Reader) (lines []string, err error) {
	l := NewLineReader(r)
	for {
		line, err := l.Next()
		if err != nil {
			return lines, err
		}
		lines = append(lines, string(line))
	}
}

func TestLineReader_cuts_a_stream_however_it_comes(t *testing.T) {
	long := strings.Repeat("x", 5000) // more than the buffer holds
	want := []string{"a", "", long, "b"}
	stream := strings.Join(want, "\n") + "\n"
	for _, c := range []struct {
		name string
		r    io.Reader
	}{
		{"at once", strings.NewReader(stream)},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(stream))},
		{"in halves", iotest.HalfReader(strings.NewReader(stream))},
		{"with the end in the last piece", iotest.DataErrReader(strings.NewReader(stream))},
	} {
		lines, err := readAll(c.r)
		require.Equal(t, io.EOF, err, c.name)
		require.Equal(t, want, lines, c.name)
	}
}

func TestLineReader_does_not_take_half_a_line_for_one(t *testing.T) {
	for _, half := range []string{"b", strings.Repeat("b", 5000)} {
		lines, err := readAll(strings.NewReader("a\n" + half))
		require.Equal(t, io.ErrUnexpectedEOF, err)
		require.Equal(t, []string{"a"}, lines)
	}
}

func TestLineReader_takes_the_longest_line_and_no_longer(t *testing.T) {
	longest := strings.Repeat("x", MaxLine-1)
	lines, err := readAll(strings.NewReader(longest + "\n" + longest + "x\n"))
	require.Equal(t, ErrLineTooLong, err)
	require.Equal(t, []string{longest}, lines)
}

// endless is a client that never ends its line. It counts what was read of it, and gives up a reader that does
// not give up itself, which would take all memory.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	if e.read > 8*MaxLine {
		return 0, io.ErrClosedPipe
	}
	for i := range b {
		b[i] = 'x'
	}
	e.read += len(b)
	return len(b), nil
}

func TestLineReader_gives_up_a_line_without_end(t *testing.T) {
	var e endless
	_, err := NewLineReader(&e).Next()
	require.Equal(t, ErrLineTooLong, err)
	require.LessOrEqual(t, e.read, MaxLine+4096)
}

func TestLineReader_is_ready_only_with_a_whole_line(t *testing.T) {
	in, out := io.Pipe()
	defer in.Close()
	l := NewLineReader(in)
	require.False(t, l.Ready())
	write := func(s string) {
		go out.Write([]byte(s))
	}

	write("a")
	require.NoError(t, l.Wait())
	require.False(t, l.Ready(), "half a line")
	write("b\nc\n")
	line, err := l.Next()
	require.NoError(t, err)
	require.Equal(t, "ab", string(line))
	require.True(t, l.Ready())
	line, err = l.Next()
	require.NoError(t, err)
	require.Equal(t, "c", string(line))
	require.False(t, l.Ready())
}

func FuzzLineReader(f *testing.F) {
	f.Add([]byte("a\nb\n\n\nc"), 1)
	f.Add(bytes.Repeat([]byte("x"), 9000), 7)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		piece = max(1, piece%8192)
		lines, err := readAll(&pieces{stream, piece})
		whole, half := stream, []byte(nil)
		if end := bytes.LastIndexByte(stream, '\n'); end < len(stream)-1 {
			whole, half = stream[:end+1], stream[end+1:]
		}
		if half == nil {
			require.Equal(t, io.EOF, err)
		} else {
			require.Equal(t, io.ErrUnexpectedEOF, err)
		}
		joined := strings.Join(lines, "\n")
		if len(lines) > 0 {
			joined += "\n"
		}
		require.Equal(t, string(whole), joined)
	})
}

// pieces is a stream that comes n bytes at a time.
type pieces struct {
	rest []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.n, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}
