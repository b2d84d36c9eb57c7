package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLimits_end_when_told_and_leave_nothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	for _, c := range []contender{echoLimit(), durableLimit(path)} {
		s, err := c.start(context.Background())
		require.NoError(t, err)
		conn, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, say(conn, "a line\n"))
		held, err := childrenMemory()
		require.NoError(t, err)
		require.Greater(t, held, int64(1<<20))

		require.NoError(t, s.stop()) // with the connection open
		_, err = conn.Read(make([]byte, 1))
		require.Error(t, err)
		_, err = net.Dial("tcp", s.addr)
		require.Error(t, err)
		held, err = childrenMemory()
		require.NoError(t, err)
		require.Zero(t, held)
	}
	require.NoFileExists(t, path)
}

func TestLimits_end_with_their_parent(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "echo")
	held, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	require.NoError(t, held.Close()) // as when the parent is killed
	require.NoError(t, cmd.Wait())
}

func TestDurable_has_written_every_line_that_it_acknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	s, err := startLimit("durable", path)
	require.NoError(t, err)
	var mu sync.Mutex
	var acknowledged []string
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for n := range 10 {
				line := fmt.Sprintf("%d-%d\n", i, n)
				if err := say(conn, line); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, line)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, s.stop())
	require.Len(t, acknowledged, 80)
	require.ElementsMatch(t, acknowledged, slices.Collect(strings.Lines(string(content))))
}

func TestDurable_fails_where_it_cannot_write(t *testing.T) {
	_, err := startLimit("durable", filepath.Join(t.TempDir(), "missing", "lines"))
	require.ErrorContains(t, err, "durable did not start")
}

func TestEcho_sends_back_a_line_longer_than_its_buffer(t *testing.T) {
	conn, err := net.Dial("tcp", listen(t, echo))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, say(conn, strings.Repeat("x", 200_000)+"\n"))
}

// say sends a line and returns nil once it has come back.
func say(conn net.Conn, line string) error {
	conn.SetDeadline(time.Now().Add(stall))
	if _, err := io.WriteString(conn, line); err != nil {
		return err
	}
	back, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && back != line {
		err = fmt.Errorf("%q came back as %q", line, back)
	}
	return err
}
