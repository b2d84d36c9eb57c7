package main

import (
	"bufio"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
)

func TestCommands_ask_the_server(t *testing.T) {
	t.Parallel()
	_, addr := start(t)
	for _, c := range []struct{ command, prints string }{
		{"put /app/color red", "ok"},
		{"get /app/color", "red"},
		{"get /app/size", "absent"},
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
	require.Regexp(t, `^{\n  "node": "n1",\n  "role": "leader",\n  "term": 1,\n  "leader": "n1",\n  "last_index": 23,\n  "commit_index": 23,\n  "applied_index": 23,\n  "peers": 2,\n  "keys": 3,\n  "clients": [12]\n}\n$`, stdout)
}

// addrs returns where the nodes of a lab serve clients, those of the numbers given.
func addrs(l *lab.Lab, numbers ...int) string {
	var addrs []string
	for _, n := range numbers {
		addrs = append(addrs, l.Nodes()[n-1].Client)
	}
	return strings.Join(addrs, ",")
}

func TestCommands_find_their_way_from_wherever_they_begin(t *testing.T) {
	t.Parallel()
	l, _ := start(t)
	_, err := l.Run(t.Context(), "kill n2")
	require.NoError(t, err)
	cmd := program(t, "append", "k", "x")
	cmd.Env = append(cmd.Env, "RAFT_SERVERS="+addrs(l, 1, 2, 3))
	require.NoError(t, cmd.Run())
	for _, args := range [][]string{
		{"append", "k", "x", "-servers", addrs(l, 3)},
		{"append", "k", "x", "-servers", addrs(l, 2, 3)},
		{"append", "k", "x", "-servers", addrs(l, 1)},
	} {
		_, stderr, status := output(t, "", args...)
		require.Empty(t, stderr, args)
		require.Equal(t, done, status, args)
	}
	stdout, _, _ := output(t, "", "get", "k", "-servers", addrs(l, 1))
	require.Equal(t, "xxxx\n", stdout)
}

func TestCommands_about_one_server_ask_the_first_and_no_other(t *testing.T) {
	t.Parallel()
	l, _ := start(t)
	_, err := l.Run(t.Context(), "kill n2")
	require.NoError(t, err)
	stdout, _, _ := output(t, "", "status", "-servers", addrs(l, 3, 1))
	require.Contains(t, stdout, `"node": "n3"`)
	for _, args := range [][]string{{"status"}, {"lead"}, {"log"}, {"trace", "on"}} {
		_, stderr, status := output(t, "", append(args, "-timeout=1h", "-servers", addrs(l, 2, 1))...)
		require.Contains(t, stderr, "connection refused", args)
		require.Equal(t, failed, status, args)
		_, stderr, _ = output(t, "", args[0], "-h")
		require.Contains(t, stderr, "status, lead, log and trace ask the first only")
	}
}

func TestCommands_say_how_new_an_answer_is_and_must_be(t *testing.T) {
	t.Parallel()
	l, addr := start(t)
	for _, args := range [][]string{{"put", "k", "v"}, {"get", "k", "-max-staleness=1m"}, {"list", "-max-staleness=1m"}} {
		_, stderr, _ := output(t, "", append(args, "-servers", addr)...)
		require.Empty(t, stderr, args)
	}
	stdout, _, _ := output(t, "", "get", "-json", "k", "-servers", addr)
	require.Regexp(t, `^{"id":1,"ok":true,"found":true,"value":"v","index":3,"staleness_ms":\d+}\n$`, stdout)

	for _, command := range []string{"kill n1", "kill n2"} {
		_, err := l.Run(t.Context(), command)
		require.NoError(t, err)
	}
	for _, op := range []string{"get", "list"} {
		_, stderr, status := output(t, "", op, "k", "-max-staleness=1ms", "-timeout=600ms", "-servers", addrs(l, 3))
		require.Contains(t, stderr, "stale: n3 may be outdated by ", op)
		require.Equal(t, failed, status, op)
	}
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
	_, stderr, status := output(t, "", "put", "a", "b", "-timeout=300ms", "-servers", addr)
	require.Contains(t, stderr, "connection refused")
	require.Equal(t, failed, status)
}

func TestCommands_end_in_time_when_the_server_stands_still(t *testing.T) {
	t.Parallel()
	l, addr := start(t)
	_, err := l.Run(t.Context(), "pause n1")
	require.NoError(t, err)
	_, stderr, status := output(t, "", "append", "log", "x", "-timeout=200ms", "-servers", addr)
	require.Regexp(t, `^unavailable: not sent, for want of a session: no answer \(asked `+addr+`; after .*: the time was up\)\n$`, stderr)
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
	in := bufio.NewReader(conn)
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	_, err = conn.Write([]byte(`{"id":1,"ok":true,"session":2}` + "\n"))
	require.NoError(t, err)
	for line := ""; !strings.Contains(line, `"op":"append"`); { // it may ask for more before
		line, err = in.ReadString('\n')
		require.NoError(t, err)
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, failed, cmd.ProcessState.ExitCode())
	require.Regexp(t, `^timeout: no answer: interrupted: it may have happened, or may yet \(asked .*; after .*: interrupted\)\n$`, stderr.String())
}
