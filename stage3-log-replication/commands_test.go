package main

import (
	"bufio"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommands_ask_the_server(t *testing.T) {
	t.Parallel()
	_, addr := start(t)
	for _, c := range []struct{ command, prints string }{
		{"put /app/color red", "ok"},
		{"get /app/color", "red"},
		{"get -json /app/color", `{"id":1,"ok":true,"found":true,"value":"red"}`},
		{"get /app/size", "absent"},
		{"get /app/size -json", `{"id":1,"ok":true,"found":false}`},
		{"cas /app/color blue green", "not swapped: red"},
		{"cas /app/color red green", "swapped"},
		{"cas -absent /app/color red", "not swapped: green"},
		{"cas /app/size red -absent", "swapped"},
		{"cas /app/none old new", "not swapped: absent"},
		{"append /app/color ish", "8"},
		{"put -- -k -v", "ok"},
		{"get -- -k", "-v"},
		{"put /app/db/host h", "ok"},
		{"list /app/ -delimiter /", "/app/color\n/app/size\n/app/db/"},
		{"list -limit 1", "-k\n... and more: -after -k goes on"},
		{"list -after -k -limit 1 /", "/app/color\n... and more: -after /app/color goes on"},
		{"delete /app/color", "ok"},
		{"delete /app/color", "absent"},
	} {
		args := strings.Fields(c.command)
		stdout, stderr, status := output(t, "", slices.Insert(args, 1, "-servers="+addr)...)
		require.Empty(t, stderr, c.command)
		require.Equal(t, c.prints+"\n", stdout, c.command)
		require.Equal(t, done, status, c.command)
	}
	stdout, _, _ := output(t, "", "status", "-servers="+addr) // the last client may not be gone yet
	require.Regexp(t, `^{\n  "node": "n1",\n  "role": "leader",\n  "term": 1,\n  "leader": "n1",\n  "last_index": 12,\n  "commit_index": 12,\n  "applied_index": 12,\n  "peers": 2,\n  "keys": 3,\n  "clients": [12]\n}\n$`, stdout)
}

func TestCommands_say_what_is_wrong(t *testing.T) {
	t.Parallel()
	l, addr := start(t)
	for _, c := range []struct {
		command, says string
		status        int
	}{
		{"get", "get takes KEY\n", wrongUsed},
		{"get -h", "get takes KEY, and flags before or after:\n", done},
		{"get a b", "get takes KEY\n", wrongUsed},
		{"put a", "put takes KEY VALUE\n", wrongUsed},
		{"cas a b", "cas takes KEY OLD NEW, or KEY NEW -absent\n", wrongUsed},
		{"cas a b c -absent", "cas takes KEY OLD NEW, or KEY NEW -absent\n", wrongUsed},
		{"list a b", "list takes [PREFIX]\n", wrongUsed},
		{"status a", "status takes no arguments\n", wrongUsed},
		{"get a -frob", "flag provided but not defined: -frob", wrongUsed},
		{"get a -timeout soon", "invalid value", wrongUsed},
		{"get \xff", "bad_request: \"\\xff\" is not UTF-8\n", failed},
		{"get a -timeout 0s", "unavailable: not sent: the time was up\n", failed},
	} {
		stdout, stderr, status := output(t, "", append(strings.Fields(c.command), "-servers="+addr)...)
		require.Empty(t, stdout, c.command)
		require.Contains(t, stderr, c.says, c.command)
		require.Equal(t, c.status, status, c.command)
	}
	_, err := l.Run(t.Context(), "kill n1")
	require.NoError(t, err)
	_, stderr, status := output(t, "", "put", "a", "b", "-servers", addr)
	require.Contains(t, stderr, "connection refused")
	require.Equal(t, failed, status)
}

func TestCommands_end_in_time_when_the_server_stands_still(t *testing.T) {
	t.Parallel()
	l, addr := start(t)
	_, err := l.Run(t.Context(), "pause n1")
	require.NoError(t, err)
	_, stderr, status := output(t, "", "append", "log", "x", "-timeout=200ms", "-servers", addr)
	require.Equal(t, "timeout: no answer: the time was up: it may have happened, or may yet\n", stderr)
	require.Equal(t, failed, status)
}

func TestCommands_end_on_an_interrupt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cmd := program(t, "append", "log", "x", "-timeout=1h", "-servers", l.Addr().String())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, failed, cmd.ProcessState.ExitCode())
	require.Equal(t, "timeout: no answer: interrupted: it may have happened, or may yet\n", stderr.String())
}
